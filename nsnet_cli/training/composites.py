"""Composites: one picture pasted into another, with the map of what a generator made.

They teach the patch heads (`nsnet_cli.training.patches`), and test them, on pictures that are generated in part.
The region is a superellipse of a quarter to a half of the area, at no multiple of any grid, with a feathered border;
then the whole is encoded together, so that neither a seam nor a format gives a part away.  Real pasted into real,
and generated into generated, teach that a seam means nothing; real into real is also the control of a test: whoever
finds *that* region sees seams, not traces of generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from nsnet_cli.deliveries import Jpeg, Webp

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
