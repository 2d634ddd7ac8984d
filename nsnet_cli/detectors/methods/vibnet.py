"""VIB-Net: "Towards Universal AI-Generated Image Detection by Variational Information Bottleneck Network" (Zhang et
al., CVPR 2025).

CLIP's features hold far more than what tells generated pictures apart, and a classifier learns biases from the rest.
A variational information bottleneck (Alemi et al., ICLR 2017, arXiv 1612.00410) lets through as little as it can: the
features become the mean and the spread of a normal distribution, the classifier sees a draw from it, and the loss adds
``beta`` times its divergence from a standard normal one.  A scan sees the mean, so that it says the same twice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsnet_cli.detectors.interface import About, Detector, Recipe
from nsnet_cli.detectors.layers.network import Network, evened

ABOUT = About(
    name="vib-net",
    title="VIB-Net",
    paper="Towards Universal AI-Generated Image Detection by Variational Information Bottleneck Network",
    link="https://openreview.net/forum?id=NtHoUgpfqn",
    venue="CVPR",
    year=2025,
    idea="a variational information bottleneck on the features of frozen CLIP",
    differs="CLIP ViT-B/16 in place of ViT-L/14; sizes and the weight of the bottleneck are ours",
)


class VibNet(Network):
    """Features to ``hidden`` to a bottleneck of ``latent`` dimensions to a logit; ``beta`` weighs the divergence."""

    def __init__(self, embed_dim: int = 512, hidden: int = 256, latent: int = 64, beta: float = 0.01) -> None:
        super().__init__()
        self.beta = beta
        self.encode = nn.Sequential(nn.Linear(embed_dim, hidden), nn.ReLU(True))
        self.mean, self.spread = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decide = nn.Linear(latent, 1)

    def forward(self, pixels: Tensor, features: Tensor) -> Tensor:
        return self.decide(self.mean(self.encode(evened(features))))[:, 0].float()

    def loss(self, pixels: Tensor, features: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        """Cross-entropy of a draw, and ``beta`` times the divergence in nats of its distribution."""
        encoded = self.encode(evened(features))
        mean, log_variance = self.mean(encoded).float(), self.spread(encoded).float()
        drawn = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        logits = self.decide(drawn)[:, 0].float()
        return F.binary_cross_entropy_with_logits(logits, labels.float()) + self.beta * divergence


DETECTOR = Detector(
    ABOUT,
    None,
    VibNet,
    {"embed_dim": 512, "hidden": 256, "latent": 64, "beta": 0.01},
    Recipe(samples=200_000, batch=128, rate=1e-3, look_every=20_000, rotations=5),
    tower=True,
)
