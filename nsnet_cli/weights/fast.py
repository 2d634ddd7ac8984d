"""How far a score in a faster precision may lie from that in float32: measured, and stored with the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

# What `Detector` can compute in before float32.
_PRECISIONS = ("bf16",)


@dataclass(frozen=True)
class FastScores:
    """Scores of ``pictures`` in ``precision`` lay at most ``largest`` from those in float32; ``bound``, further out, is
    what is reckoned with.  ``half`` of them lay no further than that.  ``measured_on`` says on which pictures, with
    which processor and software (``nsnet weights bound``)."""

    precision: str
    bound: float
    largest: float
    half: float
    pictures: int
    measured_on: str

    @staticmethod
    def of_record(record: dict[str, Any] | None) -> FastScores | None:
        """From the metadata of a weights file; None where they say nothing of it, and scores are float32.

        Raises `ValueError` for a precision or a bound that cannot be.
        """
        if record is None:
            return None
        fast = FastScores(**record)
        if fast.precision not in _PRECISIONS or not (math.isfinite(fast.bound) and 0.0 < fast.largest <= fast.bound):
            raise ValueError(f"no bound of a fast precision: {record}")
        return fast
