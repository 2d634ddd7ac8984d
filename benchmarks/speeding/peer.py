"""``sahu65`` in its own environment and with its own settings, one picture at a time, which is all that it offers."""

from __future__ import annotations

from collections.abc import Callable

from answering import answer


def load() -> Callable[[list[str]], list[float]]:
    from sahu65.local import LocalDetector

    detector = LocalDetector().warm()
    return lambda paths: [detector.detect(path).ai_probability for path in paths]


if __name__ == "__main__":
    answer(load)
