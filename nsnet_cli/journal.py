"""The journal of a scan: a row for each picture, in JSON lines, of which a kill at any moment loses none.

A row is written with one system call and goes to the disk within a second.  What a kill, a full disk or a power
cut leaves behind the last line end is no row, and is cut off by whoever goes on.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nsnet_cli.document import SCHEMA, PictureResult, RowContext, nanoseconds_utc
from nsnet_cli.errors import NsnetError, UsageError
from nsnet_cli.report.rows import to_json
from nsnet_cli.safefile import sha256_of

_SECONDS_TO_DISK = 1.0
_TRANSIENT = frozenset({"timeout", "permission", "changed_while_reading"})

Row = dict[str, Any]


class OutputError(NsnetError):
    """What was found could not be written: a full disk, a folder that went away."""


class Journal:
    """Rows appended to ``path``.  Use as a context manager; one process at a time can hold a journal.

    ``resume`` keeps what is there: rows must be of the same weights and options (`UsageError`), and rows for
    which ``unchanged`` is false are dropped, so that their files are scanned again.  ``done`` counts the rows
    that stay, by path.
    """

    def __init__(
        self, path: Path, context: RowContext, resume: bool, unchanged: Callable[[Row], bool] = lambda row: True
    ) -> None:
        self.path, self.done = path, Counter[str]()
        self.kept: list[Row] = []
        self._context = context
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(f"{path}: another scan is writing to it") from error
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        try:
            if resume and path.exists():
                self._go_on(unchanged)
            self._file = path.open("ab" if resume else "wb", buffering=0)
        except OSError as error:
            self._unlock()
            raise UsageError(f"{path}: {error.strerror}") from error
        except BaseException:
            self._unlock()
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *ended: object) -> None:
        with suppress(OSError):
            os.fsync(self._file.fileno())
        self._file.close()
        self._unlock()

    def write(self, result: PictureResult, index: int) -> None:
        """Append one row.  Raises `OutputError` where it cannot be written; the rows before it stay whole."""
        line = (to_json(self._context.row(result, index)) + "\n").encode("utf-8")
        before = self._file.tell()
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(28, "no space left")
            if time.monotonic() - self._synced >= _SECONDS_TO_DISK:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(before)
            raise OutputError(
                f"{self.path}: {error.strerror}; the rows before are whole, make room and go on with --resume"
            ) from error

    def _go_on(self, unchanged: Callable[[Row], bool]) -> None:
        rows, torn = 0, False
        kept: list[Row] = []
        for row, whole in read_journal(self.path):
            if not whole:
                torn = True
                continue
            rows += 1
            self._check(row)
            if unchanged(row):
                kept.append(row)
        if torn or len(kept) < rows:
            rewrite(self.path, kept)
        self.kept = kept
        self.done.update(row["path"] for row in kept)

    def _check(self, row: Row) -> None:
        for key in ("weights_sha256", "options_hash"):
            mine = getattr(self._context, key)
            if row.get(key) != mine:
                what = key.split("_")[0]
                raise UsageError(
                    f"{self.path}: its rows were made with other {what} ({str(row.get(key))[:12]}, now {mine[:12]}); "
                    "go on with the same command, or write to another file"
                )
        if row.get("shard") != self._context.shard:
            raise UsageError(f"{self.path}: its rows are of shard {row.get('shard')}, not {self._context.shard}")

    def _unlock(self) -> None:
        self._lock.release()
        with suppress(OSError):
            Path(self._lock.lock_file).unlink()


def read_journal(path: Path) -> Iterator[tuple[Row, bool]]:
    """Rows one by one, each with True; what was cut short at the end comes as an empty row with False.

    Raises `UsageError` for a line before the end that is no row.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                yield {}, False
                return
            row = parse_row(line)
            if row is None:
                raise UsageError(f"{path}:{number}: not a row of {SCHEMA}; is this the output of a scan?")
            yield row, True


def parse_row(line: bytes) -> Row | None:
    """A row of a scan, None for anything else."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and row.get("schema") == SCHEMA and isinstance(row.get("path"), str) else None


def rewrite(path: Path, rows: Iterable[Row]) -> None:
    """Replace a journal whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        for row in rows:
            file.write((to_json(row) + "\n").encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def unchanged_by_stat(row: Row) -> bool:
    """Whether the file still has the size and time of its row: the quick way."""
    try:
        found = os.stat(row["path"])
    except (OSError, ValueError):
        return row.get("modified_at") is None
    same_size = row.get("bytes") is None or row["bytes"] == found.st_size
    return same_size and row.get("modified_at") == nanoseconds_utc(found.st_mtime_ns)


def unchanged_by_hash(row: Row) -> bool:
    """Whether the file still has the bytes of its row: reads every file."""
    if row.get("sha256") is None:
        return unchanged_by_stat(row)
    try:
        return sha256_of(Path(row["path"])) == row["sha256"]
    except OSError:
        return False


def failed_in_passing(row: Row) -> bool:
    """Whether a row's error is of a kind that may be gone by now."""
    error = row.get("error")
    return isinstance(error, dict) and error.get("code") in _TRANSIENT
