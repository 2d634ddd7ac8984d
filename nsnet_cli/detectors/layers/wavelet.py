"""The Haar wavelet, one level of it."""

from __future__ import annotations

import torch
from torch import Tensor


def haar(x: Tensor) -> Tensor:
    """The four bands ``(N, 4, C, H / 2, W / 2)`` of ``(N, C, H, W)``: LL, LH, HL and HH, orthonormal.

    An odd last row or column is left out.
    """
    rows, columns = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    x = x[:, :, :rows, :columns]
    upper, lower = x[:, :, 0::2], x[:, :, 1::2]
    a, b, c, d = upper[..., 0::2], upper[..., 1::2], lower[..., 0::2], lower[..., 1::2]
    return torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], dim=1) / 2
