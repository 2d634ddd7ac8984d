"""Judges of an ablation, and what their scores are worth: held-out AUC, and its change with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.judges.head import NullSpaceHead
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.training.fit import fit_head, score_features
from nsnet_cli.training.folds import grouped_folds, lineage
from nsnet_cli.training.kernel import ridge_regression
from nsnet_cli.training.recipe import FitConfig
from nsnet_cli.weights.shapes import HeadConfig, VitConfig

Scores = NDArray[np.float64]
# Shares of the mean square length of the pictures' features.
_RIDGES = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
_DRAWN = 1_000


@dataclass(frozen=True)
class Found:
    """What an arm reached: AUC, the mean over folds (and seeds), and its standard deviation over folds.

    ``change`` is the difference from the arm that it is compared with, ``low`` to ``high`` its 90 % interval when
    whole lineages of generators and sources are drawn anew.
    """

    auc: float
    spread: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None


class Study:
    """Labelled pictures in grouped folds, whole lineages on one side; what all arms share."""

    def __init__(self, pictures: Sequence[LabelledPicture], fold_of: Sequence[int]) -> None:
        self.pictures, self.fold_of = list(pictures), np.array(fold_of)
        self.folds: list[int] = sorted(set(fold_of))
        self.labels = np.array([p.label for p in pictures])

    @classmethod
    def grouped(cls, pictures: Sequence[LabelledPicture], folds: int) -> Study:
        return cls(pictures, grouped_folds(list(pictures), folds))

    def only(self, mask: NDArray[np.bool_]) -> Study:
        """The study of some of the pictures, in the folds that they were in."""
        pictures = [p for p, there in zip(self.pictures, mask, strict=True) if there]
        return Study(pictures, self.fold_of[mask].tolist())

    def inside(self, fold: int) -> NDArray[np.intp]:
        return np.flatnonzero(self.fold_of != fold)

    def outside(self, fold: int) -> NDArray[np.intp]:
        return np.flatnonzero(self.fold_of == fold)

    def auc(self, scores: Scores) -> NDArray[np.float64]:
        """AUC of each fold, ``(folds,)``."""
        held_out = [self.outside(fold) for fold in self.folds]
        return np.array([_auc(self.labels[rows], scores[rows]) for rows in held_out])

    def compare(self, arms: Mapping[str, Sequence[Scores]], baseline: str) -> dict[str, Found]:
        """What each arm reached.  An arm has the scores of each of its seeds."""
        of_fold = {name: np.mean([self.auc(s) for s in seeds], axis=0) for name, seeds in arms.items()}
        drawn = {name: np.array([self._drawn_auc(s) for s in seeds]).mean(0) for name, seeds in arms.items()}
        found = {}
        for name, auc in of_fold.items():
            spread = _round(auc.std(ddof=1)) if len(auc) > 1 else None
            if name == baseline:
                found[name] = Found(_round(auc.mean()), spread)
                continue
            low, high = np.quantile(drawn[name] - drawn[baseline], [0.05, 0.95])
            change = _round((auc - of_fold[baseline]).mean())
            found[name] = Found(_round(auc.mean()), spread, change, _round(low), _round(high))
        return found

    @cached_property
    def _draws(self) -> NDArray[np.float64]:
        """How often each picture counts in each draw of lineages, ``(draws, n)``; alike for all arms."""
        names = [lineage(p.group, p.label) for p in self.pictures]
        order = {name: k for k, name in enumerate(dict.fromkeys(names))}
        which = np.array([order[name] for name in names])
        rng = np.random.default_rng(0)
        draws = [np.bincount(rng.integers(0, len(order), len(order)), minlength=len(order)) for _ in range(_DRAWN)]
        return np.array(draws, dtype=np.float64)[:, which]

    def _drawn_auc(self, scores: Scores) -> NDArray[np.float64]:
        """Mean AUC over folds in each draw, ``(draws,)``; folds that lost a class are left out of a draw's mean."""
        total, there = np.zeros(_DRAWN), np.zeros(_DRAWN)
        for fold in self.folds:
            rows = self.outside(fold)
            made, real = rows[self.labels[rows] == 1], rows[self.labels[rows] == 0]
            above = np.sign(scores[made][:, None] - scores[real]) / 2 + 0.5
            w_made, w_real = self._draws[:, made], self._draws[:, real]
            pairs = w_made.sum(1) * w_real.sum(1)
            right = np.einsum("dm,mr,dr->d", w_made, above, w_real, optimize=True)
            total += np.divide(right, pairs, out=np.zeros(_DRAWN), where=pairs > 0)
            there += pairs > 0
        return total / there


def probe(study: Study, x: Tensor) -> Scores:
    """Held-out scores ``(n,)`` of a linear probe on features ``x`` ``(n, d)``.

    Ridge regression on targets of plus and minus one, without a random number in it.  The ridge of each fold is that
    which does best by the other folds, one of them held out in turn, so that arms of any dimension meet on even terms.
    """
    gram = _gram(x, x)
    scores = np.zeros(len(x))
    for fold in study.folds:
        others = [k for k in study.folds if k != fold]
        ridge = max(_RIDGES, key=lambda r: np.mean([_tried(study, gram, r, (fold, k)) for k in others]))
        scores[study.outside(fold)] = _ridge(study, gram, ridge, study.inside(fold), study.outside(fold))
    return scores


def probe_elsewhere(study: Study, x: Tensor, elsewhere: Tensor) -> Scores:
    """Scores of other pictures ``elsewhere`` ``(m, d)`` by the same probe, fitted on all of the study."""
    gram = _gram(x, x)
    ridge = max(_RIDGES, key=lambda r: np.mean([_tried(study, gram, r, (k,)) for k in study.folds]))
    targets = torch.from_numpy(2.0 * study.labels - 1.0)
    coefficients, offset = ridge_regression(gram, targets, ridge * float(gram.diagonal().mean()))
    return (_gram(elsewhere, x) @ coefficients + offset).numpy()


def train_heads(
    study: Study,
    features: VitFeatures,
    semantic: Tensor,
    config: FitConfig,
    blocks: tuple[int, ...],
    seeds: int,
) -> list[Scores]:
    """Held-out scores of NS-Net's head on frozen features, for each of ``seeds``; no delivery, no kernel."""
    found = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a head is small: threads would wait for each other
    for seed in range(seeds):
        scores = np.zeros(len(study.pictures))
        for fold in study.folds:
            torch.manual_seed(seed)
            head = NullSpaceHead(VitConfig(), HeadConfig(blocks=blocks), semantic)
            inside, outside = study.inside(fold).tolist(), torch.from_numpy(study.outside(fold))
            fit_head(head, [features], study.pictures, inside, replace(config, seed=seed))
            scores[outside.numpy()] = score_features(head, [features.rows(outside)])
        found.append(scores)
    torch.set_num_threads(threads)
    return found


def _gram(a: Tensor, b: Tensor) -> Tensor:
    return a.double() @ b.double().T


def _tried(study: Study, gram: Tensor, ridge: float, left_out: tuple[int, ...]) -> float:
    """AUC of the last of the folds ``left_out`` by a fit on all others."""
    inside = np.flatnonzero(~np.isin(study.fold_of, left_out))
    outside = study.outside(left_out[-1])
    return _auc(study.labels[outside], _ridge(study, gram, ridge, inside, outside))


def _ridge(
    study: Study, gram: Tensor, ridge: float, inside: NDArray[np.intp], outside: NDArray[np.intp]
) -> NDArray[np.float64]:
    targets = torch.from_numpy(2.0 * study.labels[inside] - 1.0)
    square = gram[inside][:, inside]
    coefficients, offset = ridge_regression(square, targets, ridge * float(square.diagonal().mean()))
    return (gram[outside][:, inside] @ coefficients + offset).numpy()


def _auc(labels: NDArray[np.int64], scores: Scores) -> float:
    return float(roc_auc_score(labels, scores))


def _round(value: float) -> float:
    return round(float(value), 4)
