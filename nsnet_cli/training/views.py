"""Training pictures as the network sees them: as a scan does, or delivered at random first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from nsnet_cli.arrays import Pixels
from nsnet_cli.errors import InputError, UsageError
from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.inputs.decode import channels_first, decode, read_file
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.training.chains import random_chain
from nsnet_cli.views.plan import WINDOW, View, scale_window, window_of
from nsnet_cli.views.selection import SelectionRecipe, build_mosaic, cut_patches, select_patches

# A training mosaic is mostly the first one, which counts most at inference.
_FIRST_MOSAIC_SHARE = 0.6
# A training window is as large as a scan's half of the time, else smaller by up to this factor.
_SMALLEST_WINDOW = 0.6
_LIMITS = DecodeLimits()
# WebP may be lossless, too; as a copy of something else it rarely is.
LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF")
_KERNELS = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Rendering:
    """How a picture becomes a view.

    Without a ``seed``: ``view`` exactly as a scan makes it.  With one: a random delivery, then a random view
    of the same kind; both depend on the seed and the picture's name alone, or, where they are drawn ``anew`` at every
    step, on the seed and the position in the run.
    """

    view: View
    seed: int | None = None
    anew: bool = False

    @property
    def name(self) -> str:
        kind = self.view.kind
        return f"{kind}-{self.view.number}" if self.seed is None else f"{kind}-delivered-{self.seed}"


class Rendered(Dataset[tuple[Pixels, int]]):
    """Views ``(3, S, S)`` uint8 and labels of ``pictures[order[k]]`` for ``k`` from ``start``.

    Batches of ``batch`` take ``renderings`` in turn.  Item ``k`` depends on those and ``k`` alone, so that a
    run that was killed goes on with exactly the pictures that it would have seen.
    """

    def __init__(
        self,
        pictures: Sequence[LabelledPicture],
        order: Sequence[int],
        recipe: SelectionRecipe,
        renderings: Sequence[Rendering],
        batch: int = 1,
        start: int = 0,
    ) -> None:
        self.pictures, self.order, self.recipe = pictures, order, recipe
        self.renderings, self.batch, self.start = renderings, batch, start

    def __len__(self) -> int:
        return len(self.order) - self.start

    def __getitem__(self, item: int) -> tuple[Pixels, int]:
        k = self.start + item
        picture, recipe = self.pictures[self.order[k]], self.recipe
        rendering = self.renderings[k // self.batch % len(self.renderings)]
        image = read_picture(picture.path)
        if rendering.seed is None:
            return scanned_view(channels_first(np.array(image)), recipe, rendering.view), picture.label
        rng = Random(f"{rendering.seed}:{k if rendering.anew else picture.name}")
        for operation in random_chain(rng, image.size):
            image = operation(image, rng)
        random_view = random_window if rendering.view.kind == WINDOW else random_mosaic
        return random_view(channels_first(np.array(image)), recipe, rng), picture.label


def read_picture(path: Path) -> Image.Image:
    """The picture as a scan decodes it: turned by EXIF, transparency over white."""
    return read_original(path)[0]


def read_original(path: Path) -> tuple[Image.Image, bool]:
    """`read_picture`, and whether its file lost nothing of it."""
    try:
        decoded = decode(read_file(path, _LIMITS), _LIMITS)
    except InputError as error:
        raise UsageError(f"{path}: {error}; take it out of the manifest") from error
    assert decoded.pixels is not None
    return Image.fromarray(decoded.pixels), decoded.format not in LOSSY


def scanned_view(pixels: Pixels, recipe: SelectionRecipe, view: View) -> Pixels:
    """The view ``(3, S, S)`` uint8 that a scan makes of ``pixels``."""
    grid = cut_patches(pixels, recipe)
    if view.kind == WINDOW:
        return scale_window(pixels, recipe, *window_of(grid, pixels.shape[2], pixels.shape[1], recipe, view))
    return build_mosaic(grid, select_patches(grid, recipe, view.number + 1)[view.number], recipe)


def random_window(pixels: Pixels, recipe: SelectionRecipe, rng: Random) -> Pixels:
    """A window of random size and place, scaled by a random kernel."""
    height, width = pixels.shape[1:]
    side = min(height, width, recipe.window)
    if rng.random() < 0.5:
        side = min(side, max(recipe.size, round(side * rng.uniform(_SMALLEST_WINDOW, 1.0))))
    left, top = rng.randint(0, width - side), rng.randint(0, height - side)
    return scale_window(pixels, recipe, left, top, side, rng.choice(_KERNELS))


def random_mosaic(pixels: Pixels, recipe: SelectionRecipe, rng: Random) -> Pixels:
    """A mosaic ``(3, size, size)`` uint8 with a random grid offset, a random view and random order."""
    room = [side % recipe.patch if side >= recipe.patch else 0 for side in (pixels.shape[2], pixels.shape[1])]
    # Half of the time the grid starts at the corner, as it always does at inference.
    offset = (rng.randint(0, room[0]), rng.randint(0, room[1])) if rng.random() < 0.5 else (0, 0)
    grid = cut_patches(pixels, recipe, offset)
    number = 0 if rng.random() < _FIRST_MOSAIC_SHARE else 1
    selection = select_patches(grid, recipe, number + 1)[number]
    order = np.array(rng.sample(range(recipe.count), recipe.count))
    return build_mosaic(grid, selection, recipe, order)
