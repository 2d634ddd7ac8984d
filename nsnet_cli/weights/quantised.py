"""Matrices held as int8 with one symmetric scale for each row: ``W = q * scale``, beside it as ``NAME.scale``.

A quarter of float32's size, and with a scale for each row next to nothing is lost.  Where columns differ in how far
they spread, the matrix is stored column by column as ``NAME.columns`` ``(d, n)``: a wheel packs it the better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nsnet_cli.arrays import Floats

SCALE, COLUMNS = ".scale", ".columns"
LARGEST = 127
# Rows that are turned at once: they and what becomes of them stay in the processor's nearest caches.
_TURNED_AT_ONCE = 64


@dataclass(frozen=True)
class Int8Rows:
    """``W = q * scale``, ``(n, d)``: ``q`` int8, which may be mapped from a file, and ``scale`` ``(n,)`` float32."""

    q: NDArray[np.int8]
    scale: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        return self.q.shape

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """For ``np.asarray``: the matrix that is meant."""
        if copy is False:
            raise ValueError("what is held as int8 cannot be an array without a copy")
        return self.whole() if dtype is None else self.whole().astype(dtype, copy=False)

    def rows(self, few: slice) -> Floats:
        """Some rows of ``W`` in float32."""
        return np.multiply(self.q[few], self.scale[few, None], dtype=np.float32)

    def whole(self) -> Floats:
        """``W`` in float32, a new one each time."""
        return self.rows(slice(None))

    def by_column(self) -> Floats:
        """The same numbers column by column: products with the transpose are a twentieth faster so."""
        columns = np.empty(self.q.shape[::-1], np.float32)
        for first in range(0, len(self.q), _TURNED_AT_ONCE):
            few = slice(first, first + _TURNED_AT_ONCE)
            np.multiply(self.q[few].T, self.scale[few], out=columns[:, few])
        return columns.T


HeldTensor = NDArray[Any] | Int8Rows


def int8_rows(matrix: Floats, largest: int = LARGEST) -> tuple[NDArray[np.int8], Floats]:
    """``(n, d)`` float32 as int8 from ``-largest`` to ``largest``, and the scales ``(n,)`` of its rows."""
    scale = np.maximum(np.abs(matrix).max(axis=1), np.float32(1e-12)) / np.float32(largest)
    return np.rint(matrix / scale[:, None]).clip(-largest, largest).astype(np.int8), scale


def rounded_rows(matrix: Floats, largest: int) -> Floats:
    """What is left of ``(n, d)`` float32 once it has been held as int8."""
    return Int8Rows(*int8_rows(matrix, largest)).whole()


def held(tensors: Mapping[str, NDArray[Any]]) -> dict[str, HeldTensor]:
    """``tensors`` with those that have a scale as `Int8Rows` of what was given, and copies of all others."""
    found: dict[str, HeldTensor] = {}
    scaled = {name for name in tensors if name.removesuffix(COLUMNS) + SCALE in tensors}
    for name in scaled:
        meant, values = name.removesuffix(COLUMNS), tensors[name]
        found[meant] = Int8Rows(values if meant == name else values.T, np.array(tensors[meant + SCALE]))
    others = tensors.keys() - scaled - {name + SCALE for name in found}
    return found | {name: np.array(tensors[name]) for name in others}
