"""``nsnet report``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nsnet_cli.cli import options
from nsnet_cli.cli.output import check_outputs, write_outputs
from nsnet_cli.cli.scan import scan
from nsnet_cli.errors import ExitCode, UsageError
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.weights.store import DEFAULT_WEIGHTS

_RESULTS = (".json", ".jsonl", ".ndjson")


def report(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Pictures or directories, or one .json or .jsonl of a scan.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page, .html.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier report was stopped.")] = False,
    weights: options.Weights = DEFAULT_WEIGHTS,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    views: options.Views = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="Use the threshold of a profile.")] = None,
    stability: Annotated[
        bool, typer.Option("--stability", help="Score each picture under mild deliveries, too.")
    ] = False,
    trust_list: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Certificates whose content credentials are to be trusted.")
    ] = None,
    max_pixels: options.MaxPixels = DecodeLimits.max_pixels,
    max_bytes: options.MaxBytes = DecodeLimits.max_bytes,
) -> None:
    """Write results as one HTML page that can be sent, printed and kept: nothing in it is fetched from anywhere.

    A results file is shown as it is, without scanning anew; pictures are shown where they still are what was
    scanned. Anything else is scanned first, as by nsnet scan -o FILE.html.

    Exit codes: 0 done, 2 wrong usage, 3 some inputs could not be read, 4 bad weights, 130 interrupted.
    """
    check_outputs([output], (".html",), force or resume)
    results = [name for name in inputs if Path(name).suffix.lower() in _RESULTS and Path(name).is_file()]
    if results and len(inputs) == 1:
        if resume or stability or profile or trust_list or views or weights != DEFAULT_WEIGHTS or precision != "auto":
            raise UsageError(f"{inputs[0]} is shown as it is: options of a scan would change nothing")
        from nsnet_cli.report.scan_report import report_html

        document = _document(Path(inputs[0]))
        command = shlex.join(["nsnet", *sys.argv[1:]])
        write_outputs(document, [output], {".html": lambda found: report_html(found, command)})
        raise typer.Exit(ExitCode.SOME_UNREADABLE if document["summary"]["errors"] else ExitCode.OK)
    if results:
        raise UsageError(f"{results[0]}: a results file is shown by itself; put several together by nsnet merge first")
    if len(inputs) == 1 and Path(inputs[0]).suffix.lower() in (".csv", ".parquet") and Path(inputs[0]).is_file():
        raise UsageError(f"{inputs[0]}: results for a report must be .json or .jsonl, which hold all that was found")
    scan(
        inputs,
        output=output,
        force=force,
        resume=resume,
        weights=weights,
        device=device,
        precision=precision,
        views=views,
        profile=profile,
        stability=stability,
        trust_list=trust_list,
        max_pixels=max_pixels,
        max_bytes=max_bytes,
    )


def _document(path: Path) -> dict[str, Any]:
    """``nsnet.scan/1`` of a results file, of rows as far as they tell."""
    from nsnet_cli.evaluation.predictions import read_rows
    from nsnet_cli.results.document import SCHEMA, RowContext, Summary

    rows, model = read_rows(path)
    if model:
        import json

        document: dict[str, Any] = json.loads(path.read_text("utf-8-sig"))
        if document.get("schema") != SCHEMA:
            raise UsageError(f"{path}: expected a document {SCHEMA}")
        missing = [name for name in ("tool", "model", "options", "results", "summary") if name not in document]
        if missing:
            raise UsageError(f"{path}: not a whole document of a scan: it lacks {', '.join(missing)}")
        return document
    marks = {(row.get("weights_sha256"), row.get("options_hash")) for row in rows}
    if len(marks) != 1:
        raise UsageError(f"{path}: " + ("no rows" if not rows else "rows of different scans; report them one by one"))
    summary = Summary()
    for row in rows:
        summary.add_row(row)
    first = rows[0]
    if not {"weights_sha256", "views", "precision", "options_hash", "verdict", "probability"} <= first.keys():
        raise UsageError(f"{path}: not rows of this version's nsnet scan")
    context = RowContext(str(first["weights_sha256"]), first["views"], first["precision"], str(first["options_hash"]))
    return {
        "schema": SCHEMA,
        "tool": {"name": "nsnet", "version": "that rows do not tell"},
        # Rows do not carry thresholds, and an option may have moved them: nothing is said of error rates then.
        "model": {"weights_sha256": context.weights_sha256, "views": context.views, "precision": context.precision},
        "options": {"options_hash": context.options_hash},
        "results": [context.result_of(row) for row in rows],
        "summary": summary.to_dict(),
    }
