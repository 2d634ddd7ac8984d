"""One engine in a process of its own: ``timed.py NAME THREADS VIEWS.npz TOWER`` prints what was measured as JSON.

Beside seconds by the clock stand those that the process got of the processor: what else the machine does takes from
the first, and next to nothing from the second.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

_BATCHES = (1, 2, 8, 16)
_TIMES = 5


def main() -> None:
    name, threads, views_file, tower = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import numpy as np
    from speeding.answering import _peak_kilobytes

    from comparing.engines import ENGINES

    engine = ENGINES[name]
    began = time.perf_counter()
    if engine.package is not None:
        importlib.import_module(engine.package)
    imported = time.perf_counter()
    with np.load(views_file) as file:
        views = file["views"]
    opened = time.perf_counter()
    see = engine.make(tower, threads)
    see(views[:1])
    first = time.perf_counter()
    found = {"import_s": imported - began, "first_s": first - opened, "batches": {}}
    for batch in _BATCHES:
        some = np.resize(views, (batch, *views.shape[1:]))
        see(some)
        taken = []
        for _ in range(_TIMES):
            clock, own = time.perf_counter(), time.process_time()
            see(some)
            taken.append((time.perf_counter() - clock, time.process_time() - own))
        by_clock, own_time = (min(column) for column in zip(*taken, strict=True))
        found["batches"][str(batch)] = {
            "views_a_second": round(batch / by_clock, 2),
            "processor_ms_a_view": round(1e3 * own_time / batch, 1),
        }
    found["peak_mb"] = round(_peak_kilobytes() / 1024)
    if len(sys.argv) > 5:  # features of all views, for their drift
        parts = [see(views[at : at + 8]) for at in range(0, len(views), 8)]
        np.savez(
            sys.argv[5],
            embedding=np.concatenate([part.embedding for part in parts]),
            class_tokens=np.concatenate([part.class_tokens for part in parts]),
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
