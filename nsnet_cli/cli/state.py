"""What the global options say, and the two streams: data goes to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class State:
    debug: bool = False
    quiet: bool = False


STATE = State()


def stdout_console(stream: TextIO | None = None, width: int | None = None) -> Console:
    """For data in the form of tables, on ``stream`` or stdout.  Texts of others are shown as they are: what rich would
    take for a style, a link or an emoji may stand in a prompt or in a file's name."""
    from rich.console import Console

    return Console(file=stream or sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def stderr_console() -> Console:
    """For progress and remarks.  Where their reader has gone they are lost, and the work goes on."""
    from rich.console import Console

    class Remarks(Console):
        def on_broken_pipe(self) -> None:
            nobody_reads(sys.stderr)

    return Remarks(stderr=True, quiet=STATE.quiet, highlight=False, markup=False, emoji=False)


def nobody_reads(stream: TextIO) -> None:
    """What is written to ``stream`` from now on leads nowhere, also what Python flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str) -> None:
    """One line for the person at the terminal; silent with --quiet."""
    from nsnet_cli.results.escaping import printable

    stderr_console().print("\n".join(map(printable, text.split("\n"))), soft_wrap=True)
