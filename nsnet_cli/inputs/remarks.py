"""What libraries in C write to standard error about a damaged file, where its row says what is wrong with it."""

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
    before, kept = sys.stderr, None
    with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or nothing that has a descriptor
        before.flush()
        is_ours = before.fileno() == _STDERR
        kept = os.dup(_STDERR)
    if kept is None:
        yield
        return
    encoding, errors = getattr(before, "encoding", None) or "utf-8", getattr(before, "errors", None)
    with open(kept, "w", 1, encoding, errors) as ours:
        try:
            if is_ours:
                sys.stderr = ours
            with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), _STDERR)
            yield
        finally:
            os.dup2(kept, _STDERR)
            if sys.stderr is ours:  # else somebody, such as a progress bar that ended, has put another in its place
                sys.stderr = before
