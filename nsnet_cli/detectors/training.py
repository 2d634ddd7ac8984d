"""``nsnet train --detector``: folds, held-out scores, calibration, the final fit, and the weights file.

Folds keep lineages and repositories together, as NS-Net's do.  In each rotation one fold is left out for good, the next
says when to stop, and the others are learnt from; the scores of what was left out, made as a scan makes them, are what
the calibration stands on.  The final fit learns from all, for as many steps as the rotations took.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nsnet_cli import __version__
from nsnet_cli.detectors.fitting import Fit, Step, Supply
from nsnet_cli.detectors.frozen import FrozenTower, kept_embeddings
from nsnet_cli.detectors.interface import Detector, Recipe
from nsnet_cli.detectors.layers.network import LocalNetwork, Network
from nsnet_cli.detectors.registry import find_detector
from nsnet_cli.detectors.scorer import Scorer, Seen
from nsnet_cli.detectors.store import Store
from nsnet_cli.detectors.weights import DetectorInfo, save_detector
from nsnet_cli.disk import sha256_of
from nsnet_cli.errors import UsageError
from nsnet_cli.evaluation.labelled import LabelledPicture, read_manifests
from nsnet_cli.inputs.decode import channels_first
from nsnet_cli.training.folds import grouped_folds, picture_weights, split_fold
from nsnet_cli.training.record import made_from, write_held_out
from nsnet_cli.training.run import RunLog
from nsnet_cli.training.views import read_picture
from nsnet_cli.verdict.calibration import Calibration, fit_calibration

# Pictures that a look at the fold of early stopping sees, and of a group that is left out: more say little new.
_LOOKED_AT = 1024
_LEFT_OUT_PER_GROUP = 40
_TOGETHER = 16


@dataclass(frozen=True)
class DetectorRequest:
    """What is trained on what.

    ``work`` keeps pictures, embeddings, checkpoints and the log; detectors that share it share what is kept of
    pictures.  ``shape`` and ``eyes`` are changed fields of the network's shape and of the eyes; ``tower`` is the file
    of the frozen tower, for detectors that look through it.
    """

    detector: str
    manifests: tuple[Path, ...]
    output: Path
    work: Path
    split: str | None = "train"
    tower: Path | None = None
    recipe: Recipe | None = None
    shape: dict[str, Any] = field(default_factory=dict)
    eyes: dict[str, Any] = field(default_factory=dict)
    folds: int = 5
    delivered: int = 1
    seed: int = 0
    precision: str = "fp32"
    device: str = "cpu"
    command: str = ""


@dataclass(frozen=True)
class Part:
    """What one fit learns from, what it looks at to stop, and what it never sees; positions among the pictures."""

    name: str
    learnt: tuple[int, ...]
    stopping: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()


def train_detector(
    request: DetectorRequest, report: Callable[[str, Step | None, int, int], None] = lambda *said: None
) -> DetectorInfo:
    """Train, calibrate on held-out scores and write the weights; the metadata written is given back.

    A killed run goes on from ``request.work``.  ``report`` is told the name of what is being done, the step of a fit or
    None, what is done and of how much.  Raises `UsageError` and `WeightsError`.
    """
    trainer = Trainer(request, report)
    scores: dict[int, float] = {}
    for part in trainer.rotations:
        network, taken = trainer.fitted(trainer.detector, part)
        found = trainer.held_out(network, part)
        trainer.log.write(event="held_out", run=part.name, steps=taken, **trainer.quality(found))
        scores |= found
    trainer.keep(scores)
    calibration = trainer.calibrate(scores)
    first = {i: score for i, score in scores.items() if i in set(trainer.rotations[0].left_out)}
    quality = {**trainer.quality(scores), "first_fold_auc": trainer.quality(first)["auc_groups_even"]}
    network, taken = trainer.fitted(trainer.detector, Part("final", tuple(range(len(trainer.pictures)))))
    info = trainer.describe(network, calibration, quality, taken)
    save_detector(request.output, network, info)
    trainer.log.write(event="written", output=request.output.name, sha256=sha256_of(request.output))
    return info


class Trainer:
    """Fits a detector, and its teacher where it has one, to parts of the labelled pictures of a request."""

    def __init__(self, request: DetectorRequest, report: Callable[[str, Step | None, int, int], None]) -> None:
        self.request, self._report = request, report
        detector = find_detector(request.detector)
        if unknown := request.shape.keys() - detector.shape.keys():
            raise UsageError(f"{request.detector} has no {', '.join(sorted(unknown))}; it has {_said(detector.shape)}")
        eyes = detector.eyes
        if request.eyes and eyes is None:
            raise UsageError(f"{request.detector} looks through the tower alone: it has no eyes to change")
        if eyes is not None:
            eyes = replace(eyes, **request.eyes)  # type: ignore[type-var]
        self._tower = self._found_tower(detector)
        of_tower = {} if self._tower is None else {"embed_dim": self._tower.embed_dim}
        self.detector = replace(
            detector,
            eyes=eyes,
            shape={**detector.shape, **request.shape, **of_tower},
            recipe=request.recipe or detector.recipe,
        )
        recipe = self.detector.recipe
        if recipe.batch % 2 or recipe.steps < 1 or not 1 <= recipe.rotations <= request.folds:
            raise UsageError("batches must be even, samples at least one batch, and rotations no more than folds")
        self.pictures = read_manifests(self.request.manifests, request.split)
        self.store = Store(self.pictures, request.work / "pictures", request.delivered, request.seed)
        self.log = RunLog(request.work / request.detector / "log.jsonl")
        self.log.write(event="start", version=__version__, command=request.command, pictures=len(self.pictures))
        self.fold_of = grouped_folds(self.pictures, request.folds)
        self.rotations = [self._part(fold) for fold in range(recipe.rotations)]
        self._steps: dict[str, list[int]] = defaultdict(list)

    def fitted(self, detector: Detector, part: Part) -> tuple[Network, int]:
        """A network fitted to a part, and the steps that it took.

        Where nothing stops it, it takes as many as the rotations before it, in the middle.
        """
        request, recipe, steps = self.request, detector.recipe, self._steps[detector.about.name]
        if not part.stopping and steps:
            recipe = replace(recipe, samples=int(statistics.median(steps)) * recipe.batch)
        teacher = None
        if detector.teacher is not None:
            # Learnt from the same pictures: a teacher who knew those left out would give them away.
            taught, _ = self.fitted(replace(find_detector(detector.teacher), eyes=detector.eyes), part)
            assert isinstance(taught, LocalNetwork)
            teacher = taught.to(request.device).eval()
        self.store.fill(lambda done, total: self._report("pictures", None, done, total))
        torch.manual_seed(request.seed)
        network = detector.network(**detector.shape)
        mark = self._mark(detector, recipe, part)
        fit = Fit(
            network,
            Supply(detector, self.store, part.learnt, recipe, request.seed, self._embeddings(detector)),
            # Of its own for each recipe: a student finds what its teacher's own training has left.
            request.work / detector.about.name / f"{part.name}-{mark[:8]}.checkpoint.safetensors",
            mark,
            (lambda judged: self._judged(detector, judged, part.stopping)) if part.stopping else None,
            teacher,
            request.device,
            request.precision,
        )
        name = f"{detector.about.name} {part.name}"

        def note(step: Step) -> None:
            self._report(name, step, step.step, step.steps)
            if step.score is not None or step.step % 50 == 0 or step.step == step.steps:
                self.log.write(event="step", run=name, **asdict(step))

        taken = fit.run(note)
        if part.stopping:
            steps.append(taken)
        return network, taken

    def held_out(self, network: Network, part: Part) -> dict[int, float]:
        """Logits of (some of) what a fit has never seen, by position, made as a scan makes them."""
        taken: Counter[tuple[int, str]] = Counter()
        some = []
        for i in sorted(part.left_out, key=lambda i: hashlib.sha256(self.pictures[i].name.encode()).digest()):
            group = (self.pictures[i].label, self.pictures[i].group)
            taken[group] += 1
            if taken[group] <= _LEFT_OUT_PER_GROUP:
                some.append(i)
        return dict(zip(some, self._scores(self.detector, network, some, precision="fp32"), strict=True))

    def keep(self, scores: dict[int, float]) -> None:
        """Write held-out scores as ``held_out.jsonl``, beside the log."""
        write_held_out(
            self.request.work / self.request.detector / "held_out.jsonl",
            (
                {"name": picture.name, "label": picture.label, "group": picture.group, "score": score}
                for picture, score in ((self.pictures[i], score) for i, score in sorted(scores.items()))
            ),
        )

    def calibrate(self, scores: dict[int, float]) -> Calibration:
        """The calibration of held-out scores."""
        scored = [self.pictures[i] for i in scores]
        fitted_on = (
            f"{len(scored)} held-out scores of {len(self.rotations)} of {self.request.folds} grouped folds within "
            f"{self.request.split or 'the manifest'}"
        )
        calibration = fit_calibration(
            np.array(list(scores.values())),
            np.array([p.label for p in scored]),
            np.array(picture_weights(scored)),
            fitted_on,
            [p.group for p in scored],
        )
        self.log.write(event="calibration", **asdict(calibration), **self.quality(scores))
        return calibration

    def quality(self, scores: dict[int, float]) -> dict[str, float]:
        """AUC of held-out scores, over pictures and with groups evened out."""
        pictures = [self.pictures[i] for i in scores]
        values = np.array(list(scores.values()))
        return {
            "pictures": len(pictures),
            "auc": _auc(pictures, values, even=False),
            "auc_groups_even": _auc(pictures, values, even=True),
        }

    def describe(
        self, network: Network, calibration: Calibration, held_out: dict[str, float], steps: int
    ) -> DetectorInfo:
        """The metadata of the weights file."""
        request, detector, tower = self.request, self.detector, self._tower
        return DetectorInfo(
            name=request.output.stem,
            detector=detector.about.name,
            eyes={} if detector.eyes is None else asdict(detector.eyes),  # type: ignore[call-overload]
            shape=dict(detector.shape),
            tower=None if tower is None else tower.path.stem,
            tower_sha256=None if tower is None else tower.sha256,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            calibration=calibration,
            held_out=held_out,
            training={
                **made_from(self.pictures, request.command, request.precision, request.device),
                "recipe": asdict(detector.recipe),
                "steps": steps,
                "seed": request.seed,
                "store": self.store.fingerprint,
            },
            licence="MIT",
        )

    def _part(self, fold: int) -> Part:
        """The rotation that leaves ``fold`` out and stops by the next."""
        pictures = list(self.pictures)
        inside, left_out = split_fold(pictures, self.fold_of, fold)
        following = (fold + 1) % self.request.folds
        stopping = [i for i in inside if self.fold_of[i] == following]
        shared = {pictures[i].repository for i in stopping} - {""}
        learnt = [i for i in inside if self.fold_of[i] != following and pictures[i].repository not in shared]
        for what, those in (("learn from", learnt), ("stop by", stopping), ("hold out", left_out)):
            if {pictures[i].label for i in those} != {0, 1}:
                raise UsageError(
                    f"too few generators or sources for {self.request.folds} folds: none of one class to {what}; give "
                    "fewer --folds (3 at least), or pictures of more of them"
                )
        return Part(f"fold-{fold}", tuple(learnt), tuple(stopping), tuple(left_out))

    def _found_tower(self, detector: Detector) -> FrozenTower | None:
        request = self.request
        if not detector.tower:
            return None
        if request.tower is None:
            raise UsageError(f"{request.detector} looks through a tower: name its file")
        return FrozenTower(request.tower, request.precision, request.device)

    def _embeddings(self, detector: Detector) -> Tensor | None:
        return self._kept if detector.tower else None

    @cached_property
    def _kept(self) -> Tensor:
        assert self._tower is not None
        folder = self.request.work / "embeddings"
        return kept_embeddings(
            self._tower, self.store, folder, lambda done, total: self._report("embeddings", None, done, total)
        )

    def _judged(self, detector: Detector, network: Network, stopping: Sequence[int]) -> float:
        """AUC on some of the fold that stops, drawn by their weight (nearly all where it is small): on kept squares,
        and quickly."""
        order = sorted(stopping, key=lambda i: hashlib.sha256(self.pictures[i].name.encode()).digest())
        weights = np.array(picture_weights([self.pictures[i] for i in order]))
        drawn = np.random.default_rng(0).choice(len(order), min(_LOOKED_AT, len(order)), False, weights / weights.sum())
        some = [order[k] for k in drawn]
        quick = detector if detector.eyes is None else replace(detector, eyes=detector.eyes.quick())
        scores = self._scores(quick, network, some, kept=True)
        return _auc([self.pictures[i] for i in some], np.array(scores), even=False)

    def _scores(
        self,
        detector: Detector,
        network: Network,
        rows: Sequence[int],
        kept: bool = False,
        precision: str | None = None,
    ) -> list[float]:
        request = self.request
        tower = self._tower if detector.tower else None
        scorer = Scorer(detector, network, tower, request.device, precision or request.precision)
        scores: list[float] = []
        for first in range(0, len(rows), _TOGETHER):
            few = list(rows[first : first + _TOGETHER])
            seen = [self._seen(detector, row, kept) for row in few]
            # What the tower says of the middle of a picture is kept, and is the same whatever surrounds it.
            embeddings = self._kept[0, few] if detector.tower else None
            scores += scorer.judge(seen, embeddings)
        return scores

    def _seen(self, detector: Detector, row: int, kept: bool) -> Seen:
        if detector.eyes is None:
            return Seen(None, None)
        pixels = (
            self.store.picture(0, row) if kept else channels_first(np.asarray(read_picture(self.pictures[row].path)))
        )
        return Seen(detector.eyes.look(pixels), None)

    def _mark(self, detector: Detector, recipe: Recipe, part: Part) -> str:
        """Hash of all that a fit depends on."""
        tower = self._tower.sha256 if self._tower is not None and detector.tower else ""
        eyes = {} if detector.eyes is None else asdict(detector.eyes)  # type: ignore[call-overload]
        told = [detector.about.name, eyes, dict(detector.shape), asdict(recipe), part.learnt, part.stopping]
        text = json.dumps([*told, self.store.fingerprint, tower, self.request.seed, self.request.precision])
        return hashlib.sha256(text.encode()).hexdigest()


def _auc(pictures: Sequence[LabelledPicture], values: np.ndarray[Any, Any], even: bool) -> float:
    from sklearn.metrics import roc_auc_score

    weights = picture_weights(list(pictures)) if even else None
    return round(float(roc_auc_score([p.label for p in pictures], values, sample_weight=weights)), 4)


def _said(shape: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in shape.items()) or "nothing"
