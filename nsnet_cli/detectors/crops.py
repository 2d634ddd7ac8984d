"""Squares of a picture at its own resolution: how every detector here sees pixels, because scaling wipes traces out."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from nsnet_cli.arrays import Pixels
from nsnet_cli.views.plan import Square

# Where squares lie, as shares of the room beside them: the centre, then around it.
_PLACES = ((0.5, 0.5), (0.2, 0.2), (0.8, 0.8), (0.8, 0.2), (0.2, 0.8))
# In a picture with less room than this share of a square beside it, further squares would show the same again.
_LEAST_ROOM = 0.25


@dataclass(frozen=True)
class Crops:
    """Squares of ``side`` pixels: that in the centre, and in larger pictures up to ``count`` in all.

    In training squares are ``learn`` pixels wide: a network that takes the mean over its map learns as much from two
    small ones as from a large one, for half the time.  They lie anywhere, and are mirrored half of the time.  A picture
    that is smaller than a square is continued by its mirror image: a black border would be an edge that no camera made.
    """

    side: int = 256
    learn: int = 128
    count: int = 1

    def look(self, pixels: Pixels) -> Pixels:
        """Views ``(views, 3, side, side)``."""
        pixels = at_least(pixels, self.side)
        return np.stack([_cut(pixels, square) for square in self._squares(*pixels.shape[1:])])

    def places(self, height: int, width: int) -> tuple[Square, ...]:
        return self._squares(height, width) if min(height, width) >= self.side else ()

    def _squares(self, height: int, width: int) -> tuple[Square, ...]:
        roomy = max(height, width) >= self.side * (1 + _LEAST_ROOM)
        return tuple(_square(height, width, self.side, x, y) for x, y in _PLACES[: self.count if roomy else 1])

    def draw(self, pixels: Pixels, rng: Random) -> Pixels:
        """A view ``(3, learn, learn)``."""
        pixels = at_least(pixels, self.learn)
        height, width = pixels.shape[1:]
        cut = _cut(pixels, _square(height, width, self.learn, rng.random(), rng.random()))
        return np.ascontiguousarray(cut[:, :, ::-1]) if rng.random() < 0.5 else cut

    def quick(self) -> Crops:
        """One square, as large as those that are learnt from."""
        return Crops(side=self.learn, learn=self.learn)


def at_least(pixels: Pixels, side: int) -> Pixels:
    """``pixels`` ``(3, H, W)``, continued to the right and below by mirroring where they are less than ``side``."""
    height, width = pixels.shape[1:]
    if min(height, width) >= side:
        return pixels
    return np.pad(pixels, ((0, 0), (0, max(0, side - height)), (0, max(0, side - width))), mode="symmetric")


def centre(pixels: Pixels, side: int) -> Pixels:
    """The square ``(3, side, side)`` in the centre."""
    square: Pixels = Crops(side).look(pixels)[0]
    return square


def _square(height: int, width: int, side: int, across: float, down: float) -> Square:
    """A square, at shares of the room beside it."""
    return round((width - side) * across), round((height - side) * down), side


def _cut(pixels: Pixels, square: Square) -> Pixels:
    left, top, side = square
    return pixels[:, top : top + side, left : left + side]
