"""``nsnet detectors``: what else has been published, and what is known of it here."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from nsnet_cli.cli.output import stdout_utf8
from nsnet_cli.cli.state import stdout_console


def detectors(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    timed: Annotated[
        bool, typer.Option("--time", help="Measure how long each takes for a picture, on this machine.")
    ] = False,
) -> None:
    """List published detectors that can be asked beside NS-Net.

    `nsnet scan --detector NAME` asks one, as evaluate, explain, robustness and calibrate do; `nsnet train --detector
    NAME` makes weights where there are none.
    """
    from nsnet_cli.detectors.listed import listed_detectors

    found = listed_detectors(timed)
    stdout_utf8()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from nsnet_cli.report.detectors import print_detectors

    print_detectors(stdout_console(), found)
