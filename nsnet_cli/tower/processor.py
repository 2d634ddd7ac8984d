"""What the processor can do, without importing PyTorch to ask it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def multiplies_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16 at twice the rate of float32, or more."""
    return bfloat16_unit() is not None


def bfloat16_unit() -> str | None:
    """What the processor multiplies bfloat16 fast with, None where it does not.

    Tiles (AMX) do, and vectors (AVX-512-BF16) where they are AMD's; Intel's vectors are slower than float32, measured
    with oneDNN.  Both are used where Linux lets them be, which is all that this looks for.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    flags = set(next(_lines("flags"), "").split())
    if {"amx_bf16", "amx_tile"} <= flags:
        return "AMX"
    return "AVX-512-BF16" if "avx512_bf16" in flags and next(_lines("vendor_id"), "") == "AuthenticAMD" else None


def processor_name() -> str:
    """As the processor calls itself, or the kind of machine."""
    return next(_lines("model name"), platform.processor() or platform.machine())


def _lines(name: str) -> Iterator[str]:
    with suppress(OSError, UnicodeDecodeError):
        for line in CPUINFO.read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                yield value.strip()
