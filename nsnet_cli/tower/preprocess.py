"""From uint8 mosaics to what the tower expects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Normaliser:
    """CLIP's normalisation: ``(N, 3, S, S)`` uint8 to float32, ``(x / 255 - mean) / std``."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean = torch.tensor(mean).view(1, 3, 1, 1)
        self._std = torch.tensor(std).view(1, 3, 1, 1)

    def __call__(self, mosaics: Tensor) -> Tensor:
        x = mosaics.float() / 255.0
        return (x - self._mean.to(x.device)) / self._std.to(x.device)
