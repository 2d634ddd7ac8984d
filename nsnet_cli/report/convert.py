"""Rows of a scan as CSV and Parquet: whole files, made from a journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsnet_cli.disk import appearing, real_path
from nsnet_cli.errors import UsageError
from nsnet_cli.report.rows import CSV_FIELDS, CsvWriter, flat_row

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
_INTEGERS = ("width", "height", "bytes", "views", "input_index", "clip_frames")
_FLOATS = (
    "probability", "score", "stability_spread", "stability_low", "stability_high", "elapsed_ms", "frame_time_s",
    "clip_seconds", "clip_low", "clip_high",
)  # fmt: skip
_GROUP = 10_000
# Rows a file in a directory of them.
_PART = 50_000


def write_csv(rows: Iterable[Row], path: Path, mark: bool = False) -> None:
    """The flat fields of ``rows``, behind a byte-order ``mark``; ``path`` appears whole or not at all."""
    with written_whole(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = CsvWriter(stream, mark)
        writer.begin()
        for row in rows:
            writer.write(row)


def write_parquet(rows: Iterable[Row], path: Path) -> None:
    """The flat fields of ``rows`` with their types.  Raises `UsageError` without the ``parquet`` extra."""
    need_pyarrow()
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(pa)
    with written_whole(path) as partial, parquet.ParquetWriter(partial, schema) as writer:
        left = iter(rows)
        while group := list(islice(left, _GROUP)):
            flat = [{name: _encodable(value) for name, value in flat_row(row).items()} for row in group]
            writer.write_table(pa.Table.from_pylist(flat, schema=schema))


def write_parquet_parts(rows: Iterable[Row], folder: Path) -> None:
    """The same as ``part-00000.parquet`` and so on in ``folder``, each whole or not at all; older parts go."""
    try:
        folder.mkdir(exist_ok=True)
        for old in parquet_parts(folder):
            old.unlink()
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from error
    left = iter(rows)
    first = next(left, None)
    for number in count():
        some = () if first is None else chain([first], islice(left, _PART - 1))
        write_parquet(some, folder / f"part-{number:05d}.parquet")
        first = next(left, None)
        if first is None:
            return


def parquet_parts(folder: Path) -> list[Path]:
    """The parts that lie in ``folder``."""
    return sorted(folder.glob("part-*.parquet"))


def need_pyarrow() -> None:
    """Raise `UsageError` now rather than after a night's scan."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow: pip install 'nsnet-cli[parquet]'") from error


def _schema(pa: Any) -> pa.Schema:
    def kind(name: str) -> Any:
        return pa.int64() if name in _INTEGERS else pa.float64() if name in _FLOATS else pa.string()

    return pa.schema([(name, kind(name)) for name in CSV_FIELDS])


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """`appearing` for a path that a person named: behind a link, where it is one.  Raises `UsageError`."""
    try:
        with appearing(real_path(path)) as partial:
            yield partial
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def write_bytes_whole(path: Path, data: bytes) -> None:
    """``data`` appears at ``path`` whole or not at all.  Raises `UsageError`."""
    with written_whole(path) as partial:
        partial.write_bytes(data)
