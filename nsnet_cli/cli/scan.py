"""``nsnet scan``."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import math
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsnet_cli.cli import options
from nsnet_cli.cli.options import Format, SortKey
from nsnet_cli.cli.output import stdout_utf8
from nsnet_cli.cli.skipped import check_skipped, write_skipped
from nsnet_cli.cli.state import say
from nsnet_cli.errors import ExitCode, UsageError
from nsnet_cli.inputs.limits import DEFAULT_FRAMES, STDIN, DecodeLimits
from nsnet_cli.results import NS_NET
from nsnet_cli.weights.store import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from nsnet_cli.cli.scan_output import Engine
    from nsnet_cli.inputs.discover import Discovery
    from nsnet_cli.results.document import PictureResult, Summary
    from nsnet_cli.scanner import Scanner

# Fewer pictures than this are decoded here: worker processes would take longer to start.
_FEW = 8
# Seconds for a file, far beyond what any honest one takes.
_TIMEOUT = 120.0
_LIST_CHUNK = 65_536


class ResumeBy(StrEnum):
    STAT = "stat"
    HASH = "hash"


class EngineName(StrEnum):
    LOCAL = "local"
    RAY = "ray"


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
        typer.Argument(metavar="INPUT...", help="Pictures, directories, archives, tables, videos, URLs; - for stdin."),
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option("--from-file", metavar="LIST", help="Read paths from a file, one a line (- for stdin)."),
    ] = None,
    null: Annotated[bool, typer.Option("--null", help="Paths in LIST end with NUL, not with a line break.")] = False,
    include: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="In directories: only these files.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="In directories: not these files.")] = None,
    archives: Annotated[
        bool, typer.Option("--archives", help="Open archives and tables that lie in directories, too.")
    ] = False,
    videos: Annotated[
        bool, typer.Option("--videos", help="Scan frames of videos that lie in directories, too.")
    ] = False,
    frames: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Key frames of a video to scan, at most.")
    ] = DEFAULT_FRAMES,
    column: Annotated[str, typer.Option(metavar="NAME", help="The column of pictures in Parquet tables.")] = "image",
    format: Annotated[Format | None, typer.Option("--format", help="How to write results [default: table].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to FILE; its suffix says the format."),
    ] = None,
    csv_bom: options.CsvBom = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with FILE where an earlier scan ended.")] = False,
    resume_by: Annotated[
        ResumeBy, typer.Option("--resume-by", help="Scan again what changed by size and time (stat) or by content.")
    ] = ResumeBy.STAT,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="With --resume: try timeouts and denied files again.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Scan the I-th of N parts of the inputs, by hash of the path.")
    ] = None,
    detector: options.Detector = None,
    weights: options.Weights = DEFAULT_WEIGHTS,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = 8,
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=256, help="Processes that read and decode; 0: none [default: by cores and files]."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds a file may take to be decoded; needs workers [default: 120].")
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="Where to scan: here, or on a Ray cluster.")] = EngineName.LOCAL,
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDR", help="The cluster, HOST:PORT or auto [default: start Ray here].")
    ] = None,
    ray_workers: Annotated[
        str | None, typer.Option(metavar="N|MIN:MAX", help="Actors with a detector each [default: by the cluster].")
    ] = None,
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
    provenance: Annotated[
        bool, typer.Option("--provenance/--no-provenance", help="Read what files say about their origin.")
    ] = True,
    trust_list: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Certificates whose content credentials are to be trusted.")
    ] = None,
    skipped: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="List what was met and is no picture (.csv, .jsonl or text)."),
    ] = None,
    sidecar: Annotated[bool, typer.Option("--sidecar", help="Write FILE.nsnet.json beside each picture, too.")] = False,
    sort: Annotated[SortKey | None, typer.Option(help="Order of rows [default: as found].")] = None,
    only: Annotated[list[Kind] | None, typer.Option(help="Show only these rows; repeatable.")] = None,
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option(help="Exit with 10 for such a row, unless an input could not be read (3); repeatable."),
    ] = None,
    max_pixels: options.MaxPixels = DecodeLimits.max_pixels,
    max_bytes: options.MaxBytes = DecodeLimits.max_bytes,
) -> None:
    """Scan pictures for traces of generation.

    Exit codes: 0 done, 2 wrong usage, 3 some inputs could not be read, 4 bad weights, 10 --fail-on matched,
    130 interrupted.
    """
    style = _format_of(format, as_json, output)
    named = inputs or []
    if "" in named:
        raise UsageError("an input is empty; is there an empty variable in the command?")
    if not named and from_file is None:
        raise UsageError("nothing to scan: name a picture or a directory, or - for standard input")
    if from_file == "-" and STDIN in named:
        raise UsageError("standard input cannot be a picture and the list of pictures at once")
    given = itertools.chain(named, () if from_file is None else _listed(from_file, null))
    if style in (Format.JSONL, Format.CSV, Format.PARQUET) and sort is not None:
        raise UsageError(f"--sort needs all rows at once; {style} rows are written as they come")
    piped = STDIN in named
    _refuse_first(
        (timeout is not None and not math.isfinite(timeout), "--timeout must be a number of seconds"),
        (workers == 0 and timeout is not None, "--timeout needs a process that can be ended, not --workers 0"),
        (piped and bool(workers or timeout), "a picture on standard input is decoded here: no --workers, no --timeout"),
        (piped and resume, "--resume cannot know whether standard input has changed; save it to a file first"),
        (
            not resume and (retry_errors or resume_by != ResumeBy.STAT),
            "--retry-errors and --resume-by are for --resume",
        ),
        (trust_list is not None and not provenance, "--trust-list contradicts --no-provenance"),
        (null and from_file is None, "--null is for --from-file"),
        (engine != EngineName.RAY and bool(ray_address or ray_workers), "--ray-... options are for --engine ray"),
        (
            engine == EngineName.RAY and piped,
            "a picture on standard input cannot be sent to a cluster: no --engine ray",
        ),
        (engine == EngineName.RAY and detector not in (None, NS_NET), "a cluster runs NS-Net alone: no --engine ray"),
        (
            engine == EngineName.RAY and device not in ("auto", "cpu", "cuda"),
            f"actors have a CPU or a CUDA device: --device auto, cpu or cuda, not {device}",
        ),
    )
    options.check_csv_bom(csv_bom, style == Format.CSV)
    from nsnet_cli.cli.scan_output import ScanRun
    from nsnet_cli.cli.target import Target

    reads = [*named, from_file]
    target = Target.of(style, output, force, resume, bool(only), reads)
    check_skipped(skipped, output, force or resume, reads)

    from nsnet_cli.inputs.discover import Discovery, Shard, WalkCount, WalkOptions, find_pictures, names_many

    part = None if shard is None else Shard.parse(shard)
    count = WalkCount(keep=skipped is not None, takes=part.takes if part else lambda path: True)
    single = from_file is None and len(named) == 1 and not names_many(named[0])
    limits = DecodeLimits(max_pixels, max_bytes)
    wanted = WalkOptions(include or [], exclude or [], column, archives, videos, frames, limits)
    discovery = Discovery(find_pictures(given, wanted, count), part.takes if part else lambda path: True)

    from nsnet_cli.cli.scanners import load_scanner
    from nsnet_cli.results.journal import failed_in_passing, unchanged_by_hash, unchanged_by_stat

    on_ray = engine == EngineName.RAY
    scanner = load_scanner(
        detector,
        weights,
        views,
        device="cpu" if on_ray else device,
        precision=precision,
        threshold=threshold,
        limits=limits,
        patches=_wants_patches(style, single) if patches is None else patches,
        stability=stability,
        profile=profile,
        provenance=provenance,
        trust_list=trust_list,
        network=not on_ray,
    )
    unchanged = unchanged_by_hash if resume_by == ResumeBy.HASH else unchanged_by_stat
    stdout_utf8()
    stdout = sys.stdout  # Ray prints to what stands there while it is connected
    with contextlib.ExitStack() as until_written:
        scan_many: Engine = _local(scanner, batch_size, 0 if piped else workers, timeout, discovery)
        model = scanner.model
        if on_ray:
            from nsnet_cli.detector import Detector
            from nsnet_cli.engines.on_ray import PoolSize, RayEngine, connected

            size = None if ray_workers is None else PoolSize.parse(ray_workers)
            until_written.enter_context(connected(ray_address))
            seconds = _TIMEOUT if timeout is None else timeout
            assert isinstance(scanner, Detector)
            ray = RayEngine(scanner, weights, trust_list, device, size, batch_size, workers, seconds)
            scan_many, model = ray, replace(model, device=ray.device)
        run = ScanRun(
            engine=until_written.enter_context(_interruptible(scan_many)),
            model=model,
            options=scanner.options,
            discovery=discovery,
            skipped=count,
            stdout=stdout,
            shard=None if part is None else str(part),
            only=frozenset(map(str, only)) if only else None,
            sort=sort,
            single=single,
            folder=named[0] if len(named) == 1 and from_file is None and not single else None,
            resume=resume,
            sidecar=sidecar,
            csv_bom=csv_bom,
            unchanged=lambda row: unchanged(row) and not (retry_errors and failed_in_passing(row)),
        )
        try:
            run.write(target)
        finally:
            write_skipped(skipped, count)
    if not run.summary.total:
        where = ", ".join([*named, *([f"the list {from_file}"] if from_file else [])])
        others = f"; {count.skipped:,} other files skipped (archives: --archives; --skipped FILE lists them)"
        say(f"no pictures found in {where}{others if count.skipped else ''}")
    raise typer.Exit(_exit_code(run.summary, fail_on or []))


def _wants_patches(style: Format, single: bool) -> bool:
    return style == Format.HTML or (single and style in (Format.TABLE, Format.JSON))


def _local(
    scanner: Scanner, batch_size: int, workers: int | None, timeout: float | None, discovery: Discovery
) -> Engine:
    """The engine of this machine: no processes that decode for a few pictures, which would wait for them."""
    from nsnet_cli.cli.progress import unremarked
    from nsnet_cli.engines.workers import enough_workers

    def scan_many(paths: Iterable[str]) -> Iterator[tuple[int, PictureResult]]:
        few = timeout is None and discovery.total is not None and discovery.total < _FEW
        default = 0 if few else enough_workers(os.cpu_count() or 1, scanner.device != "cpu")
        count = default if workers is None else workers
        seconds = (_TIMEOUT if timeout is None else timeout) if count else None
        # Workers, where there are some, see to that themselves; how a process dies is for --debug.
        with contextlib.nullcontext() if count else unremarked():
            yield from enumerate(scanner.scan_many(paths, batch_size, count, seconds))

    return scan_many


@contextlib.contextmanager
def _interruptible(engine: Engine) -> Iterator[Engine]:
    """A scheduler's SIGTERM ends a scan as Ctrl-C does: what is done is written.

    Python drops an exception that a signal raises in a finaliser or a callback, so the engine given back looks once
    more after each result, and after the last.
    """
    came = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    def scan_many(paths: Iterable[str]) -> Iterator[tuple[int, PictureResult]]:
        for found in engine(paths):
            yield found
            if came:
                break
        if came:  # maybe only while it waited for more paths, of which there were none
            raise KeyboardInterrupt

    # Whoever had Ctrl-C ignored, as a shell does for what it starts in the background, keeps that.
    numbers = [signal.SIGTERM, *([signal.SIGINT] if signal.getsignal(signal.SIGINT) != signal.SIG_IGN else [])]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield scan_many
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        chosen = Format.JSON
    if output is None:
        return chosen or Format.TABLE
    by_suffix = {
        ".json": Format.JSON,
        ".jsonl": Format.JSONL,
        ".ndjson": Format.JSONL,
        ".csv": Format.CSV,
        ".parquet": Format.PARQUET,
        ".html": Format.HTML,
        ".txt": Format.TABLE,
    }
    by_name = by_suffix.get(output.suffix.lower())
    if chosen is not None:
        # What a name says is what other programs, and nsnet convert, will take it for.
        if by_name not in (None, chosen, Format.TABLE):
            raise UsageError(f"--format {chosen} contradicts the name {output}, which means {by_name}")
        return chosen
    if by_name is None:
        known = ", ".join(by_suffix)
        raise UsageError(f"{output}: the suffix names no format; use {known}, or --format")
    return by_name


def _listed(source: str, null: bool) -> Iterator[str]:
    """Paths from a list, as the bytes that they are, each as soon as it is there."""
    try:
        # Not through `sys.stdin`: whoever waits in it at the end of the program would bring the program down.
        descriptor = os.dup(0) if source == "-" else os.open(source, os.O_RDONLY)
        if source != "-" and os.path.isdir(source):
            os.close(descriptor)
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise UsageError(f"--from-file {source}: {error.strerror}; expected a text file with a path a line") from error

    def pieces() -> Iterator[bytes]:
        with contextlib.closing(io.FileIO(descriptor)) as stream:
            while data := stream.read(_LIST_CHUNK):
                yield data

    def paths() -> Iterator[str]:
        from nsnet_cli.inputs.written_text import listed_paths

        # A file of that name: the list has standard input for itself.
        yield from ("./-" if path == STDIN else path for path in listed_paths(pieces(), null))

    return paths()


def _refuse_first(*found: tuple[bool, str]) -> None:
    """Raises `UsageError` with the first sentence that holds."""
    for holds, sentence in found:
        if holds:
            raise UsageError(sentence)
