"""Stability: does the verdict survive what happens to a picture every day?

A detector that is sure of a picture should stay so when it is saved once more.  Where it does not, it says
so; the verdict stays that of the picture as it is.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from nsnet_cli.results.document import DeliveredResult, StabilityResult

UNSTABLE = "unstable"


def stability_of(probability: float, delivered: Sequence[DeliveredResult]) -> StabilityResult:
    """Spread and range of the probabilities of a picture as it is and after each of ``delivered``."""
    known = [probability, *(d.probability for d in delivered if d.probability is not None)]
    return StabilityResult(statistics.pstdev(known), min(known), max(known), tuple(delivered))


def is_unstable(stability: StabilityResult, verdict_of: Callable[[float], str]) -> bool:
    """Whether the verdict would change within the range; verdicts are monotone, so its ends decide."""
    return verdict_of(stability.low) != verdict_of(stability.high)
