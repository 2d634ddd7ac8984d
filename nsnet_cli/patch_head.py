"""The patch head: which parts of a view look generated.

The class token, on which the verdict rests, looks at all patches and no longer says which.  *Probes* are further
class tokens that go through the same frozen blocks, each of which looks at one cell of the view and little else
(`nsnet_cli.vit.VisionTransformer.through`): it becomes what the class token would be if that cell were all that
there is to look at.  A small head, one for each kind of view, says of each probe whether a generator made what it
saw.  Of a mosaic a cell is one selected patch; of a window it is a part of a square grid.

The head is trained on pictures that are generated in part (`nsnet_cli.training.composites`), for there the rest of
the picture does not give the answer away; it has no part in the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsnet_cli.views import MOSAIC, ViewKind
from nsnet_cli.vit import VitConfig

# What `patches[].score` means where a patch head made it.
PATCH_SCORE_KIND = "patch-head-logit"


@dataclass(frozen=True)
class ProbeGrid:
    """Probes of one kind of view: ``cells`` on a side; ``reach`` is the standard deviation, in patch tokens of the
    tower, of the Gaussian with which each looks around the centre of its cell."""

    cells: int
    reach: float

    @property
    def count(self) -> int:
        return self.cells * self.cells

    def look(self, side: int) -> Tensor:
        """Logarithms of weights ``(count, side^2)`` of the patch tokens of a view, ``side`` on a side, row by row."""
        centres = (torch.arange(self.cells) + 0.5) * side / self.cells
        square = (centres[:, None] - (torch.arange(side) + 0.5)).square()
        distance = square[:, None, :, None] + square[None, :, None, :]
        return -distance.reshape(self.count, side * side) / (2 * self.reach**2)


@dataclass(frozen=True)
class PatchHeadConfig:
    """Shape of the patch heads.

    ``blocks`` are the tower's blocks (1-based) after which probes are read; of each ``reduced`` principal
    components are kept, and the common layer has ``hidden``.
    """

    blocks: tuple[int, ...] = (4, 5, 6, 7, 8, 9)
    mosaic: ProbeGrid = ProbeGrid(cells=7, reach=0.8)
    window: ProbeGrid = ProbeGrid(cells=5, reach=2.0)
    reduced: int = 64
    hidden: int = 64
    dropout: float = 0.3

    def grid(self, kind: ViewKind) -> ProbeGrid:
        return self.mosaic if kind == MOSAIC else self.window


class PatchHead(nn.Module):
    """Probes ``(N, blocks, cells, width)`` to logits ``(N, cells)``: higher is more likely generated."""

    mean: Tensor
    components: Tensor

    def __init__(self, tower: VitConfig, config: PatchHeadConfig) -> None:
        super().__init__()
        self.config = config
        blocks = len(config.blocks)
        self.register_buffer("mean", torch.zeros(blocks, tower.width))
        self.register_buffer("components", torch.zeros(blocks, tower.width, config.reduced))
        self.hidden = nn.Linear(config.reduced * blocks, config.hidden)
        self.decision = nn.Linear(config.hidden, 1)

    def reduce(self, probes: Tensor) -> Tensor:
        """The parts that the trained layers see, ``(N, cells, blocks * reduced)``."""
        tokens = F.layer_norm(probes.float(), probes.shape[-1:]) - self.mean[:, None]
        return (tokens @ self.components).transpose(1, 2).flatten(2)

    def decide(self, reduced: Tensor) -> Tensor:
        """Logits ``(N, cells)`` of what `reduce` gave."""
        drop = self.config.dropout
        hidden = F.gelu(self.hidden(F.dropout(reduced, drop, self.training)))
        return self.decision(F.dropout(hidden, drop, self.training)).squeeze(-1)

    def forward(self, probes: Tensor) -> Tensor:
        return self.decide(self.reduce(probes))


class PatchHeads(nn.ModuleDict):
    """A `PatchHead` for each kind of view, by its name."""

    def __init__(self, tower: VitConfig, config: PatchHeadConfig, kinds: Sequence[ViewKind]) -> None:
        super().__init__({kind: PatchHead(tower, config) for kind in kinds})
        self.config = config

    @staticmethod
    def of_state(
        tower: VitConfig, config: PatchHeadConfig, kinds: Sequence[ViewKind], state: Mapping[str, Tensor]
    ) -> PatchHeads:
        """The heads whose tensors are ``state``.  Raises `RuntimeError` where they do not fit ``config``."""
        heads = PatchHeads(tower, config, kinds)
        heads.load_state_dict(dict(state), strict=True)
        return heads

    def of(self, kind: ViewKind) -> PatchHead:
        head = self[kind]
        assert isinstance(head, PatchHead)
        return head
