"""The patch head: which parts of a view look generated.

The class token, on which the verdict rests, has heard from all patches and no longer says which.  The patch tokens
of middle blocks still know where they are.  A small head on them, one for each kind of view, says of each cell of
a 7x7 grid whether a generator made it: of a mosaic a cell is one selected patch, of a window a seventh of its
sides.  It is trained on pictures that are generated in part (`nsnet_cli.training.composites`), for there the rest
of the picture does not give the answer away; it has no part in the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsnet_cli.views import ViewKind
from nsnet_cli.vit import VitConfig

# What `patches[].score` means where a patch head made it.
PATCH_SCORE_KIND = "patch-head-logit"


@dataclass(frozen=True)
class PatchHeadConfig:
    """Shape of a patch head.

    ``blocks`` are the tower's blocks (1-based) whose patch tokens are used; ``cells`` is the number of cells on a
    side of a view; each block's token is reduced to ``reduced`` numbers, and the common layer has ``hidden``.
    """

    blocks: tuple[int, ...] = (3, 5, 7, 9)
    cells: int = 7
    reduced: int = 32
    hidden: int = 64
    dropout: float = 0.3


class PatchHead(nn.Module):
    """Cells ``(N, blocks, cells^2, width)`` to logits ``(N, cells^2)``: higher is more likely generated."""

    def __init__(self, tower: VitConfig, config: PatchHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.norms = nn.ModuleList(nn.LayerNorm(tower.width) for _ in config.blocks)
        self.reduce = nn.ModuleList(nn.Linear(tower.width, config.reduced) for _ in config.blocks)
        self.hidden = nn.Linear(config.reduced * len(config.blocks), config.hidden)
        self.decision = nn.Linear(config.hidden, 1)

    def forward(self, cells: Tensor) -> Tensor:
        drop = self.config.dropout
        parts = [
            reduce(F.dropout(norm(cells[:, k]), drop, self.training))
            for k, (norm, reduce) in enumerate(zip(self.norms, self.reduce, strict=True))
        ]
        hidden = self.hidden(F.dropout(F.gelu(torch.cat(parts, dim=-1)), drop, self.training))
        return self.decision(F.dropout(F.gelu(hidden), drop, self.training)).squeeze(-1)


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


class CellTokens:
    """Collects, while a tower runs, the patch tokens of some blocks, averaged over the cells of a view.

    Give ``watch`` to the tower; ``taken`` then is ``(N, blocks, cells^2, width)`` float32.
    """

    def __init__(self, config: PatchHeadConfig) -> None:
        self._config = config
        self._found: dict[int, Tensor] = {}

    @property
    def watch(self) -> Callable[[int, Tensor], None]:
        return self._watch

    def _watch(self, block: int, tokens: Tensor) -> None:
        if block in self._config.blocks:
            self._found[block] = pool_cells(tokens[:, 1:], self._config.cells)

    def taken(self) -> Tensor:
        return torch.stack([self._found[block] for block in self._config.blocks], dim=1)


def pool_cells(tokens: Tensor, cells: int) -> Tensor:
    """Patch tokens ``(N, side^2, width)``, row by row, averaged over ``cells`` x ``cells``: ``(N, cells^2, width)``."""
    side = round(tokens.shape[1] ** 0.5)
    grid = tokens.float().transpose(1, 2).unflatten(2, (side, side))
    return F.adaptive_avg_pool2d(grid, cells).flatten(2).transpose(1, 2)
