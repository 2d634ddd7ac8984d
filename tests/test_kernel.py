"""The kernel head: the linear system, and what its features keep of the tower's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsnet_cli.judges.kernel import KernelHead, gaussian_kernel
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.training.kernel import (
    Beside,
    add_gram,
    fit_kernel,
    nystroem_regression,
    ridge_regression,
    smoothing,
    whitened,
)
from nsnet_cli.weights.quantised import held
from nsnet_cli.weights.shapes import KernelConfig, VitConfig

TOWER = VitConfig(width=16, layers=3, heads=2, mlp_width=32, embed_dim=12)
CONFIG = KernelConfig(blocks=(2, 3), dimensions=10, ridge=0.01)


def features(n: int, labels: torch.Tensor, seed: int) -> VitFeatures:
    """Noise, and in the class token of the second block one direction that tells the classes apart."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(n, TOWER.layers, TOWER.width, generator=generator)
    tokens[:, 1, 0] += 8.0 * labels
    return VitFeatures(torch.randn(n, TOWER.embed_dim, generator=generator), tokens)


def semantic() -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.linalg.qr(torch.randn(TOWER.embed_dim, 4, generator=generator))[0].T


def fitted(n: int = 60, views: int = 1) -> tuple[KernelHead, torch.Tensor, dict]:
    labels = torch.arange(n) % 2
    seen = {
        "mosaic": [features(n, labels, 10 + k) for k in range(views)],
        "window": [features(n, labels, 20 + k) for k in range(views)],
    }
    return fit_kernel(TOWER, CONFIG, semantic(), seen, labels.tolist()), labels, seen  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(n=st.integers(2, 20), d=st.integers(1, 6), ridge=st.floats(0.01, 2.0), seed=st.integers(0, 99))
def test_ridge_regression_solves_its_equations(n: int, d: int, ridge: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    targets = torch.randn(n, generator=generator, dtype=torch.float64)
    kernel = gaussian_kernel(x, x, 1.5)
    plain = torch.exp(-0.75 * (x[:, None] - x[None]).square().sum(-1))
    assert torch.allclose(kernel, plain, atol=1e-12)
    a, b = ridge_regression(kernel, targets, ridge)
    assert torch.allclose(kernel @ a + ridge * a + b, targets, atol=1e-8)
    assert float(a.sum()) == pytest.approx(0.0, abs=1e-8)
    each = ridge * (0.5 + torch.rand(n, generator=generator, dtype=torch.float64))
    a, b = ridge_regression(kernel, targets, each)
    assert torch.allclose(kernel @ a + each * a + b, targets, atol=1e-8)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(n=st.integers(3, 12), more=st.integers(0, 12), seed=st.integers(0, 99))
def test_what_is_to_be_met_may_be_more_than_the_anchors(n: int, more: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n + more, 4, generator=generator, dtype=torch.float64)
    targets = torch.randn(n + more, generator=generator, dtype=torch.float64)
    ridge = 0.05 + torch.rand(n + more, generator=generator, dtype=torch.float64)
    among, rows = gaussian_kernel(x[:n], x[:n], 1.5), gaussian_kernel(x, x[:n], 1.5)
    met = zip(rows.split(5), targets.split(5), ridge.split(5), strict=True)  # in parts, as they may come
    a, b = nystroem_regression(among, met)
    if not more:
        assert torch.allclose(
            rows @ a + b, rows @ (same := ridge_regression(among, targets, ridge))[0] + same[1], atol=1e-3
        )

    def cost(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(((rows @ a + b - targets).square() / ridge).sum() + a @ among @ a)

    least = cost(a, b)
    for _ in range(5):
        step = 0.05 * torch.randn(n + 1, generator=generator, dtype=torch.float64)
        assert cost(a + step[:n], b + step[n]) >= least - 1e-6


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 25), st.integers(0, 10))
def test_products_block_by_block_are_the_whole(m: int, n: int, columns: int, seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(m, n)))
    found = torch.eye(n, dtype=torch.float64)
    add_gram(found, x, columns)
    assert torch.allclose(found, torch.eye(n) + x.T @ x, atol=1e-12) and torch.equal(found, found.T)


def test_the_more_those_beside_the_anchors_count_the_better_they_are_met_and_anchors_stay() -> None:
    labels = torch.arange(60) % 2
    seen = {"window": [features(60, labels, 3)]}
    delivered = features(60, labels, 4)
    delivered.class_tokens[:, 1, 0] -= 3.0
    missed, anchors = [], []
    for share in (0.0, 0.1, 1.0, 10.0):
        config = replace(CONFIG, kinds=("window",), ridge=0.5)
        beside = [Beside({"window": [delivered]}, labels.tolist(), smoothing([1.0] * 60, share))] if share else []
        head = fit_kernel(TOWER, config, semantic(), seen, labels.tolist(), beside=beside)  # type: ignore[arg-type]
        said = head.score({"window": [delivered]})
        missed.append(float((said - 8.0 * labels + 4.0).square().mean()))
        anchors.append(head.anchors)
    assert missed == sorted(missed, reverse=True) and missed[-1] < 0.5 * missed[0]
    assert all(torch.equal(anchors[0], others) for others in anchors)


def test_a_picture_that_counts_less_is_met_less_exactly() -> None:
    labels = torch.arange(60) % 2
    seen = {"window": [features(60, labels, 3)]}
    wrong = labels.clone()
    wrong[:2] = 1 - wrong[:2]  # two mislabelled ones

    def said(weight: float) -> torch.Tensor:
        weights = [weight] * 2 + [1.0] * 58
        config = replace(CONFIG, ridge=0.5, kinds=("window",))
        return fit_kernel(TOWER, config, semantic(), seen, wrong.tolist(), 0, weights).score(seen)[:2]  # type: ignore[arg-type]

    assert ((2 * wrong[:2] - 1) * (said(1.0) - said(0.1)) > 0).all()


def test_it_fits_what_it_has_seen_and_tells_apart_what_it_has_not() -> None:
    head, labels, seen = fitted()
    scores = head.score(seen)
    assert ((scores > 0) == (labels > 0)).all()
    others = torch.arange(40) % 2
    unseen = {"mosaic": [features(40, others, 31)], "window": [features(40, others, 32)]}
    found = head.score(unseen)  # type: ignore[arg-type]
    assert ((found > 0) == (others > 0)).float().mean() > 0.9


@settings(max_examples=30, deadline=None, derandomize=True)
@given(k=st.integers(1, 8), power=st.floats(0.0, 0.5), seed=st.integers(0, 99))
def test_whitening_evens_out_what_components_vary_and_keeps_their_sum(k: int, power: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    components = torch.linalg.qr(torch.randn(10, k, generator=generator, dtype=torch.float64))[0]
    variances = torch.logspace(0, -4, k, dtype=torch.float64)
    longer = whitened(components, variances, power).norm(dim=0)
    now = variances * longer.square()
    assert float(now.sum()) == pytest.approx(float(variances.sum()))
    # What was q times as much is q^(1 - 2 power) times as much, so their order stays.
    assert torch.allclose(now / now[0], (variances / variances[0]) ** (1 - 2 * power))


def test_white_anchors_vary_alike_in_all_components_and_without_whitening_as_they_do() -> None:
    labels = torch.arange(200) % 2
    seen = {"window": [features(200, labels, 3)]}

    def spread(power: float) -> float:
        config = replace(CONFIG, kinds=("window",), whitening=power)
        head = fit_kernel(TOWER, config, semantic(), seen, labels.tolist())  # type: ignore[arg-type]
        variances = head.anchors.var(0)
        return float(variances.max() / variances.min())

    assert spread(0.0) > 3.0 > 1.1 > spread(0.5)
    assert spread(0.0) > spread(0.1) > spread(0.3)


def test_far_from_all_anchors_it_says_nothing() -> None:
    head, _, _ = fitted()
    far = head(torch.full((1, head.anchors.shape[1]), 100.0))
    assert float(far) == pytest.approx(float(head.offset))


def test_semantics_change_nothing() -> None:
    head, _, seen = fitted()
    vectors = semantic()
    moved = {
        kind: [VitFeatures(torch.nn.functional.normalize(v.embedding, dim=1), v.class_tokens) for v in views]
        for kind, views in seen.items()
    }
    before = head.score(moved)
    for views in moved.values():
        for view in views:
            # Within the unit sphere's tangent the null-space part keeps its direction, whatever is added to the rest.
            view.embedding.add_(0.7 * vectors[0])
    assert torch.allclose(head.score(moved), before, atol=1e-4)


def test_several_views_of_a_kind_are_averaged_and_pictures_stay_apart() -> None:
    head, _, seen = fitted(views=2)
    both = head.score(seen)
    one = {kind: [views[0].rows(torch.tensor([3])), views[1].rows(torch.tensor([3]))] for kind, views in seen.items()}
    assert float(head.score(one)) == pytest.approx(float(both[3]), abs=1e-4)
    swapped = {kind: views[::-1] for kind, views in seen.items()}
    assert torch.allclose(head.score(swapped), both, atol=1e-5)


def test_what_is_stored_gives_the_same_scores_and_misfits_are_refused() -> None:
    head, _, seen = fitted()
    stored = head.stored()
    assert stored["anchors.columns"].dtype == torch.int8 and stored["anchors.columns"].abs().max() == 63
    assert stored["kinds.window.components"].abs().max() == 127
    whole = {k: torch.from_numpy(np.asarray(v)) for k, v in held({k: v.numpy() for k, v in stored.items()}).items()}
    again = KernelHead.of_state(TOWER, CONFIG, semantic(), ["mosaic", "window"], whole)
    assert torch.allclose(again.score(seen), head.score(seen), atol=1e-5)
    del whole["kinds.window.components"]
    with pytest.raises(RuntimeError, match="lacks tensors"):
        KernelHead.of_state(TOWER, CONFIG, semantic(), ["mosaic", "window"], whole)
