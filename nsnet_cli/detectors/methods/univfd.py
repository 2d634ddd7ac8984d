"""UnivFD: "Towards Universal Fake Image Detectors that Generalize Across Generative Models" (Ojha, Li and Lee, CVPR
2023, arXiv 2302.10174).

A network that is trained to tell one generator's pictures from real ones learns that generator's traces, and takes all
else for real.  So nothing is trained but a linear layer, on the features of a frozen CLIP tower that has never been
taught the difference; it sees the picture's 224-pixel centre.
"""

from __future__ import annotations

from torch import Tensor, nn

from nsnet_cli.detectors.interface import About, Detector, Recipe
from nsnet_cli.detectors.layers.network import Network, evened

ABOUT = About(
    name="univfd",
    title="UnivFD",
    paper="Towards Universal Fake Image Detectors that Generalize Across Generative Models",
    link="https://arxiv.org/abs/2302.10174",
    venue="CVPR",
    year=2023,
    idea="one linear layer on the features of frozen CLIP",
    differs="CLIP ViT-B/16 in place of ViT-L/14; the embedding is brought to unit length",
)


class UnivFD(Network):
    """A logistic regression of ``embed_dim`` features."""

    def __init__(self, embed_dim: int = 512) -> None:
        super().__init__()
        self.score = nn.Linear(embed_dim, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, pixels: Tensor, features: Tensor) -> Tensor:
        return self.score(evened(features))[:, 0].float()


DETECTOR = Detector(
    ABOUT,
    None,
    UnivFD,
    {"embed_dim": 512},
    Recipe(samples=200_000, batch=128, rate=1e-3, look_every=20_000, rotations=5),
    tower=True,
)
