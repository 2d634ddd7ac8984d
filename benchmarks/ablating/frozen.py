"""Arms on the frozen tower: what the projection, the selection, the objective and the depth are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ablating.judging import Found, Scores, Study, probe, train_heads
from nsnet_cli.judges.nullspace import BasisRule, decouple, semantic_basis
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.training.recipe import FitConfig, Phase

Table = dict[str, dict[str, Any]]
Labels = Mapping[str, Tensor]

# The shipped basis, which all arms have unless they say otherwise.
LABELS, RANK = "single prompt", 100
_RANKS = (10, 25, 50, 100, 150)
MIDDLE = (5, 6, 7, 8, 9, 10)
_EMBED, _WIDTH, _BLOCKS = 512, 768, 12
_RANDOM_DRAWS = 5
_HEADS = FitConfig(probe=Phase(16_000, 128, lr_head=1e-3), kernel=None, augment=False)
_SEEDS = 3


def last_block(features: VitFeatures) -> Tensor:
    """The embedding as it is, ``(n, 512)``."""
    return F.normalize(features.embedding.double(), dim=1)


def projected(features: VitFeatures, semantic: Tensor) -> Tensor:
    """The embedding without its part in the rows of ``semantic``."""
    return decouple(features.embedding.double(), semantic)


def semantic_part(features: VitFeatures, semantic: Tensor) -> Tensor:
    """That part alone, in coordinates."""
    return last_block(features) @ semantic.T


def tokens(features: VitFeatures, blocks: Sequence[int]) -> Tensor:
    """Class tokens of ``blocks`` (1-based) side by side, each of unit length."""
    chosen = features.class_tokens[:, [block - 1 for block in blocks]].double()
    return (F.layer_norm(chosen, (_WIDTH,)) / _WIDTH**0.5).flatten(1)


def spine(features: VitFeatures, semantic: Tensor) -> Tensor:
    """What the shipped contrastive heads look at: the projected embedding and class tokens of the middle blocks."""
    return torch.cat([projected(features, semantic), tokens(features, MIDDLE)], dim=1)


def subspace(labels: Tensor, rank: int) -> Tensor:
    """The first ``rank`` right singular vectors of labels ``(n, 512)``: ``(rank, 512)`` float64."""
    return semantic_basis(labels, BasisRule("rank", rank)).vectors


def random_subspace(rank: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(_EMBED, rank, generator=generator, dtype=torch.float64)).Q.T


def class_means(features: VitFeatures, labels: Tensor) -> Tensor:
    """Mean embedding of the pictures that lie nearest to each label, one a row; labels with no picture have none."""
    f = last_block(features)
    nearest = (f @ F.normalize(labels.double(), dim=1).T).argmax(1)
    return torch.stack([f[nearest == k].mean(0) for k in nearest.unique()])


def removed(features: VitFeatures, semantic: Tensor) -> float:
    """The share of the variance between pictures that lies in a subspace."""
    centred = last_block(features) - last_block(features).mean(0)
    return float((centred @ semantic.T).square().sum() / centred.square().sum())


def projection(study: Study, features: VitFeatures, labels: Labels) -> Table:
    """Features as they are against projected ones, by ranks, rules and sources of semantics, and random controls."""
    base = labels[LABELS]
    scores: dict[str, list[Scores]] = {"as they are": [probe(study, last_block(features))]}
    bases: dict[str, list[Tensor]] = {}
    for rank in _RANKS:
        bases[f"rank {rank}"] = [subspace(base, rank)]
    for share in (0.90, 0.95, 0.99):
        found = semantic_basis(base, BasisRule("energy", share))
        bases[f"energy {share:.2f} (rank {found.rank})"] = [found.vectors]
    strict = semantic_basis(base, BasisRule("tolerance", 1e-6))
    bases[f"strict null space (rank {strict.rank})"] = [strict.vectors]
    together = torch.cat([F.normalize(matrix.double(), dim=1) for matrix in labels.values()])
    for rank in (200, 300):
        bases[f"rank {rank}, all labels and prompts"] = [subspace(together, rank)]
    for name in labels:
        if name != LABELS:
            bases[f"rank {RANK}, {name}"] = [subspace(labels[name], RANK)]
    means = class_means(features, base)
    bases[f"rank {min(RANK, len(means))}, class means of pictures"] = [subspace(means, min(RANK, len(means)))]
    for rank in (*_RANKS, 300):
        bases[f"random, rank {rank}"] = [random_subspace(rank, seed) for seed in range(_RANDOM_DRAWS)]
    for name, drawn in bases.items():
        scores[name] = [probe(study, projected(features, basis)) for basis in drawn]
    for rank in (50, 100, 150):
        scores[f"semantic part alone, rank {rank}"] = [probe(study, semantic_part(features, subspace(base, rank)))]
    scores["random part alone, rank 100"] = [
        probe(study, semantic_part(features, random_subspace(100, seed))) for seed in range(_RANDOM_DRAWS)
    ]
    found = table(study.compare(scores, "as they are"))
    for name, drawn in bases.items():
        found[name]["removed"] = round(float(np.mean([removed(features, basis) for basis in drawn])), 4)
    for rank in _RANKS:
        # Does it matter *what* is taken away, or only how much?
        semantic, control = f"rank {rank}", f"random, rank {rank}"
        beside = study.compare({control: scores[control], semantic: scores[semantic]}, control)[semantic]
        found[semantic]["beside_random"] = table({semantic: beside})[semantic]
    return found


def projection_with_heads(study: Study, features: VitFeatures, labels: Labels) -> Table:
    """The same question of NS-Net's own head, contrastive loss and all, with and without the middle blocks."""
    arms = {
        "as they are": torch.zeros(0, _EMBED),
        f"rank {RANK}": subspace(labels[LABELS], RANK),
        f"random, rank {RANK}": random_subspace(RANK, 0),
    }
    found: Table = {}
    for name, blocks in (("last block", ()), ("with blocks 5-10", MIDDLE)):
        scores = {arm: train_heads(study, features, semantic, _HEADS, blocks, _SEEDS) for arm, semantic in arms.items()}
        found |= {f"{name}: {arm}": row for arm, row in table(study.compare(scores, "as they are")).items()}
    return found


def selection(study: Study, seen: Mapping[str, VitFeatures], semantic: Tensor, what: Callable[..., Tensor]) -> Table:
    """Each way of showing a picture, against the paper's mosaic; ``what`` of the features a probe looks at."""
    scores = {way: [probe(study, what(features, semantic))] for way, features in seen.items()}
    return table(study.compare(scores, "mosaic"))


def beside_resized(study: Study, seen: Mapping[str, VitFeatures], semantic: Tensor) -> Table:
    """What a second look adds to the whole picture, scaled: the question that a tool which has both must ask."""
    whole = spine(seen["resized"], semantic)
    scores = {"resized": [probe(study, whole)]}
    for way in ("mosaic", "mosaic, shuffled", "high only", "low only", "random patches", "crop"):
        scores[f"resized + {way}"] = [probe(study, torch.cat([whole, spine(seen[way], semantic)], dim=1))]
    return table(study.compare(scores, "resized"))


def several_views(study: Study, mosaics: Sequence[VitFeatures], semantic: Tensor) -> Table:
    """One, two and four mosaics of pictures that have room for them: the mean of what they show."""
    shown = [spine(features, semantic) for features in mosaics]
    scores = {
        f"{count} mosaic{'s' if count > 1 else ''}": [probe(study, torch.stack(shown[:count]).mean(0))]
        for count in (1, 2, 4)
    }
    return table(study.compare(scores, "1 mosaic"))


def depth(study: Study, features: VitFeatures) -> Table:
    """Class tokens of each block alone, and of several together."""
    scores = {"embedding": [probe(study, last_block(features))]}
    for block in range(1, _BLOCKS + 1):
        scores[f"block {block}"] = [probe(study, tokens(features, [block]))]
    scores["blocks 5-10"] = [probe(study, tokens(features, MIDDLE))]
    scores["all blocks"] = [probe(study, tokens(features, range(1, _BLOCKS + 1)))]
    return table(study.compare(scores, "embedding"))


def objective(study: Study, features: VitFeatures, semantic: Tensor) -> Table:
    """BCE alone against the contrastive loss beside it, by its share and temperature."""
    found: Table = {}
    for name, blocks in (("last block", ()), ("with blocks 5-10", MIDDLE)):
        recipes = {"BCE alone": replace(_HEADS, bce_share=1.0)}
        recipes |= {f"λ {share}": replace(_HEADS, bce_share=share) for share in (0.8, 0.5, 0.2)}
        recipes |= {f"λ 0.5, temperature {t}": replace(_HEADS, bce_share=0.5, temperature=t) for t in (0.05, 0.2)}
        scores = {
            recipe: train_heads(study, features, semantic, config, blocks, _SEEDS) for recipe, config in recipes.items()
        }
        found |= {f"{name}: {arm}": row for arm, row in table(study.compare(scores, "BCE alone")).items()}
    return found


def table(found: Mapping[str, Found]) -> Table:
    """As it is kept: what an arm does not have is left out."""
    return {name: {k: v for k, v in asdict(arm).items() if v is not None} for name, arm in found.items()}
