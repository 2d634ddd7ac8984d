"""``Detector.scan_many`` in a warm process: ``ours.py PRECISION``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from answering import answer


def load() -> Callable[[list[str]], list[float | None]]:
    from nsnet_cli import Detector
    from nsnet_cli.allocator import keep_freed_memory

    keep_freed_memory()
    detector = Detector.load(precision=sys.argv[1], patches=False)

    def judge(paths: list[str]) -> list[float | None]:
        workers = 2 if len(paths) >= 8 else 0
        return [result.probability for result in detector.scan_many(paths, workers=workers)]

    return judge


if __name__ == "__main__":
    answer(load)
