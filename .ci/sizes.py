"""No file larger than it should be: weights are committed once and by intention, everything else is text and small.

python .ci/sizes.py [FILE...]     of the files named, or of all that git knows
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LARGEST = 512 * 1024
# The tower, once; and what training makes.
WEIGHTS = {"clip-vit-b-16.safetensors": 96 * 1024 * 1024, "nsnet-vit-b-16.safetensors": 24 * 1024 * 1024}
# Other detectors: small ones alone are shipped.
BASELINES, BASELINE = Path("weights", "baselines"), 4 * 1024 * 1024


def main() -> int:
    """1 where a file is too large, which is said."""
    wrong = 0
    for path in map(Path, sys.argv[1:] or tracked()):
        limit = WEIGHTS.get(path.name, LARGEST) if path.parent.name == "weights" else LARGEST
        limit = BASELINE if path.parent == BASELINES else limit
        if path.is_file() and path.stat().st_size > limit:
            print(f"{path}: {path.stat().st_size:,} bytes, more than {limit:,}", file=sys.stderr)
            wrong = 1
    return wrong


def tracked() -> list[str]:
    """Files that git knows; none where this is no checkout, as in a source archive."""
    found = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=False)
    return [name for name in found.stdout.decode().split("\0") if name]


if __name__ == "__main__":
    sys.exit(main())
