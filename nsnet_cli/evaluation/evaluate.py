"""``nsnet evaluate``: labelled pictures and their scores in, one typed evaluation out; nothing here prints."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli import __version__
from nsnet_cli.evaluation.controls import (
    LEAK,
    SEES_SEMANTIC,
    Control,
    containers,
    format_control,
    semantic_control,
    thumbnail_control,
    thumbnails,
    transferred_format_control,
)
from nsnet_cli.evaluation.labelled import LabelledPicture, LabelledSet, manifest_hash
from nsnet_cli.evaluation.metrics import Figures, Scored, figures
from nsnet_cli.evaluation.predictions import Prediction, prediction_of
from nsnet_cli.results.document import EVALUATION_SCHEMA, versions

if TYPE_CHECKING:
    from nsnet_cli.results.document import PictureResult
    from nsnet_cli.scanner import Scanner

# A share measured on fewer pictures than this says little; minima are given with and without such groups.
SMALL_GROUP = 50
_PHOTO_LIKE = "yes"


@dataclass(frozen=True)
class ControlInputs:
    """What was seen of each picture beside its score; the controls need it.  None: not seen."""

    thumbnails: list[NDArray[np.uint8] | None]
    semantic: list[NDArray[np.float32] | None] | None


@dataclass(frozen=True)
class Remark:
    """Something that the reader of the figures must know."""

    code: str
    message: str


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured.

    ``cuts`` are subsets by name; ``generators`` and ``sources`` are sorted worst first.  Of a generator,
    AUC, AP, TPR and ECE are against all real pictures.  ``format_within`` is the format control trained
    within these pictures where ``format_control`` was trained on other splits.
    """

    dataset: LabelledSet
    predictions: list[Prediction]
    model: dict[str, Any]
    command: str
    total: Figures
    cuts: dict[str, Figures]
    generators: list[tuple[str, Figures]]
    sources: list[tuple[str, Figures]]
    format_control: Control
    format_within: Control | None
    content_controls: list[Control]
    controls_on_cuts: dict[str, dict[str, float | None]]
    remarks: list[Remark]

    def to_dict(self) -> dict[str, Any]:
        """The document ``nsnet.evaluation/1`` as JSON data."""
        pictures, content = self.dataset.pictures, self.content_controls
        known = [c.auc for c in content if c.auc is not None]
        within = {} if self.format_within is None else {"within": self.format_within.to_dict()}
        return {
            "schema": EVALUATION_SCHEMA,
            "tool": {"name": "nsnet", "version": __version__},
            "command": self.command,
            "versions": versions(),
            "model": self.model,
            "dataset": {
                "name": self.dataset.name,
                "layout": self.dataset.layout,
                "split": self.dataset.split,
                "sha256": manifest_hash(list(pictures)),
                "skipped": self.dataset.skipped,
            },
            "total": asdict(self.total),
            "cuts": {name: asdict(f) for name, f in self.cuts.items()},
            "generators": summary_of(self.generators, "f_acc"),
            "sources": summary_of(self.sources, "r_acc"),
            "by_generator": [{"name": name, **asdict(f)} for name, f in self.generators],
            "by_source": [{"name": name, **asdict(f)} for name, f in self.sources],
            "format_control": {**self.format_control.to_dict(), **within},
            "content_control": {"auc": max(known, default=None), **{c.name: c.to_dict() for c in content}},
            "controls_on_cuts": self.controls_on_cuts,
            "warnings": [asdict(remark) for remark in self.remarks],
            "predictions": [
                {"path": p.name, "label": p.label, "group": p.group, **asdict(q)}
                for p, q in zip(pictures, self.predictions, strict=True)
            ],
        }


def score_dataset(
    detector: Scanner,
    dataset: LabelledSet,
    batch_size: int,
    on_result: Callable[[PictureResult], None] = lambda result: None,
) -> tuple[list[Prediction], ControlInputs]:
    """Score every picture through the pipeline of a scan; ``on_result`` sees each row as it is made."""
    predictions: list[Prediction] = []
    look = ControlInputs([], [])
    assert look.semantic is not None
    for observed in detector.observe_many((str(p.path) for p in dataset.pictures), batch_size):
        predictions.append(prediction_of(observed.result))
        look.thumbnails.append(observed.thumbnail)
        look.semantic.append(observed.semantic)
        on_result(observed.result)
    if all(part is None for part in look.semantic):
        look = replace(look, semantic=None)
    return predictions, look


def evaluate(
    dataset: LabelledSet,
    predictions: Sequence[Prediction],
    model: dict[str, Any],
    command: str = "",
    look: ControlInputs | None = None,
    trained_on: Sequence[str] = (),
) -> Evaluation:
    """Measure ``predictions`` of the pictures of ``dataset``.

    Without a ``look`` thumbnails are read from the files, and there is no control on f(I - P).
    ``trained_on`` are hashes of the sets that the weights were trained on (`manifest_hash`).
    """
    pictures = dataset.pictures
    scored = Scored.of([p.label for p in pictures], predictions)
    masks = _cuts(dataset)
    content: list[Control] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=1) as pool:
        warnings.simplefilter("ignore")  # what a decoder finds odd is not news here
        seen = look.thumbnails if look else pool.submit(thumbnails, pictures)
        opened = containers(pictures)
        within = format_control(pictures, opened)
        outside = transferred_format_control(pictures, opened, dataset.elsewhere) if dataset.elsewhere else None
        content.append(thumbnail_control(pictures, seen.result() if isinstance(seen, Future) else seen))
        if look and look.semantic is not None:
            content.append(semantic_control(pictures, look.semantic))
        else:
            saved = "saved predictions hold no features; evaluate without --predictions"
            reason = saved if look is None else "this detector has no semantic part"
            content.append(Control("semantic_part", SEES_SEMANTIC, "nothing", reason=reason))
    generators, sources = _by_group(pictures, scored)
    primary = outside or within
    everything = np.ones(len(pictures), dtype=bool)
    evaluation = Evaluation(
        dataset=dataset,
        predictions=list(predictions),
        model=model,
        command=command,
        total=figures(scored),
        cuts={name: figures(scored.take(mask)) for name, mask in masks.items()},
        generators=generators,
        sources=sources,
        format_control=primary,
        format_within=within if outside else None,
        content_controls=content,
        controls_on_cuts={
            name: {c.name: c.auc_of(scored.labels, mask) for c in (primary, *content)}
            for name, mask in {"all": everything, **masks}.items()
        },
        remarks=[],
    )
    remarks = _remarks(evaluation, trained_on)
    return replace(evaluation, remarks=remarks)


def summary_of(groups: Sequence[tuple[str, Figures]], accuracy: str) -> dict[str, Any]:
    """Mean and minimum over groups of their accuracy, and of AUC where they have one."""
    out: dict[str, Any] = {"groups": len(groups)}
    for name in (accuracy, "auc"):
        values = [(value, group) for group, f in groups if (value := getattr(f, name)) is not None]
        large = [(getattr(f, name), group) for group, f in groups if f.pictures >= SMALL_GROUP]
        large = [item for item in large if item[0] is not None]
        out[name] = {
            "mean": sum(value for value, _ in values) / len(values) if values else None,
            "minimum": min(values)[0] if values else None,
            "worst": min(values)[1] if values else None,
            f"minimum_of_{SMALL_GROUP}_or_more": min(large)[0] if large else None,
            f"worst_of_{SMALL_GROUP}_or_more": min(large)[1] if large else None,
        }
    return out


def _cuts(dataset: LabelledSet) -> dict[str, NDArray[np.bool_]]:
    """Subsets that the data set allows: by photo-likeness, and without repositories shared with other splits."""
    pictures = dataset.pictures
    cuts: dict[str, NDArray[np.bool_]] = {}
    if any(p.photo_like for p in pictures):
        photo = np.array([p.photo_like == _PHOTO_LIKE for p in pictures])
        cuts |= {"photo_like": photo, "not_photo_like": ~photo}
    if dataset.shared_repositories:
        cuts["without_shared_repositories"] = np.array(
            [p.repository not in dataset.shared_repositories for p in pictures]
        )
    return cuts


def _by_group(
    pictures: Sequence[LabelledPicture], scored: Scored
) -> tuple[list[tuple[str, Figures]], list[tuple[str, Figures]]]:
    groups = np.array([p.group for p in pictures])
    real = scored.labels == 0
    found: tuple[list[tuple[str, Figures]], list[tuple[str, Figures]]] = ([], [])
    for label, side in ((1, found[0]), (0, found[1])):
        for name in sorted(set(groups[scored.labels == label].tolist())):
            mine = (groups == name) & (scored.labels == label)
            alone = figures(scored.take(mine), resamples=0)
            if label == 1 and real.any():
                against = figures(scored.take(mine | real))
                intervals = alone.intervals | {k: v for k, v in against.intervals.items() if k == "auc"}
                alone = replace(
                    alone,
                    auc=against.auc,
                    ap=against.ap,
                    tpr_at_1=against.tpr_at_1,
                    tpr_at_5=against.tpr_at_5,
                    ece=against.ece,
                    intervals=intervals,
                )
            side.append((name, alone))
    for side, accuracy in zip(found, ("f_acc", "r_acc"), strict=True):
        side.sort(key=lambda item: (getattr(item[1], accuracy), item[0]))
    return found


def _remarks(e: Evaluation, trained_on: Sequence[str]) -> list[Remark]:
    found = []
    if manifest_hash(list(e.dataset.pictures)) in trained_on:
        found.append(Remark("training_data", "these are the very pictures that the weights were trained on"))
    for control in (e.format_control, e.format_within, *e.content_controls):
        if control is not None and control.leaks:
            kind = "content" if control in e.content_controls else "format"
            message = (
                f"{control.sees} alone tell the labels apart with AUC {control.auc:.3f} (trained on "
                f"{control.trained_on}): the data set is being measured, not only the detector"
            )
            found.append(Remark(f"{kind}_leak", message))
    best = max((c.auc for c in (e.format_control, *e.content_controls) if c.auc is not None), default=None)
    if best is not None and e.total.auc is not None and best > LEAK and best >= e.total.auc:
        found.append(Remark("no_better_than_control", f"a control does as well ({best:.3f}) as the detector"))
    if not e.total.real or not e.total.generated:
        only = "generated" if e.total.generated else "real"
        found.append(Remark("one_class", f"only {only} pictures: no AUC, AP, TPR or calibration error"))
    if e.total.missing:
        message = f"{e.total.missing} of {e.total.pictures} pictures have no score; each counts as a full error"
        found.append(Remark("missing_scores", message))
    if e.total.coverage is None:
        found.append(Remark("no_verdicts", "the predictions hold no verdicts: no coverage, no band"))
    small = sum(f.pictures < SMALL_GROUP for _, f in (*e.generators, *e.sources))
    if small:
        groups = len(e.generators) + len(e.sources)
        found.append(
            Remark("small_groups", f"{small} of {groups} groups hold under {SMALL_GROUP} pictures: mind the intervals")
        )
    return found
