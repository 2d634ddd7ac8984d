"""``nsnet evaluate``."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsnet_cli.cli import options
from nsnet_cli.cli.output import Shown, check_outputs, stdout_utf8, write_outputs
from nsnet_cli.cli.progress import counting
from nsnet_cli.cli.state import say, stdout_console
from nsnet_cli.errors import ExitCode, UsageError
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.results import NS_NET
from nsnet_cli.weights.store import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from nsnet_cli.evaluation.evaluate import ControlInputs, Evaluation
    from nsnet_cli.evaluation.labelled import LabelledSet
    from nsnet_cli.evaluation.predictions import Prediction
    from nsnet_cli.results.document import PictureResult
    from nsnet_cli.scanner import Scanner

_SUFFIXES = (".json", ".csv", ".html", ".jsonl")
_COMPARED_SUFFIXES = (".json", ".csv")


def evaluate(
    dataset: options.Dataset,
    split: options.Split = None,
    real_dir: options.RealDir = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Scores of an earlier scan, or any CSV with path and probability."),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", metavar="FILE", help=".json, .csv, .html, or .jsonl for scan rows; repeatable."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite output files.")] = False,
    format: Annotated[Shown, typer.Option("--format", help="What stdout gets.")] = Shown.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    every_group: Annotated[bool, typer.Option("--all", help="List every generator and source in the table.")] = False,
    detectors: options.Detectors = None,
    weights: options.Weights = DEFAULT_WEIGHTS,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = 8,
    views: options.Views = None,
    max_pixels: options.MaxPixels = DecodeLimits.max_pixels,
    max_bytes: options.MaxBytes = DecodeLimits.max_bytes,
) -> None:
    """Measure the detector, others, or saved predictions, on labelled pictures.

    DATASET is a manifest CSV (path, label, generator, maybe split), or a directory with 0_real/1_fake,
    nature/ai or real/fake in it at any depth, or with --real-dir a folder of generators.

    Exit codes: 0 done, 2 wrong usage, 3 some pictures have no score, 4 bad weights, 130 interrupted.
    """
    outputs, asked = output or [], list(dict.fromkeys(detectors or [NS_NET]))
    _check(outputs, force, dataset, predictions, len(asked))
    if predictions is not None and detectors:
        raise UsageError("--predictions were made before: no --detector")

    from nsnet_cli.evaluation.evaluate import evaluate as measure
    from nsnet_cli.evaluation.labelled import find_labelled
    from nsnet_cli.evaluation.predictions import match_predictions, missing, read_predictions

    data = find_labelled(dataset, split, real_dir)
    command = shlex.join(["nsnet", *sys.argv[1:]])

    def loaded(detector: str) -> Scanner:
        from nsnet_cli.cli.scanners import load_scanner

        ours = detector == NS_NET or len(asked) == 1
        return load_scanner(
            detector,
            weights if ours else DEFAULT_WEIGHTS,
            views if ours else None,
            device=device,
            precision=precision,
            limits=DecodeLimits(max_pixels, max_bytes),
            patches=False,
            provenance=False,
        )

    def scored_by(scanner: Scanner) -> Evaluation:
        from dataclasses import asdict

        found, look = _score(scanner, data, batch_size, next((o for o in outputs if _is_rows(o)), None))
        return measure(data, found, asdict(scanner.model), command, look, scanner.known.trained_on)

    if predictions is not None:
        read = read_predictions(predictions)
        found = match_predictions(data.pictures, read.by_path)
        if missing(found) == len(found):
            raise UsageError(f"{predictions}: none of its rows is of a picture of {dataset}")
        model = {"predictions": str(predictions), **read.model}
        evaluations = {"": measure(data, found, model, command)}
    else:
        if len(asked) > 1 and NS_NET not in asked and (weights != DEFAULT_WEIGHTS or views is not None):
            raise UsageError(f"--weights and --views are NS-Net's: add --detector {NS_NET}")
        scanners = {name: loaded(name) for name in asked}  # all of them before hours of work
        evaluations = {}
        for name, scanner in scanners.items():
            if len(asked) > 1:
                say(f"asking {name}")
            evaluations[name] = scored_by(scanner)
    if len(evaluations) > 1:
        from nsnet_cli.evaluation.comparison import compare

        document = compare({name: evaluation.to_dict() for name, evaluation in evaluations.items()}, command)
    else:
        document = next(iter(evaluations.values())).to_dict()
    write_outputs(document, [path for path in outputs if not _is_rows(path)], _renderers(document))
    _show(document, Shown.JSON if as_json else format, every_group)
    missing_some = any(evaluation.total.missing for evaluation in evaluations.values())
    raise typer.Exit(ExitCode.SOME_UNREADABLE if missing_some else ExitCode.OK)


def _is_rows(path: Path) -> bool:
    return path.suffix.lower() == ".jsonl"


def _check(outputs: list[Path], force: bool, dataset: Path, predictions: Path | None, detectors: int) -> None:
    suffixes = _SUFFIXES if detectors == 1 else _COMPARED_SUFFIXES
    check_outputs(outputs, suffixes, force, [dataset, predictions])
    if sum(map(_is_rows, outputs)) > 1:
        raise UsageError("rows go to one .jsonl file; give --output with one such name")
    for path in outputs:
        if _is_rows(path) and predictions is not None:
            raise UsageError(f"{path}: rows of a scan are written when pictures are scanned, not with --predictions")
        if path.suffix.lower() == ".html":
            from nsnet_cli.report.plots import need_matplotlib

            need_matplotlib()


def _score(
    scanner: Scanner, data: LabelledSet, batch_size: int, rows: Path | None
) -> tuple[list[Prediction], ControlInputs]:
    from nsnet_cli.evaluation.evaluate import score_dataset
    from nsnet_cli.report.rows import JsonlWriter
    from nsnet_cli.results.document import RowContext

    with contextlib.ExitStack() as stack:
        writer = None
        if rows is not None:
            writer = JsonlWriter(stack.enter_context(rows.open("w", encoding="utf-8", newline="")))
        context, index = RowContext.of(scanner.model, scanner.options), itertools.count()
        advance = stack.enter_context(counting("scanning", len(data.pictures)))

        def on_result(result: PictureResult) -> None:
            if writer is not None:
                writer.write(context.row(result, next(index)))
            advance()

        return score_dataset(scanner, data, batch_size, on_result)


def _renderers(document: dict[str, Any]) -> dict[str, Callable[[dict[str, Any]], str]]:
    """What makes the text of each kind of file, of an evaluation or of a comparison."""
    from nsnet_cli.report import evaluation_files as files
    from nsnet_cli.report.comparison import comparison_csv

    table = comparison_csv if "detectors" in document else files.evaluation_csv
    return {".json": files.evaluation_json, ".csv": table, ".html": files.evaluation_html}


def _show(document: dict[str, Any], shown: Shown, every_group: bool) -> None:
    stdout_utf8()
    if shown == Shown.TABLE:
        from nsnet_cli.report.comparison import print_comparison
        from nsnet_cli.report.evaluation_table import print_evaluation

        show = print_comparison if "detectors" in document else print_evaluation
        show(stdout_console(), document, every_group)
        return
    sys.stdout.write(_renderers(document)[f".{shown}"](document))
