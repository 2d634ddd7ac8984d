"""Scores to probabilities to verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from nsnet_cli.errors import UsageError
from nsnet_cli.verdict.calibration import Calibration, fit_calibration, fit_fusion


def scores(n: int, gap: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return rng.normal(size=n) + gap * labels, labels, np.ones(n)


def test_error_rates_behind_the_band_hold_on_what_it_was_fitted_on() -> None:
    s, y, w = scores(4000, 2.0)
    c = fit_calibration(s, y, w, "test")
    p = np.array([c.probability(x) for x in s])
    assert 0.015 < np.mean(p[y == 0] >= c.t_high) <= 0.02
    assert 0.045 < np.mean(p[y == 1] < c.t_low) <= 0.05
    assert c.fpr_at_t_high == pytest.approx(np.mean(p[y == 0] >= c.t_high))
    assert c.miss_rate_at_t_low == pytest.approx(np.mean(p[y == 1] < c.t_low))


def test_the_band_leaves_room_for_sources_unlike_all_others() -> None:
    """Of eighty sources that differ, eighty others may well be worse than the mean of these."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(160), 20)
    labels = groups % 2
    s = 3.0 * labels + rng.normal(size=160)[groups] + 0.5 * rng.normal(size=len(groups))
    of_all = fit_calibration(s, labels, np.ones(len(s)), "test")
    by_group = fit_calibration(s, labels, np.ones(len(s)), "test", [str(g) for g in groups])
    assert by_group.t_low < of_all.t_low and of_all.t_high < by_group.t_high
    assert by_group == fit_calibration(s, labels, np.ones(len(s)), "test", [str(g) for g in groups])

    def accused(cut: float) -> float:
        kept = []
        for seed in range(200):
            others = np.random.default_rng(seed).normal(size=80)
            scores = np.repeat(others, 20) + 0.5 * np.random.default_rng(1000 + seed).normal(size=1600)
            kept.append(np.mean([by_group.probability(x) >= cut for x in scores]) <= 0.02)
        return float(np.mean(kept))

    assert accused(by_group.t_high) > accused(of_all.t_high) + 0.1


def test_probabilities_are_calibrated_at_even_odds_whatever_the_class_sizes() -> None:
    s, y, w = scores(6000, 2.0)
    kept = (y == 1) | (np.arange(len(y)) % 10 == 0)  # five generated for each real
    c = fit_calibration(s[kept], y[kept], w[kept], "test")
    assert c.probability(1.0) == pytest.approx(0.5, abs=0.04)  # half-way between the two means


def test_crossing_thresholds_become_one() -> None:
    s, y, w = scores(2000, 12.0)
    c = fit_calibration(s, y, w, "test")
    assert c.t_low == c.t_high
    assert c.verdict(c.t_low) == "generated" and c.verdict(c.t_low - 1e-9) == "real"


def test_verdicts() -> None:
    c = Calibration(1.0, 0.0, 0.3, 0.8, 0.02, 0.05, "test")
    assert [c.verdict(p) for p in (0.29, 0.3, 0.79, 0.8)] == ["real", "uncertain", "uncertain", "generated"]
    assert [c.verdict(p, threshold=0.5) for p in (0.49, 0.5)] == ["real", "generated"]
    assert c.probability(-800.0) == 0.0 and c.probability(800.0) == 1.0


def test_one_class_or_a_detector_that_learnt_nothing_is_refused() -> None:
    s, y, w = scores(100, 1.0)
    with pytest.raises(UsageError, match="real and of generated"):
        fit_calibration(s, np.zeros_like(y), w, "test")
    with pytest.raises(UsageError, match="do not rise"):
        fit_calibration(-s - 5 * y, y, w, "test")


def test_fusion_trusts_the_kind_that_tells_more() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2000)
    good, poor = labels * 2 + rng.normal(size=2000), labels * 0.5 + rng.normal(size=2000)
    against = -labels + rng.normal(size=2000)
    weights = np.ones(2000)
    shares = fit_fusion({"a": good, "b": poor}, labels, weights)
    assert sum(shares.values()) == pytest.approx(1.0) and shares["a"] > 2 * shares["b"] > 0
    assert fit_fusion({"a": good, "b": against}, labels, weights)["b"] == 0.0
    assert fit_fusion({"a": good}, labels, weights) == {"a": 1.0}
