"""``nsnet train``: folds, out-of-fold scores, calibration, the final fit, and the weights file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from nsnet_cli import __version__
from nsnet_cli.disk import sha256_of
from nsnet_cli.errors import UsageError
from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash, read_each_manifest
from nsnet_cli.judges.nullspace import BasisRule, SemanticBasis
from nsnet_cli.judges.semantics import BasisOrigin, load_basis
from nsnet_cli.tower.file import tower_info
from nsnet_cli.training.chains import random_chain_mark
from nsnet_cli.training.directions import artifact_directions
from nsnet_cli.training.fit import Progress
from nsnet_cli.training.fitter import Fitter, Parts, Scores
from nsnet_cli.training.folds import grouped_folds, picture_weights, split_fold
from nsnet_cli.training.recipe import FitConfig
from nsnet_cli.training.record import made_from, made_of, write_held_out
from nsnet_cli.verdict.calibration import Calibration, fit_calibration, fit_fusion, fit_platt
from nsnet_cli.views.plan import fuse, kinds_of, plan_views
from nsnet_cli.weights.file import DIRECTIONS, SEMANTIC, SINGULAR_VALUES, WeightsInfo, save_weights
from nsnet_cli.weights.shapes import SeveralLooks

# Of each class, without which pictures that are looked at in several places get no scale of their own.
_FEWEST = 50


@dataclass(frozen=True)
class TrainRequest:
    """What is trained on what.  ``work`` keeps features, checkpoints, held-out scores and the log of the run.

    ``whole`` are manifests of whole pictures that are scored by the folds and calibrated on, and that the kernel head
    has to meet where they are not left out.
    """

    manifests: tuple[Path, ...]
    labels: Path
    tower: Path
    output: Path
    work: Path
    split: str | None
    rule: BasisRule | None
    fit: FitConfig
    folds: int
    views: int
    precision: str
    device: str
    command: str
    whole: tuple[Path, ...] = ()


class RunLog:
    """A JSONL file of events, appended to, so that a resumed run keeps its history."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def write(self, **event: object) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def train(request: TrainRequest, report: Callable[[str, Progress], None]) -> WeightsInfo:
    """Train, calibrate out of fold and write the weights; the metadata written is returned.

    What takes long leaves its result in ``request.work`` and is not repeated; a killed run goes on from
    there.  Pictures of other splits are never read.
    """
    before = torch.get_float32_matmul_precision()
    if request.device != "cpu":
        torch.set_float32_matmul_precision("high")  # TF32, as exact as the half precision in which features are kept
    try:
        return _train(request, report)
    finally:
        torch.set_float32_matmul_precision(before)


def _train(request: TrainRequest, report: Callable[[str, Progress], None]) -> WeightsInfo:
    of_crops, of_whole = (read_each_manifest(paths, request.split) for paths in (request.manifests, request.whole))
    pictures, whole = list(chain.from_iterable(of_crops)), list(chain.from_iterable(of_whole))
    # Of what was read: the files may have changed when the weights are written hours later.
    manifests = [manifest_hash(part) for part in (*of_crops, *of_whole)]
    log = RunLog(request.work / "log.jsonl")
    log.write(event="start", version=__version__, command=request.command, pictures=len(pictures), whole=len(whole))
    basis, origin = load_basis(request.labels, request.rule)
    fold_of = grouped_folds([*pictures, *whole], request.folds)
    _check(request, pictures, whole, basis, origin, fold_of)

    def note(name: str, progress: Progress) -> None:
        report(name, progress)
        if progress.loss is None or progress.step % 10 == 0 or progress.step == progress.steps:
            log.write(event="step", run=name, **asdict(progress))

    fitter = Fitter(
        tower_path=request.tower,
        pictures=pictures,
        semantic=basis.vectors,
        config=request.fit,
        views=request.views,
        precision=request.precision,
        device=request.device,
        work=request.work,
        note=note,
        whole=whole,
    )
    scores: Scores = {}
    for fold in range(request.folds):
        found = fitter.held_out(f"fold-{fold}", _split(pictures, whole, fold_of, fold))
        for judge in fitter.judges:
            log.write(
                event="held_out", fold=fold, kind=judge, **_quality(pictures, {n: s[judge] for n, s in found.items()})
            )
        scores |= found
    everything = range(len(pictures))
    several_of = fitter.of_several_looks()
    fusion, several, calibration = _calibrate(request, pictures, whole, several_of, scores, fold_of, log)
    fitted = fitter.fit("final", everything, range(len(whole)))
    shown = fitter.some_of(everything)
    directions, names = artifact_directions(fitter.embeddings(fitted.tower, shown), [pictures[i] for i in shown])
    tensors = {f"head.{k}": v for k, v in fitted.heads.stored().items()}
    if fitted.kernel is not None:
        tensors |= {f"kernel.{k}": v for k, v in fitted.kernel.stored().items()}
    tensors |= {f"tower.{k}": v for k, v in fitted.tower.adapted_state().items()}
    tensors |= {SEMANTIC: basis.vectors.float(), SINGULAR_VALUES: basis.singular_values.float()}
    tensors |= {DIRECTIONS: directions.half()}  # unit vectors, which are only measured angles of
    info = _describe(request, manifests, pictures, whole, basis, origin, names, fusion, several, calibration)
    save_weights(request.output, {k: v.cpu() for k, v in tensors.items()}, info)
    log.write(event="written", output=request.output.name, sha256=sha256_of(request.output))
    return info


def _split(pictures: list[LabelledPicture], whole: list[LabelledPicture], fold_of: list[int], fold: int) -> Parts:
    """Who is learnt from where a ``fold`` is left out, and who is in it, whole pictures by the same rule."""
    inside, outside = split_fold([*pictures, *whole], fold_of, fold)
    n = len(pictures)
    return Parts(
        [i for i in inside if i < n],
        [i for i in outside if i < n],
        [i - n for i in inside if i >= n],
        [i - n for i in outside if i >= n],
    )


def _check(
    request: TrainRequest,
    pictures: list[LabelledPicture],
    whole: list[LabelledPicture],
    basis: SemanticBasis,
    origin: BasisOrigin,
    fold_of: list[int],
) -> None:
    """Refuse at once what would fail, or quietly do something else, after an hour of features."""
    fit, seeing = request.fit, tower_info(request.tower)
    tower = seeing.config
    kinds = kinds_of(plan_views(fit.selection, request.views))
    phases = [fit.probe] if fit.adaptation.frozen else [fit.probe, fit.tune]
    across = math.isqrt(tower.tokens)
    wrong = None
    if origin.space not in ("", seeing.name):
        wrong = f"the semantics are those of {origin.space}, the tower is {seeing.name}; give --labels of that one"
    elif basis.vectors.shape[1] != tower.embed_dim:
        wrong = f"labels of {basis.vectors.shape[1]} dimensions do not fit a tower of {tower.embed_dim}"
    elif not all(1 <= block <= tower.layers for block in fit.head.blocks):
        wrong = f"--blocks must lie within 1-{tower.layers}"
    elif fit.kernel is not None and not all(1 <= block <= tower.layers for block in fit.kernel.blocks):
        wrong = f"the kernel head looks at blocks that a tower of {tower.layers} has not; give --no-kernel"
    elif not fit.adaptation.frozen and not 1 <= fit.adaptation.first_block <= fit.adaptation.last_block <= tower.layers:
        wrong = f"--tuned-blocks must lie within 1-{tower.layers}"
    elif fit.kernel is not None and not fit.kernel.looked_at(kinds):
        wrong = "the kernel head is for a kind of view that there is none of; see --kernel-views"
    elif not fit.adaptation.frozen and not any(map(fit.adaptation.of, kinds)):
        wrong = "the tower is tuned for a kind of view that there is none of; see --tuned-views"
    elif fit.selection.window and request.views < 2:
        wrong = "--views 1 has no window; give --views 2, or --window 0 for mosaics alone"
    elif any(phase.batch % 2 or phase.steps < 1 for phase in phases):
        wrong = "batches must be even, and samples at least one batch"
    elif fit.tune.keep < 1.0 and across % fit.selection.grid:
        wrong = f"--keep needs a tower whose {across} tokens a side are a multiple of {fit.selection.grid}"
    elif not fit.head.of(kinds) and fit.kernel is None:
        wrong = "no kind of view there is has a judge; see --head-views"
    elif not fit.adaptation.frozen and not any(map(fit.adaptation.of, fit.head.of(kinds))):
        wrong = "the tower is tuned for views that have no contrastive head to tune it; see --head-views"
    elif whole and not fit.adaptation.frozen:
        wrong = "--whole is for a tower that stays frozen"
    elif {p.name for p in whole} & {p.name for p in pictures}:
        wrong = "--whole and the manifests name the same pictures; each is an anchor or met beside them"
    if wrong is not None:
        raise UsageError(wrong)
    for fold in range(request.folds):
        parts = _split(pictures, whole, fold_of, fold)
        for where, those in (("outside of", parts.inside), ("in", parts.outside)):
            labels = {pictures[i].label for i in those}
            if labels != {0, 1}:
                raise UsageError(
                    f"too few generators or sources for {request.folds} folds: no pictures of one class {where} "
                    f"fold {fold}; give fewer --folds, or pictures of more of them"
                )


def _calibrate(
    request: TrainRequest,
    pictures: list[LabelledPicture],
    whole: list[LabelledPicture],
    several_of: set[str],
    scores: Scores,
    fold_of: list[int],
    log: RunLog,
) -> tuple[dict[str, float], SeveralLooks, Calibration]:
    """How the judges are weighed, what a look at several places changes, and the calibration of the sum.

    All from scores of held-out folds, which are kept as ``held_out.jsonl``.  A judge is the contrastive head of a kind
    of view, or the kernel head; ``several_of`` names the pictures that were looked at in several places.
    """
    scored = [p for p in (*pictures, *whole) if p.name in scores]
    labels, weights = np.array([p.label for p in scored]), np.array(picture_weights(scored))
    judges = list(scores[scored[0].name])
    fusion = fit_fusion({k: np.array([scores[p.name][k] for p in scored]) for k in judges}, labels, weights)
    fused = {p.name: fuse({k: [v] for k, v in scores[p.name].items()}, fusion) for p in scored}
    fitted_on = (
        f"{len(scored)} out-of-fold scores of {request.folds} grouped folds within {request.split or 'the manifest'}"
        + (f", {len(whole)} of them of whole pictures" if whole else "")
    )
    several = _fit_several(scored, several_of, fused)
    fused |= {name: several.of(fused[name]) for name in several_of & fused.keys()}
    values = np.array([fused[p.name] for p in scored])
    folds = {p.name: fold for p, fold in zip((*pictures, *whole), fold_of, strict=True)}
    write_held_out(
        request.work / "held_out.jsonl",
        (
            {
                "name": p.name,
                "label": p.label,
                "group": p.group,
                "fold": folds[p.name],
                "judges": scores[p.name],
                "score": fused[p.name],
            }
            for p in scored
        ),
    )
    calibration = fit_calibration(values, labels, weights, fitted_on, [p.group for p in scored])
    for fold in range(request.folds):
        left_out = _split(pictures, whole, fold_of, fold).outside
        inside = {pictures[i].name: fused[pictures[i].name] for i in left_out if pictures[i].name in fused}
        log.write(event="held_out", fold=fold, kind="all", **_quality(pictures, inside))
    if whole:
        log.write(event="held_out", kind="whole pictures", **_quality(whole, fused))
    log.write(
        event="calibration", fusion=fusion, several=asdict(several), **asdict(calibration), **_quality(pictures, fused)
    )
    return fusion, several, calibration


def _fit_several(scored: list[LabelledPicture], several_of: set[str], fused: dict[str, float]) -> SeveralLooks:
    """From the odds that held-out scores stand for, of pictures looked at in one place and of those in several."""
    lines = []
    for there in (False, True):
        few = [p for p in scored if (p.name in several_of) == there]
        if min(sum(p.label == label for p in few) for label in (0, 1)) < _FEWEST:
            return SeveralLooks()
        labels, weights = np.array([p.label for p in few]), np.array(picture_weights(few))
        lines.append(fit_platt(np.array([fused[p.name] for p in few]), labels, weights))
    (slope, offset), (slope_of_several, offset_of_several) = lines
    return SeveralLooks(slope_of_several / slope, (offset_of_several - offset) / slope)


def _quality(pictures: list[LabelledPicture], scores: dict[str, float]) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    scored = [p for p in pictures if p.name in scores]
    labels, values = [p.label for p in scored], [scores[p.name] for p in scored]
    if len(set(labels)) < 2:
        return {"pictures": len(scored)}
    weights = picture_weights(scored)
    return {
        "pictures": len(scored),
        "auc": round(float(roc_auc_score(labels, values)), 4),
        "auc_groups_even": round(float(roc_auc_score(labels, values, sample_weight=weights)), 4),
    }


def _describe(
    request: TrainRequest,
    manifests: list[str],
    pictures: list[LabelledPicture],
    whole: list[LabelledPicture],
    basis: SemanticBasis,
    origin: BasisOrigin,
    directions: list[str],
    fusion: dict[str, float],
    several: SeveralLooks,
    calibration: Calibration,
) -> WeightsInfo:
    config = request.fit
    tower = tower_info(request.tower)
    return WeightsInfo(
        name=request.output.stem,
        tower=request.tower.stem,
        tower_sha256=sha256_of(request.tower),
        selection=config.selection,
        head=config.head,
        kernel=config.kernel,
        adaptation=config.adaptation,
        basis={
            "rule": basis.rule.name,
            "value": basis.rule.value,
            "rank": basis.rank,
            "null_dimension": basis.null_dimension,
            "energy": basis.energy,
            "labels": origin.labels,
            "labels_sha256": origin.labels_sha256,
            "space": tower.name,
            "directions": directions,
        },
        views=request.views,
        fusion=fusion,
        several=several,
        calibration=calibration,
        training={
            **made_from(pictures, request.command, request.precision, request.device),
            "fit": asdict(config),
            "manifests_sha256": manifests,
            "whole": made_of(whole) if whole else None,
            "deliveries": random_chain_mark() if config.augment else None,
        },
        licence="MIT",
    )
