"""What commands that measure have in common: output files that are checked first and written whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from nsnet_cli.cli.state import say
from nsnet_cli.errors import UsageError


class Shown(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def check_outputs(outputs: Sequence[Path], suffixes: Sequence[str], force: bool) -> None:
    """Refuse now what would otherwise be refused after an hour's work.  Raises `UsageError`."""
    for path in outputs:
        if path.suffix.lower() not in suffixes:
            raise UsageError(f"{path}: the suffix names no format; use one of {', '.join(suffixes)}")
        if path.exists() and not force:
            raise UsageError(f"{path} exists; choose another name, or overwrite it with --force")
        if not path.parent.is_dir():
            raise UsageError(f"{path}: no directory {path.parent}")


def write_outputs(
    document: dict[str, Any], outputs: Sequence[Path], render: Mapping[str, Callable[[dict[str, Any]], str]]
) -> None:
    """Write ``document`` to each of ``outputs`` as its suffix says, whole or not at all.  Raises `UsageError`."""
    for path in outputs:
        partial = path.with_name(path.name + ".partial")
        try:
            partial.write_bytes(render[path.suffix.lower()](document).encode("utf-8", "backslashreplace"))
            partial.replace(path)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        say(f"written to {path}")


def stdout_utf8() -> None:
    """Data is UTF-8 whatever the terminal, and what cannot be encoded is escaped."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
