"""Figures of one set of scored pictures.  Point values are scikit-learn's; intervals are Wilson's or bootstrap.

Label 1 is generated, and a higher probability means more likely generated.  A picture without a score
counts against the detector: it is given the worst probability that there is for its label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from nsnet_cli.evaluation.predictions import Prediction
from nsnet_cli.verdict.calibration import GENERATED, REAL
from nsnet_cli.verdict.rates import Interval, wilson

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DECISION = 0.5
ECE_BINS = 15
_RESAMPLES = 200


@dataclass(frozen=True)
class Scored:
    """Labels ``(n,)``, probabilities ``(n,)`` with the worst value where one is missing, and verdicts.

    ``decided`` and ``right`` are None where the detector gives no verdicts.
    """

    labels: IntArray
    probabilities: FloatArray
    missing: NDArray[np.bool_]
    decided: NDArray[np.bool_] | None
    right: NDArray[np.bool_] | None

    @classmethod
    def of(cls, labels: Sequence[int], predictions: Sequence[Prediction]) -> Scored:
        y = np.array(labels, dtype=np.int64)
        p = np.array(
            [
                1.0 - label if q.probability is None else q.probability
                for label, q in zip(labels, predictions, strict=True)
            ],
            dtype=np.float64,
        )
        lacking = np.array([q.probability is None for q in predictions], dtype=bool)
        if all(q.verdict is None for q in predictions):
            return cls(y, p, lacking, None, None)
        verdicts = np.array([q.verdict or "" for q in predictions])
        decided = np.isin(verdicts, [GENERATED, REAL])
        return cls(y, p, lacking, decided, decided & ((verdicts == GENERATED) == (y == 1)))

    @property
    def ranking(self) -> FloatArray:
        """Probabilities for ranking, ``(n,)``: a missing one ranks behind even the surest wrong one."""
        return np.where(self.missing, np.where(self.labels == 1, -1.0, 2.0), self.probabilities)

    def take(self, mask: NDArray[np.bool_]) -> Scored:
        """The pictures in ``mask``, ``(n,)`` bool."""
        return Scored(
            self.labels[mask],
            self.probabilities[mask],
            self.missing[mask],
            None if self.decided is None else self.decided[mask],
            None if self.right is None else self.right[mask],
        )


@dataclass(frozen=True)
class Figures:
    """Figures of one set.  None where the set does not allow them: one class only, no verdicts.

    ``r_acc`` and ``f_acc`` are the shares of real and of generated pictures on their side of 0.5,
    ``bacc`` their mean.  ``decided_accuracy`` is the share right among those with a verdict other than
    uncertain, ``false_alarms`` that of real pictures called generated, ``misses`` the reverse.
    """

    pictures: int
    real: int
    generated: int
    missing: int
    r_acc: float | None
    f_acc: float | None
    bacc: float | None
    auc: float | None
    ap: float | None
    tpr_at_1: float | None
    tpr_at_5: float | None
    ece: float | None
    coverage: float | None
    decided_accuracy: float | None
    false_alarms: float | None
    misses: float | None
    intervals: dict[str, Interval]


def figures(scored: Scored, resamples: int = _RESAMPLES) -> Figures:
    """All figures of ``scored``.  ``resamples`` 0 leaves the bootstrap intervals out."""
    y, p, ranking = scored.labels, scored.probabilities, scored.ranking
    real, fake = y == 0, y == 1
    both = bool(real.any() and fake.any())
    called = p >= DECISION
    r_acc, f_acc = _share(~called[real]), _share(called[fake])
    intervals: dict[str, Interval] = {}
    for name, hits in (("r_acc", ~called[real]), ("f_acc", called[fake])):
        if len(hits):
            intervals[name] = wilson(int(hits.sum()), len(hits))
    decided, right = scored.decided, scored.right
    if decided is not None and len(decided):
        intervals["coverage"] = wilson(int(decided.sum()), len(decided))
        if right is not None and decided.any():
            intervals["decided_accuracy"] = wilson(int(right.sum()), int(decided.sum()))
    if both and resamples:
        intervals |= _bootstrap(y, ranking, resamples)
    alarms = None if decided is None or right is None else decided & ~right
    return Figures(
        pictures=len(y),
        real=int(real.sum()),
        generated=int(fake.sum()),
        missing=int(scored.missing.sum()),
        r_acc=r_acc,
        f_acc=f_acc,
        bacc=None if r_acc is None or f_acc is None else (r_acc + f_acc) / 2,
        auc=float(roc_auc_score(y, ranking)) if both else None,
        ap=float(average_precision_score(y, ranking)) if both else None,
        tpr_at_1=tpr_at(y, ranking, 0.01) if both else None,
        tpr_at_5=tpr_at(y, ranking, 0.05) if both else None,
        ece=balanced_ece(y, p) if both else None,
        coverage=None if decided is None else _share(decided),
        decided_accuracy=None if decided is None or right is None else _share(right[decided]),
        false_alarms=None if alarms is None else _share(alarms[real]),
        misses=None if alarms is None else _share(alarms[fake]),
        intervals=intervals,
    )


def tpr_at(y: IntArray, p: FloatArray, limit: float) -> float:
    """The highest true-positive rate at a false-positive rate of at most ``limit``."""
    fpr, tpr, _ = roc_curve(y, p, drop_intermediate=False)
    return float(tpr[fpr <= limit].max())


def balanced_ece(y: IntArray, p: FloatArray, bins: int = ECE_BINS) -> float:
    """Expected calibration error with both classes weighed equally, over ``bins`` of equal width.

    The sum over bins of weight times the distance between mean probability and share of generated.
    """
    return sum(weight * abs(mean - share) for weight, mean, share in reliability(y, p, bins))


def reliability(y: IntArray, p: FloatArray, bins: int = ECE_BINS) -> list[tuple[float, float, float]]:
    """Weight, mean probability and share of generated of each bin that is not empty, classes weighed equally."""
    weights = np.where(y == 1, 0.5 / max(1, (y == 1).sum()), 0.5 / max(1, (y == 0).sum()))
    place = np.minimum((p * bins).astype(int), bins - 1)
    out = []
    for k in range(bins):
        inside = place == k
        weight = float(weights[inside].sum())
        if weight > 0:
            mean = float((weights * p)[inside].sum()) / weight
            out.append((weight, mean, float(weights[inside & (y == 1)].sum()) / weight))
    return out


def risk_coverage(y: IntArray, p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coverage and error rate when only the surest pictures (farthest from 0.5) are decided, surest first."""
    order = np.argsort(-np.abs(p - DECISION), kind="stable")
    wrong = ((p >= DECISION) != (y == 1))[order]
    n = np.arange(1, len(y) + 1)
    return n / len(y), np.cumsum(wrong) / n


def _share(hits: NDArray[np.bool_]) -> float | None:
    return float(hits.mean()) if len(hits) else None


def auc_resamples(y: IntArray, p: FloatArray, resamples: int = _RESAMPLES) -> FloatArray:
    """AUC of ``resamples`` bootstrap samples, ``(resamples,)``.

    Of two detectors on the same pictures in the same order the same samples are drawn, so that their
    difference is one of pairs.
    """
    return np.array([_area(*curve) for curve in _resampled_rates(y, _places(p)[1], resamples)])


def _bootstrap(y: IntArray, p: FloatArray, resamples: int) -> dict[str, Interval]:
    """Percentile intervals over pictures drawn anew within each class, always the same ones."""
    values, place = _places(p)
    called = int((-values >= DECISION).sum())
    hits: dict[str, list[float]] = {"auc": [], "bacc": [], "tpr_at_1": [], "tpr_at_5": []}
    for fpr, tpr in _resampled_rates(y, place, resamples):
        hits["auc"].append(_area(fpr, tpr))
        hits["bacc"].append((float(tpr[called]) + 1.0 - float(fpr[called])) / 2)
        for name, limit in (("tpr_at_1", 0.01), ("tpr_at_5", 0.05)):
            hits[name].append(float(tpr[int(np.searchsorted(fpr, limit, side="right")) - 1]))
    return {
        name: Interval(float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975)))
        for name, found in hits.items()
    }


def _places(p: FloatArray) -> tuple[FloatArray, IntArray]:
    """Distinct values of ``-p``, from the highest probability down, and the place of each picture among them."""
    values, place = np.unique(-p, return_inverse=True)
    return values, place


def _resampled_rates(y: IntArray, place: IntArray, resamples: int) -> Iterator[tuple[FloatArray, FloatArray]]:
    """False- and true-positive rates, from no picture called to all, of pictures drawn anew within each class.

    Drawing anew is done by counts on the sorted scores, so that a resample costs one cumulative sum.
    """
    rng = np.random.default_rng(0)
    distinct = int(place.max()) + 1
    sides = [place[y == label] for label in (0, 1)]
    for _ in range(resamples):
        above = []
        for side in sides:
            drawn = np.bincount(side[rng.integers(0, len(side), len(side))], minlength=distinct)
            above.append(np.concatenate([[0.0], np.cumsum(drawn) / len(side)]))
        yield above[0], above[1]


def _area(fpr: FloatArray, tpr: FloatArray) -> float:
    return float(np.trapezoid(tpr, fpr))
