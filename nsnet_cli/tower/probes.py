"""Probes: what the verdict would say if there were nothing to look at but one part of a view.

The class token, on which the verdict rests, looks at all patches and no longer says which.  *Probes* are further
class tokens that go through the same blocks (`nsnet_cli.tower.vit.VisionTransformer.through`).  Each looks around the
centre of one cell of the view, with a Gaussian for its eye, and no other token sees it: the verdict stays what it is.
The verdict's own judges then score it as if it were the class token (`nsnet_cli.judges.patch_scores`).

Of a mosaic a cell is one selected patch; of a window it is a part of a square grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsnet_cli.arrays import Floats
from nsnet_cli.views.plan import MOSAIC, Square, ViewKind
from nsnet_cli.views.selection import SelectionRecipe


@dataclass(frozen=True)
class ProbeGrid:
    """Probes of one kind of view: ``cells`` on a side.

    ``reach`` is the standard deviation with which each looks around the centre of its cell, as a share of the view's
    side.  In the first ``late`` of the blocks, a share of them, a probe is the class token itself.
    """

    cells: int
    reach: float
    late: float = 0.0

    @property
    def count(self) -> int:
        return self.cells * self.cells

    def look(self, side: int) -> Floats:
        """Logarithms of weights ``(count, side^2)`` of the patch tokens of a view, ``side`` on a side, row by row."""
        centres = (np.arange(self.cells) + 0.5) / self.cells
        square = np.square(centres[:, None] - (np.arange(side) + 0.5) / side)
        distance = square[:, None, :, None] + square[None, :, None, :]
        look: Floats = (-distance.reshape(self.count, side * side) / (2 * self.reach**2)).astype(np.float32)
        return look

    def cell_at(self, x: float, y: float, square: Square) -> int | None:
        """Number of the cell, row by row, in which a point of the picture lies; None outside of the square."""
        left, top, side = square
        column, row = (int((at - start) * self.cells // side) for at, start in ((x, left), (y, top)))
        inside = 0 <= column < self.cells and 0 <= row < self.cells
        return row * self.cells + column if inside else None


def probes_of(kind: ViewKind, recipe: SelectionRecipe) -> ProbeGrid:
    """The probes of a kind of view."""
    if kind == MOSAIC:
        # Neighbours in a mosaic have nothing to do with each other: little more than one patch is seen.  Half of the
        # blocks, because probes cost time, and a patch among 49 moves the score by little anyway.
        return ProbeGrid(recipe.grid, reach=0.4 / recipe.grid, late=0.5)
    return ProbeGrid(5, reach=0.16)
