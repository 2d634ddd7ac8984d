"""What every detector's network is: pixels, or the frozen tower's features, or both, to a logit."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Network(nn.Module):
    """The base of all networks.

    ``pixels`` are views as the detector's eyes make them, ``(N, *shape)`` uint8; ``features`` the tower's embeddings
    ``(N, embed_dim)`` float32.  What a detector does not look at has a width of 0.
    """

    def forward(self, pixels: Tensor, features: Tensor) -> Tensor:
        """Logits ``(N,)`` float32; positive is generated."""
        raise NotImplementedError

    def loss(self, pixels: Tensor, features: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        """What training makes small, for ``labels`` ``(N,)``, 1 for generated.

        ``taught`` are the local scores of the teacher, where there is one.
        """
        return F.binary_cross_entropy_with_logits(self(pixels, features), labels.float())


class LocalNetwork(Network):
    """A network whose logit is the mean of local ones, so that it can say where in the picture it comes from."""

    def local(self, pixels: Tensor) -> Tensor:
        """Local logits ``(N, rows, columns)`` float32, which cover the views evenly."""
        raise NotImplementedError

    def forward(self, pixels: Tensor, features: Tensor) -> Tensor:
        return self.local(pixels).flatten(1).mean(1)


def scaled(pixels: Tensor) -> Tensor:
    """uint8 as float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def evened(features: Tensor) -> Tensor:
    """Embeddings of unit length times the root of their dimension: entries of about one."""
    return F.normalize(features.float(), dim=1) * features.shape[1] ** 0.5
