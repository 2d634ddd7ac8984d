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

Entropies of all patches are computed in float32, by two matrix products for the Fourier transform; those that
decide which patch holds a wanted rank are then computed again in float64.  The choice is that of float64
throughout, at a tenth of its time (`benchmarks/speed.py` times it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.arrays import Doubles, Floats, Indices, Pixels

# Rec. 601 luma, as in DGS-Net.
_GREY = (0.299, 0.587, 0.114)
# Patches whose grey values all lie within this range (of 255) carry no trace: borders, flat graphics.
_CONSTANT_RANGE = 1.0
# Grey values are held in thousandths: whole numbers, which float32 holds exactly.
_GREY_UNIT = 1000
# Bits by which an entropy in float32 may be off.  Seen: 1e-6.
_ENTROPY_ERROR = 1e-5
_CHUNK = 256


@dataclass(frozen=True)
class SelectionRecipe:
    """How mosaics are made, and where windows lie.  Part of the trained model: it travels in the weights' metadata.

    ``window_by`` is ``entropy`` or ``centre``; ``looks`` are pairs of a short side in pixels, 0 for the picture's own,
    and a place along the longer side, from 0 to 1: see `nsnet_cli.views.plan`.
    """

    patch: int = 32
    grid: int = 7
    low: int = 24
    spectrum: Literal["power", "magnitude"] = "power"
    dc: bool = True
    reference_patches: int = 144
    order_seed: int = 0
    window: int = 384
    window_by: Literal["centre", "entropy"] = "centre"
    looks: tuple[tuple[int, float], ...] = ((640, 0.0), (640, 1.0))

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

    indices: Indices
    is_high: NDArray[np.bool_]
    entropy: Doubles
    columns: int
    patch: int

    def corner(self, k: int) -> tuple[int, int]:
        """Upper left corner ``(x, y)`` in pixels of the ``k``-th patch."""
        row, column = divmod(int(self.indices[k]), self.columns)
        return column * self.patch, row * self.patch


@dataclass(frozen=True)
class PatchGrid:
    """The ``n`` patches of one picture, row by row.

    ``image`` is ``(3, rows * patch, columns * patch)`` uint8.  ``entropy`` is ``(n,)`` float64, but off by up to
    1e-5 bits where not ``exact``; ``constant`` ``(n,)`` says which patches are flat.
    """

    image: Pixels
    entropy: Doubles
    constant: NDArray[np.bool_]
    patch: int
    exact: bool

    @property
    def columns(self) -> int:
        return self.image.shape[2] // self.patch

    @property
    def distinct(self) -> int:
        """Patches that are not flat: what a mosaic can be made of."""
        return int((~self.constant).sum())

    def cut(self, indices: Indices) -> Pixels:
        """Patches ``(len(indices), 3, patch, patch)`` uint8."""
        p = self.patch
        made = np.empty((len(indices), 3, p, p), np.uint8)
        for patch, (row, column) in zip(made, zip(*np.divmod(indices, self.columns), strict=True), strict=True):
            patch[:] = self.image[:, row * p : (row + 1) * p, column * p : (column + 1) * p]
        return made


def spectral_entropy(grey: Doubles, recipe: SelectionRecipe) -> Doubles:
    """Spectral entropy in bits of grey patches ``(n, p, p)``, as ``(n,)``.

    With the DC term the value is mostly a measure of contrast (DC holds 82-99 % of the power); without
    it, of how evenly the remaining power is spread.  A patch with no power at all has entropy 0.
    """
    spectrum = np.abs(np.fft.fft2(grey))
    if recipe.spectrum == "power":
        spectrum = np.square(spectrum)
    spectrum = spectrum.reshape(len(grey), -1)
    if not recipe.dc:
        spectrum[:, 0] = 0.0
    p = spectrum / np.maximum(spectrum.sum(axis=1, keepdims=True), 1e-12)
    entropy: Doubles = -(p * np.log2(p + 1e-12)).sum(axis=1)
    return entropy


def cut_patches(image: Pixels, recipe: SelectionRecipe, offset: tuple[int, int] = (0, 0)) -> PatchGrid:
    """Cut ``image`` ``(3, H, W)`` uint8 into patches and measure each.

    ``offset`` ``(x, y)`` shifts the grid, for training.  A side smaller than one patch is extended
    by repetition.
    """
    p = recipe.patch
    image = _at_least(image[:, offset[1] :, offset[0] :], p)
    rows, columns = image.shape[1] // p, image.shape[2] // p
    image = image[:, : rows * p, : columns * p]
    # Without the DC term, or in magnitudes, what is small in a spectrum counts more than float32 can promise.
    exact = not recipe.dc or recipe.spectrum != "power"
    entropy = np.empty((rows, columns), np.float64)
    constant = np.empty((rows, columns), np.bool_)
    for row in range(rows):
        patches = _grey_thousandths(image[:, row * p : (row + 1) * p]).reshape(p, columns, p)
        spread = patches.max(axis=0).max(axis=1) - patches.min(axis=0).min(axis=1)
        constant[row] = spread < _CONSTANT_RANGE * _GREY_UNIT
        if exact:
            entropy[row] = spectral_entropy(patches.transpose(1, 0, 2).astype(np.float64), recipe)
        else:
            entropy[row] = _power_entropy(patches)
    return PatchGrid(image, entropy.ravel(), constant.ravel(), p, exact)


def select_patches(grid: PatchGrid, recipe: SelectionRecipe, views: int = 1) -> list[Selection]:
    """Choose the patches of ``views`` mosaics: the same picture always gives the same mosaics.

    View 0 of a picture of up to ``reference_patches`` patches is the paper's choice.  Flat patches (letter
    boxes, borders, plain graphics) are left out while enough others are there: they would fill the whole
    lower tail and say nothing.  A picture with fewer patches than a mosaic repeats them; whoever asks must
    look at `PatchGrid.distinct` and say so.
    """
    kept = np.flatnonzero(~grid.constant) if grid.distinct else np.arange(len(grid.constant))
    n = min(len(kept), recipe.reference_patches)
    thinned = np.linspace(0, len(kept) - 1, n).round().astype(np.int64)
    outside_in = _outside_in(n, recipe)
    taken = [outside_in[(np.arange(recipe.count) + view * recipe.count) % n] for view in range(views)]
    # Not `unique`: it imports all of `numpy.ma` to ask whether these are masked.
    entropy = _settled(grid, kept, thinned[np.sort(np.concatenate(taken))], recipe)
    # Rounded, so that the last bits of an FFT on another machine do not decide a tie; ties go by position.
    order = np.argsort(np.round(entropy * 1e6), kind="stable")
    selections = []
    for view, ranks in enumerate(taken):
        ranks = ranks[_fixed_order(recipe.count, recipe.order_seed, view)]
        chosen = order[thinned[ranks]]
        selections.append(
            Selection(kept[chosen], ranks * recipe.count >= n * recipe.low, entropy[chosen], grid.columns, recipe.patch)
        )
    return selections


def _settled(grid: PatchGrid, kept: Indices, ranks: Indices, recipe: SelectionRecipe) -> Doubles:
    """Entropies of the patches ``kept``, exact wherever that can decide which of them hold ``ranks``.

    ``ranks`` ascend; some may be there twice.  The exact value at a rank is off its value here by at most the error,
    and so is every patch's: whatever lies further than twice the error from it is on its right side already.
    """
    entropy = grid.entropy[kept]
    if grid.exact:
        return entropy
    at_ranks = np.sort(entropy)[ranks]
    after = np.minimum(np.searchsorted(at_ranks, entropy), len(at_ranks) - 1)
    before = np.maximum(after - 1, 0)
    distance = np.minimum(np.abs(at_ranks[after] - entropy), np.abs(at_ranks[before] - entropy))
    unsure = np.flatnonzero(distance <= 2 * _ENTROPY_ERROR)
    for first in range(0, len(unsure), _CHUNK):
        few = unsure[first : first + _CHUNK]
        grey = np.einsum("ncij,c->nij", grid.cut(kept[few]), np.array(_GREY))
        entropy[few] = spectral_entropy(grey, recipe)
    return entropy


def _grey_thousandths(strip: Pixels) -> Floats:
    """Grey values of ``(3, h, w)`` uint8, in thousandths of a level, exact: ``(h, w)`` float32."""
    weights = np.array([round(weight * _GREY_UNIT) for weight in _GREY], np.float32)
    # All partial sums are whole numbers below 2^24: float32 holds them whatever the order.
    grey: Floats = strip.transpose(1, 2, 0).astype(np.float32, order="C") @ weights
    return grey


def _power_entropy(patches: Floats) -> Floats:
    """`spectral_entropy` of power spectra, ``(n,)`` float32, of patches that lie side by side, ``(p, n, p)``.

    The spectrum of real values is symmetric: its left half, with the columns between counted twice, says all.
    """
    p, n, _ = patches.shape
    cosines, sines, down, counts = _fourier(p)
    of_rows = np.empty((2, p * n, len(counts)), np.float32)
    for part, of in zip(of_rows, (cosines, sines), strict=True):
        np.matmul(patches.reshape(p * n, p), of, out=part)
    real, imaginary = (down @ of_rows.reshape(2 * p, -1)).reshape(2, p, n, -1)
    power = np.square(real, out=real)
    power += np.square(imaginary, out=imaginary)
    # No power at all divides to nan, which the bound below would keep.
    power /= np.maximum(power.sum(0) @ counts, np.float32(1e-12))[:, None]
    np.maximum(power, np.float32(1e-30), out=power)
    entropy: Floats = (np.multiply(np.log(power), power, out=power).sum(0) @ counts) / np.float32(-math.log(2))
    return entropy


@lru_cache
def _fourier(p: int) -> tuple[Floats, Floats, Floats, Floats]:
    """What takes ``p`` values to the left half of their transform: cosines and sines, ``(p, half)``.  What takes the
    columns of those, cosines above sines, to the real part above the imaginary one, ``(2 p, 2 p)``.  And how often
    each column of the half counts."""
    half = p // 2 + 1
    angle = 2 * math.pi / p * np.outer(np.arange(p), np.arange(p))
    cosine, sine = np.cos(angle), np.sin(angle)
    counts = np.full(half, 2.0, np.float32)
    counts[0] = 1.0
    if p % 2 == 0:
        counts[-1] = 1.0
    down = np.block([[cosine, -sine], [sine, cosine]])
    left_cosine, left_sine = (np.ascontiguousarray(part[:, :half], np.float32) for part in (cosine, sine))
    return left_cosine, left_sine, down.astype(np.float32), counts


def build_mosaic(
    grid: PatchGrid, selection: Selection, recipe: SelectionRecipe, order: Indices | None = None
) -> Pixels:
    """Stitch the selected patches, row by row, to ``(3, size, size)`` uint8.

    ``order`` ``(count,)`` rearranges them first: training shuffles.
    """
    return stitch(grid.cut(selection.indices if order is None else selection.indices[order]), recipe)


def stitch(patches: Pixels, recipe: SelectionRecipe) -> Pixels:
    """Patches ``(count, 3, patch, patch)`` row by row, as one ``(3, size, size)``."""
    g, p = recipe.grid, recipe.patch
    return patches.reshape(g, g, 3, p, p).transpose(2, 0, 3, 1, 4).reshape(3, g * p, g * p)


def _outside_in(n: int, recipe: SelectionRecipe) -> Indices:
    """All ``n`` ranks in the order in which views use them up: both tails, the next ones, ..., the middle."""
    blocks, low, high = [], 0, n
    while low + recipe.count <= high:
        blocks += [np.arange(low, low + recipe.low), np.arange(high - 1, high - 1 - recipe.high, -1)]
        low, high = low + recipe.low, high - recipe.high
    return np.concatenate([*blocks, np.arange(low, high)])


def _fixed_order(count: int, seed: int, view: int) -> Indices:
    """A permutation that depends on the recipe and the view alone.

    Training shuffles the mosaic; a forensic tool must give the same answer twice.  Python's `random`
    would do, but its sequence is not promised across versions, so the order is that of a linear
    congruence's output (Numerical Recipes' constants).
    """
    state, keys = (seed * 7919 + view * 104729 + 1) & 0xFFFFFFFF, []
    for _ in range(count):
        state = (1664525 * state + 1013904223) & 0xFFFFFFFF
        keys.append(state)
    return np.array(sorted(range(count), key=keys.__getitem__))


def _at_least(image: Pixels, size: int) -> Pixels:
    """Tile ``image`` until both sides reach ``size``."""
    repeats = [math.ceil(size / max(1, side)) for side in image.shape[1:]]
    if max(repeats) == 1:
        return image
    return np.tile(image, (1, *repeats))[:, : max(size, image.shape[1]), : max(size, image.shape[2])]
