"""Where in the picture: local scores of all of it, coarse to fine, as far as a budget of forward passes goes.

The picture is covered by square tiles, each scaled to the network's input as the window of a scan is, and of each tile
every probe is scored as if a scan's window had shown that cell alone (`nsnet_cli.tower.probes`), the mosaics being what
they are.  A picture that tiles of the window's own size can cover within the budget is covered by them alone.  A larger
one is first covered by larger tiles, which the network sees scaled down; what is left of the budget goes, at full
scale, to where those score highest (a detector whose traces scaling wipes out looks at full scale alone).  Where tiles
overlap, the finer and the more central one counts more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.arrays import Doubles
from nsnet_cli.errors import InputError, UsageError
from nsnet_cli.inputs.decode import channels_first, decode, facts_of
from nsnet_cli.inputs.sources import read_source
from nsnet_cli.judges.patch_scores import PATCH_SCORE_KIND
from nsnet_cli.results.document import EXPLANATION_SCHEMA, ModelInfo, PictureResult
from nsnet_cli.scanner import Scanner

# Neighbouring tiles share this part of their side at least: cells at a border see half of their surroundings only.
_OVERLAP = 0.25
# Of a budget that cannot cover the picture at full scale, the share that covers it coarsely.
_COARSE_SHARE = 0.5
# Cells of the map, in pixels, on pictures on which they do not become too many.
_CELL = 32
_MOST_CELLS = 128


@dataclass(frozen=True)
class Tile:
    """A square of the picture, in pixels."""

    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Explanation:
    """What was said of a picture and where it comes from.

    ``values`` ``(rows, columns)`` float32 are local scores, in the unit of the picture's ``score``, of cells of
    ``cell`` pixels (those at the right and at the bottom may be cut); NaN where the budget did not reach.
    ``pixels`` ``(H, W, 3)`` uint8 is the picture, ``kind`` names what a local score is.
    """

    result: PictureResult
    model: ModelInfo
    values: NDArray[np.float32]
    cell: int
    tiles: tuple[Tile, ...]
    pixels: NDArray[np.uint8]
    kind: str = PATCH_SCORE_KIND

    @property
    def lowest(self) -> float:
        return float(np.nanmin(self.values))

    @property
    def highest(self) -> float:
        return float(np.nanmax(self.values))

    @property
    def unseen(self) -> float:
        """The share of the picture's cells that the budget did not reach."""
        return float(np.isnan(self.values).mean())

    @property
    def peak(self) -> tuple[int, int]:
        """Centre ``(x, y)`` in pixels of the cell of highest score."""
        row, column = np.unravel_index(int(np.nanargmax(self.values)), self.values.shape)
        height, width = self.pixels.shape[:2]
        x, y = (int((k + 0.5) * self.cell) for k in (column, row))
        return min(x, width - 1), min(y, height - 1)

    def to_dict(self, tool_version: str) -> dict[str, Any]:
        """As JSON data, `EXPLANATION_SCHEMA`."""
        return {
            "schema": EXPLANATION_SCHEMA,
            "tool": {"name": "nsnet", "version": tool_version},
            "model": asdict(self.model),
            "result": self.result.to_dict(),
            "map": {
                "kind": self.kind,
                "cell": self.cell,
                "rows": self.values.shape[0],
                "columns": self.values.shape[1],
                "values": [[None if math.isnan(v) else round(float(v), 3) for v in row] for row in self.values],
                "tiles": [asdict(tile) for tile in self.tiles],
            },
        }


def explain(detector: Scanner, path: str, budget: int | None = None) -> Explanation:
    """Scan ``path`` and score all parts of it, with at most ``budget`` forward passes for the map; None: as many as the
    detector says itself.

    Raises `InputError` for a picture that cannot be read.
    """
    if budget is not None and budget < 1:
        raise UsageError(f"the budget must be one forward pass or more, not {budget}")
    result = detector.scan(path)
    if result.error is not None:
        raise InputError(result.error.code, f"{path}: {result.error.message}")
    try:
        data = read_source(path, detector.limits)
        picture = decode(data, detector.limits)
    except InputError as error:
        raise InputError(error.code, f"{path}: {error}") from error
    if result.sha256 != facts_of(data).sha256:
        raise InputError("changed_while_reading", f"{path}: the file changed while it was explained")
    assert picture.pixels is not None
    pixels = channels_first(picture.pixels)
    height, width = picture.pixels.shape[:2]
    parts = detector.local_scores(pixels)
    finest = min(parts.finest, width, height)

    def said(tiles: Sequence[Tile]) -> Doubles:
        return parts.said([(tile.x, tile.y, tile.side) for tile in tiles])

    values, tiles, cell = chart(width, height, finest, budget or parts.budget, said, parts.scales)
    return Explanation(result, detector.model, values, cell, tuple(tiles), picture.pixels, parts.kind)


def chart(
    width: int,
    height: int,
    finest: int,
    budget: int,
    said: Callable[[Sequence[Tile]], Doubles],
    scales: bool = True,
) -> tuple[NDArray[np.float32], list[Tile], int]:
    """The map ``(rows, columns)`` of a picture, the tiles that it was made of, and the side of its cells in pixels.

    ``finest`` is the side in pixels of tiles at full scale; ``said`` gives the logits ``(n, cells, cells)`` of tiles,
    with ``scales`` also of larger ones.
    """
    chart = _Chart(width, height)
    fine = cover(width, height, finest)
    if len(fine) <= budget:
        chart.add(fine, said(fine), finest)
        return chart.values(), fine, chart.cell
    if not scales:
        tiles = _some(fine, budget)
        chart.add(tiles, said(tiles), finest)
        return chart.values(), tiles, chart.cell
    coarse = _coarse(width, height, finest, max(1, int(budget * _COARSE_SHARE)))
    chart.add(coarse, said(coarse), finest)
    marks = chart.values()
    strongest = sorted(fine, key=lambda tile: -chart.mean_within(marks, tile))[: budget - len(coarse)]
    if strongest:
        chart.add(strongest, said(strongest), finest)
    return chart.values(), [*coarse, *strongest], chart.cell


def cover(width: int, height: int, side: int) -> list[Tile]:
    """Tiles of ``side`` pixels that cover a picture, evenly spaced, each over a quarter of its neighbour or more."""

    def starts(length: int) -> list[int]:
        if length <= side:
            return [0]
        count = 1 + math.ceil((length - side) / (side * (1 - _OVERLAP)))
        return [round(k * (length - side) / (count - 1)) for k in range(count)]

    return [Tile(x, y, side) for y in starts(height) for x in starts(width)]


def _coarse(width: int, height: int, finest: int, most: int) -> list[Tile]:
    """The smallest tiles of which ``most`` cover the picture; of a strip that they cannot, evenly spaced ones."""
    side, largest = finest, min(width, height)
    while side < largest and len(cover(width, height, side)) > most:
        side = min(largest, math.ceil(side * 1.05))
    tiles = cover(width, height, side)
    return tiles if len(tiles) <= most else _some(tiles, most)


def _some(tiles: Sequence[Tile], most: int) -> list[Tile]:
    """``most`` of ``tiles``, evenly spaced."""
    return [tiles[round(k * (len(tiles) - 1) / max(1, most - 1))] for k in range(most)]


class _Chart:
    """Logits of tiles, gathered on one grid of cells."""

    def __init__(self, width: int, height: int) -> None:
        self.cell = max(_CELL, math.ceil(max(width, height) / _MOST_CELLS))
        self._x = self._centres(width)
        self._y = self._centres(height)
        self._sum = np.zeros((len(self._y), len(self._x)))
        self._weight = np.zeros_like(self._sum)

    def _centres(self, length: int) -> NDArray[np.float64]:
        starts = np.arange(0, length, self.cell)
        return (starts + np.minimum(starts + self.cell, length)) / 2

    def add(self, tiles: Sequence[Tile], logits: Doubles, finest: int) -> None:
        from scipy.ndimage import map_coordinates

        for tile, grid in zip(tiles, logits, strict=True):
            rows, columns = self._inside(self._y, tile.y, tile.side), self._inside(self._x, tile.x, tile.side)
            u = 2 * (self._x[columns] - tile.x) / tile.side - 1
            v = 2 * (self._y[rows] - tile.y) / tile.side - 1
            # Positions among the centres of the tile's own cells; beyond the outermost, their values.
            across, down = ((at + 1) * len(grid) / 2 - 0.5 for at in np.meshgrid(u, v))
            values = map_coordinates(grid, [down, across], order=1, mode="nearest")
            # From 1 in the middle to next to nothing at the border; a finer tile silences a coarser one.
            central = 1.05 - np.minimum(1, np.maximum(np.abs(u)[None, :], np.abs(v)[:, None]))
            weight = central * (finest / tile.side) ** 4
            self._sum[np.ix_(rows, columns)] += weight * values
            self._weight[np.ix_(rows, columns)] += weight

    def _inside(self, centres: NDArray[np.float64], start: int, side: int) -> NDArray[np.intp]:
        """The cells that a tile tells of: those whose centres lie in it, or the one it lies in if it holds none's."""
        inside = np.nonzero((centres >= start) & (centres < start + side))[0]
        return inside if len(inside) else np.array([np.abs(centres - (start + side / 2)).argmin()])

    def values(self) -> NDArray[np.float32]:
        with np.errstate(invalid="ignore"):
            return (self._sum / self._weight).astype(np.float32)

    def mean_within(self, values: NDArray[np.float32], tile: Tile) -> float:
        rows, columns = self._inside(self._y, tile.y, tile.side), self._inside(self._x, tile.x, tile.side)
        inside = values[np.ix_(rows, columns)]
        known = inside[~np.isnan(inside)]
        # What was not looked at comes before what looks real.
        return float(known.mean()) if len(known) else 0.0
