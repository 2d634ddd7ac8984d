"""Composites: one picture pasted into another, with the map of what a generator made.

They test local scores (`nsnet_cli.judges.patch_scores`) on pictures that are generated in part.  The region is a
superellipse of a quarter to a half of the area, at no multiple of any grid, with a feathered border; then the whole is
encoded together, so that neither a seam nor a format gives a part away.  Real pasted into real is the control of the
test: whoever finds *that* region sees seams, not traces of generation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from nsnet_cli.errors import UsageError
from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.training.folds import picture_weights
from nsnet_cli.training.views import read_picture
from nsnet_cli.views.deliveries import Jpeg, Webp

# Labels of base and of what is pasted into it (None: nothing), and how often.
_MIX: tuple[tuple[int, int | None, float], ...] = (
    (1, 0, 0.3),
    (0, 1, 0.3),
    (0, 0, 0.2),
    (0, None, 0.1),
    (1, None, 0.1),
)
_SHARE = (0.25, 0.5)
_FEATHER = (1.0, 5.0)
_SHIFT = 16
_QUALITY = (75, 96)
_UNTOUCHED, _AS_WEBP = 0.2, 0.2


@dataclass(frozen=True)
class Composite:
    """``pixels`` ``(H, W, 3)`` uint8; ``pasted`` ``(H, W)`` float32 in [0, 1], how much of each was pasted."""

    pixels: NDArray[np.uint8]
    pasted: NDArray[np.float32]

    def generated(self, base: int, other: int) -> NDArray[np.float32]:
        """How much of each pixel a generator made, for the labels of the two pictures (1 = generated)."""
        return base * (1.0 - self.pasted) + other * self.pasted


def compose(base: Image.Image, other: Image.Image | None, rng: Random) -> Composite:
    """Paste a region of ``other`` into ``base``, both RGB, and encode the whole again; None pastes nothing.

    What overlaps of the two is used.  Depends on the pictures and the state of ``rng`` alone.
    """
    if other is None:
        return Composite(np.array(_encoded(base, rng)), np.zeros((base.height, base.width), np.float32))
    width, height = min(base.width, other.width), min(base.height, other.height)
    shift = (rng.randint(-_SHIFT, _SHIFT), rng.randint(-_SHIFT, _SHIFT))
    region = _region(width, height, shift, rng)
    mask = Image.fromarray(np.uint8(255 * region)).filter(ImageFilter.GaussianBlur(rng.uniform(*_FEATHER)))
    image = base.crop((0, 0, width, height))
    moved = other.crop((-shift[0], -shift[1], width - shift[0], height - shift[1]))
    image.paste(moved, mask=mask)
    return Composite(np.array(_encoded(image, rng)), np.asarray(mask, np.float32) / 255.0)


def _region(width: int, height: int, shift: tuple[int, int], rng: Random) -> NDArray[np.bool_]:
    """A superellipse inside the frame ``(height, width)``, and inside what a shifted picture covers of it."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    aspect, roundness = np.exp(rng.uniform(-0.5, 0.5)), rng.uniform(1.5, 6.0)
    centre = (width * rng.uniform(0.25, 0.75), height * rng.uniform(0.25, 0.75))
    across, down = np.abs(x - centre[0]) / (width * aspect), np.abs(y - centre[1]) / (height / aspect)
    radius = (across**roundness + down**roundness) ** (1 / roundness)
    left, top = max(0, shift[0]), max(0, shift[1])
    covered = (x >= left) & (x < width + min(0, shift[0])) & (y >= top) & (y < height + min(0, shift[1]))
    radius[~covered] = np.inf
    return radius <= np.quantile(radius, rng.uniform(*_SHARE))


def _encoded(image: Image.Image, rng: Random) -> Image.Image:
    quality = rng.randrange(*_QUALITY)
    choice = rng.random()
    if choice < _UNTOUCHED:
        return image
    return Webp(quality)(image, rng) if choice < _UNTOUCHED + _AS_WEBP else Jpeg(quality)(image, rng)


@dataclass(frozen=True)
class Drawn:
    """A composite with the labels of base and of what was pasted, -1 where nothing was."""

    made: Composite
    labels: tuple[int, int]


class CompositeDraw:
    """The ``k``-th composite of labelled pictures, which depends on them, ``seed`` and ``k`` alone.

    Pictures are drawn with weight 1/sqrt(n) of their generator or source; of larger ones a square of ``longest``
    pixels takes part, those under ``shortest`` do not.  Raises `UsageError` where a label has no pictures left.
    """

    def __init__(self, pictures: Sequence[LabelledPicture], shortest: int, longest: int, seed: int = 0) -> None:
        self._pictures, self._longest, self._seed = pictures, longest, seed
        self._weights = picture_weights(list(pictures))
        self._sizes = [self._cut(read_picture(picture.path).size) for picture in pictures]
        # Both parts are of one size, so that all of both can be used.
        self._pools: dict[tuple[int, tuple[int, int]], list[int]] = defaultdict(list)
        for i, (picture, size) in enumerate(zip(pictures, self._sizes, strict=True)):
            if min(size) >= shortest:
                self._pools[picture.label, size].append(i)
        if {label for label, _ in self._pools} != {0, 1}:
            raise UsageError(f"composites need real and generated pictures of {shortest} pixels a side or more")

    def __call__(self, k: int) -> Drawn:
        rng = Random(f"composite:{self._seed}:{k}")
        base_label, other_label = rng.choices([m[:2] for m in _MIX], [m[2] for m in _MIX])[0]
        base = self._pick([i for (label, _), pool in self._pools.items() if label == base_label for i in pool], rng)
        pool = [] if other_label is None else self._pools.get((other_label, self._sizes[base]), [])
        other = self._pick(pool, rng) if pool else None
        made = compose(self._read(base, rng), None if other is None else self._read(other, rng), rng)
        return Drawn(made, (base_label, -1 if other is None or other_label is None else other_label))

    def _pick(self, indices: Sequence[int], rng: Random) -> int:
        return rng.choices(indices, [self._weights[i] for i in indices])[0]

    def _cut(self, size: tuple[int, int]) -> tuple[int, int]:
        return min(size[0], self._longest), min(size[1], self._longest)

    def _read(self, i: int, rng: Random) -> Image.Image:
        image = read_picture(self._pictures[i].path)
        width, height = self._cut(image.size)
        left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
        return image.crop((left, top, left + width, top + height))
