"""CNN-Spot: "CNN-generated images are surprisingly easy to spot... for now" (Wang et al., CVPR 2020, arXiv 1912.11035).

An ordinary classifier, and augmentation: a ResNet-50 on 224-pixel crops, which in training are blurred half of the time
and saved as JPEG half of the time, so that it cannot live on what any editor destroys.  It is the baseline of all
others.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor, nn

from nsnet_cli.arrays import Pixels
from nsnet_cli.detectors.crops import Crops
from nsnet_cli.detectors.interface import About, Detector, Recipe
from nsnet_cli.detectors.layers.network import scaled
from nsnet_cli.detectors.layers.resnet import ResNet, stem

ABOUT = About(
    name="cnn-spot",
    title="CNN-Spot",
    paper="CNN-generated images are surprisingly easy to spot... for now",
    link="https://arxiv.org/abs/1912.11035",
    venue="CVPR",
    year=2020,
    idea="a ResNet-50 on crops, trained with blur and JPEG",
    differs="no ImageNet weights to begin with; a quarter as wide (the paper's is --shape width=64), and learns on "
    "128 pixels",
)


@dataclass(frozen=True)
class BlurredCrops(Crops):
    """Crops that are blurred, and saved as JPEG, with a probability of ``often`` each, as in the paper: the radius
    between 0 and 3 pixels, the quality between 30 and 100."""

    often: float = 0.5

    def draw(self, pixels: Pixels, rng: Random) -> Pixels:
        view = super().draw(pixels, rng)
        blurred, saved = rng.random() < self.often, rng.random() < self.often
        if not (blurred or saved):
            return view
        image = Image.fromarray(np.ascontiguousarray(view.transpose(1, 2, 0)))
        if blurred:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3)))
        if saved:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=rng.randint(30, 100))
            image = Image.open(buffer)
        return np.asarray(image).transpose(2, 0, 1)


class CnnSpot(ResNet):
    """ResNet-50; ``width`` 64 is the paper's."""

    def __init__(self, width: int = 16, depths: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__(nn.Sequential(stem(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)), width, depths)

    def residual(self, pixels: Tensor) -> Tensor:
        return scaled(pixels)


DETECTOR = Detector(
    ABOUT, BlurredCrops(side=224, learn=128), CnnSpot, {"width": 16, "depths": (3, 4, 6, 3)}, Recipe(samples=50_000)
)
