"""The null space of semantics (NS-Net, arXiv 2508.01248, eq. 2-4).

``A`` holds one CLIP text embedding a row.  Its right singular vectors with a large singular value span
what class labels can say: the semantic subspace.  The rest is its null space, ``{x : A x = 0}`` in the
strict case, and an image feature ``f`` becomes ``f P`` with ``P = N N^T`` = ``I - V V^T``.

With as many labels as dimensions the strict null space is empty, so the rule that says which singular
values count as semantic is a choice; it is stated, stored with the basis and travels with the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
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

    @staticmethod
    def parse(text: str) -> BasisRule:
        """From ``rank=100``, ``energy=0.98`` or ``tolerance=1e-6``.  Raises `UsageError`."""
        name, _, value = text.partition("=")
        if name == "rank" and value.isdigit():
            return BasisRule("rank", float(value))
        try:
            if name == "energy" and 0.0 < float(value) <= 1.0:
                return BasisRule("energy", float(value))
            if name == "tolerance" and float(value) >= 0.0:
                return BasisRule("tolerance", float(value))
        except ValueError:
            pass
        raise UsageError(f"--rule {text}: expected rank=N, energy=SHARE (0 to 1) or tolerance=RATIO")

    def rank(self, singular_values: Tensor) -> int:
        """Number of semantic directions for singular values in falling order, ``(k,)``."""
        if self.name == "rank":
            return min(int(self.value), len(singular_values))
        if self.name == "energy":
            return min(int((energy_share(singular_values) < self.value).sum()) + 1, len(singular_values))
        return int((singular_values > self.value * singular_values[0]).sum())


@dataclass(frozen=True)
class SemanticBasis:
    """An orthonormal basis of the semantic subspace.

    ``vectors`` is ``(rank, d)`` float64, one direction a row; ``singular_values`` ``(k,)`` float64, all of
    them in falling order, the first ``rank`` of which belong to ``vectors``.
    """

    vectors: Tensor
    singular_values: Tensor
    rule: BasisRule

    @property
    def rank(self) -> int:
        return self.vectors.shape[0]

    @property
    def null_dimension(self) -> int:
        """Dimensions that are left once semantics are gone: the trace of the projector."""
        return self.vectors.shape[1] - self.rank

    @property
    def energy(self) -> float:
        """Share of the labels' energy that lies in the semantic subspace."""
        return float(energy_share(self.singular_values)[self.rank - 1])

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
    if labels.ndim != 2 or not len(labels) or not labels.isfinite().all():
        raise UsageError(f"label embeddings must be a finite (n, d) matrix, got shape {tuple(labels.shape)}")
    rows = F.normalize(labels.double(), dim=1)
    _, singular_values, vectors = torch.linalg.svd(rows, full_matrices=False)
    rank = rule.rank(singular_values)
    if not 0 < rank < labels.shape[1]:
        raise UsageError(
            f"rule {rule.name}={rule.value} takes {rank} of {labels.shape[1]} directions as semantic; "
            "the null space would be all or nothing: choose a smaller bound, or fewer labels"
        )
    return SemanticBasis(vectors[:rank].contiguous(), singular_values, rule)


def decouple(embedding: Tensor, vectors: Tensor) -> Tensor:
    """``f P`` of the unit-length embedding ``f`` ``(N, d)``, brought to unit length again, ``(N, d)``.

    ``vectors`` ``(rank, d)`` is the orthonormal basis of what is removed (NS-Net, eq. 4).
    """
    f = F.normalize(embedding, dim=-1)
    return F.normalize(f - (f @ vectors.T) @ vectors, dim=-1)


def energy_share(singular_values: Tensor) -> Tensor:
    """Share of the squared singular values up to and with each, ``(k,)``."""
    squares = singular_values.square()
    return squares.cumsum(0) / squares.sum()


def angles_to_subspace(directions: Tensor, vectors: Tensor) -> Tensor:
    """Angles in degrees between directions ``(m, d)`` and the span of orthonormal ``vectors`` ``(rank, d)``.

    90 means that the projection onto the null space leaves a direction untouched, 0 that it removes it.
    A random direction lies near ``acos(sqrt(rank / d))``: see `random_angle`.
    """
    unit = F.normalize(directions.double(), dim=1)
    inside = (unit @ vectors.double().T).square().sum(1).clamp(0.0, 1.0)
    return torch.rad2deg(torch.acos(inside.sqrt()))


def random_angle(rank: int, dimension: int) -> float:
    """The angle in degrees at which a random direction has its expected share, ``rank / dimension``, inside."""
    return math.degrees(math.acos(math.sqrt(rank / dimension)))
