"""What the global options say, and the two streams: data goes to stdout, everything else to stderr."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class State:
    debug: bool = False
    quiet: bool = False


STATE = State()


def stderr_console() -> Console:
    """For progress and remarks."""
    from rich.console import Console

    return Console(stderr=True, quiet=STATE.quiet, highlight=False)


def say(text: str) -> None:
    """One line for the person at the terminal; silent with --quiet."""
    from nsnet_cli.results.escaping import printable

    stderr_console().print("\n".join(map(printable, text.split("\n"))), markup=False, soft_wrap=True)
