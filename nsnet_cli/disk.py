"""What is asked of the disk itself: a file's digest, one that appears whole, and a name that outlives a power cut."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all, whatever kills the process that writes it."""
    with appearing(path) as partial:
        partial.write_text(text, "utf-8")


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; what is there when the block ends takes the place of ``path``, whole.

    Where the block fails ``path`` stays as it was, and nothing is left beside it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(path)
        sync_folder(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def real_path(path: Path) -> Path:
    """Where a file lies that ``path`` may be a link to: to rename onto the link would leave the file as it was."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def sync_folder(path: Path) -> None:
    """Make the name of a new file survive a power cut, where the system can."""
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
