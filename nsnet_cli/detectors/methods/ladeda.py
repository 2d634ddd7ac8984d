"""LaDeDa: "Real-Time Deepfake Detection in the Real-World" (Cavia, Horwitz, Reiss and Hoshen, 2024, arXiv 2406.09398).

Traces of generation are local, so a detector need not, and should not, see more than 9x9 pixels at a time: it cannot
then learn what pictures are of.  Nearly all 3x3 convolutions of a ResNet-50 are made 1x1 (as in BagNet, arXiv
1904.00760); each 9x9 patch gets a score, and their mean is the picture's.  The map of scores says where.
"""

from __future__ import annotations

from torch import Tensor, nn

from nsnet_cli.detectors.crops import Crops
from nsnet_cli.detectors.interface import About, Detector, Recipe
from nsnet_cli.detectors.layers.network import LocalNetwork, scaled
from nsnet_cli.detectors.layers.resnet import EXPANSION, Bottleneck, begin_as_differences, initialise

ABOUT = About(
    name="ladeda",
    title="LaDeDa",
    paper="Real-Time Deepfake Detection in the Real-World",
    link="https://arxiv.org/abs/2406.09398",
    venue="arXiv",
    year=2024,
    idea="a score for every 9x9 patch, averaged: a ResNet-50 that sees no further",
    differs="no ImageNet weights to begin with; a quarter as wide and half as deep (the paper's is "
    "--shape width=64 --shape depths=3,4,6,3)",
)
# Pixels that a score hangs on, and from one score to the next.
PATCH, STEP = 9, 8
# Of each stage: the stride, and whether its first bottleneck is a 3x3 one.  3 + 1 * 2 + 2 * 2 = 9 pixels.
_STAGES = ((2, True), (2, True), (2, False), (1, False))


class LaDeDa(LocalNetwork):
    """Scores of 9x9 patches, `STEP` pixels apart; ``width`` 64 and ``depths`` 3, 4, 6, 3 are the paper's.

    Nothing is padded, so that the score at ``(i, j)`` is that of the patch whose corner is ``(8 i, 8 j)`` alone.
    """

    def __init__(self, width: int = 16, depths: tuple[int, ...] = (2, 2, 2, 1)) -> None:
        super().__init__()
        self.entry = nn.Sequential(
            nn.Conv2d(3, width, 1, bias=False),
            nn.Conv2d(width, width, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(True),
        )
        blocks: list[nn.Module] = []
        channels = width
        for number, (depth, (stride, looks_around)) in enumerate(zip(depths, _STAGES, strict=True)):
            inner = width * 2**number
            for k in range(depth):
                kernel = 3 if looks_around and k == 0 else 1
                blocks.append(Bottleneck(channels, inner, stride if k == 0 else 1, kernel, padding=False))
                channels = EXPANSION * inner
        self.blocks = nn.Sequential(*blocks)
        self.score = nn.Conv2d(channels, 1, 1)
        initialise(self)
        begin_as_differences(self.entry[1])

    def local(self, pixels: Tensor) -> Tensor:
        return self.score(self.blocks(self.entry(scaled(pixels))))[:, 0].float()


DETECTOR = Detector(ABOUT, Crops(learn=97), LaDeDa, {"width": 16, "depths": (2, 2, 2, 1)}, Recipe(samples=40_000))
