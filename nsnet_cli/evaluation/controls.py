"""Controls: what tells the labels apart without looking for traces of generation.

A **format control** sees container, dimensions, file size and JPEG quality; **content controls** see a 32x32
thumbnail, and the semantic part f(I - P) of the tower's embedding.  Each is trained on the very pictures that
are evaluated, by folds that keep generators and sources whole, and scored on the pictures left out; of a
manifest with other splits the format control is also trained on those.  Where one beats chance the labels leak,
and figures measure the data set as much as the detector.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.errors import InputError
from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.inputs.decode import read_container, read_thumbnail
from nsnet_cli.inputs.limits import DecodeLimits

# Above this a control does not merely have luck (evaluation rules of the project).
LEAK = 0.55
_FOLDS = 5
_COMPONENTS = 48
_RESAMPLES = 200
_TREES = 60
# Pictures of other splits, evenly spaced in the manifest, that the transferred control learns from.
_ELSEWHERE = 3000
_SEES_FORMAT = "format, dimensions, file size, JPEG quality and subsampling"
SEES_SEMANTIC = "f(I - P), the semantic part of the tower's embedding"
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF", "MPO", "JPEG2000")

# Numbers for each picture, None for one that cannot be opened.
Containers = list[NDArray[np.float64] | None]


@dataclass(frozen=True)
class Control:
    """AUC of a control on pictures that it was not trained on; None, with the ``reason``, where there is none.

    ``low`` is the lower end of a 95 % bootstrap interval over whole generators and sources (over pictures
    where a label has but one of them).  ``scores`` ``(n,)`` are comparable within a ``fold`` ``(n,)``, NaN
    for pictures that could not be read.
    """

    name: str
    sees: str
    trained_on: str
    auc: float | None = None
    low: float | None = None
    reason: str | None = None
    scores: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    fold: NDArray[np.int64] | None = field(default=None, repr=False, compare=False)

    @property
    def leaks(self) -> bool:
        """Whether it beats chance by more than luck."""
        return self.auc is not None and self.low is not None and self.auc > LEAK and self.low > 0.5

    def auc_of(self, labels: NDArray[np.int64], mask: NDArray[np.bool_]) -> float | None:
        """AUC on a cut."""
        if self.scores is None or self.fold is None:
            return None
        return _mean_auc(labels[mask], _ranked_by_fold(self.scores[mask], self.fold[mask]), np.ones(int(mask.sum())))

    def to_dict(self) -> dict[str, Any]:
        return {
            "auc": self.auc,
            "auc_low": self.low,
            "sees": self.sees,
            "trained_on": self.trained_on,
            "leaks": self.leaks,
            "reason": self.reason,
        }


def format_control(pictures: Sequence[LabelledPicture], seen: Containers) -> Control:
    """Extremely randomised trees on what the container says, by folds."""
    return _cross_validated("format", _SEES_FORMAT, seen, pictures, lambda: _trees(len(pictures)))


def transferred_format_control(
    pictures: Sequence[LabelledPicture], seen: Containers, elsewhere: Sequence[LabelledPicture]
) -> Control:
    """The same, trained on the pictures ``elsewhere`` (other splits), as a detector trained there would be."""
    step = max(1, len(elsewhere) / _ELSEWHERE)
    elsewhere = [elsewhere[int(k * step)] for k in range(int(len(elsewhere) / step))]
    there = containers(elsewhere)
    trained_on = f"{len(elsewhere):,} pictures of the other splits"
    known = [k for k, f in enumerate(there) if f is not None]
    y = np.array([elsewhere[k].label for k in known])
    usable = [k for k, f in enumerate(seen) if f is not None]
    labels = np.array([p.label for p in pictures])
    if len(set(y.tolist())) < 2 or len(set(labels[usable].tolist())) < 2:
        return Control("format", _SEES_FORMAT, trained_on, reason="pictures of both labels are needed on both sides")
    model = _fitted(_trees(len(known)), np.stack([f for f in there if f is not None]), y)
    scores = np.full(len(pictures), np.nan)
    scores[usable] = model.predict_proba(np.stack([f for f in seen if f is not None]))[:, 1]
    return _measured("format", _SEES_FORMAT, trained_on, pictures, scores, np.zeros(len(pictures), dtype=np.int64))


def thumbnail_control(pictures: Sequence[LabelledPicture], seen: Sequence[NDArray[np.uint8] | None]) -> Control:
    """Logistic regression on principal components of 32x32 thumbnails, by folds."""
    flat = [None if t is None else np.float32(1 / 255) * t.reshape(-1).astype(np.float32) for t in seen]
    return _cross_validated("thumbnails", "32x32 thumbnails", _components(flat), pictures, _linear)


def semantic_control(pictures: Sequence[LabelledPicture], parts: Sequence[NDArray[np.float32] | None]) -> Control:
    """Logistic regression on principal components of f(I - P), ``(rank,)`` each, by folds."""
    return _cross_validated("semantic_part", SEES_SEMANTIC, _components(parts), pictures, _linear)


def containers(pictures: Sequence[LabelledPicture]) -> Containers:
    """What the container of each picture says, as numbers; pixels are not decoded."""
    return [_container(p) for p in pictures]


def thumbnails(pictures: Sequence[LabelledPicture]) -> list[NDArray[np.uint8] | None]:
    """Thumbnails from the files; decoders work outside Python's lock, so threads share the work."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(_thumbnail, pictures, chunksize=32))


def _thumbnail(picture: LabelledPicture) -> NDArray[np.uint8] | None:
    try:
        return read_thumbnail(picture.path, DecodeLimits())
    except InputError:  # The picture is left out of the control; its score is missing all the same.
        return None


def _container(picture: LabelledPicture) -> NDArray[np.float64] | None:
    try:
        with read_container(picture.path) as image:
            kind, (width, height) = image.format or "", image.size
            tables = getattr(image, "quantization", None) or {}
            sampling = [layer[1:3] for layer in getattr(image, "layer", ())]
        size = picture.path.stat().st_size
    except Exception:
        return None
    sums = [float(sum(table)) for table in tables.values()] or [0.0]
    luma = sampling[0][0] * sampling[0][1] if sampling else 0
    facts = [width, height, width * height, width / height, size, size / (width * height), sums[0], sums[-1], luma]
    return np.array([*facts, *(float(kind == name) for name in _FORMATS)], dtype=np.float64)


def _trees(n: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(_TREES, min_samples_leaf=max(2, min(20, n // 20)), random_state=0)


def _linear() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.01)


def _components(features: Sequence[NDArray[np.float32] | None]) -> list[NDArray[np.float64] | None]:
    """Whitened principal components of all pictures; they see no labels, so one set serves every fold."""
    from sklearn.decomposition import PCA

    known = [f for f in features if f is not None]
    if len(known) < 2 or not known[0].size:
        return [None] * len(features)
    count = min(_COMPONENTS, len(known) - 1, known[0].size)
    rows = iter(PCA(count, whiten=True, svd_solver="randomized", random_state=0).fit_transform(np.stack(known)))
    return [None if f is None else next(rows).astype(np.float64) for f in features]


def _fitted(model: Any, x: NDArray[np.float64], y: NDArray[np.int64]) -> Any:
    counts = np.bincount(y, minlength=2)
    return model.fit(x, y, sample_weight=len(y) / (2 * counts[y]))


def _cross_validated(
    name: str,
    sees: str,
    features: Sequence[NDArray[np.float64] | None],
    pictures: Sequence[LabelledPicture],
    build: Callable[[], Any],
) -> Control:
    from sklearn.model_selection import StratifiedGroupKFold

    usable = np.array([k for k, f in enumerate(features) if f is not None], dtype=np.int64)
    y = np.array([pictures[k].label for k in usable], dtype=np.int64)
    units, whole = _units([pictures[k] for k in usable])
    fewest = min(len(set(units[y == label].tolist())) for label in (0, 1))
    trained_on = f"these pictures, by folds {whole}"
    per_class = [int((y == label).sum()) for label in (0, 1)]
    if min(per_class) < _FOLDS:
        found = f"{per_class[0]} real and {per_class[1]} generated"
        reason = f"needs {_FOLDS} readable pictures of each label, found {found}"
        return Control(name, sees, trained_on, reason=reason)
    x = np.stack([f for f in features if f is not None])
    splitter = StratifiedGroupKFold(min(_FOLDS, fewest), shuffle=True, random_state=0)
    splits = list(splitter.split(x, y, units))
    scores, fold = np.full(len(pictures), np.nan), np.zeros(len(pictures), dtype=np.int64)
    for number, (inside, outside) in enumerate(splits):
        fold[usable[outside]] = number
        if len(set(y[inside].tolist())) == 2:
            scores[usable[outside]] = _fitted(build(), x[inside], y[inside]).predict_proba(x[outside])[:, 1]
    return _measured(name, sees, trained_on, pictures, scores, fold)


def _units(pictures: Sequence[LabelledPicture]) -> tuple[NDArray[np.int64], str]:
    """What is kept on one side of a fold, and drawn as one, ``(n,)`` numbers; and the same in words.

    Units are generators and sources.  A label with a single group cannot be split by groups: each of its
    pictures is a unit then, and a control may know the origins that it is tested on.
    """
    groups: dict[int, set[str]] = {0: set(), 1: set()}
    for p in pictures:
        groups[p.label].add(p.group)
    names = [
        f"{p.label}:{p.group}" if len(groups[p.label]) > 1 else f"{p.label}:{p.group}:{k}"
        for k, p in enumerate(pictures)
    ]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    several = (len(groups[0]) > 1, len(groups[1]) > 1)
    words = {
        (True, True): "that keep generators and sources whole",
        (False, True): "that keep generators whole, real pictures one by one",
        (True, False): "that keep sources whole, generated pictures one by one",
        (False, False): "of single pictures",
    }
    return np.array([numbers[name] for name in names], dtype=np.int64), words[several]


def _measured(
    name: str,
    sees: str,
    trained_on: str,
    pictures: Sequence[LabelledPicture],
    scores: NDArray[np.float64],
    fold: NDArray[np.int64],
) -> Control:
    labels = np.array([p.label for p in pictures])
    ranked = _ranked_by_fold(scores, fold)
    auc = _mean_auc(labels, ranked, np.ones(len(labels)))
    if auc is None:
        return Control(name, sees, trained_on, reason="no fold held pictures of both labels")
    rng = np.random.default_rng(0)
    unit, _ = _units(pictures)
    sides = [np.unique(unit[labels == label]) for label in (0, 1)]
    drawn = []
    for _ in range(_RESAMPLES):
        counts = np.zeros(unit.max() + 1)
        for side in sides:
            counts += np.bincount(rng.choice(side, len(side)), minlength=len(counts))
        value = _mean_auc(labels, ranked, counts[unit])
        if value is not None:
            drawn.append(value)
    return Control(name, sees, trained_on, auc, float(np.quantile(drawn, 0.025)), None, scores, fold)


_Ranked = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def _ranked_by_fold(scores: NDArray[np.float64], fold: NDArray[np.int64]) -> _Ranked:
    """Of each fold the pictures that have a score, and the places of those scores, equal ones sharing one."""
    found = []
    for number in np.unique(fold):
        inside = np.flatnonzero((fold == number) & ~np.isnan(scores))
        found.append((inside, np.unique(scores[inside], return_inverse=True)[1]))
    return found


def _mean_auc(labels: NDArray[np.int64], ranked: _Ranked, weights: NDArray[np.float64]) -> float | None:
    """Mean AUC over folds, weighed by pairs: scores of different folds' models are not compared with each other."""
    total = pairs = 0.0
    for inside, place in ranked:
        generated = labels[inside] == 1
        real_at = np.bincount(place, np.where(generated, 0.0, weights[inside]))
        generated_at = np.bincount(place, np.where(generated, weights[inside], 0.0))
        below = np.cumsum(real_at) - real_at / 2  # ties count half
        total += float((generated_at * below).sum())
        pairs += float(real_at.sum() * generated_at.sum())
    return total / pairs if pairs else None
