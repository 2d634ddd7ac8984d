"""AIDE: "A Sanity Check for AI-generated Image Detection" (Yan et al., ICLR 2025, arXiv 2406.19435).

Several experts look at a picture.  Its 32x32 patches are graded by how much high frequency their DCT holds; the two of
highest and the two of lowest grade go through the high-pass filters of the spatial rich model (what is left is noise)
and then through two small ResNets, one for each kind; a frozen CLIP tower says what the picture is of.  An MLP decides
on all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsnet_cli.arrays import Floats, Pixels
from nsnet_cli.detectors.crops import at_least
from nsnet_cli.detectors.interface import About, Detector, Recipe
from nsnet_cli.detectors.layers.network import Network, evened
from nsnet_cli.detectors.layers.resnet import EXPANSION, initialise, stage, stem
from nsnet_cli.detectors.layers.rich_model import rich_filters
from nsnet_cli.views.plan import Square

ABOUT = About(
    name="aide",
    title="AIDE",
    paper="A Sanity Check for AI-generated Image Detection",
    link="https://arxiv.org/abs/2406.19435",
    venue="ICLR",
    year=2025,
    idea="patches of highest and lowest frequency through rich-model filters, beside frozen CLIP",
    differs="CLIP ViT-B/16 in place of ConvNeXt-XXL; thin ResNets on the patches as they are, not enlarged to 256",
)
_PATCH = 32
# Bands of the DCT's diagonals; band k counts 2^k.
_BANDS = 6
_RANKED = 2
# Residuals of the rich model in grey levels that count as one.
_UNIT = 8.0


def _dct_matrix() -> Floats:
    k, n = np.mgrid[:_PATCH, :_PATCH]
    matrix = np.sqrt(2 / _PATCH) * np.cos(np.pi * (2 * n + 1) * k / (2 * _PATCH))
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def _weights() -> Floats:
    """Of each coefficient: 2 to the power of its band, by the diagonal that it lies on."""
    diagonal = np.add.outer(np.arange(_PATCH), np.arange(_PATCH))
    return (2.0 ** (diagonal * _BANDS // (2 * _PATCH))).astype(np.float32)


_DCT, _WEIGHTS = _dct_matrix(), _weights()


def grades(patches: Pixels) -> Floats:
    """How much high frequency there is in patches ``(n, 3, 32, 32)``: ``log(1 + |DCT|)`` of the luma, summed up."""
    luma = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), patches.astype(np.float32), (0, 1))
    spectrum = _DCT @ luma @ _DCT.T
    graded: Floats = (np.log1p(np.abs(spectrum)) * _WEIGHTS).sum(axis=(1, 2))
    return graded


@dataclass(frozen=True)
class GradedPatches:
    """Of the patches of a picture the two of highest grade, then the two of lowest: ``(4, 3, 32, 32)``.

    In training those of a square of ``side`` pixels that lies anywhere; else those of all the picture.
    """

    side: int

    def look(self, pixels: Pixels) -> Pixels:
        return _graded(at_least(pixels, 2 * _PATCH))[None]

    def draw(self, pixels: Pixels, rng: Random) -> Pixels:
        pixels = at_least(pixels, max(self.side, 2 * _PATCH))
        top, left = (rng.randint(0, length - self.side) for length in pixels.shape[1:])
        square = pixels[:, top : top + self.side, left : left + self.side]
        return _graded(np.ascontiguousarray(square[:, :, ::-1]) if rng.random() < 0.5 else square)

    def places(self, height: int, width: int) -> tuple[Square, ...]:
        return ()

    def quick(self) -> GradedPatches:
        return self


def _graded(pixels: Pixels) -> Pixels:
    rows, columns = (length // _PATCH for length in pixels.shape[1:])
    grid = pixels[:, : rows * _PATCH, : columns * _PATCH].reshape(3, rows, _PATCH, columns, _PATCH)
    patches = grid.transpose(1, 3, 0, 2, 4).reshape(-1, 3, _PATCH, _PATCH)
    order = np.argsort(grades(patches), kind="stable")
    return patches[np.concatenate([order[::-1][:_RANKED], order[:_RANKED]])]


class Residuals(nn.Module):
    """The rich model's residuals ``(N, 30, H, W)`` of ``(N, 3, H, W)``, summed over colours, cut off at +-3."""

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        filters = torch.from_numpy(rich_filters())
        self.register_buffer("filters", filters[:, None].repeat(1, 3, 1, 1) / 3, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        padded = F.pad(pixels.float(), (2, 2, 2, 2), mode="reflect")
        with torch.autocast(pixels.device.type, enabled=False):
            return (F.conv2d(padded, self.filters) / _UNIT).clamp(-3, 3)


class Expert(nn.Module):
    """A small ResNet on residuals of patches, ``(N, 8 width)``."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Residuals(),
            stem(30, width, 3, 1),
            stage(width, width, depth, 2),
            stage(EXPANSION * width, 2 * width, depth, 2),
        )

    def forward(self, patches: Tensor) -> Tensor:
        return self.layers(patches).mean((2, 3))


class Aide(Network):
    """Two experts on patches, the tower's embedding reduced to ``semantic``, and an MLP."""

    def __init__(self, embed_dim: int = 512, width: int = 16, depth: int = 2, semantic: int = 64) -> None:
        super().__init__()
        self.highest, self.lowest = Expert(width, depth), Expert(width, depth)
        self.semantic = nn.Linear(embed_dim, semantic)
        joint = 2 * 2 * EXPANSION * width + semantic
        self.decide = nn.Sequential(nn.Linear(joint, joint // 2), nn.GELU(), nn.Dropout(0.2), nn.Linear(joint // 2, 1))
        initialise(self)

    def forward(self, pixels: Tensor, features: Tensor) -> Tensor:
        n = len(pixels)
        said = [
            expert(patches.flatten(0, 1)).view(n, _RANKED, -1).mean(1)
            for expert, patches in ((self.highest, pixels[:, :_RANKED]), (self.lowest, pixels[:, _RANKED:]))
        ]
        return self.decide(torch.cat([*said, self.semantic(evened(features))], dim=1))[:, 0].float()


DETECTOR = Detector(
    ABOUT,
    GradedPatches(256),
    Aide,
    {"embed_dim": 512, "width": 16, "depth": 2, "semantic": 64},
    Recipe(samples=60_000),
    tower=True,
)
