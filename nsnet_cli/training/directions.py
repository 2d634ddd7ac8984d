"""Artifact directions: where in CLIP's joint space generated pictures lie apart from real ones.

NS-Net's claim is that these directions lie (nearly) outside the semantic subspace.  They are measured on
embeddings *before* the projection; after it they could lie nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.training.folds import picture_weights

_SMALLEST_GROUP = 10


def artifact_directions(embeddings: Tensor, pictures: Sequence[LabelledPicture]) -> tuple[Tensor, list[str]]:
    """Directions ``(m, d)`` of unit length, and their names.

    ``embeddings`` is ``(n, d)``, one for each picture.  First the weights of a linear probe and the
    difference of the class means, then for each generator with ten pictures or more the difference of its
    mean from that of the real pictures.  Pictures count by `picture_weights`.
    """
    from sklearn.linear_model import LogisticRegression

    f = F.normalize(embeddings.double(), dim=1)
    labels = np.array([p.label for p in pictures])
    weights = np.array(picture_weights(list(pictures)))
    # sqrt(d) brings the entries of a unit vector to a scale of one, where C = 1 is a mild penalty.
    scaled = (f * f.shape[1] ** 0.5).numpy()
    probe = LogisticRegression(max_iter=2000).fit(scaled, labels, sample_weight=weights * len(labels))
    real = _mean(f, weights * (labels == 0))
    found = {"linear probe": torch.from_numpy(probe.coef_[0]), "all generators": _mean(f, weights * labels) - real}
    sizes = Counter(p.group for p in pictures if p.label == 1)
    for group in sorted(g for g, n in sizes.items() if n >= _SMALLEST_GROUP):
        members = np.array([p.label == 1 and p.group == group for p in pictures])
        found[group] = _mean(f, members.astype(float)) - real
    return F.normalize(torch.stack(list(found.values())), dim=1), list(found)


def _mean(f: Tensor, weights: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(weights / weights.sum()) @ f
