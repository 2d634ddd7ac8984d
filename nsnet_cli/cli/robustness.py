"""``nsnet robustness``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from nsnet_cli.cli import options
from nsnet_cli.cli.output import Shown, check_output, check_outputs, stdout_utf8, write_outputs
from nsnet_cli.cli.progress import counting
from nsnet_cli.cli.state import say, stdout_console
from nsnet_cli.errors import ExitCode
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.weights.store import DEFAULT_WEIGHTS

_SUFFIXES = (".json", ".csv", ".svg")


def robustness(
    dataset: options.Dataset,
    split: options.Split = None,
    real_dir: options.RealDir = None,
    deliver: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="Such as jpeg:75 or resize:0.5+jpeg:80; repeatable [default: a grid of 20]."),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=2, help="Only about so many pictures, always the same ones.")
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep scores of single pictures in this .jsonl, and go on from it."),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", metavar="FILE", help=".json, .csv, or .svg for the plot; repeatable."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite output files (never --rows).")] = False,
    format: Annotated[Shown, typer.Option("--format", help="What stdout gets.")] = Shown.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    detector: options.Detector = None,
    weights: options.Weights = DEFAULT_WEIGHTS,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = 2,
    views: options.Views = None,
    max_pixels: options.MaxPixels = DecodeLimits.max_pixels,
    max_bytes: options.MaxBytes = DecodeLimits.max_bytes,
) -> None:
    """Measure what re-encoding, resizing and other deliveries do to the scores of labelled pictures.

    Both classes are delivered alike. Nothing is written beside the pictures. With --rows a run that was
    stopped, by whatever, goes on where it was when the same command is given again.

    Exit codes: 0 done, 2 wrong usage, 3 some pictures have no score, 4 bad weights, 130 interrupted.
    """
    outputs = output or []
    check_outputs(outputs, _SUFFIXES, force, [dataset, rows])
    if rows is not None:
        check_output(rows, [dataset])
    if any(path.suffix.lower() == ".svg" for path in outputs):
        from nsnet_cli.report.plots import need_matplotlib

        need_matplotlib()

    from nsnet_cli.cli.scanners import load_scanner
    from nsnet_cli.evaluation.labelled import find_labelled
    from nsnet_cli.evaluation.robustness import RowsFile, measure, rows_header, score_deliveries, take_sample
    from nsnet_cli.views.deliveries import GRID, Delivery

    deliveries = [Delivery.parse(spec) for spec in deliver] if deliver else list(GRID)
    data = find_labelled(dataset, split, real_dir)
    data = replace(data, pictures=take_sample(data.pictures, sample))
    scanner = load_scanner(
        detector,
        weights,
        views,
        device=device,
        precision=precision,
        limits=DecodeLimits(max_pixels, max_bytes),
        patches=False,
        provenance=False,
        deliveries=deliveries,
    )
    kept = None if rows is None else RowsFile(rows, rows_header(scanner, data.pictures))
    known = dict(kept.rows) if kept is not None else {}
    if known:
        say(f"{len(known):,} of {len(data.pictures):,} pictures are in {rows}")
    with counting("delivering", len(data.pictures), len(known)) as advance:

        def on_row(row: Any) -> None:
            if kept is not None:
                kept.add(row)
            advance()

        found = score_deliveries(scanner, data.pictures, known, batch_size, on_row)
    command = shlex.join(["nsnet", *sys.argv[1:]])
    document = measure(data, found, deliveries, asdict(scanner.model), command, sample)
    _write(document, outputs)
    _show(document, Shown.JSON if as_json else format)
    raise typer.Exit(ExitCode.SOME_UNREADABLE if document["as_is"]["missing"] else ExitCode.OK)


def _write(document: dict[str, Any], outputs: list[Path]) -> None:
    from nsnet_cli.report.evaluation_files import evaluation_json
    from nsnet_cli.report.robustness_report import robustness_csv, robustness_svg

    write_outputs(document, outputs, {".json": evaluation_json, ".csv": robustness_csv, ".svg": robustness_svg})


def _show(document: dict[str, Any], shown: Shown) -> None:
    from nsnet_cli.report.evaluation_files import evaluation_json
    from nsnet_cli.report.robustness_report import print_robustness, robustness_csv

    stdout_utf8()
    if shown == Shown.TABLE:
        print_robustness(stdout_console(), document)
        return
    sys.stdout.write((evaluation_json if shown == Shown.JSON else robustness_csv)(document))
