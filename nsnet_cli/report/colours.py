"""The scale of maps: blue, white, orange, which those who cannot tell red from green tell apart, too."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LOW, _MIDDLE, _HIGH = (33, 102, 172), (247, 247, 247), (230, 97, 1)
# Scores beyond this have the full colour.
FULL = 5.0


def colours(scores: ArrayLike) -> NDArray[np.uint8]:
    """RGB ``(..., 3)`` uint8 of local scores: blue below zero, orange above."""
    low, middle, high = (np.array(c, np.float32) for c in (_LOW, _MIDDLE, _HIGH))
    t = np.clip(np.asarray(scores, np.float32) / FULL, -1.0, 1.0)[..., None]
    return np.where(t < 0, middle + (middle - low) * t, middle + (high - middle) * t).astype(np.uint8)


def css_colour(score: float) -> str:
    """The same as ``#rrggbb``."""
    return "#" + "".join(f"{int(c):02x}" for c in colours(score))
