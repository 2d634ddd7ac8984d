"""SAFE: "Improving Synthetic Image Detection Towards Generalization: An Image Transformation Perspective" (Li et al.,
KDD 2025, arXiv 2408.06741).

What makes detectors fail is how pictures are prepared.  Scaling down smooths the very correlations of neighbouring
pixels that tell generated pictures apart, so crops are taken instead, in training and after; colours are jittered and
pictures rotated, so that neither is learnt; and random patches are blacked out, so that what is learnt is local.  The
network, a ResNet-50 cut off after its second stage, sees the diagonal band of a wavelet transform alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageEnhance
from torch import Tensor, nn

from nsnet_cli.arrays import Pixels
from nsnet_cli.detectors.crops import Crops, at_least
from nsnet_cli.detectors.interface import About, Detector, Recipe
from nsnet_cli.detectors.layers.resnet import ResNet, stem
from nsnet_cli.detectors.layers.wavelet import haar

ABOUT = About(
    name="safe",
    title="SAFE",
    paper="Improving Synthetic Image Detection Towards Generalization: An Image Transformation Perspective",
    link="https://arxiv.org/abs/2408.06741",
    venue="KDD",
    year=2025,
    idea="the wavelet's high band of crops; colour jitter, rotation and masking in training",
    differs="a quarter as wide (--shape width=64 for 1.4 million parameters); the band is not enlarged first",
)
# Grey levels that count as one.
_UNIT = 8.0
_JITTER = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
_MASK_PATCH = 16


@dataclass(frozen=True)
class TransformedCrops(Crops):
    """Crops that training jitters in colour by up to ``jitter``, rotates by any angle, each with a probability of
    ``often``, and of which it blacks out up to ``masked`` of all 16x16 patches."""

    jitter: float = 0.4
    often: float = 0.5
    masked: float = 0.75

    def draw(self, pixels: Pixels, rng: Random) -> Pixels:
        if rng.random() < self.often:
            pixels = self._rotated(pixels, rng)
        view = super().draw(pixels, rng)
        if rng.random() < self.often:
            image = Image.fromarray(np.ascontiguousarray(view.transpose(1, 2, 0)))
            for kind in rng.sample(_JITTER, len(_JITTER)):
                image = kind(image).enhance(rng.uniform(1 - self.jitter, 1 + self.jitter))
            view = np.asarray(image).transpose(2, 0, 1)
        return self._masked(view, rng) if rng.random() < self.often else view

    def _rotated(self, pixels: Pixels, rng: Random) -> Pixels:
        """A square that turns within the picture where there is room; else its corners are black, as in the paper."""
        turned = at_least(pixels, self.learn)
        height, width = turned.shape[1:]
        side = min(height, width, round(self.learn * 2**0.5))
        left, top = rng.randint(0, width - side), rng.randint(0, height - side)
        square = np.ascontiguousarray(turned[:, top : top + side, left : left + side].transpose(1, 2, 0))
        image = Image.fromarray(square).rotate(rng.uniform(-180, 180), Image.Resampling.BILINEAR)
        return Crops(self.learn).look(np.asarray(image).transpose(2, 0, 1))[0]

    def _masked(self, view: Pixels, rng: Random) -> Pixels:
        across = -(-self.learn // _MASK_PATCH)
        dark = rng.sample(range(across**2), rng.randint(0, int(self.masked * across**2)))
        keep = np.ones(across**2, np.uint8)
        keep[dark] = 0
        grown = keep.reshape(across, across).repeat(_MASK_PATCH, 0).repeat(_MASK_PATCH, 1)
        return view * grown[: self.learn, : self.learn]


class Safe(ResNet):
    """The diagonal band, and a ResNet-50 without its last two stages."""

    def __init__(self, width: int = 16, depths: tuple[int, ...] = (3, 4)) -> None:
        super().__init__(nn.Sequential(stem(3, width, 3, 1), nn.MaxPool2d(3, 2, 1)), width, depths)

    def residual(self, pixels: Tensor) -> Tensor:
        return haar(pixels.float())[:, 3] / _UNIT


DETECTOR = Detector(ABOUT, TransformedCrops(), Safe, {"width": 16, "depths": (3, 4)}, Recipe(samples=100_000))
