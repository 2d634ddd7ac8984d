"""The null space of semantics (NS-Net, arXiv 2508.01248, eq. 2-4).

``A`` holds one CLIP text embedding a row.  Its right singular vectors with a large singular value span
what class labels can say: the semantic subspace.  The rest is its null space, ``{x : A x = 0}`` in the
strict case, and an image feature ``f`` becomes ``f P`` with ``P = N N^T`` = ``I - V V^T``.

With as many labels as dimensions the strict null space is empty, so the rule that says which singular
values count as semantic is a choice; it is stated, stored with the basis and travels with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nsnet_cli.errors import UsageError

RuleName = Literal["rank", "energy", "tolerance"]


@dataclass(frozen=True)
class BasisRule:
    """Which right singular vectors are semantic.

    ``rank``: the first ``value``.  ``energy``: the fewest whose squared singular values sum to the
    share ``value`` of all.  ``tolerance``: all whose singular value is above ``value`` times the
    largest, which with a tiny ``value`` is the strict null space of the paper.
    """

    name: RuleName
    value: float

    def rank(self, singular_values: Tensor) -> int:
        """Number of semantic directions for singular values in falling order, ``(k,)``."""
        if self.name == "rank":
            return min(int(self.value), len(singular_values))
        if self.name == "energy":
            share = singular_values.square().cumsum(0) / singular_values.square().sum()
            return int((share < self.value).sum()) + 1
        return int((singular_values > self.value * singular_values[0]).sum())


@dataclass(frozen=True)
class SemanticBasis:
    """An orthonormal basis of the semantic subspace, ``vectors`` ``(rank, d)`` float64, one a row."""

    vectors: Tensor
    rule: BasisRule
    energy: float

    @property
    def rank(self) -> int:
        return self.vectors.shape[0]

    @property
    def null_dimension(self) -> int:
        """Dimensions that are left once semantics are gone: the trace of the projector."""
        return self.vectors.shape[1] - self.rank

    def projector(self) -> Tensor:
        """``P = I - V V^T``, ``(d, d)`` float64: symmetric, idempotent, of trace ``null_dimension``."""
        identity = torch.eye(self.vectors.shape[1], dtype=self.vectors.dtype)
        return identity - self.vectors.T @ self.vectors


def semantic_basis(labels: Tensor, rule: BasisRule) -> SemanticBasis:
    """The semantic subspace spanned by label embeddings.

    ``labels`` is ``(n, d)``, one text embedding a row; rows are scaled to unit length first, so that no
    label counts more than another.  They are not centred: the mean label embedding is semantic too
    ("a photo of ...").  Raises `UsageError` when nothing would be left or nothing removed.
    """
    if labels.ndim != 2 or not labels.isfinite().all():
        raise UsageError(f"label embeddings must be a finite (n, d) matrix, got shape {tuple(labels.shape)}")
    rows = torch.nn.functional.normalize(labels.double(), dim=1)
    _, singular_values, vectors = torch.linalg.svd(rows, full_matrices=False)
    rank = rule.rank(singular_values)
    if not 0 < rank < labels.shape[1]:
        raise UsageError(
            f"rule {rule.name}={rule.value} takes {rank} of {labels.shape[1]} directions as semantic; "
            "the null space would be all or nothing: choose a smaller bound, or fewer labels"
        )
    energy = float(singular_values[:rank].square().sum() / singular_values.square().sum())
    return SemanticBasis(vectors[:rank].contiguous(), rule, energy)
