"""From a raw score to a probability, and from a probability to a verdict.

One decision rule, stored in the weights (``evaluation.md``, rule 3, in the words of the field): Platt
scaling on out-of-fold scores at a prior of 50:50, a decision point of 0.5, and a band of doubt between two
thresholds that are set by error rates, not by taste.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nsnet_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from sklearn.linear_model import LogisticRegression

GENERATED, REAL, UNCERTAIN = "generated", "real", "uncertain"
MAX_FALSE_POSITIVE_RATE = 0.02
MAX_MISS_RATE = 0.05
# The band's error rates hold in this share of draws of as many groups.
_CONFIDENCE = 0.9
_DRAWS = 400


@dataclass(frozen=True)
class Calibration:
    """``probability = sigmoid(slope * score + offset)``, and the band.

    ``fpr_at_t_high`` is the share of real pictures at or above ``t_high``, ``miss_rate_at_t_low`` that of
    generated ones below ``t_low``, both measured on what the calibration was fitted on (``fitted_on``).
    """

    slope: float
    offset: float
    t_low: float
    t_high: float
    fpr_at_t_high: float
    miss_rate_at_t_low: float
    fitted_on: str

    def probability(self, score: float) -> float:
        """P(generated) at a prior of 50:50 for a raw score (logit)."""
        x = self.slope * score + self.offset
        return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))

    def verdict(self, probability: float, threshold: float | None = None) -> str:
        """``generated``, ``real`` or ``uncertain``; a ``threshold`` replaces the band by one cut."""
        if threshold is not None:
            return GENERATED if probability >= threshold else REAL
        if probability >= self.t_high:
            return GENERATED
        return REAL if probability < self.t_low else UNCERTAIN


def fit_calibration(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64],
    fitted_on: str,
    groups: Sequence[str] | None = None,
) -> Calibration:
    """Fit Platt's two parameters and the band to held-out scores.

    ``scores``, ``labels`` and ``weights`` are ``(n,)``; weights are scaled so that both classes count alike.  With
    ``groups``, the generator or source of each score, the band leaves room for those that nobody has seen: its error
    rates hold in nine of ten draws of as many groups from those there are, not on their mean.  Should the thresholds
    cross (t_low above t_high) both become their mean, and nothing is uncertain.  Raises `UsageError` when a class is
    missing or scores say nothing.
    """
    import numpy as np

    if set(np.unique(labels)) != {0, 1}:
        raise UsageError("calibration needs held-out scores of real and of generated pictures")
    balanced = _balanced(labels, weights)
    slope, offset = fit_platt(scores, labels, weights)
    p = 1.0 / (1.0 + np.exp(-(slope * scores + offset)))
    real, generated = labels == 0, labels == 1
    t_high = _lowest_cut(p[real], balanced[real], MAX_FALSE_POSITIVE_RATE)
    t_low = _highest_cut(p[generated], balanced[generated], MAX_MISS_RATE)
    if groups is not None:
        named = np.array(groups)
        cuts = [_lowest_cut(*drawn, MAX_FALSE_POSITIVE_RATE) for drawn in _draws(p[real], balanced[real], named[real])]
        t_high = max(t_high, float(np.quantile(cuts, _CONFIDENCE)))
        drawn_low = _draws(p[generated], balanced[generated], named[generated])
        t_low = min(t_low, float(np.quantile([_highest_cut(*d, MAX_MISS_RATE) for d in drawn_low], 1 - _CONFIDENCE)))
    if t_low > t_high:
        t_low = t_high = (t_low + t_high) / 2
    return Calibration(
        slope=slope,
        offset=offset,
        t_low=t_low,
        t_high=t_high,
        fpr_at_t_high=float(balanced[real][p[real] >= t_high].sum()),
        miss_rate_at_t_low=float(balanced[generated][p[generated] < t_low].sum()),
        fitted_on=fitted_on,
    )


def fit_platt(
    scores: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and offset of Platt scaling, both classes counted alike.

    Raises `UsageError` where scores do not rise with the label.
    """
    platt = _regression(scores[:, None], labels, _balanced(labels, weights))
    slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    if slope <= 0:
        raise UsageError("held-out scores do not rise with the label: the detector has learnt nothing")
    return slope, offset


def fit_fusion(
    scores: Mapping[str, NDArray[np.float64]], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> dict[str, float]:
    """Shares, summing to one, with which held-out scores of several kinds of view are best added up.

    ``scores`` are ``(n,)`` by kind.  The shares are the weights of a logistic regression on the held-out
    scores, none below zero; one kind alone gets all.
    """
    import numpy as np

    if len(scores) == 1:
        return dict.fromkeys(scores, 1.0)
    fitted = _regression(np.stack(list(scores.values()), axis=1), labels, _balanced(labels, weights))
    shares = fitted.coef_[0].clip(min=0.0)
    if shares.sum() <= 0:
        raise UsageError("held-out scores do not rise with the label: the detector has learnt nothing")
    return {kind: float(share) for kind, share in zip(scores, shares / shares.sum(), strict=True)}


def _balanced(labels: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """``weights`` scaled so that those of each class sum to one."""
    import numpy as np

    balanced = weights.astype(np.float64).copy()
    for label in (0, 1):
        balanced[labels == label] /= balanced[labels == label].sum()
    return balanced


def _regression(
    scores: NDArray[np.float64], labels: NDArray[np.int64], balanced: NDArray[np.float64]
) -> LogisticRegression:
    """Logistic regression of the labels on scores ``(n, k)``, all but unpenalised, as Platt scaling is."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1e6).fit(scores, labels, sample_weight=balanced * len(labels) / 2)


def _draws(
    p: NDArray[np.float64], weights: NDArray[np.float64], groups: NDArray[np.str_]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Probabilities and weights, which sum to one, of as many groups as there are, drawn with replacement."""
    import numpy as np

    names, of = np.unique(groups, return_inverse=True)
    drawn = np.random.default_rng(0)
    for _ in range(_DRAWS):
        times = np.bincount(drawn.integers(0, len(names), len(names)), minlength=len(names))[of]
        yield p[times > 0], (weights * times)[times > 0] / (weights * times).sum()


def _lowest_cut(p: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    """The lowest threshold with at most ``share`` of the weight at or above it."""
    import numpy as np

    order = np.argsort(-p, kind="stable")
    above = np.cumsum(weights[order])
    allowed = int(np.searchsorted(above, share, side="right"))
    values = p[order]
    if allowed >= len(values):
        return float(values[-1])
    return float(np.nextafter(values[allowed], 1.0))


def _highest_cut(p: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    """The highest threshold with at most ``share`` of the weight below it."""
    import numpy as np

    order = np.argsort(p, kind="stable")
    below = np.cumsum(weights[order])
    allowed = int(np.searchsorted(below, share, side="right"))
    return float(p[order][min(allowed, len(p) - 1)])
