"""What commands that measure have in common: output files that are checked first and written whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from nsnet_cli.cli.state import say
from nsnet_cli.disk import real_path
from nsnet_cli.errors import UsageError


class Shown(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def check_outputs(
    outputs: Sequence[Path], suffixes: Sequence[str], force: bool, inputs: Iterable[str | Path | None] = ()
) -> None:
    """Refuse now what would otherwise be refused after an hour's work, or destroy one of the ``inputs``.

    Raises `UsageError`.
    """
    inputs = list(inputs)
    for path in outputs:
        if path.suffix.lower() not in suffixes:
            raise UsageError(f"{path}: the suffix names no format; use one of {', '.join(suffixes)}")
        check_output(path, inputs)
        if path.exists() and not force:
            raise UsageError(f"{path} exists; choose another name, or overwrite it with --force")


def check_output(path: Path, inputs: Iterable[str | Path | None]) -> None:
    """Refuse what cannot be written, or what must not be overwritten whatever is forced.  Raises `UsageError`."""
    if str(path) == "-":
        raise UsageError("-: leave --output out, and results go to standard output; a file of that name is ./-")
    try:
        real = real_path(path)
        real.exists()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    if not real.parent.is_dir():
        raise UsageError(f"{path}: no directory {real.parent}")
    if not os.access(real.parent, os.W_OK):
        raise UsageError(f"{path}: no permission to write in {real.parent}")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UsageError(f"{path} is no regular file; leave --output out, and results go to standard output")
    for given in inputs:
        with suppress(OSError, ValueError):
            if given and path.samefile(given) and not path.is_dir():
                raise UsageError(f"{path} is what is to be read: it would be overwritten; choose another name")


def write_outputs(
    document: dict[str, Any], outputs: Sequence[Path], render: Mapping[str, Callable[[dict[str, Any]], str]]
) -> None:
    """Write ``document`` to each of ``outputs`` as its suffix says, whole or not at all.  Raises `UsageError`."""
    from nsnet_cli.report.convert import write_bytes_whole

    for path in outputs:
        text = render[path.suffix.lower()](document)
        write_bytes_whole(path, text.encode("utf-8", "backslashreplace"))
        say(f"written to {path}")


def stdout_utf8() -> None:
    """Data is UTF-8 whatever the terminal, and what cannot be encoded is escaped."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
