"""From the tower's features to one logit: null-space projection, then the contrastive head.

The spine is NS-Net's (arXiv 2508.01248): the image embedding ``f`` loses its semantic part, ``f P``, and a
small head decides.  Beside it the class tokens of earlier blocks may join (RINE, arXiv 2402.19091), because
that is where frozen CLIP holds most traces; the paper's exact configuration is ``blocks=()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsnet_cli.judges.nullspace import decouple
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.views.plan import ViewKind
from nsnet_cli.weights.shapes import HeadConfig, VitConfig


@dataclass(frozen=True)
class HeadOutput:
    """``logit`` ``(N,)``, higher is more likely generated; ``contrast`` ``(N, hidden)``, of unit length."""

    logit: Tensor
    contrast: Tensor


class NullSpaceHead(nn.Module):
    """Projection onto the null space of semantics, reduction, and one decision.

    ``semantic`` is ``(rank, embed_dim)``, an orthonormal basis of what is to be removed (rank 0 removes
    nothing, which is the baseline that the ablation compares with).
    """

    semantic: Tensor

    def __init__(self, tower: VitConfig, config: HeadConfig, semantic: Tensor) -> None:
        super().__init__()
        self.config = config
        # Of the weights, not of one head: every kind of view is projected alike, and the file holds it once.
        self.register_buffer("semantic", semantic.float(), persistent=False)
        self.embedding = nn.Linear(tower.embed_dim, config.reduced)
        self.norms = nn.ModuleList(nn.LayerNorm(tower.width) for _ in config.blocks)
        self.blocks = nn.ModuleList(nn.Linear(tower.width, config.reduced) for _ in config.blocks)
        self.hidden = nn.Linear(config.reduced * (1 + len(config.blocks)), config.hidden)
        self.decision = nn.Linear(config.hidden, 1)

    def forward(self, features: VitFeatures) -> HeadOutput:
        drop = self.config.dropout
        # sqrt(d) brings the entries of a unit vector to the scale that LayerNorm gives the tokens.
        spine = decouple(features.embedding, self.semantic) * features.embedding.shape[-1] ** 0.5
        parts = [self.embedding(F.dropout(spine, drop, self.training))]
        for block, norm, reduce in zip(self.config.blocks, self.norms, self.blocks, strict=True):
            token = norm(features.class_tokens[:, block - 1])
            parts.append(reduce(F.dropout(token, drop, self.training)))
        hidden = self.hidden(F.dropout(F.gelu(torch.cat(parts, dim=-1)), drop, self.training))
        logit = self.decision(F.dropout(F.gelu(hidden), drop, self.training)).squeeze(-1)
        return HeadOutput(logit, F.normalize(hidden, dim=-1))


class ViewHeads(nn.ModuleDict):
    """A `NullSpaceHead` for each kind of view, by its name: what mosaics and windows show differs too much."""

    def __init__(self, tower: VitConfig, config: HeadConfig, semantic: Tensor, kinds: Sequence[ViewKind]) -> None:
        super().__init__({kind: NullSpaceHead(tower, config, semantic) for kind in kinds})

    def of(self, kind: ViewKind) -> NullSpaceHead:
        head = self[kind]
        assert isinstance(head, NullSpaceHead)
        return head

    def stored(self) -> dict[str, Tensor]:
        """The tensors of a weights file: matrices in half precision, which moves a score by less than its third digit
        and spares the wheel a megabyte."""
        return {name: value.half() if value.dim() > 1 else value for name, value in self.state_dict().items()}
