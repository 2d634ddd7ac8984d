"""Tiny-LaDeDa, from the paper of LaDeDa: "Real-Time Deepfake Detection in the Real-World" (Cavia, Horwitz, Reiss and
Hoshen, 2024, arXiv 2406.09398).

Four convolutions see the same 9x9 patches as LaDeDa and learn its scores of them, not the labels: a patch of a
generated picture need not show it, and LaDeDa knows which do.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nsnet_cli.detectors.crops import Crops
from nsnet_cli.detectors.interface import About, Detector, Recipe
from nsnet_cli.detectors.layers.network import LocalNetwork, scaled
from nsnet_cli.detectors.layers.resnet import begin_as_differences, initialise

ABOUT = About(
    name="tiny-ladeda",
    title="Tiny-LaDeDa",
    paper="Real-Time Deepfake Detection in the Real-World",
    link="https://arxiv.org/abs/2406.09398",
    venue="arXiv",
    year=2024,
    idea="four convolutions that have learnt LaDeDa's scores of 9x9 patches",
    differs="1.4 thousand parameters, the paper's 1.3; the two middle convolutions have a stride of 2",
)
# The student scores every 4th pixel, the teacher every 8th.
_STUDENTS_A_TEACHER = 2


class TinyLaDeDa(LocalNetwork):
    """Scores of 9x9 patches, 4 pixels apart; nothing is padded."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)),
            *(nn.Conv2d(width, width, 3, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)),
            *(nn.Conv2d(width, width, 3, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)),
            nn.Conv2d(width, 1, 1),
        )
        initialise(self)
        begin_as_differences(self.layers[0])

    def local(self, pixels: Tensor) -> Tensor:
        return self.layers(scaled(pixels))[:, 0].float()

    def loss(self, pixels: Tensor, features: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        if taught is None:
            raise ValueError("Tiny-LaDeDa learns from LaDeDa's local scores")
        mine = self.local(pixels)[:, ::_STUDENTS_A_TEACHER, ::_STUDENTS_A_TEACHER]
        return F.mse_loss(mine, taught)


DETECTOR = Detector(
    ABOUT, Crops(learn=97), TinyLaDeDa, {"width": 8}, Recipe(samples=60_000, rate=5e-3), teacher="ladeda"
)
