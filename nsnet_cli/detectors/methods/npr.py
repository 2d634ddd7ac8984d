"""NPR: "Rethinking the Up-Sampling Operations in CNN-based Generative Network for Generalizable Deepfake Detection"
(Tan et al., CVPR 2024, arXiv 2312.10461).

Generators end with upsampling, and neighbouring pixels that were made out of one depend on each other as no camera's
do.  What a network sees is therefore not the picture but *neighbouring pixel relationships*: in each cell of 2x2 pixels
the difference of every pixel from the first, which is ``x - up(down(x))`` with nearest neighbours both ways.  The
network is a ResNet-50 cut off after its second stage.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nsnet_cli.detectors.crops import Crops
from nsnet_cli.detectors.interface import About, Detector, Recipe
from nsnet_cli.detectors.layers.resnet import ResNet, stem

ABOUT = About(
    name="npr",
    title="NPR",
    paper="Rethinking the Up-Sampling Operations in CNN-based Generative Network for Generalizable Deepfake Detection",
    link="https://arxiv.org/abs/2312.10461",
    venue="CVPR",
    year=2024,
    idea="differences of neighbouring pixels, x - up(down(x)), and a truncated ResNet-50",
    differs="a quarter as wide (--shape width=64 for 1.4 million parameters)",
)
# Grey levels that count as one: differences of neighbours are small.
_UNIT = 16.0
_CELL = 2


def neighbouring_pixels(x: Tensor) -> Tensor:
    """``x - up(down(x))`` of ``(N, C, H, W)``, where down takes the first pixel of each 2x2 cell and up repeats it."""
    height, width = (side // _CELL * _CELL for side in x.shape[2:])
    x = x[:, :, :height, :width]
    return x - F.interpolate(x[:, :, ::_CELL, ::_CELL], scale_factor=_CELL, mode="nearest")


class Npr(ResNet):
    """The residual, and a ResNet-50 without its last two stages."""

    def __init__(self, width: int = 16, depths: tuple[int, ...] = (3, 4)) -> None:
        super().__init__(nn.Sequential(stem(3, width, 3, 2), nn.MaxPool2d(3, 2, 1)), width, depths)

    def residual(self, pixels: Tensor) -> Tensor:
        return neighbouring_pixels(pixels.float()) / _UNIT


DETECTOR = Detector(ABOUT, Crops(), Npr, {"width": 16, "depths": (3, 4)}, Recipe(samples=80_000))
