"""The journal of a scan: a row for each picture, in JSON lines, of which a kill at any moment loses none.

A row is written with one system call and goes to the disk within a second.  What a kill, a full disk or a power
cut leaves behind the last line end is no row, and is cut off by whoever goes on.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from nsnet_cli.disk import appearing, sha256_of, sync_folder
from nsnet_cli.errors import NsnetError, UsageError
from nsnet_cli.inputs.decode import facts_of
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.inputs.sources import read_source, stat_source
from nsnet_cli.results.document import DIED_OF_IT, SCHEMA, PictureResult, RowContext, nanoseconds_utc
from nsnet_cli.results.escaping import to_json
from nsnet_cli.results.writer import only_writer

_SECONDS_TO_DISK = 1.0
_TRANSIENT = frozenset({"timeout", "permission", "changed_while_reading", "network"})

Row = dict[str, Any]


class OutputError(NsnetError):
    """What was found could not be written: a full disk, a folder that went away."""


class Journal:
    """Rows appended to ``path``.  Use as a context manager; one process at a time can hold a journal.

    ``resume`` keeps what is there: rows must be of the same weights and options (`UsageError`), and rows for
    which ``unchanged`` is false are dropped, so that their files are scanned again.  ``done`` counts the rows
    that stay, by path; each is shown to ``on_kept``.
    """

    def __init__(
        self,
        path: Path,
        context: RowContext,
        resume: bool,
        unchanged: Callable[[Row], bool] = lambda row: True,
        on_kept: Callable[[Row], None] = lambda row: None,
    ) -> None:
        self.path, self.done = path, Counter[str]()
        self._context = context
        self._alone = ExitStack()
        self._alone.enter_context(only_writer(path))
        try:
            if resume and path.exists():
                self._go_on(unchanged, on_kept)
            self._file = path.open("ab" if resume else "wb", buffering=0)
            sync_folder(path)
        except OSError as error:
            self._alone.close()
            raise UsageError(f"{path}: {error.strerror}") from error
        except BaseException:
            self._alone.close()
            raise
        self._ended = threading.Event()
        self._dirty = threading.Event()
        self._syncer = threading.Thread(target=self._sync, name="nsnet-journal", daemon=True)
        self._syncer.start()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *ended: object) -> None:
        self._ended.set()
        self._syncer.join()
        with suppress(OSError):
            os.fsync(self._file.fileno())
        self._file.close()
        self._alone.close()

    def write(self, result: PictureResult, index: int) -> None:
        """Append one row.  Raises `OutputError` where it cannot be written; the rows before it stay whole."""
        line = (to_json(self._context.row(result, index)) + "\n").encode("utf-8")
        before = self._file.tell()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(before)
            raise OutputError(
                f"{self.path}: {error.strerror}; the rows before are whole, make room and go on with --resume"
            ) from error
        self._dirty.set()

    def _sync(self) -> None:
        """Rows go to the disk every second, whether or not others follow."""
        while not self._ended.wait(_SECONDS_TO_DISK):
            if self._dirty.is_set():
                self._dirty.clear()
                with suppress(OSError):
                    os.fsync(self._file.fileno())

    def _go_on(self, unchanged: Callable[[Row], bool], on_kept: Callable[[Row], None]) -> None:
        _refuse_foreign(self.path)
        partial = self.path.with_name(f".{self.path.name}.partial")
        try:
            if not self._copied(partial, unchanged, on_kept):
                partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)

    def _copied(self, partial: Path, unchanged: Callable[[Row], bool], on_kept: Callable[[Row], None]) -> bool:
        """Whole rows that still hold, copied to ``partial``; whether they were all."""
        as_it_was = True
        with self.path.open("rb") as old, partial.open("wb") as new:
            for number, line in enumerate(old, start=1):
                if not line.endswith(b"\n"):
                    as_it_was = False
                    continue
                row = _whole_row(self.path, number, line)
                self._check(row)
                if not unchanged(row):
                    as_it_was = False
                    continue
                new.write(line)
                self.done[row["path"]] += 1
                on_kept(row)
            new.flush()
            os.fsync(new.fileno())
        return as_it_was

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


def _refuse_foreign(path: Path) -> None:
    """Raises `UsageError` for a single line without its end that is not the beginning of a row."""
    begin = f'{{"schema": "{SCHEMA}"'.encode()
    with path.open("rb") as file:
        head = file.read(len(begin))
    if head[: len(begin)] != begin[: len(head)]:
        raise UsageError(f"{path}: not rows of {SCHEMA}; is this the output of a scan?")


def _whole_row(path: Path, number: int, line: bytes) -> Row:
    row = parse_row(line)
    if row is None:
        raise UsageError(f"{path}:{number}: not a row of {SCHEMA}; is this the output of a scan?")
    return row


def read_journal(path: Path) -> Iterator[Row]:
    """Rows one by one, without what was cut short at the end.

    Raises `UsageError` for a line before the end that is no row.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            # The end of a last line may have been lost on the way of a whole row, by a shell or an editor.
            if line.endswith(b"\n") or parse_row(line) is not None:
                yield _whole_row(path, number, line)
            elif number == 1:
                _refuse_foreign(path)


def reorder(path: Path, inputs: Iterable[tuple[int, str]]) -> None:
    """Put the rows of a finished journal in the order of ``inputs``, and their ``input_index`` right.

    A scan that went on after files had come or gone has rows with the places of another walk.  Rows of what is no
    longer among the inputs come last.  Nothing is written where everything is right already.
    """
    places: dict[str, deque[int]] = defaultdict(deque)
    last = -1
    for index, name in inputs:
        places[name].append(index)
        last = index
    rows: list[tuple[int, int]] = []
    right = True
    with path.open("rb") as file:
        offset = 0
        for line in file:
            row = parse_row(line)
            if row is not None and line.endswith(b"\n"):
                known = places.get(row["path"])
                if known:
                    index = known.popleft()
                else:
                    last += 1
                    index = last
                right = right and row.get("input_index") == index and (not rows or rows[-1][0] < index)
                rows.append((index, offset))
            offset += len(line)
        if right:
            return

        def renumbered() -> Iterator[Row]:
            for index, offset in sorted(rows):
                file.seek(offset)
                yield {**json.loads(file.readline()), "input_index": index}

        rewrite(path, renumbered())


def parse_row(line: bytes) -> Row | None:
    """A row of a scan, None for anything else."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and row.get("schema") == SCHEMA and isinstance(row.get("path"), str) else None


def rewrite(path: Path, rows: Iterable[Row]) -> None:
    """Replace a journal whole or not at all."""
    with appearing(path) as partial, partial.open("wb") as file:
        for row in rows:
            file.write((to_json(row) + "\n").encode("utf-8"))


def unchanged_by_stat(row: Row) -> bool:
    """Whether the file still has the size and time of its row: the quick way.  What cannot be seen is kept."""
    try:
        found = stat_source(row["path"])
    except (OSError, ValueError, NsnetError):
        return True
    same_size = row.get("bytes") is None or found.size is None or row["bytes"] == found.size
    return same_size and row.get("modified_at") == nanoseconds_utc(found.mtime_ns)


def unchanged_by_hash(row: Row) -> bool:
    """Whether the file still has the bytes of its row: reads every file.  What cannot be read is kept."""
    if row.get("sha256") is None:
        return unchanged_by_stat(row)
    try:
        if os.path.isfile(row["path"]):
            return sha256_of(Path(row["path"])) == row["sha256"]
        return facts_of(read_source(row["path"], DecodeLimits())).sha256 == row["sha256"]
    except (OSError, ValueError, NsnetError):
        return True


def failed_in_passing(row: Row) -> bool:
    """Whether a row's error is of a kind that may be gone by now."""
    error = row.get("error")
    return isinstance(error, dict) and (error.get("code") in _TRANSIENT or DIED_OF_IT in str(error.get("message")))
