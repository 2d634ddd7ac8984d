"""A tower's tensors as its file holds them: a quarter of the memory, and float32 when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from nsnet_cli.arrays import Floats
from nsnet_cli.weights.quantised import Int8Rows


class HeldState(Mapping[str, Floats]):
    """float32 arrays by name: what is held as int8 is multiplied out anew each time that it is asked for, column by
    column."""

    def __init__(self, held: Mapping[str, Floats | Int8Rows], let_go: Callable[[], None] = lambda: None) -> None:
        """``let_go``: do not count what was read of the file any longer; it is read again when it is asked for."""
        self._held, self.let_go = held, let_go

    def __getitem__(self, name: str) -> Floats:
        found = self._held[name]
        return found.by_column() if isinstance(found, Int8Rows) else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def multiplied_out(self) -> dict[str, Floats]:
        """All of it, once, on all cores."""
        with ThreadPoolExecutor() as pool:
            return dict(zip(self, pool.map(self.__getitem__, self), strict=True))
