"""A tower's tensors as its file holds them: a quarter of the memory, and float32 when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.arrays import Floats

_ROWS_AT_A_TIME = 32


@dataclass(frozen=True)
class HeldRows:
    """``W = q * scale``: ``columns`` ``(in, out)`` int8, the transpose of ``q``, and ``scale`` ``(out,)`` float32.

    Held that way round because products with the transpose are a twentieth faster, and because to multiply out along
    memory takes a fifth of the time.
    """

    columns: NDArray[np.int8]
    scale: Floats

    def whole(self) -> Floats:
        """``W`` ``(out, in)`` in float32, column by column; a new one each time."""
        columns = np.empty(self.columns.shape, np.float32)
        np.multiply(self.columns, self.scale, out=columns)
        return columns.T


class HeldState(Mapping[str, Floats]):
    """float32 arrays by name: what is held as int8 is multiplied out anew each time that it is asked for."""

    def __init__(self, held: Mapping[str, Floats | HeldRows]) -> None:
        self._held = held

    def __getitem__(self, name: str) -> Floats:
        found = self._held[name]
        return found.whole() if isinstance(found, HeldRows) else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def multiplied_out(self) -> dict[str, Floats]:
        """All of it, once, on all cores."""
        with ThreadPoolExecutor() as pool:
            return dict(zip(self, pool.map(self.__getitem__, self), strict=True))


def held(values: NDArray[Any], scale: NDArray[Any] | None) -> Floats | HeldRows:
    """What a tower file says of one matrix ``(out, in)``, or of anything else that has no ``scale``."""
    if scale is None:
        return np.asarray(values, np.float32, order="F" if values.ndim == 2 else "C")
    return HeldRows(_turned(values), np.asarray(scale, np.float32))


def _turned(rows: NDArray[Any]) -> NDArray[np.int8]:
    """The transpose, in memory of its own; a few rows at a time, which stay in the processor's nearest cache."""
    columns = np.empty(rows.shape[::-1], np.int8)
    for first in range(0, len(rows), _ROWS_AT_A_TIME):
        few = slice(first, first + _ROWS_AT_A_TIME)
        columns[:, few] = rows[few].T
    return columns
