"""The far end of the line: what a timed process does with the paths that it is sent.

No import of ours: it runs in other programs' environments too.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def answer(load: Callable[[], Callable[[list[str]], Any]]) -> None:
    """Load a detector; then for each line, a JSON list of paths, say how long they took, in seconds.

    ``load`` gives what judges a list of pictures.  Answers go to standard output, a JSON object a line.
    """
    out = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints is not an answer
    began = time.perf_counter()
    judge = load()
    _say(out, seconds=time.perf_counter() - began)
    for line in sys.stdin:
        paths = json.loads(line)
        began = time.perf_counter()
        said = judge(paths)
        _say(out, seconds=time.perf_counter() - began, said=said)


def _say(out: Any, **what: Any) -> None:
    print(json.dumps({**what, "peak_mb": round(_peak_kilobytes() / 1024)}), file=out, flush=True)


def _peak_kilobytes() -> int:
    # Linux counts what the parent held when it started us into `ru_maxrss`, and not into this.
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as status:
        return int(next(line.split()[1] for line in status if line.startswith("VmHWM")))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
