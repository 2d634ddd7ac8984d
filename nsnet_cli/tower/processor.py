"""What the processor can do, without importing PyTorch to ask it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def multiplies_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16 in tiles (AMX), at several times the rate of float32.

    Its vectors' bfloat16 (AVX-512-BF16) is not enough: measured with oneDNN, it is slower than float32.  Tiles are
    used where Linux lets them be, which is all that this looks for.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return {"amx_bf16", "amx_tile"} <= _flags()


def processor_name() -> str:
    """As the processor calls itself, or the kind of machine."""
    return next(_lines("model name"), platform.processor() or platform.machine())


def _flags() -> set[str]:
    return set(next(_lines("flags"), "").split())


def _lines(name: str) -> Iterator[str]:
    with suppress(OSError, UnicodeDecodeError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                yield value.strip()
