"""Patch selection on a large picture: time on one core, and memory beyond the picture itself.

    python benchmarks/selection.py [--width 4000 --height 3000] [--repeats 9]

The picture is made: smooth shapes and fine noise, so that no patch is flat and entropies lie close.  Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from nsnet_cli.arrays import Pixels
from nsnet_cli.inputs.decode import channels_first
from nsnet_cli.views.selection import SelectionRecipe, build_mosaic, cut_patches, select_patches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    threadpool_limits(1, "blas")
    recipe = SelectionRecipe()
    _select(_picture(640, 640), recipe)  # libraries load at the first product
    picture = _picture(args.width, args.height)
    before = _peak_mb()
    seconds = []
    for _ in range(args.repeats):
        began = time.perf_counter()
        _select(picture, recipe)
        seconds.append(time.perf_counter() - began)
    print(
        json.dumps(
            {
                "pixels": args.width * args.height,
                "median_ms": round(1000 * statistics.median(seconds), 1),
                "fastest_ms": round(1000 * min(seconds), 1),
                "megabytes_beyond_picture": round(_peak_mb() - before, 1),
            }
        )
    )


def _select(picture: Pixels, recipe: SelectionRecipe) -> None:
    grid = cut_patches(picture, recipe)
    build_mosaic(grid, select_patches(grid, recipe)[0], recipe)


def _picture(width: int, height: int) -> Pixels:
    """``(3, height, width)`` uint8 as decoders lay it out, made by strips so that it takes no more than it holds."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((64, height), Image.Resampling.BILINEAR))
    picture = np.empty((height, width, 3), np.uint8)
    for left in range(0, width, 64):
        strip = picture[:, left : left + 64]
        noise = rng.standard_normal(strip.shape, np.float32) * (1 + left / width)
        strip[:] = np.clip(smooth[:, : strip.shape[1]] + noise, 0, 255)
    return channels_first(picture)


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
