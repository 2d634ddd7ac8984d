"""NS-Net: tell AI-generated pictures from real ones.

>>> from nsnet_cli import Detector
>>> Detector.load().scan("photo.jpg").verdict  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nsnet_cli.detector import Detector

__all__ = ["Detector", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loading PyTorch takes a second; `nsnet --help` must not pay for it.
    if name == "Detector":
        from nsnet_cli.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
