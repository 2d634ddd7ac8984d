"""Scan with a stub network, be killed at random moments, go on: run by ``test_journal.py`` in a process of its own.

    python kill_and_resume.py FOLDER WEIGHTS OUTPUT KILLS

Children are forked before anything has started a thread, so each costs milliseconds and not an import of PyTorch.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from nsnet_cli import Detector
from nsnet_cli.cli import app
from nsnet_cli.judges.network import Scored


def _stub(self: Detector, pictures: list[np.ndarray], plans: object, probes: bool = False) -> list[Scored]:
    """Scores that hang on the pixels alone, without a network."""
    return [Scored(float(views.mean()) / 255.0, np.zeros(1, np.float32)) for views in pictures]


def main() -> None:
    folder, weights, output, kills = sys.argv[1:]
    Detector.score_views = _stub  # type: ignore[method-assign]
    command = ["nsnet", "-q", "scan", folder, "--weights", weights, "-o", output, "--workers", "0", "--batch-size", "3"]
    rng = random.Random(0)
    for kill in range(int(kills) + 1):
        child = os.fork()
        if child == 0:
            sys.argv = [*command, "--resume"]
            app.main()  # ends the process
        if kill < int(kills):
            # The moment is counted from the first row that is new, or the child would never get to write one.
            before, deadline = _size(output), time.monotonic() + 30
            while _size(output) <= before and time.monotonic() < deadline and os.waitpid(child, os.WNOHANG)[0] == 0:
                time.sleep(0.0005)
            time.sleep(rng.uniform(0, 0.02))
            with_signal = signal.SIGKILL
            try:
                os.kill(child, with_signal)
                os.waitpid(child, 0)
            except (ProcessLookupError, ChildProcessError):
                print(f"finished after {kill} kills")
                return
        else:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _size(path: str) -> int:
    return Path(path).stat().st_size if Path(path).exists() else 0


if __name__ == "__main__":
    main()
