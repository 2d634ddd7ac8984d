"""``nsnet explain``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsnet_cli import __version__
from nsnet_cli.cli import options
from nsnet_cli.cli.output import check_outputs, stdout_utf8
from nsnet_cli.cli.state import say, stdout_console
from nsnet_cli.errors import UsageError
from nsnet_cli.inputs.limits import STDIN, DecodeLimits
from nsnet_cli.weights.store import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from nsnet_cli.explain import Explanation

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def explain(
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="One picture.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the map over the picture: .png, .jpg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Forward passes for the map, beside those of the verdict [default: 16, or 256 of a --detector].",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    detector: options.Detector = None,
    weights: options.Weights = DEFAULT_WEIGHTS,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    views: options.Views = None,
    max_pixels: options.MaxPixels = DecodeLimits.max_pixels,
    max_bytes: options.MaxBytes = DecodeLimits.max_bytes,
) -> None:
    """Show how each part of a picture scores when it is looked at alone.

    Large pictures are looked at coarsely first and then at full scale where scores are highest, as far as the budget
    goes, by another --detector at full scale alone; what is not reached stays blank.

    Exit codes: 0 done, 2 wrong usage, 3 the picture could not be read, 4 bad weights, 130 interrupted.
    """
    if picture == STDIN:
        raise UsageError("explain needs a file, not standard input; save the picture first")
    if output is not None:
        check_outputs([output], tuple(_FORMATS), force, [picture])

    from nsnet_cli.cli.progress import unremarked
    from nsnet_cli.cli.scanners import load_scanner
    from nsnet_cli.explain import explain as explained

    limits = DecodeLimits(max_pixels, max_bytes)
    scanner = load_scanner(detector, weights, views, device=device, precision=precision, limits=limits)
    with unremarked():
        found = explained(scanner, picture, budget)
    if output is not None:
        _write(output, found)
    stdout_utf8()
    if as_json:
        typer.echo(json.dumps(found.to_dict(__version__)))
        return
    from nsnet_cli.report.explanation import print_explanation

    print_explanation(stdout_console(), found)


def _write(output: Path, found: Explanation) -> None:
    from nsnet_cli.report.convert import written_whole
    from nsnet_cli.report.overlay import overlay

    page = overlay(found)
    with written_whole(output) as partial:
        page.save(partial, format=_FORMATS[output.suffix.lower()])
    say(f"written to {output}")
