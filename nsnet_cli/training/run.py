"""``nsnet train``: folds, out-of-fold scores, calibration, the final fit, and the weights file."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nsnet_cli import __version__
from nsnet_cli.calibration import Calibration, fit_calibration
from nsnet_cli.decode import pixels_to_tensor
from nsnet_cli.errors import UsageError
from nsnet_cli.head import NullSpaceHead
from nsnet_cli.nullspace import BasisRule, SemanticBasis, semantic_basis
from nsnet_cli.preprocess import Normaliser
from nsnet_cli.safefile import sha256_of
from nsnet_cli.selection import SelectionRecipe, build_mosaic, cut_patches, select_patches
from nsnet_cli.tower import load_tower, tower_info
from nsnet_cli.training.features import frozen_features
from nsnet_cli.training.fit import FitConfig, Progress, fit, fit_frozen, frozen_renderings, score_frozen
from nsnet_cli.training.manifest import (
    LabelledPicture,
    grouped_folds,
    manifest_hash,
    picture_weights,
    read_manifest,
)
from nsnet_cli.vit import VisionTransformer, VitFeatures
from nsnet_cli.weights import LoraShape, WeightsInfo, save_weights

# More pictures of one group say little new about its scores, and scoring them is what takes the time.
_HELD_OUT_PER_GROUP = 40
_SCORE_BATCH = 8


@dataclass(frozen=True)
class TrainRequest:
    """What is trained on what.  ``work`` keeps checkpoints, held-out scores and the log of the run."""

    manifest: Path
    labels: Path
    tower: Path
    output: Path
    work: Path
    split: str | None
    rule: BasisRule
    fit: FitConfig
    fold_samples: int
    folds: int
    views: int
    precision: str
    device: str
    command: str


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

    Every stage leaves its result in ``request.work`` and is not repeated; a killed run goes on from its
    last checkpoint.  Pictures of other splits are never read.
    """
    pictures = read_manifest(request.manifest, request.split)
    missing = [p.name for p in pictures if not p.path.is_file()]
    if missing:
        raise UsageError(f"{request.manifest}: {len(missing)} pictures are not there, the first is {missing[0]}")
    log = RunLog(request.work / "log.jsonl")
    log.write(event="start", version=__version__, command=request.command, pictures=len(pictures))
    basis = load_basis(request.labels, request.rule)
    fold_of = grouped_folds(pictures, request.folds)
    frozen = _features(request, pictures, report) if request.fit.lora_rank == 0 else None
    scores: dict[str, float] = {}
    for fold in range(request.folds):
        if frozen is not None:
            scores |= _held_out_frozen(request, pictures, fold_of, fold, basis, frozen, log, report)
        else:
            scores |= _held_out_scores(request, pictures, fold_of, fold, basis, log, report)
    calibration = _calibrate(request, pictures, scores, log)
    if frozen is not None:
        head = _fit_head(request, pictures, range(len(pictures)), "final", request.fit, basis, frozen, log, report)
        tensors: dict[str, Tensor] = {f"head.{k}": v for k, v in head.state_dict().items()}
    else:
        tower, head = _fit_one(request, pictures, "final", request.fit, basis, log, report)
        tensors = {f"head.{k}": v for k, v in head.state_dict().items()}
        tensors |= {f"tower.{k}": v for k, v in tower.lora_state().items()}
    info = _describe(request, pictures, basis, calibration)
    save_weights(request.output, {k: v.cpu() for k, v in tensors.items()}, info)
    log.write(event="written", output=request.output.name, sha256=sha256_of(request.output))
    return info


def load_basis(labels: Path, rule: BasisRule) -> SemanticBasis:
    """The semantic basis from a ``.npy`` matrix of label embeddings."""
    if not labels.is_file():
        raise UsageError(f"{labels}: no such file of label embeddings")
    return semantic_basis(torch.from_numpy(np.load(labels, allow_pickle=False)), rule)


def score_pictures(
    tower: VisionTransformer,
    head: NullSpaceHead,
    pictures: Sequence[LabelledPicture],
    recipe: SelectionRecipe,
    normalise: Normaliser,
    views: int,
) -> list[float]:
    """Raw scores as a scan gives them: no augmentation, the mean over ``views`` mosaics."""
    device = next(head.parameters()).device
    scores: list[float] = []
    with torch.inference_mode():
        for first in range(0, len(pictures), _SCORE_BATCH):
            mosaics = []
            for picture in pictures[first : first + _SCORE_BATCH]:
                with Image.open(picture.path) as image:
                    grid = cut_patches(pixels_to_tensor(np.array(image.convert("RGB"))), recipe)
                mosaics += [build_mosaic(grid, s, recipe) for s in select_patches(grid, recipe, views)]
            logits = head(tower(normalise(torch.stack(mosaics).to(device)))).logit
            scores += logits.view(-1, views).double().mean(1).tolist()
    return scores


def _features(
    request: TrainRequest, pictures: list[LabelledPicture], report: Callable[[str, Progress], None]
) -> list[VitFeatures]:
    """Every rendering of every picture through the frozen tower, kept in ``work``."""
    tower = load_tower(request.tower)
    tower.matrices_to(torch.bfloat16 if request.precision == "bf16" else torch.float32).to(request.device)
    kept = []
    for rendering in frozen_renderings(request.fit, request.views):
        name = f"features {rendering.name}"

        def note(done: int, total: int, name: str = name) -> None:
            report(name, Progress(done, total, math.nan, math.nan, math.nan))

        folder = request.work / "features"
        recipe, normalise = request.fit.selection, _normaliser(request)
        kept.append(frozen_features(tower, pictures, recipe, normalise, folder, rendering, note))
    return kept


def _held_out_frozen(
    request: TrainRequest,
    pictures: list[LabelledPicture],
    fold_of: list[int],
    fold: int,
    basis: SemanticBasis,
    frozen: list[VitFeatures],
    log: RunLog,
    report: Callable[[str, Progress], None],
) -> dict[str, float]:
    inside = [i for i, f in enumerate(fold_of) if f != fold]
    outside = [i for i, f in enumerate(fold_of) if f == fold]
    config = replace(request.fit, samples=request.fold_samples)
    head = _fit_head(request, pictures, inside, f"fold-{fold}", config, basis, frozen, log, report)
    values = score_frozen(head, frozen[: request.views], outside)
    held_out = [pictures[i] for i in outside]
    log.write(event="held_out", fold=fold, pictures=len(values), **_quality(held_out, values))
    return {p.name: v for p, v in zip(held_out, values, strict=True)}


def _fit_head(
    request: TrainRequest,
    pictures: list[LabelledPicture],
    indices: Sequence[int],
    name: str,
    config: FitConfig,
    basis: SemanticBasis,
    frozen: list[VitFeatures],
    log: RunLog,
    report: Callable[[str, Progress], None],
) -> NullSpaceHead:
    torch.manual_seed(config.seed)
    head = NullSpaceHead(tower_info(request.tower).config, config.head, basis.vectors).to(request.device)
    fit_frozen(head, frozen, pictures, list(indices), config, _noting(name, log, report))
    return head


def _noting(name: str, log: RunLog, report: Callable[[str, Progress], None]) -> Callable[[Progress], None]:
    def note(progress: Progress) -> None:
        report(name, progress)
        if progress.step % 10 == 0 or progress.step == progress.steps:
            log.write(event="step", run=name, **asdict(progress))

    return note


def _held_out_scores(
    request: TrainRequest,
    pictures: list[LabelledPicture],
    fold_of: list[int],
    fold: int,
    basis: SemanticBasis,
    log: RunLog,
    report: Callable[[str, Progress], None],
) -> dict[str, float]:
    kept = request.work / f"fold-{fold}.scores.json"
    if kept.exists():
        stored: dict[str, float] = json.loads(kept.read_text("utf-8"))
        return stored
    inside = [p for p, f in zip(pictures, fold_of, strict=True) if f != fold]
    outside = _at_most([p for p, f in zip(pictures, fold_of, strict=True) if f == fold], _HELD_OUT_PER_GROUP)
    config = replace(request.fit, samples=request.fold_samples)
    tower, head = _fit_one(request, inside, f"fold-{fold}", config, basis, log, report)
    normalise = _normaliser(request)
    values = score_pictures(tower, head, outside, config.selection, normalise, request.views)
    scores = {p.name: v for p, v in zip(outside, values, strict=True)}
    partial = kept.with_suffix(".partial")
    partial.write_text(json.dumps(scores), "utf-8")
    partial.replace(kept)
    log.write(event="held_out", fold=fold, pictures=len(scores), **_quality(outside, values))
    return scores


def _fit_one(
    request: TrainRequest,
    pictures: Sequence[LabelledPicture],
    name: str,
    config: FitConfig,
    basis: SemanticBasis,
    log: RunLog,
    report: Callable[[str, Progress], None],
) -> tuple[VisionTransformer, NullSpaceHead]:
    device = torch.device(request.device)
    tower = load_tower(request.tower)
    tower.matrices_to(torch.bfloat16 if request.precision == "bf16" else torch.float32).to(device)
    torch.manual_seed(config.seed)
    head = NullSpaceHead(tower.config, config.head, basis.vectors).to(device)

    checkpoint = request.work / f"{name}.checkpoint.safetensors"
    fit(tower, head, pictures, config, _normaliser(request), checkpoint, _noting(name, log, report))
    return tower.eval(), head.eval()


def _calibrate(
    request: TrainRequest, pictures: list[LabelledPicture], scores: dict[str, float], log: RunLog
) -> Calibration:
    scored = [p for p in pictures if p.name in scores]
    values = [scores[p.name] for p in scored]
    fitted_on = (
        f"{len(scored)} out-of-fold scores of {request.folds} grouped folds within {request.split or 'the manifest'}"
    )
    calibration = fit_calibration(
        np.array(values), np.array([p.label for p in scored]), np.array(picture_weights(scored)), fitted_on
    )
    log.write(event="calibration", **asdict(calibration), **_quality(scored, values))
    return calibration


def _quality(pictures: Sequence[LabelledPicture], scores: Sequence[float]) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    labels = [p.label for p in pictures]
    if len(set(labels)) < 2:
        return {}
    weights = picture_weights(list(pictures))
    return {
        "auc": round(float(roc_auc_score(labels, scores)), 4),
        "auc_groups_even": round(float(roc_auc_score(labels, scores, sample_weight=weights)), 4),
    }


def _describe(
    request: TrainRequest, pictures: list[LabelledPicture], basis: SemanticBasis, calibration: Calibration
) -> WeightsInfo:
    config = request.fit
    tower = tower_info(request.tower)
    return WeightsInfo(
        name=request.output.stem,
        tower=request.tower.stem,
        tower_sha256=sha256_of(request.tower),
        selection=config.selection,
        head=config.head,
        lora=LoraShape(config.lora_rank, config.lora_alpha, config.lora_first_block, config.lora_mlp),
        basis={
            "rule": basis.rule.name,
            "value": basis.rule.value,
            "rank": basis.rank,
            "null_dimension": basis.null_dimension,
            "energy": basis.energy,
            "labels": request.labels.name,
            "labels_sha256": sha256_of(request.labels),
            "space": tower.name,
        },
        views=request.views,
        calibration=calibration,
        training={
            "command": request.command,
            "version": __version__,
            "torch": torch.__version__,
            "precision": request.precision,
            "data_sha256": manifest_hash(pictures),
            "pictures": {str(k): v for k, v in sorted(Counter(p.label for p in pictures).items())},
            "groups": {str(label): len({p.group for p in pictures if p.label == label}) for label in (0, 1)},
            "fold_samples": request.fold_samples,
            "fit": asdict(config),
        },
        licence="MIT",
    )


def _at_most(pictures: Sequence[LabelledPicture], per_group: int) -> list[LabelledPicture]:
    """The first so many of each group in the order of a hash, which is no order of content."""
    taken: Counter[tuple[int, str]] = Counter()
    chosen = []
    for picture in sorted(pictures, key=lambda p: hashlib.sha256(p.name.encode()).digest()):
        key = (picture.label, picture.group)
        taken[key] += 1
        if taken[key] <= per_group:
            chosen.append(picture)
    return chosen


def _normaliser(request: TrainRequest) -> Normaliser:
    info = tower_info(request.tower)
    return Normaliser(info.mean, info.std)
