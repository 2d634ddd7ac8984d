"""``nsnet train``: folds, out-of-fold scores, calibration, the final fit, and the weights file."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nsnet_cli import __version__
from nsnet_cli.calibration import Calibration, fit_calibration
from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.head import NullSpaceHead
from nsnet_cli.labelled import LabelledPicture, manifest_hash, read_manifest
from nsnet_cli.nullspace import BasisRule, SemanticBasis, semantic_basis
from nsnet_cli.preprocess import Normaliser
from nsnet_cli.safefile import sha256_of
from nsnet_cli.selection import SelectionRecipe
from nsnet_cli.tower import load_tower, tower_info
from nsnet_cli.training.features import frozen_features
from nsnet_cli.training.fit import FitConfig, Progress, fit, fit_frozen, frozen_renderings, score_frozen
from nsnet_cli.training.folds import grouped_folds, picture_weights
from nsnet_cli.training.views import Mosaics, Rendering
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

    What takes long leaves its result in ``request.work`` and is not repeated; a killed run goes on from
    there.  Pictures of other splits are never read.
    """
    pictures = read_manifest(request.manifest, request.split)
    missing = [p.name for p in pictures if not p.path.is_file()]
    if missing:
        raise UsageError(f"{request.manifest}: {len(missing)} pictures are not there, the first is {missing[0]}")
    log = RunLog(request.work / "log.jsonl")
    log.write(event="start", version=__version__, command=request.command, pictures=len(pictures))
    basis = load_basis(request.labels, request.rule)
    kind = LoraFits if request.fit.lora_rank else FrozenFits
    fits = kind(request, pictures, basis, log, report)
    fold_of = grouped_folds(pictures, request.folds)
    fold_config = replace(request.fit, samples=request.fold_samples)
    scores: dict[str, float] = {}
    for fold in range(request.folds):
        inside = [i for i, f in enumerate(fold_of) if f != fold]
        outside = [i for i, f in enumerate(fold_of) if f == fold]
        found = fits.held_out(f"fold-{fold}", inside, outside, fold_config)
        held_out = [p for p in pictures if p.name in found]
        quality = _quality(held_out, [found[p.name] for p in held_out])
        log.write(event="held_out", fold=fold, pictures=len(found), **quality)
        scores |= found
    calibration = _calibrate(request, pictures, scores, log)
    tensors = fits.final(request.fit)
    info = _describe(request, pictures, basis, calibration)
    save_weights(request.output, {k: v.cpu() for k, v in tensors.items()}, info)
    log.write(event="written", output=request.output.name, sha256=sha256_of(request.output))
    return info


def load_basis(labels: Path, rule: BasisRule) -> SemanticBasis:
    """The semantic basis from a ``.npy`` matrix of label embeddings."""
    if not labels.is_file():
        raise UsageError(f"{labels}: no such file of label embeddings")
    return semantic_basis(torch.from_numpy(np.load(labels, allow_pickle=False)), rule)


@torch.inference_mode()
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
    of_views = []
    for view in range(views):
        data = Mosaics(pictures, range(len(pictures)), recipe, Rendering(augment=False, view=view))
        batches = DataLoader(data, batch_size=_SCORE_BATCH)
        of_views.append(torch.cat([head(tower(normalise(x.to(device)))).logit.double() for x, _ in batches]))
    scores: list[float] = torch.stack(of_views).mean(0).tolist()
    return scores


class _Fits:
    """What the two ways of fitting share: data, basis, precision, and where progress goes."""

    def __init__(
        self,
        request: TrainRequest,
        pictures: list[LabelledPicture],
        basis: SemanticBasis,
        log: RunLog,
        report: Callable[[str, Progress], None],
    ) -> None:
        self.request, self.pictures, self.basis = request, pictures, basis
        self.log, self.report = log, report
        self.tower_info = tower_info(request.tower)
        self.normalise = Normaliser(self.tower_info.mean, self.tower_info.std)

    def held_out(self, name: str, inside: Sequence[int], outside: Sequence[int], config: FitConfig) -> dict[str, float]:
        """Fit on ``pictures[i]`` for ``i`` in ``inside``; raw scores by name of (some of) those in ``outside``."""
        raise NotImplementedError

    def final(self, config: FitConfig) -> dict[str, Tensor]:
        """Fit on all pictures; the tensors of the weights file."""
        raise NotImplementedError

    def _tower(self) -> VisionTransformer:
        dtype = torch.bfloat16 if self.request.precision == "bf16" else torch.float32
        return load_tower(self.request.tower).matrices_to(dtype).to(self.request.device)

    def _head(self, config: FitConfig) -> NullSpaceHead:
        torch.manual_seed(config.seed)
        return NullSpaceHead(self.tower_info.config, config.head, self.basis.vectors).to(self.request.device)

    def _noting(self, name: str) -> Callable[[Progress], None]:
        def note(progress: Progress) -> None:
            self.report(name, progress)
            if progress.step % 10 == 0 or progress.step == progress.steps:
                self.log.write(event="step", run=name, **asdict(progress))

        return note


class FrozenFits(_Fits):
    """Heads on features of the frozen tower, which are computed once for all folds."""

    @cached_property
    def _features(self) -> list[VitFeatures]:
        tower, folder, config = self._tower(), self.request.work / "features", self.request.fit
        return [
            frozen_features(
                tower, self.pictures, config.selection, self.normalise, folder, rendering, self._counting(rendering)
            )
            for rendering in frozen_renderings(config, self.request.views)
        ]

    def held_out(self, name: str, inside: Sequence[int], outside: Sequence[int], config: FitConfig) -> dict[str, float]:
        head = self._fit(name, inside, config)
        values = score_frozen(head, self._features[: self.request.views], outside)
        return {self.pictures[i].name: value for i, value in zip(outside, values, strict=True)}

    def final(self, config: FitConfig) -> dict[str, Tensor]:
        head = self._fit("final", range(len(self.pictures)), config)
        return {f"head.{k}": v for k, v in head.state_dict().items()}

    def _fit(self, name: str, indices: Sequence[int], config: FitConfig) -> NullSpaceHead:
        head = self._head(config)
        fit_frozen(head, self._features, self.pictures, indices, config, self._noting(name))
        return head

    def _counting(self, rendering: Rendering) -> Callable[[int, int], None]:
        def count(done: int, total: int) -> None:
            self.report(f"features {rendering.name}", Progress(done, total, math.nan, math.nan, math.nan))

        return count


class LoraFits(_Fits):
    """Towers adapted by LoRA with a head on top: hours, so checkpoints and scores of folds are kept."""

    def held_out(self, name: str, inside: Sequence[int], outside: Sequence[int], config: FitConfig) -> dict[str, float]:
        learnt_from = [self.pictures[i] for i in inside]
        kept = self.request.work / f"{name}.scores.json"
        made_by = f"{config.fingerprint(learnt_from)}:{self.request.views}:{self.request.precision}"
        if kept.exists():
            stored = json.loads(kept.read_text("utf-8"))
            if stored.get("made_by") != made_by:
                raise WeightsError(f"{kept}: scores of another recipe or other data; use another --work folder")
            scores: dict[str, float] = stored["scores"]
            return scores
        tower, head = self._fit(name, learnt_from, config)
        chosen = _at_most([self.pictures[i] for i in outside], _HELD_OUT_PER_GROUP)
        values = score_pictures(tower, head, chosen, config.selection, self.normalise, self.request.views)
        scores = {p.name: v for p, v in zip(chosen, values, strict=True)}
        partial = kept.with_suffix(".partial")
        partial.write_text(json.dumps({"made_by": made_by, "scores": scores}), "utf-8")
        partial.replace(kept)
        return scores

    def final(self, config: FitConfig) -> dict[str, Tensor]:
        tower, head = self._fit("final", self.pictures, config)
        tensors = {f"head.{k}": v for k, v in head.state_dict().items()}
        return tensors | {f"tower.{k}": v for k, v in tower.lora_state().items()}

    def _fit(
        self, name: str, pictures: Sequence[LabelledPicture], config: FitConfig
    ) -> tuple[VisionTransformer, NullSpaceHead]:
        tower, head = self._tower(), self._head(config)
        checkpoint = self.request.work / f"{name}.checkpoint.safetensors"
        fit(tower, head, pictures, config, self.normalise, checkpoint, self._noting(name))
        return tower, head


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
