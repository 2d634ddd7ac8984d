"""Who may write to a file of results: one scan at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nsnet_cli.errors import UsageError


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Nobody else writes to ``path`` meanwhile.  Raises `UsageError` where somebody does."""
    from filelock import FileLock, Timeout  # a scan of one picture to a terminal need not wait for it

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"{path}: another scan is writing to it") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    try:
        yield
    finally:
        # Before letting go: whoever opened the file that is unlinked here sees that it is no longer there.
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()
