"""Are the directions in which generated pictures differ and those of semantics separable?  Angles, margins, pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ablating.frozen import last_block, projected, semantic_part
from ablating.judging import Scores, Study, probe
from nsnet_cli.judges.nullspace import angles_to_subspace, random_angle
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.training.directions import artifact_directions

_PRINCIPAL = 10
_SMALLEST_GROUP = 5
_PROBE_ROWS = 2


def separability(study: Study, features: VitFeatures, semantic: Tensor) -> dict[str, Any]:
    """Angles in degrees between directions and the subspace of ``semantic`` ``(rank, 512)``, and what they decide.

    Artifact directions are a linear probe's weights and, for each generator, the difference of its mean from that of
    real pictures.  Beside them stand what chance gives, and what content gives: the difference of the mean of each
    source of *real* pictures from that of the other real ones.
    """
    f, rank = last_block(features), len(semantic)
    directions, names = artifact_directions(features.embedding, study.pictures)
    angles = dict(zip(names, angles_to_subspace(directions, semantic).tolist(), strict=True))
    generators = directions[_PROBE_ROWS:]
    sources = _source_directions(study, f)
    return {
        "random": round(random_angle(rank, f.shape[1]), 1),
        "linear probe": round(angles["linear probe"], 1),
        "all generators": round(angles["all generators"], 1),
        "generators": _spread(angles_to_subspace(generators, semantic)),
        "sources": _spread(angles_to_subspace(sources, semantic)),
        "principal": {
            "generators": _principal(generators, semantic),
            "sources": _principal(sources, semantic),
            "random": _principal(_random(len(generators), f.shape[1]), semantic),
        },
        "margin": _margin(study, f, directions[0], semantic),
        "pairs": _pairs(study, features, semantic),
    }


def _source_directions(study: Study, f: Tensor) -> Tensor:
    groups = np.array([p.group for p in study.pictures])
    real = study.labels == 0
    found = []
    for group in sorted(set(groups[real])):
        members = real & (groups == group)
        if members.sum() >= _SMALLEST_GROUP:
            found.append(f[members].mean(0) - f[real & ~members].mean(0))
    return F.normalize(torch.stack(found), dim=1)


def _random(count: int, dimension: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(count, dimension, generator=generator, dtype=torch.float64), dim=1)


def _spread(angles: Tensor) -> dict[str, float]:
    low, middle, high = np.quantile(angles.numpy(), [0.1, 0.5, 0.9])
    return {"count": len(angles), "low": round(low, 1), "median": round(middle, 1), "high": round(high, 1)}


def _principal(directions: Tensor, semantic: Tensor) -> list[float]:
    """Principal angles in degrees between the leading directions' span and the semantic subspace, smallest first."""
    leading = torch.linalg.svd(directions.double(), full_matrices=False).Vh[:_PRINCIPAL]
    cosines = torch.linalg.svdvals(leading @ semantic.T).clamp(0.0, 1.0)
    return [round(float(angle), 1) for angle in torch.rad2deg(torch.acos(cosines))]


def _margin(study: Study, f: Tensor, weights: Tensor, semantic: Tensor) -> dict[str, float]:
    """How much of what a probe sets between the means of generated and real pictures lies in either part."""
    gap = f[study.labels == 1].mean(0) - f[study.labels == 0].mean(0)
    inside = float((weights @ semantic.T) @ (semantic @ gap))
    total = float(weights @ gap)
    return {"semantic": round(inside / total, 3), "null space": round(1 - inside / total, 3)}


def _pairs(study: Study, features: VitFeatures, semantic: Tensor) -> dict[str, Any]:
    """Of each generated picture and the real one of most like content, held out together: is the right one higher?

    Likeness is the cosine of semantic parts.  If the projection spares a judge from content, it gains most here.
    """
    content = F.normalize(semantic_part(features, semantic), dim=1)
    judges: dict[str, Scores] = {
        "as they are": probe(study, last_block(features)),
        "projected": probe(study, projected(features, semantic)),
        "semantic part alone": probe(study, semantic_part(features, semantic)),
    }
    right: dict[str, list[bool]] = {name: [] for name in judges}
    for fold in study.folds:
        rows = study.outside(fold)
        made, real = rows[study.labels[rows] == 1], rows[study.labels[rows] == 0]
        partner = real[(content[made] @ content[real].T).argmax(1).numpy()]
        for name, scores in judges.items():
            right[name] += (scores[made] > scores[partner]).tolist()
    return {
        "pairs": len(right["projected"]),
        "right": {name: round(float(np.mean(found)), 4) for name, found in right.items()},
        "any real picture": {name: round(float(study.auc(scores).mean()), 4) for name, scores in judges.items()},
    }
