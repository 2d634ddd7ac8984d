"""All that has weights, as one: from the views of pictures to their scores.  No files of pictures, no verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nsnet_cli.errors import WeightsError
from nsnet_cli.head import ViewHeads
from nsnet_cli.kernel import KERNEL, KernelHead
from nsnet_cli.preprocess import Normaliser
from nsnet_cli.probes import ProbeGrid, probes_of
from nsnet_cli.selection import SelectionRecipe
from nsnet_cli.tower import load_tower, tower_info
from nsnet_cli.views import View, ViewKind, fuse, kinds_of
from nsnet_cli.vit import VisionTransformer, VitFeatures, with_probes
from nsnet_cli.weights import SEMANTIC, NsnetWeights

_VIEWS_ON_CPU = 4


@dataclass(frozen=True)
class Look:
    """What the tower makes of one view of ``N`` pictures: ``features``, a row a picture, and of its probes, where they
    were asked for, ``probes``, a row for each probe of each picture in turn."""

    features: VitFeatures
    probes: VitFeatures | None = None

    @property
    def probes_seen(self) -> VitFeatures:
        assert self.probes is not None
        return self.probes

    def of_picture(self, n: int) -> Look:
        """Of the ``n``-th picture alone."""
        pictures = len(self.features.embedding)
        one = self.features.rows(torch.tensor([n]))
        if self.probes is None:
            return Look(one)
        count = len(self.probes.embedding) // pictures
        return Look(one, self.probes.rows(torch.arange(n * count, (n + 1) * count)))


@dataclass(frozen=True)
class Scored:
    """What the network says of ``N`` pictures.

    ``scores`` ``(N,)`` float64, logits before calibration; ``semantic`` ``(N, rank)`` float32, the semantic part
    of the first view's embedding; ``looks`` at each view, in the order of the plan.
    """

    scores: Tensor
    semantic: Tensor
    looks: tuple[Look, ...] = ()


@dataclass(frozen=True)
class Network:
    """Tower, contrastive heads, and the kernel head where the weights have one."""

    tower: VisionTransformer
    heads: ViewHeads
    kernel: KernelHead | None
    normalise: Normaliser
    fusion: dict[str, float]
    selection: SelectionRecipe

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
        kernel = None
        try:
            heads.load_state_dict(head_state, strict=True)
            if info.kernel is not None:
                kernel = KernelHead.of_state(tower.config, info.kernel, semantic, info.kinds, kernel_state)
            tower.adapt(info.adaptation)
            wrong = set(tower.adapted_state()) ^ set(adapted)
            if wrong:
                raise RuntimeError(f"adapted tensors missing or unknown: {sorted(wrong)[:3]}")
            tower.load_state_dict(adapted, strict=False)
            tower.merge_lora()
        except RuntimeError as error:
            raise WeightsError(f"{weights.path}: the tensors do not fit the recipe in the metadata: {error}") from error
        pixels = tower_info(weights.tower_path)
        network = Network(tower, heads, kernel, Normaliser(pixels.mean, pixels.std), info.fusion, info.selection)
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
        return [m for m in (self.tower, self.heads, self.kernel) if m is not None]

    @property
    def device(self) -> torch.device:
        return self.tower.class_embedding.device

    def probes_of(self, kind: ViewKind) -> ProbeGrid:
        """The probes of a kind of view."""
        return probes_of(kind, self.selection)

    @torch.inference_mode()
    def score(self, views: Tensor, plan: Sequence[View], probes: bool = False) -> Scored:
        """Of the views of pictures, ``(N, views, 3, S, S)`` uint8 in the order of ``plan``, all that is said."""
        looks = [self.look(views[:, position], view.kind, probes) for position, view in enumerate(plan)]
        by_kind = {
            kind: [look.features for view, look in zip(plan, looks, strict=True) if view.kind == kind]
            for kind in kinds_of(plan)
        }
        semantic = self.heads.of(plan[0].kind).semantic_part(looks[0].features.embedding)
        return Scored(self.fused(by_kind), semantic.float().cpu(), tuple(looks))

    @torch.inference_mode()
    def look(self, views: Tensor, kind: ViewKind, probes: bool = False) -> Look:
        """What the tower makes of views ``(N, 3, S, S)`` uint8 of one kind."""
        looks = [self._probed(few, self.probes_of(kind)) if probes else self._plain(few) for few in self._split(views)]
        seen = [look.probes for look in looks if look.probes is not None]
        return Look(VitFeatures.join([look.features for look in looks]), VitFeatures.join(seen) if seen else None)

    def _plain(self, views: Tensor) -> Look:
        return Look(self.tower(self.normalise(views.to(self.device))))

    def _probed(self, views: Tensor, grid: ProbeGrid) -> Look:
        tower, after = self.tower, []

        def watch(block: int, tokens: Tensor) -> None:
            after.append(tokens[:, -grid.count :].float())

        as_one = int(tower.config.layers * grid.late)
        x, lower = tower.through(tower.embed(self.normalise(views.to(self.device))), 1, as_one)
        look = grid.look(math.isqrt(tower.config.tokens)).to(self.device)
        x, upper = tower.through(with_probes(x, grid.count), as_one + 1, tower.config.layers, look, watch)
        features = VitFeatures(tower.to_joint(x[:, 0]), torch.cat([lower, upper], dim=1))
        before = lower[:, None].expand(-1, grid.count, -1, -1)
        seen = torch.cat([before, torch.stack(after, dim=2)], dim=2).flatten(0, 1)
        return Look(features, VitFeatures(tower.to_joint(seen[:, -1]), seen))

    def _split(self, views: Tensor) -> Sequence[Tensor]:
        # Two cores are as fast on a few as on many, and the activations of many cost hundreds of megabytes.
        return views.split(_VIEWS_ON_CPU if self.device.type == "cpu" else max(1, len(views)))

    @torch.inference_mode()
    def fused(self, by_kind: Mapping[ViewKind, Sequence[VitFeatures]]) -> Tensor:
        """Raw scores ``(N,)`` float64 of what all judges say of the features of each view."""
        said: dict[str, list[Tensor]] = {
            kind: [self.heads.of(kind)(view).logit.double().cpu() for view in views] for kind, views in by_kind.items()
        }
        if self.kernel is not None:
            said[KERNEL] = [self.kernel.score(by_kind).double().cpu()]
        return fuse(said, self.fusion)
