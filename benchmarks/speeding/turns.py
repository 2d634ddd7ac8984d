"""Programs that take turns: what else the machine does meets all alike."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Seconds, after which no thread of a library spins any more.
_PAUSE = 0.3


def pictures_in(given: Sequence[Path]) -> list[str]:
    """Files, and those in folders and below."""
    nested = [sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] for path in given]
    return [str(path) for path in itertools.chain.from_iterable(nested)]


class Program:
    """A warm process that judges what it is sent."""

    def __init__(self, python: Path, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [python, Path(__file__).with_name(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.load_seconds = self._heard()["seconds"]
        self.peak_mb = 0

    def seconds(self, paths: Sequence[str]) -> float:
        """How long it takes to judge them, once the threads of whoever had the turn before have stopped spinning."""
        time.sleep(_PAUSE)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(list(paths)) + "\n")
        self._process.stdin.flush()
        answer = self._heard()
        self.peak_mb = answer["peak_mb"]
        return float(answer["seconds"])

    def end(self) -> None:
        self._process.communicate()

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args} ended with {self._process.wait()}")
        heard: dict[str, Any] = json.loads(line)
        return heard


def start_seconds(command: Sequence[str]) -> float:
    """From a cold start of ``command`` to its end; it has to say something.

    Compiled modules are kept, whatever the shell says: so they are where pip installed a program, as it did the peer.
    """
    time.sleep(_PAUSE)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    # The peer ends with 2 where it cannot say: what counts is that it said something.
    if not subprocess.run(command, capture_output=True, check=False, env=environment).stdout:
        raise SystemExit(f"{' '.join(command)}: no answer")
    return time.perf_counter() - began
