"""The kernel head: a picture is judged by its likeness to pictures whose origin is known.

Beside the contrastive heads, which learn a few directions in which real and generated pictures differ, stands
kernel ridge regression (Saunders et al., 1998) on the same decoupled features.  Its score is
``sum_i a_i exp(-gamma/2 |x - z_i|^2) + b`` over the training pictures ``z_i``, the *anchors*.  With next to no
ridge it fits them exactly, and far from all of them it falls back to ``b``: it does not extrapolate.

``x`` joins what all kinds of view show: of each kind the null-space part of the embedding and class tokens of
some blocks, each of them centred and of unit length, so that none drowns the others, then their leading
principal components.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsnet_cli.judges.nullspace import decouple
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.views.plan import ViewKind
from nsnet_cli.weights.quantised import COLUMNS, LARGEST, SCALE, int8_rows
from nsnet_cli.weights.shapes import KernelConfig, VitConfig

# Up to which whole numbers what is large is held, with a scale a row.  Anchors have half of what int8 has: folds that
# were left out rank as well for it, and what is packed takes one bit less for each number.
LEVELS = {"components": LARGEST, "anchors": 63}


class KindFeatures(nn.Module):
    """From the tower's features of one kind of view to its part of ``x``, ``(N, dimensions)``.

    With ``parts`` the embedding's dimension and then the width of each class token: ``mean`` is subtracted
    before each part is brought to unit length, ``centre`` after it; ``components`` ``(sum(parts), dimensions)``.
    """

    mean: Tensor
    centre: Tensor
    components: Tensor
    semantic: Tensor

    def __init__(self, tower: VitConfig, config: KernelConfig, semantic: Tensor, dimensions: int) -> None:
        super().__init__()
        self.blocks = [block - 1 for block in config.blocks]
        self.parts = [tower.embed_dim, *[tower.width] * len(config.blocks)]
        self.register_buffer("semantic", semantic.float(), persistent=False)
        self.register_buffer("mean", torch.zeros(sum(self.parts)))
        self.register_buffer("centre", torch.zeros(sum(self.parts)))
        self.register_buffer("components", torch.zeros(sum(self.parts), dimensions))

    def raw(self, features: VitFeatures) -> Tensor:
        """The parts side by side, ``(N, sum(parts))``: the embedding without semantics, the tokens normalised."""
        tokens = features.class_tokens[:, self.blocks].float()
        tokens = F.layer_norm(tokens, tokens.shape[-1:]).flatten(1)
        return torch.cat([decouple(features.embedding.float(), self.semantic), tokens], dim=1)

    def even(self, raw: Tensor) -> Tensor:
        """Each part centred and of unit length."""
        return torch.cat([F.normalize(part, dim=1) for part in (raw - self.mean).split(self.parts, dim=1)], dim=1)

    def forward(self, features: VitFeatures) -> Tensor:
        return (self.even(self.raw(features)) - self.centre) @ self.components


class KernelHead(nn.Module):
    """Kernel ridge regression, fitted (`nsnet_cli.training.kernel`): ``anchors`` ``(n, d)``, ``coefficients``
    ``(n,)`` and ``offset``.  ``d`` is the sum of the dimensions of all kinds."""

    anchors: Tensor
    coefficients: Tensor
    offset: Tensor

    def __init__(
        self,
        tower: VitConfig,
        config: KernelConfig,
        semantic: Tensor,
        kinds: Sequence[ViewKind],
        anchors: int,
        dimensions: Sequence[int],
    ) -> None:
        super().__init__()
        self.config = config
        self.kinds = nn.ModuleDict(
            {kind: KindFeatures(tower, config, semantic, d) for kind, d in zip(kinds, dimensions, strict=True)}
        )
        self.register_buffer("anchors", torch.zeros(anchors, sum(dimensions)))
        self.register_buffer("coefficients", torch.zeros(anchors))
        self.register_buffer("offset", torch.zeros(()))

    @staticmethod
    def of_state(
        tower: VitConfig, config: KernelConfig, semantic: Tensor, kinds: Sequence[ViewKind], state: Mapping[str, Tensor]
    ) -> KernelHead:
        """The head whose tensors are ``state``, in floats.  Raises `RuntimeError` where they do not fit ``config``."""
        try:
            dimensions = [state[f"kinds.{kind}.components"].shape[1] for kind in kinds]
            head = KernelHead(tower, config, semantic, kinds, len(state["anchors"]), dimensions)
        except (KeyError, IndexError) as error:
            raise RuntimeError(f"the kernel head lacks tensors ({error})") from error
        head.load_state_dict(dict(state), strict=True)
        return head

    def of(self, kind: ViewKind) -> KindFeatures:
        features = self.kinds[kind]
        assert isinstance(features, KindFeatures)
        return features

    def stored(self) -> dict[str, Tensor]:
        """The tensors of a weights file: the large ones as int8, to which the fit rounded them.

        Of the anchors, whose leading principal components spread most, column by column.
        """
        tensors: dict[str, Tensor] = {}
        for name, value in self.state_dict().items():
            part = name.split(".")[-1]
            if part in LEVELS:
                q, scale = int8_rows(value.cpu().numpy(), LEVELS[part])
                key, values = (name + COLUMNS, q.T.copy()) if part == "anchors" else (name, q)
                tensors |= {key: torch.from_numpy(values), name + SCALE: torch.from_numpy(scale)}
            else:
                tensors[name] = value
        return tensors

    def describe(self, kind: ViewKind, views: Sequence[VitFeatures]) -> Tensor:
        """The part of ``x`` that views of one kind show, ``(N, dimensions)``: the mean over the ``views``."""
        return torch.stack([self.of(kind)(view) for view in views]).mean(0)

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(N,)`` of what `describe` said, all kinds side by side: ``(N, d)``."""
        likeness = gaussian_kernel(x, self.anchors, self.config.gamma)
        # Terms are thousands of times as large as their sum: in float32 it would hang on the batch.
        return (likeness.double() @ self.coefficients.double() + self.offset).float()

    @torch.inference_mode()
    def score(self, features: Mapping[ViewKind, Sequence[VitFeatures]]) -> Tensor:
        """Scores ``(N,)`` of pictures from ``features``: by kind, those of each view, a row a picture."""
        return self(self.describe_all(features))

    def describe_all(self, features: Mapping[ViewKind, Sequence[VitFeatures]]) -> Tensor:
        """``x`` ``(N, d)`` of pictures, from what `score` takes; kinds that this head does not look at may be there."""
        device = self.anchors.device
        # In the order of the anchors' columns.
        described = [
            self.describe(kind, [view.floats_on(device) for view in features[kind]])  # type: ignore[index,arg-type]
            for kind in self.kinds
        ]
        return torch.cat(described, dim=1)


def gaussian_kernel(x: Tensor, z: Tensor, gamma: float) -> Tensor:
    """``exp(-gamma/2 |x - z|^2)`` of the rows of ``x`` ``(N, d)`` and ``z`` ``(n, d)``: ``(N, n)``."""
    squares = x.square().sum(1)[:, None] + z.square().sum(1) - 2 * x @ z.T
    return torch.exp(-0.5 * gamma * squares.clamp_min(0.0))
