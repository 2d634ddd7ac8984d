"""All that has weights, as one: from the views of pictures to their scores.  No files of pictures, no verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nsnet_cli.errors import WeightsError
from nsnet_cli.head import ViewHeads
from nsnet_cli.kernel import KERNEL, KernelHead
from nsnet_cli.patch_head import CellTokens, PatchHeads
from nsnet_cli.preprocess import Normaliser
from nsnet_cli.tower import load_tower, tower_info
from nsnet_cli.views import View, ViewKind, fuse, kinds_of
from nsnet_cli.vit import VisionTransformer, VitFeatures
from nsnet_cli.weights import SEMANTIC, NsnetWeights

_VIEWS_ON_CPU = 4


@dataclass(frozen=True)
class Scored:
    """What the network says of ``N`` pictures.

    ``scores`` ``(N,)`` float64, logits before calibration; ``semantic`` ``(N, views, rank)`` float32, the semantic
    parts of the embeddings; ``cells`` ``(N, views, cells^2)`` float32, the patch heads' logits, where asked for.
    """

    scores: Tensor
    semantic: Tensor
    cells: Tensor | None = None


@dataclass(frozen=True)
class Network:
    """Tower, contrastive heads, and the kernel head and patch heads where the weights have them."""

    tower: VisionTransformer
    heads: ViewHeads
    kernel: KernelHead | None
    patch_heads: PatchHeads | None
    normalise: Normaliser
    fusion: dict[str, float]

    @staticmethod
    def of_weights(weights: NsnetWeights) -> Network:
        """In float32 on the CPU, LoRA merged.

        Raises `WeightsError` when the tensors do not fit the recipe in the metadata.
        """
        info = weights.info
        tower = load_tower(weights.tower_path)
        head_state, kernel_state, adapted = (weights.below(part) for part in ("head", "kernel", "tower"))
        if SEMANTIC not in weights.tensors:
            raise WeightsError(f"{weights.path}: no semantic basis ({SEMANTIC}) in the file")
        semantic = weights.tensors[SEMANTIC]
        heads = ViewHeads(tower.config, info.head, semantic, info.kinds)
        kernel, patch_heads = None, None
        try:
            heads.load_state_dict(head_state, strict=True)
            if info.kernel is not None:
                kernel = KernelHead.of_state(tower.config, info.kernel, semantic, info.kinds, kernel_state)
            if info.patch_head is not None:
                patch_heads = PatchHeads.of_state(
                    tower.config, info.patch_head.config, info.kinds, weights.below("patch")
                )
            tower.adapt(info.adaptation)
            wrong = set(tower.adapted_state()) ^ set(adapted)
            if wrong:
                raise RuntimeError(f"adapted tensors missing or unknown: {sorted(wrong)[:3]}")
            tower.load_state_dict(adapted, strict=False)
            tower.merge_lora()
        except RuntimeError as error:
            raise WeightsError(f"{weights.path}: the tensors do not fit the recipe in the metadata: {error}") from error
        pixels = tower_info(weights.tower_path)
        network = Network(tower, heads, kernel, patch_heads, Normaliser(pixels.mean, pixels.std), info.fusion)
        for module in network._modules():
            module.requires_grad_(False).eval()
        return network

    def to(self, device: torch.device, precision: str) -> Network:
        """Move to ``device``; the tower's matrices are held in ``precision``, ``fp32`` or ``bf16``."""
        self.tower.matrices_to(torch.bfloat16 if precision == "bf16" else torch.float32)
        for module in self._modules():
            module.to(device)
        return self

    def _modules(self) -> list[torch.nn.Module]:
        return [m for m in (self.tower, self.heads, self.kernel, self.patch_heads) if m is not None]

    @property
    def device(self) -> torch.device:
        return self.tower.class_embedding.device

    @torch.inference_mode()
    def score(self, views: Tensor, plan: Sequence[View], cells: bool = False) -> Scored:
        """Of the views of pictures, ``(N, views, 3, S, S)`` uint8 in the order of ``plan``, all that is said."""
        flat = views.flatten(0, 1)
        features, tokens = self._features(flat, cells)
        by_kind = {
            kind: [
                features.rows(torch.arange(position, len(flat), len(plan)))
                for position, view in enumerate(plan)
                if view.kind == kind
            ]
            for kind in kinds_of(plan)
        }
        semantic = self.heads.of(plan[0].kind).semantic_part(features.embedding)
        return Scored(
            scores=self._fused(by_kind),
            semantic=semantic.float().cpu().view(*views.shape[:2], -1),
            cells=None if tokens is None else self._cells(tokens, plan),
        )

    @torch.inference_mode()
    def cells(self, views: Tensor, kind: ViewKind) -> Tensor:
        """The patch head's logits ``(N, cells^2)`` of single views ``(N, 3, S, S)`` uint8 of one kind."""
        assert self.patch_heads is not None
        _, tokens = self._features(views, cells=True)
        assert tokens is not None
        return self.patch_heads.of(kind)(tokens).float().cpu()

    def _features(self, flat: Tensor, cells: bool) -> tuple[VitFeatures, Tensor | None]:
        """Features of views ``(n, 3, S, S)``, and their cells' tokens where a patch head wants them."""
        made, tokens = [], []
        # Two cores are as fast on a few as on many, and the activations of many cost hundreds of megabytes.
        for few in flat.split(_VIEWS_ON_CPU if self.device.type == "cpu" else len(flat)):
            collected = None if self.patch_heads is None or not cells else CellTokens(self.patch_heads.config)
            watch = None if collected is None else collected.watch
            made.append(self.tower(self.normalise(few.to(self.device)), watch=watch))
            if collected is not None:
                tokens.append(collected.taken())
        return VitFeatures.join(made), torch.cat(tokens) if tokens else None

    def _cells(self, tokens: Tensor, plan: Sequence[View]) -> Tensor:
        assert self.patch_heads is not None
        by_view = tokens.unflatten(0, (-1, len(plan)))
        said = [self.patch_heads.of(view.kind)(by_view[:, position]) for position, view in enumerate(plan)]
        return torch.stack(said, dim=1).float().cpu()

    def _fused(self, by_kind: dict[ViewKind, list[VitFeatures]]) -> Tensor:
        """Raw scores ``(N,)`` float64 of what all judges say of the features of each view."""
        said: dict[str, list[Tensor]] = {
            kind: [self.heads.of(kind)(view).logit.double().cpu() for view in views] for kind, views in by_kind.items()
        }
        if self.kernel is not None:
            said[KERNEL] = [self.kernel.score(by_kind).double().cpu()]
        return fuse(said, self.fusion)
