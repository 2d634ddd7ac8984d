"""What an input may be and may cost: known to commands before anything that opens inputs is loaded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

# Where a path is asked for: one picture on standard input.
STDIN = "-"

# Frames of a clip that are looked at, at most.
DEFAULT_FRAMES = 16

# What a process that meets a file may allocate beyond what it has at its start.
_MEMORY = 6 * 1024**3


@dataclass(frozen=True)
class DecodeLimits:
    """What is refused before any memory is spent on it."""

    max_pixels: int = 200_000_000
    max_bytes: int = 512 * 1024 * 1024


def limit_memory() -> None:
    """A file that eats memory meets a `MemoryError` in the process that meets it, not the end of everything."""
    try:
        import resource
    except ImportError:  # no such limits on Windows
        return
    used = 0
    with contextlib.suppress(OSError, ValueError, StopIteration):
        status = Path("/proc/self/status").read_text()
        used = 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmData")))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (used + _MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
