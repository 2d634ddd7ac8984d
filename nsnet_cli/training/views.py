"""Training pictures as the network sees them: augmented or as a scan sees them, cut, selected, stitched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from nsnet_cli.decode import pixels_to_tensor
from nsnet_cli.deliveries import random_chain
from nsnet_cli.labelled import LabelledPicture
from nsnet_cli.selection import SelectionRecipe, build_mosaic, cut_patches, select_patches

# A training mosaic is mostly the first view, the one that counts most at inference.
_FIRST_VIEW_SHARE = 0.6


@dataclass(frozen=True)
class Rendering:
    """How a picture becomes a mosaic.

    With ``augment``: a random delivery, grid offset, view and order that depend on ``seed`` and the
    position in the run alone.  Without: view ``view`` exactly as a scan makes it.
    """

    augment: bool
    seed: int = 0
    view: int = 0

    @property
    def name(self) -> str:
        return f"augmented-{self.seed}" if self.augment else f"scan-{self.view}"


class Mosaics(Dataset[tuple[Tensor, int]]):
    """Mosaics and labels of ``pictures[order[k]]`` for ``k`` from ``start``.

    Item ``k`` depends on the rendering and ``k`` alone, so that a run that was killed goes on with exactly
    the pictures that it would have seen.
    """

    def __init__(
        self,
        pictures: Sequence[LabelledPicture],
        order: Sequence[int],
        recipe: SelectionRecipe,
        rendering: Rendering,
        start: int = 0,
    ) -> None:
        self.pictures, self.order, self.recipe = pictures, order, recipe
        self.rendering, self.start = rendering, start

    def __len__(self) -> int:
        return len(self.order) - self.start

    def __getitem__(self, item: int) -> tuple[Tensor, int]:
        k = self.start + item
        picture = self.pictures[self.order[k]]
        with Image.open(picture.path) as opened:
            image = opened.convert("RGB")
        if not self.rendering.augment:
            grid = cut_patches(pixels_to_tensor(np.array(image)), self.recipe)
            view = self.rendering.view
            return build_mosaic(grid, select_patches(grid, self.recipe, view + 1)[view], self.recipe), picture.label
        rng = Random(f"{self.rendering.seed}:{k}")
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
