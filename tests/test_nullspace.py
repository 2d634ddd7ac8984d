"""The maths of the null space, as properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nsnet_cli.errors import UsageError
from nsnet_cli.judges import on_numpy
from nsnet_cli.judges.nullspace import BasisRule, decouple, semantic_basis


def labels(n: int, d: int, rank: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.randn(n, rank, generator=generator, dtype=torch.float64)
    return low @ torch.randn(rank, d, generator=generator, dtype=torch.float64)


@settings(deadline=None, max_examples=40)
@example(n=7, d=8, rank=6, seed=7)
@given(n=st.integers(3, 40), d=st.integers(8, 48), rank=st.integers(1, 7), seed=st.integers(0, 10_000))
def test_projector_is_symmetric_idempotent_and_of_the_stated_rank(n: int, d: int, rank: int, seed: int) -> None:
    basis = semantic_basis(labels(n, d, 8, seed), BasisRule("rank", min(rank, n)))
    p = basis.projector()
    assert torch.allclose(p, p.T, atol=1e-12)
    assert torch.allclose(p @ p, p, atol=1e-10)
    assert p.trace().item() == pytest.approx(basis.null_dimension, abs=1e-8)
    # Eigenvalues are 0 or 1; the default cut of 2e-15 would count rounding noise of the zeros.
    assert torch.linalg.matrix_rank(p, atol=1e-10).item() == basis.null_dimension
    assert basis.rank + basis.null_dimension == d


@settings(deadline=None, max_examples=40)
@given(n=st.integers(3, 40), d=st.integers(10, 48), rank=st.integers(1, 7), seed=st.integers(0, 10_000))
def test_strict_rule_leaves_nothing_of_any_label(n: int, d: int, rank: int, seed: int) -> None:
    a = labels(n, d, rank, seed)
    basis = semantic_basis(a, BasisRule("tolerance", 1e-10))
    assert basis.rank == min(n, rank)
    assert (a @ basis.projector()).abs().max() < 1e-8 * a.abs().max()
    assert basis.energy == pytest.approx(1.0)


def test_energy_rule_takes_the_fewest_directions_that_reach_the_share() -> None:
    a = labels(30, 20, 10, 3)
    basis = semantic_basis(a, BasisRule("energy", 0.9))
    fewer = semantic_basis(a, BasisRule("rank", basis.rank - 1))
    assert fewer.energy < 0.9 <= basis.energy


def test_length_of_a_label_embedding_does_not_matter() -> None:
    a = labels(6, 20, 6, 4)
    scaled = a * torch.tensor([1.0, 5.0, 0.1, 2.0, 9.0, 0.5])[:, None]
    p, q = (semantic_basis(x, BasisRule("rank", 3)).projector() for x in (a, scaled))
    assert torch.allclose(p, q, atol=1e-10)


@pytest.mark.parametrize("rule", [BasisRule("rank", 0), BasisRule("tolerance", 0.0)])
def test_an_empty_or_full_null_space_is_refused(rule: BasisRule) -> None:
    with pytest.raises(UsageError, match="null space would be all or nothing"):
        semantic_basis(torch.randn(64, 16, generator=torch.Generator().manual_seed(0)), rule)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 5), d=st.integers(10, 48), rank=st.integers(1, 7), seed=st.integers(0, 10_000))
def test_numpy_and_pytorch_project_alike(n: int, d: int, rank: int, seed: int) -> None:
    vectors = semantic_basis(labels(12, d, 8, seed), BasisRule("rank", rank)).vectors.float()
    embedding = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    trained, applied = decouple(embedding, vectors), on_numpy.decouple(embedding.numpy(), vectors.numpy())
    assert applied == pytest.approx(trained.numpy(), abs=1e-5)
    assert np.abs(applied @ vectors.numpy().T).max() < 1e-5
