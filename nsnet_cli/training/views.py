"""Training pictures as the network sees them: augmented, patches selected, stitched in random order."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from nsnet_cli.decode import pixels_to_tensor
from nsnet_cli.deliveries import random_chain
from nsnet_cli.selection import SelectionRecipe, build_mosaic, cut_patches, select_patches
from nsnet_cli.training.manifest import LabelledPicture

# A training mosaic is mostly the first view, the one that counts most at inference.
_FIRST_VIEW_SHARE = 0.6


class AugmentedMosaics(Dataset[tuple[Tensor, int]]):
    """Mosaics of ``pictures[order[k]]`` for ``k`` from ``start``; item ``k`` depends on ``seed`` and ``k`` alone.

    So a run that was killed goes on with exactly the pictures that it would have seen.
    """

    def __init__(
        self,
        pictures: Sequence[LabelledPicture],
        order: Sequence[int],
        recipe: SelectionRecipe,
        seed: int,
        start: int = 0,
        augment: bool = True,
    ) -> None:
        self.pictures, self.order, self.recipe = pictures, order, recipe
        self.seed, self.start, self.augment = seed, start, augment

    def __len__(self) -> int:
        return len(self.order) - self.start

    def __getitem__(self, item: int) -> tuple[Tensor, int]:
        k = self.start + item
        picture = self.pictures[self.order[k]]
        rng = Random(f"{self.seed}:{k}")
        with Image.open(picture.path) as opened:
            image = opened.convert("RGB")
        if self.augment:
            for deliver in random_chain(rng, image.size):
                image = deliver(image)
        return random_mosaic(pixels_to_tensor(np.array(image)), self.recipe, rng), picture.label


def random_mosaic(pixels: Tensor, recipe: SelectionRecipe, rng: Random) -> Tensor:
    """A mosaic ``(3, size, size)`` uint8 with a random grid offset, a random view and random order."""
    room = [side % recipe.patch if side >= recipe.patch else 0 for side in (pixels.shape[2], pixels.shape[1])]
    # Half of the time the grid starts at the corner, as it always does at inference.
    offset = (rng.randint(0, room[0]), rng.randint(0, room[1])) if rng.random() < 0.5 else (0, 0)
    grid = cut_patches(pixels, recipe, offset)
    view = 0 if rng.random() < _FIRST_VIEW_SHARE else 1
    selection = select_patches(grid, recipe, view + 1)[view]
    order = torch.tensor(rng.sample(range(recipe.count), recipe.count))
    return build_mosaic(grid, selection, recipe, order)
