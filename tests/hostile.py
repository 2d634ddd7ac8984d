"""Pictures that misbehave in the processes of a Ray cluster, by their names: for ``test_ray.py``.

Ray's own RAY_RUNTIME_ENV_HOOK names `runtime_env`, so every worker process of the driver's job begins with `setup`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any

from nsnet_cli import Detector
from nsnet_cli.engines.preparing import Prepared, Preparer
from nsnet_cli.results.document import PictureResult


def runtime_env(given: dict[str, Any] | None) -> dict[str, Any]:
    return {**(given or {}), "worker_process_setup_hook": "hostile.setup"}


class Hostile(Preparer):
    """Runs in a decoder's process, or in the actor where there is none."""

    def __call__(self, path: str, *args: Any) -> Prepared:
        if "segfault" in path:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "hang" in path:
            time.sleep(1000)
        return super().__call__(path, *args)


_prepare, _scan_many = Detector._preparer, Detector.scan_many


def _preparer(self: Detector, thumbnails: bool) -> Preparer:
    return Hostile(**vars(_prepare(self, thumbnails)))


def _slow_scan_many(self: Detector, paths: Iterable[str], *args: Any, **options: Any) -> Iterator[PictureResult]:
    """So slow that a test can do something in the middle."""
    for result in _scan_many(self, paths, *args, **options):
        time.sleep(float(os.environ.get("HOSTILE_SECONDS", "0")))
        yield result


def setup() -> None:
    Detector._preparer = _preparer  # type: ignore[method-assign]
    Detector.scan_many = _slow_scan_many  # type: ignore[method-assign]
