"""Parquet tables with a column of pictures: bytes, or Hugging Face's ``{bytes, path}``.

A picture's member name is ``COLUMN/ROW``, so that a row of results says by itself where its picture is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from nsnet_cli.errors import InputError, UsageError

MAGIC = b"PAR1"
_BATCH, _BATCH_BYTES = 16, 1 << 26


class NoSuchColumnError(UsageError):
    """A table has no column of pictures of the name that was given."""


class ParquetPictures:
    """An open table.  Reading goes by batches and keeps the last, so that asking in order costs one pass."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            import pyarrow.parquet as pq
        except ImportError as error:
            raise UsageError("reading Parquet needs an extra: pip install 'nsnet-cli[parquet]'") from error
        with _damage("the Parquet file"):
            self._table = pq.ParquetFile(file)
            self._rows: int = self._table.metadata.num_rows
        self._column: str | None = None
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = ()
        self._first = 0

    def members(self, column: str) -> Iterator[str]:
        """Names of all cells of ``column``.  Raises `NoSuchColumnError` where there is no such column of bytes."""
        try:
            self._check(column)
        except InputError as error:
            raise NoSuchColumnError(str(error)) from error
        yield from (f"{column}/{row}" for row in range(self._rows))

    def read(self, name: str, max_bytes: int) -> bytes:
        """The bytes of one cell.  Raises `InputError`."""
        found = re.fullmatch(r"(.+)/(\d{1,15})", name, re.DOTALL)
        if found is not None:
            self._check(found[1])
        if found is None or int(found[2]) >= self._rows:
            raise InputError("not_found", "no such cell: expected COLUMN/ROW")
        column, row = found[1], int(found[2])
        import pyarrow.compute as pc

        try:
            with _damage("this part of the Parquet file"):
                self._go_to(column, row)
                cell = self._batch.slice(row - self._first, 1)
                size = pc.binary_length(cell)[0].as_py() or 0
        except InputError:
            self._column = None
            raise
        if not size:
            raise InputError("empty", "this cell holds no picture")
        if size > max_bytes:
            raise InputError("too_large", f"{size:,} bytes, more than --max-bytes {max_bytes:,} allows")
        data: bytes = cell[0].as_py()
        return data

    def _go_to(self, column: str, row: int) -> None:
        import pyarrow as pa

        if column != self._column or row < self._first:
            self._batches = self._table.iter_batches(batch_size=self._batch_rows(), columns=[column])
            self._column, self._batch, self._first = column, (), 0
        while row >= self._first + len(self._batch):
            self._first += len(self._batch)
            values = next(self._batches).column(0)
            values = values.field("bytes") if hasattr(values, "field") else values
            # A view has no length that could be asked for.
            self._batch = values.cast(pa.large_binary()) if pa.types.is_binary_view(values.type) else values

    def _batch_rows(self) -> int:
        """Few where cells are large."""
        groups = (self._table.metadata.row_group(k) for k in range(self._table.metadata.num_row_groups))
        largest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=0.0)
        return max(1, min(_BATCH, int(_BATCH_BYTES / max(1.0, largest))))

    def _check(self, column: str) -> None:
        import pyarrow as pa

        schema = self._table.schema_arrow
        kind = schema.field(column).type if schema.names.count(column) == 1 else None
        if kind is not None and pa.types.is_struct(kind):
            kind = next((kind.field(k).type for k in range(kind.num_fields) if kind.field(k).name == "bytes"), None)
        binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
        if kind is None or not any(is_kind(kind) for is_kind in binary):
            names = ", ".join(f"{field.name} ({field.type})" for field in list(schema)[:20])
            raise InputError("not_found", f"no column {column!r} of pictures (--column); columns: {names}"[:1_000])


@contextlib.contextmanager
def _damage(what: str) -> Iterator[None]:
    """pyarrow has errors of its own for every kind of damage."""
    try:
        yield
    except MemoryError as error:
        raise InputError("too_large", f"{what} does not fit into memory") from error
    except InputError:
        raise
    except Exception as error:
        raise InputError("truncated", f"{what} is damaged: {type(error).__name__}: {error}") from error
