"""Where the results of a scan go: to the terminal, through a pipe, or by way of a journal into a file."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import typer

from nsnet_cli import __version__
from nsnet_cli.cli.options import Format, SortKey
from nsnet_cli.cli.state import STATE, say, stderr_console, stdout_console
from nsnet_cli.cli.target import Target, opened
from nsnet_cli.errors import ExitCode, UsageError
from nsnet_cli.provenance.read import unread_in
from nsnet_cli.results.document import SCHEMA, ModelInfo, PictureResult, RowContext, ScanOptions, Summary, scan_document

if TYPE_CHECKING:
    from nsnet_cli.inputs.discover import Discovery, WalkCount
    from nsnet_cli.results.clips import ClipRows

_SECONDS_BETWEEN_LINES = 30.0
_FILE_WIDTH, _CARD_WIDTH = 1000, 100
_LARGEST_SIDECAR = 64 * 1024**2
# Rows that become CSV, JSON or Parquet well within two seconds.
_QUICKLY_CONVERTED = 5_000


T = TypeVar("T")
# Paths in; results out, each with the position of its path, of which the order need not be kept.
Engine = Callable[[Iterable[str]], Iterator[tuple[int, PictureResult]]]


@dataclass
class ScanRun:
    """One scan: what is scanned with what, and what has been counted so far."""

    engine: Engine
    model: ModelInfo
    options: ScanOptions
    discovery: Discovery
    skipped: WalkCount
    stdout: TextIO
    shard: str | None
    only: frozenset[str] | None
    sort: SortKey | None
    single: bool
    folder: str | None
    resume: bool
    sidecar: bool
    csv_bom: bool
    unchanged: Callable[[dict[str, Any]], bool]
    summary: Summary = field(default_factory=Summary)

    @cached_property
    def clip_rows(self) -> ClipRows:
        """The clips among the inputs, and what is known of their frames."""
        from nsnet_cli.results.clips import ClipRows

        return ClipRows(self.skipped.clips)

    def _kept(self, row: dict[str, Any]) -> None:
        """Count a row of an earlier sitting."""
        self.summary.add_row(row)
        self.clip_rows.remember(row)

    @property
    def context(self) -> RowContext:
        return RowContext.of(self.model, self.options, self.shard)

    def write(self, target: Target) -> None:
        """Scan, and write everything where it belongs.  Raises what reading and writing raise."""
        if target.journal is not None:
            self._by_journal(target, target.journal)
        else:
            try:
                with opened(target.output, self.stdout) as stream:
                    if target.style in (Format.JSONL, Format.CSV):
                        self._stream_rows(target.style, stream)
                    else:
                        self._at_the_end(target.style, stream)
            except KeyboardInterrupt:
                say(f"interrupted: {_rows(self.summary.total)} written to {target.output or 'standard output'}")
                raise
        unseen = self.summary.errors and target.output is not None  # its row is in a file
        if (self.summary.total > 1 or unseen) and target != Target(Format.TABLE, None, None):
            self._say_counts()

    def _say_counts(self) -> None:
        from nsnet_cli.report.table import summary_line

        say(summary_line(self.summary, self.model, self.options.threshold))
        if said := self.summary.said_generated:
            files = (
                "1 file says of itself that it is" if said == 1 else f"{said:,} files say of themselves that they are"
            )
            say(f"{files} generated, as a whole or in part, which is no part of a verdict")

    def results(self, done: Counter[str] | None = None) -> Iterator[tuple[int, PictureResult]]:
        """Results with their place among all inputs, those in ``done`` left out, counted and shown as they come."""
        left, clips = Counter(done or {}), self.clip_rows
        indices: list[int] = []

        def todo() -> Iterator[str]:
            for index, path in self.discovery:
                if left[path]:
                    left[path] -= 1
                    continue
                if clips.holds(index, path):
                    continue
                indices.append(index)
                yield path

        def all_rows() -> Iterator[tuple[int, PictureResult]]:
            for position, result in self.engine(todo()):
                yield indices[position], clips.add(result)
                yield from clips.ready()
            yield from clips.ready()

        failed: Counter[str] = Counter()
        unread: Counter[str] = Counter()
        with _shown(self.discovery, self.summary, sum((done or {}).values())) as advance:
            for index, result in all_rows():
                self.summary.add(result)
                unread.update(unread_in(result.provenance))
                advance()
                why_not = self._sidecar_written(result) if self.sidecar else None
                if why_not is not None:
                    failed[why_not] += 1
                yield index, result
        self.summary.skipped = self.skipped.skipped
        for what, count in sorted(unread.items()):
            say(f"1 file has {what}" if count == 1 else f"{count:,} files have {what}")
        for why_not, many in failed.items():
            say(f"{'1 sidecar' if many == 1 else f'{many:,} sidecars'} could not be written: {why_not}")

    def _sidecar_written(self, result: PictureResult) -> str | None:
        """A document of this one picture beside it, never over a file that is no sidecar of ours; why not, if not."""
        from nsnet_cli.results.escaping import to_json

        if result.sha256 is None or not os.path.isfile(result.path):
            return None  # standard input, members of archives, objects: no file that it could lie beside
        path = Path(f"{result.path}.nsnet.json")
        alone = Summary()
        alone.add(result)
        text = to_json(scan_document(__version__, self.model, self.options, [result.to_dict()], alone), indent=2) + "\n"
        try:
            if path.is_symlink() or (path.exists() and not _is_sidecar(path)):
                return "there is a file of that name that is not ours"
            # A name that nobody can have laid a link under, in a folder that need not be a friend's.
            handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".nsnet-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    stream.write(text)
                os.chmod(partial, 0o644)
                Path(partial).replace(path)
            finally:
                Path(partial).unlink(missing_ok=True)
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return None

    def _wanted(self, verdict: str | None) -> bool:
        return self.only is None or (verdict or "error") in self.only

    def _by_journal(self, target: Target, path: Path) -> None:
        from nsnet_cli.results.journal import Journal, reorder

        with Journal(path, self.context, self.resume, self.unchanged, self._kept) as journal:
            kept = sum(journal.done.values())
            if kept:
                say(f"{kept:,} row{'s are' if kept > 1 else ' is'} in {path} already")
            shuffled, last = kept > 0, -1
            try:
                for index, result in self.results(journal.done):
                    journal.write(result, index)
                    shuffled, last = shuffled or index < last, index
            except KeyboardInterrupt:
                self._stopped(target, path)
                raise typer.Exit(ExitCode.INTERRUPTED) from None
            if shuffled:
                reorder(path, self.discovery)
            self._finish(target, path)
            if target.style != Format.JSONL:
                path.unlink()
        say(f"written to {target.output}")

    def _stopped(self, target: Target, path: Path) -> None:
        """Say where the rows are and how to go on; make the wanted file of them where that takes no time."""
        if self.summary.total <= _QUICKLY_CONVERTED and target.style != Format.HTML:
            self._finish(target, path)
        say(f"interrupted: {_rows(self.summary.total)} in {path}; go on with")
        argv = [arg for arg in sys.argv[1:] if arg not in ("--resume", "--force")]
        at = argv.index("--") if "--" in argv else len(argv)
        say(shlex.join(["nsnet", *argv[:at], "--resume", *argv[at:]]))

    def _finish(self, target: Target, path: Path) -> None:
        """Make of the journal what was asked for."""
        from nsnet_cli.report.convert import write_csv, write_parquet, write_parquet_parts
        from nsnet_cli.results.journal import OutputError, read_journal

        if target.style == Format.JSONL or target.output is None:
            return
        rows = (row for row in read_journal(path) if self._wanted(row["verdict"]))
        try:
            if target.style == Format.CSV:
                write_csv(rows, target.output, self.csv_bom)
            elif target.style == Format.PARQUET:
                (write_parquet_parts if target.in_parts else write_parquet)(rows, target.output)
            else:
                document = self._document(map(self.context.result_of, rows))
                with opened(target.output, self.stdout, quiet=True) as stream:
                    stream.write(_rendered(target.style, document))
        except UsageError as error:
            raise OutputError(f"{error}; the rows are in {path}, go on with --resume") from error

    def _stream_rows(self, style: Format, stream: TextIO) -> None:
        from nsnet_cli.report.rows import CsvWriter, JsonlWriter, RowWriter

        writer: RowWriter = JsonlWriter(stream) if style == Format.JSONL else CsvWriter(stream, self.csv_bom)
        writer.begin()
        for index, result in self.results():
            if self._wanted(result.verdict):
                writer.write(self.context.row(result, index))

    def _at_the_end(self, style: Format, stream: TextIO) -> None:
        found: list[tuple[int, PictureResult]] = []
        try:
            found.extend(self.results())
        except KeyboardInterrupt:
            self._write_all(style, stream, found)  # what is done is written
            raise
        self._write_all(style, stream, found)

    def _write_all(self, style: Format, stream: TextIO, found: list[tuple[int, PictureResult]]) -> None:
        in_order = sorted(found, key=lambda one: one[0])
        results = [result for _, result in in_order if self._wanted(result.verdict)]
        if style == Format.JSON:
            stream.write(_rendered(style, self._document(result.to_dict() for result in results)))
            return
        from nsnet_cli.report.table import print_card, print_rows, summary_line

        # A file has no width of its own, and keeps every path whole.
        console = stdout_console(stream, None if stream is self.stdout else _CARD_WIDTH if self.single else _FILE_WIDTH)
        results = self._sorted(results, lambda r: r.path, lambda r: r.probability)
        model, threshold = self.model, self.options.threshold
        if self.single:
            for result in results:
                print_card(console, result, model, threshold)
        elif results:
            print_rows(console, results, self.folder)
            console.print(summary_line(self.summary, model, threshold))
        if not results and self.summary.total:
            self._say_counts()  # all were left out by --only

    def _document(self, results: Iterator[dict[str, Any]]) -> dict[str, Any]:
        ordered = self._sorted(list(results), lambda r: r["path"], lambda r: r["probability"])
        return scan_document(__version__, self.model, self.options, ordered, self.summary)

    def _sorted(self, results: list[T], path: Callable[[T], str], probability: Callable[[T], float | None]) -> list[T]:
        if self.sort == SortKey.PATH:
            return sorted(results, key=path)
        if self.sort == SortKey.PROBABILITY:
            return sorted(results, key=lambda r: -1.0 if (p := probability(r)) is None else p, reverse=True)
        return results


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count:,} rows are"


def _is_sidecar(path: Path) -> bool:
    """Whether a file is ours to write anew; what lies there may be anybody's, a pipe or gigabytes."""
    if not path.is_file() or path.stat().st_size > _LARGEST_SIDECAR:
        return False
    try:
        return bool(json.loads(path.read_bytes())["schema"] == SCHEMA)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _rendered(style: Format, document: dict[str, Any]) -> str:
    if style == Format.HTML:
        from nsnet_cli.report.scan_report import report_html

        return report_html(document, shlex.join(["nsnet", *sys.argv[1:]]))
    from nsnet_cli.results.escaping import to_json

    return to_json(document, indent=2) + "\n"


@contextlib.contextmanager
def _shown(discovery: Discovery, summary: Summary, before: int) -> Iterator[Callable[[], None]]:
    """How far the scan is: a bar with counts where stderr is a terminal, else a plain line now and then."""
    console = stderr_console()
    began = said = time.monotonic()
    done = itertools.count(1)

    def status() -> str:
        c = summary.to_dict()
        return f"{c['generated']:,} generated, {c['uncertain']:,} uncertain, {c['errors']:,} errors"

    def line() -> None:
        nonlocal said
        n, now = next(done), time.monotonic()
        if now - said < _SECONDS_BETWEEN_LINES:
            return
        said = now
        rate, total = n / (now - began), discovery.total
        known = "" if total is None else f" of {total:,}, about {max(0, total - before - n) / rate / 60:.0f} min left"
        say(f"{before + n:,}{known}, {rate:.2f} a second; {status()}")

    if STATE.quiet or (discovery.total or 2) <= 1:
        yield lambda: None
        return
    if not console.is_terminal:
        yield line
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate_column = TextColumn("{task.fields[rate]}")
    columns = (BarColumn(), MofNCompleteColumn(), rate_column, TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(status(), total=None, completed=before, rate="")

        def advance() -> None:
            rate = f"{next(done) / (time.monotonic() - began):.1f}/s"
            progress.update(task, advance=1, total=discovery.total, description=status(), rate=rate)

        yield advance
