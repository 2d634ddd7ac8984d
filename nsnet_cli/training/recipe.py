"""The recipe of a training run, and what follows from it alone: which pictures, which rates, which tokens."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from random import Random

import torch
from torch import Tensor

from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash
from nsnet_cli.training.chains import random_chain_mark
from nsnet_cli.training.folds import picture_weights
from nsnet_cli.training.views import Rendering
from nsnet_cli.views.plan import WINDOW, View, ViewKind, plan_views
from nsnet_cli.views.selection import SelectionRecipe
from nsnet_cli.weights.shapes import Adaptation, HeadConfig, KernelConfig


@dataclass(frozen=True)
class Phase:
    """One stretch of optimisation: ``samples`` pictures in all, ``batch`` at a time, and peak learning rates.

    Rates rise over the share ``warmup`` of the steps and fall along half a cosine.  ``keep`` is the share of
    32x32 patches of a view that the tower sees (FLIP); the last ``full_share`` of the steps sees all, as a scan does.
    """

    samples: int
    batch: int
    lr_head: float
    lr_tower: float = 0.0
    warmup: float = 0.05
    keep: float = 1.0
    full_share: float = 0.15

    @property
    def steps(self) -> int:
        return self.samples // self.batch

    def rate(self, step: int) -> float:
        """Share of the peak rates at a step: a function of the step alone, so resuming needs no scheduler."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


@dataclass(frozen=True)
class FitConfig:
    """The recipe of one fit.

    First a head on features of the frozen tower (``probe``), then, unless ``adaptation`` is frozen, tower
    and head together (``tune``): fine-tuning that starts from a random head first spoils the features
    (Kumar et al., arXiv 2202.10054).  ``probe_first`` off skips the first phase, as the paper does.

    Pictures are drawn with replacement by `picture_weights`.  Features are those of the views that a scan
    makes and of ``renderings`` random deliveries of every picture for each kind of view; with ``fresh``
    tuning draws a new delivery at every step instead, which sends each picture through the whole tower.
    ``bce_share`` is NS-Net's lambda.  ``kernel`` None leaves the contrastive heads to decide alone.
    """

    probe: Phase = field(default_factory=lambda: Phase(192_000, 128, lr_head=1e-3))
    tune: Phase = field(default_factory=lambda: Phase(4_096, 32, lr_head=1e-4, lr_tower=1e-4, warmup=0.1))
    probe_first: bool = True
    adaptation: Adaptation = field(default_factory=Adaptation)
    lora_dropout: float = 0.0
    weight_decay: float = 0.01
    bce_share: float = 0.5
    temperature: float = 0.1
    augment: bool = True
    renderings: int = 2
    fresh: bool = False
    seed: int = 0
    head: HeadConfig = field(default_factory=lambda: HeadConfig(kinds=(WINDOW,)))
    kernel: KernelConfig | None = field(default_factory=KernelConfig)
    selection: SelectionRecipe = field(default_factory=SelectionRecipe)

    def fingerprint(self, pictures: Sequence[LabelledPicture]) -> str:
        """Hash of recipe and data: a checkpoint continues only the run that wrote it."""
        text = json.dumps(asdict(self), sort_keys=True) + manifest_hash(list(pictures))
        if self.augment:
            text += random_chain_mark()
        return hashlib.sha256(text.encode()).hexdigest()


def kept_renderings(config: FitConfig, views: int, kind: ViewKind) -> list[Rendering]:
    """What the frozen tower is asked for of one kind: its views as a scan makes them, then random ones."""
    scanned = [Rendering(view) for view in plan_views(config.selection, views) if view.kind == kind]
    wanted = kind in config.head.kinds or (config.kernel is not None and config.kernel.meets_delivered(kind))
    delivered = config.renderings if config.augment and wanted else 0
    first_seed = 1_000 * config.seed + 1
    return scanned + [Rendering(View(kind, 0), first_seed + k) for k in range(delivered)]


def draw(pictures: Sequence[LabelledPicture], phase: Phase, seed: int) -> list[int]:
    """The pictures of a whole phase: each class half of every batch, groups by their weight."""
    rng = Random(f"order:{seed}")
    weights = picture_weights(list(pictures))
    sides = []
    for label in (0, 1):
        indices = [i for i, p in enumerate(pictures) if p.label == label]
        sides.append(rng.choices(indices, [weights[i] for i in indices], k=phase.steps * phase.batch // 2))
    return [index for pair in zip(*sides, strict=True) for index in pair]


def kept_tokens(n: int, step: int, phase: Phase, recipe: SelectionRecipe, tokens: int, seed: int) -> Tensor | None:
    """Patch tokens to keep at a step, ``(n, k)``: those of a random share of whole mosaic patches; None for all."""
    share = 1.0 if step >= phase.steps * (1.0 - phase.full_share) else phase.keep
    if share >= 1.0:
        return None
    across = math.isqrt(tokens)
    per_side = across // recipe.grid
    kept = max(1, round(share * recipe.count))
    generator = torch.Generator().manual_seed(seed * 7_919 + step)
    tiles = torch.rand(n, recipe.count, generator=generator).argsort(dim=1)[:, :kept]
    inner = torch.arange(per_side)
    offsets = (inner[:, None] * across + inner[None, :]).flatten()
    corners = (tiles // recipe.grid) * per_side * across + (tiles % recipe.grid) * per_side
    return (corners[:, :, None] + offsets).flatten(1)
