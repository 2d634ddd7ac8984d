"""Parquet tables with a column of pictures: bytes, or Hugging Face's ``{bytes, path}``.

A picture's member name is ``COLUMN/ROW``, so that a row of results says by itself where its picture is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from nsnet_cli.errors import InputError, UsageError

MAGIC = b"PAR1"
_BATCH = 16


class ParquetPictures:
    """An open table.  Reading goes by batches and keeps the last, so that asking in order costs one pass."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            import pyarrow.parquet as pq
        except ImportError as error:
            raise UsageError("reading Parquet needs an extra: pip install 'nsnet-cli[parquet]'") from error
        try:
            self._table = pq.ParquetFile(file)
        except Exception as error:  # pyarrow has errors of its own for every kind of damage
            raise InputError("truncated", f"the Parquet file is damaged: {error}") from error
        self._column: str | None = None
        self._batches: Iterator[Any] = iter(())
        self._batch: list[bytes | None] = []
        self._first = 0

    def members(self, column: str) -> Iterator[str]:
        """Names of all cells of ``column``.  Raises `UsageError` where there is no such column of bytes."""
        try:
            self._check(column)
        except InputError as error:
            raise UsageError(str(error)) from error
        yield from (f"{column}/{row}" for row in range(self._table.metadata.num_rows))

    def read(self, name: str, max_bytes: int) -> bytes:
        """The bytes of one cell.  Raises `InputError`."""
        found = re.fullmatch(r"(.+)/(\d{1,15})", name, re.DOTALL)
        if found is None or int(found[2]) >= self._table.metadata.num_rows:
            raise InputError("not_found", "no such cell: expected COLUMN/ROW")
        column, row = found[1], int(found[2])
        self._check(column)
        try:
            self._go_to(column, row)
        except Exception as error:
            self._column = None
            raise InputError("truncated", f"this part of the Parquet file is damaged: {error}") from error
        data = self._batch[row - self._first]
        if not data:
            raise InputError("empty", "this cell holds no picture")
        if len(data) > max_bytes:
            raise InputError("too_large", f"{len(data):,} bytes, more than --max-bytes {max_bytes:,} allows")
        return data

    def _go_to(self, column: str, row: int) -> None:
        if column != self._column or row < self._first:
            self._batches = self._table.iter_batches(batch_size=_BATCH, columns=[column])
            self._column, self._batch, self._first = column, [], 0
        while row >= self._first + len(self._batch):
            self._first += len(self._batch)
            values = next(self._batches).column(0).to_pylist()
            self._batch = [value.get("bytes") if isinstance(value, dict) else value for value in values]

    def _check(self, column: str) -> None:
        import pyarrow as pa

        schema = self._table.schema_arrow
        kind = schema.field(column).type if column in schema.names else None
        if kind is not None and pa.types.is_struct(kind):
            kind = next((kind.field(k).type for k in range(kind.num_fields) if kind.field(k).name == "bytes"), None)
        if kind is None or not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            names = ", ".join(schema.names[:20])
            raise InputError("not_found", f"no column {column!r} of pictures (--column); columns: {names}")
