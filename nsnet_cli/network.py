"""All that has weights, as one: from the views of pictures to their scores.  No files of pictures, no verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nsnet_cli.errors import WeightsError
from nsnet_cli.head import ViewHeads
from nsnet_cli.kernel import KERNEL, KernelHead
from nsnet_cli.patch_head import PatchHeadConfig, PatchHeads
from nsnet_cli.preprocess import Normaliser
from nsnet_cli.tower import load_tower, tower_info
from nsnet_cli.views import View, ViewKind, fuse, kinds_of
from nsnet_cli.vit import VisionTransformer, VitFeatures, with_probes
from nsnet_cli.weights import SEMANTIC, NsnetWeights

_VIEWS_ON_CPU = 4


@dataclass(frozen=True)
class Scored:
    """What the network says of ``N`` pictures.

    ``scores`` ``(N,)`` float64, logits before calibration; ``semantic`` ``(N, rank)`` float32, the semantic part
    of the first view's embedding; ``cells``, where asked for, the patch heads' logits ``(N, cells)`` float32 of
    each view, in the order of the plan.
    """

    scores: Tensor
    semantic: Tensor
    cells: tuple[Tensor, ...] | None = None


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
        seen = [self._features(views[:, position], view.kind, cells) for position, view in enumerate(plan)]
        by_kind = {
            kind: [features for view, (features, _) in zip(plan, seen, strict=True) if view.kind == kind]
            for kind in kinds_of(plan)
        }
        semantic = self.heads.of(plan[0].kind).semantic_part(seen[0][0].embedding)
        logits = tuple(said for _, said in seen if said is not None)
        return Scored(self._fused(by_kind), semantic.float().cpu(), logits or None)

    @torch.inference_mode()
    def cells(self, views: Tensor, kind: ViewKind) -> Tensor:
        """The patch head's logits ``(N, cells)`` of single views ``(N, 3, S, S)`` uint8 of one kind."""
        assert self.patch_heads is not None
        few = [self.probes(v, kind, self.patch_heads.config)[2] for v in self._split(views)]
        return self.patch_heads.of(kind)(torch.cat(few)).float().cpu()

    @torch.inference_mode()
    def probes(self, views: Tensor, kind: ViewKind, config: PatchHeadConfig) -> tuple[Tensor, Tensor, Tensor]:
        """What probes of views ``(N, 3, S, S)`` uint8 of one kind have seen, ``(N, blocks, cells, width)``.

        It comes last, after the tokens of the views and their class tokens, as far as the probes went.
        """
        grid, found = config.grid(kind), []

        def watch(block: int, tokens: Tensor) -> None:
            if block in config.blocks:
                found.append(tokens[:, -grid.count :].float())

        x = self.tower.embed(self.normalise(views.to(self.device)))
        look = grid.look(math.isqrt(self.tower.config.tokens)).to(self.device)
        x, lower = self.tower.through(with_probes(x, grid.count), 1, max(config.blocks), look, watch)
        return x[:, : -grid.count], lower, torch.stack(found, dim=1)

    def _features(self, views: Tensor, kind: ViewKind, cells: bool) -> tuple[VitFeatures, Tensor | None]:
        """Features of views ``(N, 3, S, S)`` of one kind, and their patch head's logits where they are wanted."""
        made, logits = [], []
        for few in self._split(views):
            if self.patch_heads is None or not cells:
                made.append(self.tower(self.normalise(few.to(self.device))))
                continue
            x, lower, probes = self.probes(few, kind, self.patch_heads.config)
            made.append(self.tower.finish(x, lower))
            logits.append(self.patch_heads.of(kind)(probes).float().cpu())
        return VitFeatures.join(made), torch.cat(logits) if logits else None

    def _split(self, views: Tensor) -> Sequence[Tensor]:
        # Two cores are as fast on a few as on many, and the activations of many cost hundreds of megabytes.
        return views.split(_VIEWS_ON_CPU if self.device.type == "cpu" else max(1, len(views)))

    def _fused(self, by_kind: dict[ViewKind, list[VitFeatures]]) -> Tensor:
        """Raw scores ``(N,)`` float64 of what all judges say of the features of each view."""
        said: dict[str, list[Tensor]] = {
            kind: [self.heads.of(kind)(view).logit.double().cpu() for view in views] for kind, views in by_kind.items()
        }
        if self.kernel is not None:
            said[KERNEL] = [self.kernel.score(by_kind).double().cpu()]
        return fuse(said, self.fusion)
