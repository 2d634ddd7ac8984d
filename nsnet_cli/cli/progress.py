"""How far long work is: a bar where stderr is a terminal, else a plain line now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from nsnet_cli.cli.state import STATE, say, stderr_console
from nsnet_cli.inputs.remarks import without_native_remarks

_SECONDS_BETWEEN_LINES = 30.0


def unremarked() -> contextlib.AbstractContextManager[None]:
    """Within it libraries in C write no remarks on damaged pictures into what is shown, but for ``--debug``."""
    return contextlib.nullcontext() if STATE.debug else without_native_remarks()


@contextlib.contextmanager
def counting(what: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Gives a function to call after each of ``total`` pictures, ``done`` of which were done before."""
    with unremarked(), _shown(what, total, done) as advance:
        yield advance


@contextlib.contextmanager
def _shown(what: str, total: int, done: int) -> Iterator[Callable[[], None]]:
    console = stderr_console()
    if STATE.quiet or total - done < 2:
        yield lambda: None
        return
    if not console.is_terminal:
        yield _Lines(what, total, done)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(what, total=total, completed=done)
        yield lambda: shown.advance(task)


class _Lines:
    def __init__(self, what: str, total: int, done: int) -> None:
        self._what, self._total, self._done, self._before = what, total, done, done
        self._began = self._said = time.monotonic()

    def __call__(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._said < _SECONDS_BETWEEN_LINES:
            return
        self._said = now
        rate = (self._done - self._before) / (now - self._began)
        minutes = (self._total - self._done) / rate / 60
        say(f"{self._what}: {self._done:,} of {self._total:,}, {rate:.2f} a second, about {minutes:.0f} min left")
