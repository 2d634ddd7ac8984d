"""The objective of NS-Net: supervised contrastive learning beside binary cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def supervised_contrastive(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """SupCon, ``L_out`` (Khosla et al., arXiv 2004.11362, eq. 2).

    ``z`` is ``(N, d)`` of unit length, ``labels`` ``(N,)``.  Anchors without a positive are left out; a
    batch that has none gives 0.
    """
    n = len(z)
    others = ~torch.eye(n, dtype=torch.bool, device=z.device)
    positives = (labels[:, None] == labels[None, :]) & others
    similarity = (z @ z.T / temperature).masked_fill(~others, float("-inf"))
    log_p = similarity - similarity.logsumexp(dim=1, keepdim=True)
    counts = positives.sum(dim=1)
    per_anchor = -log_p.masked_fill(~positives, 0.0).sum(dim=1) / counts.clamp_min(1)
    anchors = counts > 0
    return per_anchor[anchors].mean() if anchors.any() else z.sum() * 0.0


def nsnet_loss(logit: Tensor, z: Tensor, labels: Tensor, bce_share: float, temperature: float) -> Tensor:
    """``(1 - lambda) SupCon + lambda BCE`` with ``lambda = bce_share`` (NS-Net, section 3.3)."""
    bce = F.binary_cross_entropy_with_logits(logit, labels.float())
    if bce_share >= 1.0:
        return bce
    return (1.0 - bce_share) * supervised_contrastive(z, labels, temperature) + bce_share * bce
