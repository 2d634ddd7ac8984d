"""Ways of showing a picture to the tower, each a choice that NS-Net makes or might have made otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np

from nsnet_cli.arrays import Pixels
from nsnet_cli.views.plan import scale_window
from nsnet_cli.views.selection import PatchGrid, SelectionRecipe, build_mosaic, cut_patches, select_patches, stitch

# From pixels (3, H, W) uint8 and a generator of random numbers of the picture's own to (3, 224, 224) uint8.
Way = Callable[[Pixels, Random], Pixels]

# NS-Net's: the patches of lowest and highest entropy, in an order that is the same for every picture.
PAPER = SelectionRecipe(window=0)
_JPEG_BLOCK = 8


def mosaic(recipe: SelectionRecipe, number: int = 0) -> Way:
    """The mosaic of ``recipe``, or a later one of the same picture."""

    def show(pixels: Pixels, rng: Random) -> Pixels:
        grid = cut_patches(pixels, recipe)
        return build_mosaic(grid, select_patches(grid, recipe, number + 1)[number], recipe)

    return show


def shuffled_mosaic(pixels: Pixels, rng: Random) -> Pixels:
    """The paper's patches, each picture's in an order of its own."""
    grid = cut_patches(pixels, PAPER)
    order = np.array(rng.sample(range(PAPER.count), PAPER.count))
    return build_mosaic(grid, select_patches(grid, PAPER)[0], PAPER, order)


def random_patches(pixels: Pixels, rng: Random) -> Pixels:
    """Any 49 patches in any order: cut to pieces, and not selected."""
    grid = cut_patches(pixels, PAPER)
    return _stitched(grid, rng.sample(range(len(grid.entropy)), PAPER.count))


def crop(pixels: Pixels, rng: Random) -> Pixels:
    """The centre, 224 pixels wide as a mosaic is, on the grid of JPEG: neither cut to pieces nor selected."""
    size = PAPER.size
    top, left = ((side - size) // 2 // _JPEG_BLOCK * _JPEG_BLOCK for side in pixels.shape[1:])
    return pixels[:, top : top + size, left : left + size]


def shuffled_crop(pixels: Pixels, rng: Random) -> Pixels:
    """The 49 patches of that crop in any order."""
    return _stitched(cut_patches(crop(pixels, rng), PAPER), rng.sample(range(PAPER.count), PAPER.count))


def resized(pixels: Pixels, rng: Random) -> Pixels:
    """The whole picture, scaled to 224 pixels; pictures of the corpus are square, and so fill the shipped window."""
    return scale_window(pixels, PAPER, 0, 0, min(pixels.shape[1:]))


def _stitched(grid: PatchGrid, indices: list[int]) -> Pixels:
    return stitch(grid.cut(np.array(indices)), PAPER)


# In the order in which they are computed: what is compared most comes first.
WAYS: dict[str, Way] = {
    "mosaic": mosaic(PAPER),
    "crop": crop,
    "resized": resized,
    "random patches": random_patches,
    "crop, shuffled": shuffled_crop,
    "high only": mosaic(replace(PAPER, low=0)),
    "low only": mosaic(replace(PAPER, low=PAPER.count)),
    "mosaic, shuffled": shuffled_mosaic,
    "without DC": mosaic(replace(PAPER, dc=False)),
    "magnitude": mosaic(replace(PAPER, spectrum="magnitude")),
}
# Further mosaics, of pictures with patches enough for more than one.
FURTHER: dict[str, Way] = {f"mosaic {k + 1}": mosaic(PAPER, k) for k in (1, 2, 3)}
ENOUGH_PATCHES = 144


def has_room(pixels_side: int) -> bool:
    """Whether a square picture has the patches for further mosaics."""
    return (pixels_side // PAPER.patch) ** 2 >= ENOUGH_PATCHES
