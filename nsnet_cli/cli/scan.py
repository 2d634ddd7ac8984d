"""``nsnet scan``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from nsnet_cli import __version__
from nsnet_cli.cli import options
from nsnet_cli.cli.state import STATE, say, stderr_console
from nsnet_cli.decode import DecodeLimits
from nsnet_cli.errors import ExitCode, UsageError
from nsnet_cli.weights_store import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from nsnet_cli.detector import Detector
    from nsnet_cli.document import PictureResult, Summary


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class SortKey(StrEnum):
    PATH = "path"
    PROBABILITY = "probability"


class Kind(StrEnum):
    GENERATED = "generated"
    REAL = "real"
    UNCERTAIN = "uncertain"
    ERROR = "error"


class FailOn(StrEnum):
    GENERATED = "generated"
    UNCERTAIN = "uncertain"
    ERROR = "error"


def scan(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Pictures, directories, or - for standard input."),
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option("--from-file", metavar="LIST", help="Read paths from a file, one a line (- for stdin)."),
    ] = None,
    null: Annotated[bool, typer.Option("--null", help="Paths in LIST end with NUL, not with a line break.")] = False,
    include: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="In directories: only these files.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="In directories: not these files.")] = None,
    format: Annotated[Format | None, typer.Option("--format", help="How to write results [default: table].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to FILE; its suffix says the format."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    weights: options.Weights = DEFAULT_WEIGHTS,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = 8,
    views: options.Views = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="One cut on the probability in place of the band.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Use the threshold of a profile made by nsnet calibrate.")
    ] = None,
    stability: Annotated[
        bool, typer.Option("--stability", help="Score each picture under four mild deliveries, too (5 times the work).")
    ] = False,
    patches: Annotated[
        bool | None,
        typer.Option("--patches/--no-patches", help="List the selected patches [default: for one picture]."),
    ] = None,
    sort: Annotated[SortKey | None, typer.Option(help="Order of rows [default: as found].")] = None,
    only: Annotated[list[Kind] | None, typer.Option(help="Show only these rows; repeatable.")] = None,
    fail_on: Annotated[
        list[FailOn] | None, typer.Option(help="Exit with 10 when such a row was found; repeatable.")
    ] = None,
    max_pixels: options.MaxPixels = DecodeLimits.max_pixels,
    max_bytes: options.MaxBytes = DecodeLimits.max_bytes,
) -> None:
    """Scan pictures for traces of generation.

    Exit codes: 0 done, 2 wrong usage, 3 some inputs could not be read, 4 bad weights, 10 --fail-on matched,
    130 interrupted.
    """
    style = _format_of(format, as_json, output)
    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} exists; choose another name, or overwrite it with --force")
    given = [*(inputs or []), *(_listed(from_file, null) if from_file else [])]
    if not given:
        raise UsageError("nothing to scan: name a picture or a directory, or - for standard input")
    if style in (Format.JSONL, Format.CSV) and sort is not None:
        raise UsageError(f"--sort needs all rows at once; {style} rows are written as they come")

    from nsnet_cli.discover import WalkCount, find_pictures

    count = WalkCount()
    single = len(given) == 1 and not Path(given[0]).is_dir()
    want_patches = patches if patches is not None else single and style in (Format.TABLE, Format.JSON)
    paths = list(find_pictures(given, include or [], exclude or [], count))
    if not paths:
        say(f"no pictures found in {', '.join(given)}")

    from nsnet_cli.detector import Detector
    from nsnet_cli.document import Summary

    detector = Detector.load(
        weights,
        device=device,
        precision=precision,
        views=views,
        threshold=threshold,
        limits=DecodeLimits(max_pixels, max_bytes),
        patches=want_patches,
        stability=stability,
        profile=profile,
    )
    summary = Summary(skipped=count.skipped)
    wanted = {str(kind) for kind in only} if only else None
    with _opened(output) as stream:
        results = _progress(detector.scan_many(paths, batch_size), len(paths), summary)
        shown = (r for r in results if wanted is None or (r.verdict or "error") in wanted)
        _render(style, stream, shown, detector, summary, sort, single)
    raise typer.Exit(_exit_code(summary, fail_on or []))


def _render(
    style: Format,
    stream: TextIO,
    results: Iterator[PictureResult],
    detector: Detector,
    summary: Summary,
    sort: SortKey | None,
    single: bool,
) -> None:
    from nsnet_cli.document import RowContext, scan_document

    if style in (Format.JSONL, Format.CSV):
        from nsnet_cli.report.rows import CsvWriter, JsonlWriter, RowWriter

        context = RowContext.of(detector.model, detector.options)
        writer: RowWriter = JsonlWriter(stream, context) if style == Format.JSONL else CsvWriter(stream, context)
        writer.begin()
        for result in results:
            writer.write(result)
        return
    collected = _sorted(list(results), sort)
    if style == Format.JSON:
        from nsnet_cli.report.rows import to_json

        document = scan_document(__version__, detector.model, detector.options, collected, summary)
        stream.write(to_json(document, indent=2) + "\n")
        return
    from rich.console import Console

    from nsnet_cli.report.table import print_card, print_rows, summary_line

    console = Console(file=stream, highlight=False)
    if single:
        for result in collected:
            print_card(console, result, detector.model, detector.options.threshold)
    elif collected:
        print_rows(console, collected)
        console.print(summary_line(summary, detector.model, detector.options.threshold), markup=False)


def _sorted(results: list[PictureResult], key: SortKey | None) -> list[PictureResult]:
    if key == SortKey.PATH:
        return sorted(results, key=lambda r: r.path)
    if key == SortKey.PROBABILITY:
        return sorted(results, key=lambda r: -1.0 if r.probability is None else r.probability, reverse=True)
    return results


def _progress(results: Iterator[PictureResult], total: int, summary: Summary) -> Iterator[PictureResult]:
    """Count every result, and show how far the scan is where that helps."""
    console = stderr_console()
    if total <= 1 or STATE.quiet or not console.is_terminal:
        for result in results:
            summary.add(result)
            yield result
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("scanning", total=total)
        for result in results:
            summary.add(result)
            c = summary.to_dict()
            progress.update(
                task,
                advance=1,
                description=f"{c['generated']} generated, {c['uncertain']} uncertain, {c['errors']} errors",
            )
            yield result


def _exit_code(summary: Summary, fail_on: list[FailOn]) -> int:
    if summary.errors:
        return ExitCode.SOME_UNREADABLE
    if any(summary.verdicts[str(kind)] for kind in fail_on):
        return ExitCode.FAIL_ON
    return ExitCode.OK


def _format_of(chosen: Format | None, as_json: bool, output: Path | None) -> Format:
    if as_json and chosen not in (None, Format.JSON):
        raise UsageError(f"--json contradicts --format {chosen}")
    if as_json:
        return Format.JSON
    if chosen is not None:
        return chosen
    if output is None:
        return Format.TABLE
    by_suffix = {
        ".json": Format.JSON,
        ".jsonl": Format.JSONL,
        ".ndjson": Format.JSONL,
        ".csv": Format.CSV,
        ".txt": Format.TABLE,
    }
    if output.suffix.lower() not in by_suffix:
        raise UsageError(f"{output}: the suffix names no format; use .json, .jsonl, .csv or .txt, or --format")
    return by_suffix[output.suffix.lower()]


def _listed(source: str, null: bool) -> list[str]:
    """Paths from a list, as the bytes that they are."""
    import os

    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"--from-file {source}: {error.strerror}") from error
    parts = data.split(b"\0") if null else data.splitlines()
    return [os.fsdecode(part) for part in parts if part]


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        yield sys.stdout
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as stream:
            yield stream
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}") from error
    say(f"written to {output}")
