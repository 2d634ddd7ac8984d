"""Patch selection: from a picture of any size to 224x224 mosaics (NS-Net v2; DGS-Net, arXiv 2511.13108).

The picture is cut into 32x32 patches from its upper left corner, with no resizing; what is left over
at the right and at the bottom is dropped, and the 8x8 grid of JPEG stays aligned.  Each patch has the
spectral entropy of its grey values, ``-sum p log2 p`` with ``p`` the normalised power spectrum.  The 24
patches of lowest and the 25 of highest entropy are stitched to a 7x7 mosaic.

Two things go beyond the paper, both because a detector meets pictures that training crops are not like:

* **Several views.**  View ``v`` takes the next ranks of both tails; views overlap only once all are used.
* **Thinned ranks.**  In a 384x384 training crop the 49 selected patches are the outer third of 144; in a
  12-megapixel photograph they would be the outer 0.4 % of 11,844: blown sky and the sharpest edges.  So
  of a picture with more patches than ``reference_patches`` only that many, evenly spaced in the order of
  entropy, take part.  Up to that size this is the paper's rule exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# Rec. 601 luma, as in DGS-Net.
_GREY = (0.299, 0.587, 0.114)
# Patches whose grey values all lie within this range (of 255) carry no trace: borders, flat graphics.
_CONSTANT_RANGE = 1.0
_CHUNK = 4096


@dataclass(frozen=True)
class SelectionRecipe:
    """How mosaics are made.  Part of the trained model: it travels in the weights' metadata."""

    patch: int = 32
    grid: int = 7
    low: int = 24
    spectrum: Literal["power", "magnitude"] = "power"
    dc: bool = True
    reference_patches: int = 144
    order_seed: int = 0
    window: int = 384

    @property
    def count(self) -> int:
        """Patches in a mosaic."""
        return self.grid * self.grid

    @property
    def high(self) -> int:
        """Patches of highest entropy in a mosaic."""
        return self.count - self.low

    @property
    def size(self) -> int:
        """Side of a mosaic in pixels."""
        return self.grid * self.patch


@dataclass(frozen=True)
class Selection:
    """The patches of one mosaic, in mosaic order (row by row).

    ``indices``, ``is_high`` and ``entropy`` are ``(count,)``; an index counts the patches of the
    picture row by row.  ``columns`` is the number of patches in a row of the picture.
    """

    indices: Tensor
    is_high: Tensor
    entropy: Tensor
    columns: int
    patch: int

    def corner(self, k: int) -> tuple[int, int]:
        """Upper left corner ``(x, y)`` in pixels of the ``k``-th patch."""
        row, column = divmod(int(self.indices[k]), self.columns)
        return column * self.patch, row * self.patch


@dataclass(frozen=True)
class PatchGrid:
    """The patches of one picture: ``patches`` ``(n, 3, p, p)`` uint8, ``entropy`` and ``constant`` ``(n,)``."""

    patches: Tensor
    entropy: Tensor
    constant: Tensor
    columns: int

    @property
    def distinct(self) -> int:
        """Patches that are not flat: what a mosaic can be made of."""
        return int((~self.constant).sum())


def spectral_entropy(grey: Tensor, recipe: SelectionRecipe) -> Tensor:
    """Spectral entropy in bits of grey patches ``(n, p, p)``, as ``(n,)`` float64.

    With the DC term the value is mostly a measure of contrast (DC holds 82-99 % of the power); without
    it, of how evenly the remaining power is spread.  A patch with no power at all has entropy 0.
    """
    spectrum = torch.fft.fft2(grey.double()).abs()
    if recipe.spectrum == "power":
        spectrum = spectrum.square()
    spectrum = spectrum.flatten(1)
    if not recipe.dc:
        spectrum[:, 0] = 0.0
    p = spectrum / spectrum.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return -(p * torch.log2(p + 1e-12)).sum(dim=1)


def cut_patches(image: Tensor, recipe: SelectionRecipe, offset: tuple[int, int] = (0, 0)) -> PatchGrid:
    """Cut ``image`` ``(3, H, W)`` uint8 into patches and measure each.

    ``offset`` ``(x, y)`` shifts the grid, for training.  A side smaller than one patch is extended
    by repetition.
    """
    p = recipe.patch
    image = _at_least(image[:, offset[1] :, offset[0] :], p)
    rows, columns = image.shape[1] // p, image.shape[2] // p
    image = image[:, : rows * p, : columns * p]
    patches = image.reshape(3, rows, p, columns, p).permute(1, 3, 0, 2, 4).reshape(-1, 3, p, p)
    weights = torch.tensor(_GREY, dtype=torch.float64)
    entropy, constant = [], []
    for chunk in patches.split(_CHUNK):
        grey = torch.einsum("ncij,c->nij", chunk.double(), weights)
        entropy.append(spectral_entropy(grey, recipe))
        constant.append(grey.amax((1, 2)) - grey.amin((1, 2)) < _CONSTANT_RANGE)
    return PatchGrid(patches, torch.cat(entropy), torch.cat(constant), columns)


def rank_patches(grid: PatchGrid) -> Tensor:
    """Indices of the patches from lowest to highest entropy; ties by position.

    Flat patches (letter boxes, borders, plain graphics) are left out while enough others are there: they
    would fill the whole lower tail and say nothing.
    """
    # Rounded, so that the last bits of an FFT on another machine do not decide a tie.
    order = torch.argsort(grid.entropy.mul(1e6).round(), stable=True)
    kept = order[~grid.constant[order]]
    return kept if len(kept) else order


def select_patches(grid: PatchGrid, recipe: SelectionRecipe, views: int = 1) -> list[Selection]:
    """Choose the patches of ``views`` mosaics: the same picture always gives the same mosaics.

    View 0 of a picture of up to ``reference_patches`` patches is the paper's choice.  A picture with
    fewer patches than a mosaic repeats them; whoever asks must look at `PatchGrid.distinct` and say so.
    """
    ranked = rank_patches(grid)
    n = min(len(ranked), recipe.reference_patches)
    thinned = ranked[torch.linspace(0, len(ranked) - 1, n, dtype=torch.float64).round().long()]
    outside_in = _outside_in(n, recipe)
    selections = []
    for view in range(views):
        ranks = outside_in[(torch.arange(recipe.count) + view * recipe.count) % n]
        ranks = ranks[_fixed_order(recipe.count, recipe.order_seed, view)]
        chosen = thinned[ranks]
        selections.append(Selection(chosen, ranks >= n / 2, grid.entropy[chosen], grid.columns, recipe.patch))
    return selections


def build_mosaic(grid: PatchGrid, selection: Selection, recipe: SelectionRecipe, order: Tensor | None = None) -> Tensor:
    """Stitch the selected patches, row by row, to ``(3, size, size)`` uint8.

    ``order`` ``(count,)`` rearranges them first: training shuffles.
    """
    g, p = recipe.grid, recipe.patch
    indices = selection.indices if order is None else selection.indices[order]
    tiles = grid.patches[indices].reshape(g, g, 3, p, p)
    return tiles.permute(2, 0, 3, 1, 4).reshape(3, g * p, g * p)


def _outside_in(n: int, recipe: SelectionRecipe) -> Tensor:
    """All ``n`` ranks in the order in which views use them up: both tails, the next ones, ..., the middle."""
    blocks, low, high = [], 0, n
    while low + recipe.count <= high:
        blocks += [torch.arange(low, low + recipe.low), torch.arange(high - 1, high - 1 - recipe.high, -1)]
        low, high = low + recipe.low, high - recipe.high
    return torch.cat([*blocks, torch.arange(low, high)])


def _fixed_order(count: int, seed: int, view: int) -> Tensor:
    """A permutation that depends on the recipe and the view alone.

    Training shuffles the mosaic; a forensic tool must give the same answer twice.  Python's `random`
    would do, but its sequence is not promised across versions, so the order is that of a linear
    congruence's output (Numerical Recipes' constants).
    """
    state, keys = (seed * 7919 + view * 104729 + 1) & 0xFFFFFFFF, []
    for _ in range(count):
        state = (1664525 * state + 1013904223) & 0xFFFFFFFF
        keys.append(state)
    return torch.tensor(sorted(range(count), key=keys.__getitem__))


def _at_least(image: Tensor, size: int) -> Tensor:
    """Tile ``image`` until both sides reach ``size``."""
    repeats = [math.ceil(size / max(1, side)) for side in image.shape[1:]]
    if max(repeats) == 1:
        return image
    return image.repeat(1, *repeats)[:, : max(size, image.shape[1]), : max(size, image.shape[2])]
