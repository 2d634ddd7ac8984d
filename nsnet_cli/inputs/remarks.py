"""What libraries in C write to standard error about a damaged file: none of it says more than the file's row does."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

_STDERR = 2


@contextlib.contextmanager
def without_native_remarks() -> Iterator[None]:
    """Within it descriptor 2 leads nowhere, and ``sys.stderr``, which is Python's, to where it did before.

    libtiff and LibRaw print their remarks there, each time in the middle of a progress bar and whatever ``--quiet``
    says.  The descriptor is the whole process': for commands and worker processes, not for a library's caller.
    """
    before, kept, is_ours = sys.stderr, None, False
    with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or nothing that has a descriptor
        before.flush()
        is_ours = before.fileno() == _STDERR
        kept = os.dup(_STDERR)
    if kept is None:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with open(kept, "w", 1, before.encoding, before.errors) as ours:
        try:
            if is_ours:
                sys.stderr = ours
            os.dup2(nowhere, _STDERR)
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(nowhere)
            if sys.stderr is ours:  # else somebody, such as a progress bar that ended, has put another in its place
                sys.stderr = before
