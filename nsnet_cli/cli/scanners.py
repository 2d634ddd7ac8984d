"""Which detector a command was asked for, loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from nsnet_cli.errors import UsageError
from nsnet_cli.results import NS_NET
from nsnet_cli.weights.store import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from nsnet_cli.scanner import Scanner, SettingsGiven


def load_scanner(
    detector: str | None, weights: str, views: int | None, network: bool = True, **given: Unpack[SettingsGiven]
) -> Scanner:
    """NS-Net with ``weights``, or a published ``detector`` by its name or the path of its weights.

    Without ``network`` NS-Net's waits until it is needed.

    Raises `UsageError` where options of the one are given with the other, and what loading raises.
    """
    if detector in (None, NS_NET):
        from nsnet_cli.detector import Detector

        return Detector.load(weights, views=views, network=network, **given)
    if weights != DEFAULT_WEIGHTS or views is not None:
        raise UsageError("--weights and --views are NS-Net's: a --detector has weights and views of its own")
    from nsnet_cli.detectors.published import PublishedDetector

    assert detector is not None
    return PublishedDetector.load(detector, **given)
