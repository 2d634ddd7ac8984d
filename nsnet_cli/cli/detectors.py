"""``nsnet detectors``: what else has been published, and what such a detector says of pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nsnet_cli.cli import options
from nsnet_cli.errors import ExitCode
from nsnet_cli.inputs.limits import DecodeLimits

app = typer.Typer(
    help="List published detectors that can be trained and asked beside NS-Net.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def list_detectors(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False
) -> None:
    """List published detectors: name, year, venue, idea, and how it differs here from its paper.

    `nsnet train --detector NAME` trains one; `nsnet detectors score` asks it.
    """
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from nsnet_cli.detectors.registry import all_detectors

    found = all_detectors()
    if as_json:
        typer.echo(json.dumps([asdict(about) for about in found], indent=2))
        return
    for about in found:
        typer.echo(f"{about.name}\t{about.year}\t{about.venue}\t{about.title}: {about.idea}")


@app.command("score")
def score(
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="Weights of `nsnet train --detector`.")],
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURE...", help="Pictures to score.")],
    max_pixels: options.MaxPixels = DecodeLimits.max_pixels,
    max_bytes: options.MaxBytes = DecodeLimits.max_bytes,
) -> None:
    """Say what a published detector makes of pictures: one JSON line for each, with score, probability and verdict.

    Exit codes: 0 done, 2 wrong usage, 3 some pictures could not be read, 4 bad weights, 130 interrupted.
    """
    from nsnet_cli.detectors.files import score_files
    from nsnet_cli.results.escaping import to_json

    unread = False
    for row in score_files(weights, pictures, DecodeLimits(max_pixels=max_pixels, max_bytes=max_bytes)):
        unread |= row["error"] is not None
        typer.echo(to_json(row))
    if unread:
        raise typer.Exit(ExitCode.SOME_UNREADABLE)
