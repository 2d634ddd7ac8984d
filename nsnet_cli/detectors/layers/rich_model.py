"""The thirty linear high-pass filters of the spatial rich model (Fridrich and Kodovsky, "Rich Models for Steganalysis
of Digital Images", IEEE TIFS 2012): what is left of a pixel once its neighbours have predicted it."""

from __future__ import annotations

import numpy as np

from nsnet_cli.arrays import Floats

_SIDE = 5
_EDGE3 = ((-1, 2, -1), (2, -4, 2))
_SQUARE3 = ((-1, 2, -1), (2, -4, 2), (-1, 2, -1))
_EDGE5 = ((-1, 2, -2, 2, -1), (2, -6, 8, -6, 2), (-2, 8, -12, 8, -2))
_SQUARE5 = (*_EDGE5, _EDGE5[1], _EDGE5[0])
# From the pixel outwards; of the third order one neighbour lies on the other side.
_DIRECTIONS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def rich_filters() -> Floats:
    """The filters ``(30, 5, 5)``, each divided by the weight of its middle pixel.

    Eight of the first order, four of the second, eight of the third, and squares and their edges of 3x3 and 5x5.
    """
    filters = [_line({0: -1, 1: 1}, step) for step in _DIRECTIONS]
    filters += [_line({-1: 1, 0: -2, 1: 1}, step) for step in _DIRECTIONS[:4]]
    filters += [_line({-1: 1, 0: -3, 1: 3, 2: -1}, step) for step in _DIRECTIONS]
    for edge, square in ((_EDGE3, _SQUARE3), (_EDGE5, _SQUARE5)):
        filters.append(_placed(square))
        filters += [np.rot90(_placed(edge), turns) for turns in range(4)]
    return np.stack([f / np.abs(f[_SIDE // 2, _SIDE // 2]) for f in filters]).astype(np.float32)


def _line(weights: dict[int, int], step: tuple[int, int]) -> Floats:
    """Weights at so many steps from the middle."""
    made = np.zeros((_SIDE, _SIDE), np.float32)
    for distance, weight in weights.items():
        made[_SIDE // 2 + distance * step[0], _SIDE // 2 + distance * step[1]] = weight
    return made


def _placed(rows: tuple[tuple[int, ...], ...]) -> Floats:
    """Rows of a square filter, or of its upper half with the middle row, in the middle."""
    made = np.zeros((_SIDE, _SIDE), np.float32)
    first = (_SIDE - len(rows[0])) // 2
    made[first : first + len(rows), first : first + len(rows[0])] = rows
    return made
