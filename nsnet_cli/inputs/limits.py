"""What an input may be: known to commands before anything that opens inputs is loaded."""

from __future__ import annotations

from dataclasses import dataclass

# Where a path is asked for: one picture on standard input.
STDIN = "-"

# Frames of a clip that are looked at, at most.
DEFAULT_FRAMES = 16


@dataclass(frozen=True)
class DecodeLimits:
    """What is refused before any memory is spent on it."""

    max_pixels: int = 200_000_000
    max_bytes: int = 512 * 1024 * 1024
