"""``nsnet robustness``: what deliveries do to the scores of labelled pictures, and which way they push them.

Rows are kept one a picture, with its scores after every delivery; whoever starts again with the same rows goes
on where they end.  Figures are those of `nsnet_cli.evaluation.metrics`, the changes paired by picture.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from nsnet_cli import __version__
from nsnet_cli.errors import UsageError
from nsnet_cli.evaluation.labelled import LabelledPicture, LabelledSet, manifest_hash
from nsnet_cli.evaluation.metrics import DECISION, Scored, auc_resamples, figures
from nsnet_cli.evaluation.predictions import Prediction
from nsnet_cli.results.document import ROBUSTNESS_SCHEMA, DeliveredResult, versions
from nsnet_cli.verdict.calibration import GENERATED, REAL, UNCERTAIN
from nsnet_cli.verdict.rates import Interval
from nsnet_cli.verdict.stability import is_unstable, stability_of
from nsnet_cli.views.deliveries import MILD, Delivery, specs

if TYPE_CHECKING:
    from nsnet_cli.scanner import Scanner

ROWS_SCHEMA = "nsnet.robustness-rows/1"
AS_IS = "as is"


@dataclass(frozen=True)
class Row:
    """One picture's scores: as it is under `AS_IS`, then by delivery.  ``error``: it could not be read at all."""

    path: str
    scores: dict[str, DeliveredResult]
    error: str | None = None

    def prediction(self, delivery: str) -> Prediction:
        found = self.scores.get(delivery)
        if found is None or found.probability is None:
            return Prediction(None, error=self.error or "cannot be delivered so")
        return Prediction(found.probability, found.score, found.verdict)


class RowsFile:
    """Rows in a JSONL file that a kill at any moment leaves usable: a torn last line is cut off.

    The first line says what the rows are of.  Raises `UsageError` for rows of other weights, options,
    deliveries or pictures: they would be another measurement.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._path = path
        self.rows: dict[str, Row] = {}
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.decode("utf-8", "replace").splitlines()
        if data and not lines and not json.dumps(header).encode().startswith(data):
            raise UsageError(f"{path}: not a file of {ROWS_SCHEMA}; choose another name")
        if lines:
            _check_header(path, lines[0], header)
            self.rows = {row.path: row for row in map(_row, lines[1:])}
        if len(whole) < len(data):
            os.truncate(path, len(whole))
        if not lines:
            self._append(header)

    def add(self, row: Row) -> None:
        self.rows[row.path] = row
        self._append(asdict(row))

    def _append(self, data: dict[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write(json.dumps(data).encode() + b"\n")


def _check_header(path: Path, line: str, header: dict[str, Any]) -> None:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or found.get("schema") != ROWS_SCHEMA:
        raise UsageError(f"{path}: not a file of {ROWS_SCHEMA}; choose another name")
    for key, value in header.items():
        if found.get(key) != value:
            raise UsageError(f"{path}: its rows are of other {key.replace('_', ' ')}; choose another --rows")


def _row(line: str) -> Row:
    data = json.loads(line)
    scores = {name: DeliveredResult(**found) for name, found in data["scores"].items()}
    return Row(data["path"], scores, data["error"])


def take_sample(pictures: Sequence[LabelledPicture], count: int | None) -> tuple[LabelledPicture, ...]:
    """About ``count`` pictures, both classes in proportion: always the same ones, whatever the order."""
    if count is None or count >= len(pictures):
        return tuple(pictures)
    by_hash = sorted(pictures, key=lambda p: hashlib.sha256(p.name.encode("utf-8", "surrogateescape")).digest())
    chosen: set[str] = set()
    for label in (0, 1):
        side = [p.name for p in by_hash if p.label == label]
        chosen |= set(side[: max(1, round(count * len(side) / len(pictures)))])
    return tuple(p for p in pictures if p.name in chosen)


def rows_header(detector: Scanner, pictures: Sequence[LabelledPicture]) -> dict[str, Any]:
    """What rows must agree in to be of one measurement."""
    return {
        "schema": ROWS_SCHEMA,
        "weights": detector.model.weights_sha256,
        "options": detector.options.hash(),
        "deliveries": specs(detector.deliveries),
        "pictures": manifest_hash(list(pictures)),
    }


def score_deliveries(
    detector: Scanner,
    pictures: Sequence[LabelledPicture],
    known: dict[str, Row],
    batch_size: int,
    on_row: Callable[[Row], None],
) -> list[Row]:
    """A row for each picture; those in ``known`` are not looked at again, new ones go to ``on_row`` at once."""
    left = [p for p in pictures if p.name not in known]
    rows = dict(known)
    for picture, seen in zip(left, detector.observe_many((str(p.path) for p in left), batch_size), strict=True):
        result = seen.result
        if result.error is not None:
            row = Row(picture.name, {}, f"{result.error.code}: {result.error.message}")
        else:
            as_is = DeliveredResult(AS_IS, result.probability, result.score, result.verdict)
            row = Row(picture.name, {d.delivery: d for d in (as_is, *seen.delivered)})
        rows[row.path] = row
        on_row(row)
    return [rows[p.name] for p in pictures]


def measure(
    dataset: LabelledSet,
    rows: Sequence[Row],
    deliveries: Sequence[Delivery],
    model: dict[str, Any],
    command: str,
    sample: int | None,
) -> dict[str, Any]:
    """The document ``nsnet.robustness/1`` as JSON data."""
    labels = np.array([p.label for p in dataset.pictures], dtype=np.int64)
    by_delivery = {name: [row.prediction(name) for row in rows] for name in (AS_IS, *specs(deliveries))}
    as_is = by_delivery.pop(AS_IS)
    return {
        "schema": ROBUSTNESS_SCHEMA,
        "tool": {"name": "nsnet", "version": __version__},
        "command": command,
        "versions": versions(),
        "model": model,
        "dataset": {
            "name": dataset.name,
            "layout": dataset.layout,
            "split": dataset.split,
            "sha256": manifest_hash(list(dataset.pictures)),
            "sample": sample,
        },
        "as_is": _figures(labels, as_is),
        "deliveries": [{"delivery": name, **_against(labels, as_is, p)} for name, p in by_delivery.items()],
        "stability": _stability(labels, rows, model),
    }


def _figures(labels: NDArray[np.int64], predictions: Sequence[Prediction]) -> dict[str, Any]:
    return asdict(figures(Scored.of(labels.tolist(), predictions)))


def _against(labels: NDArray[np.int64], before: Sequence[Prediction], after: Sequence[Prediction]) -> dict[str, Any]:
    """Figures after a delivery, and what it changed: AUC with its paired 95 % interval, drift by class."""
    was, now = (Scored.of(labels.tolist(), p) for p in (before, after))
    found = _figures(labels, after)
    there = ~(was.missing | now.missing)
    moved = now.probabilities - was.probabilities
    flipped = (was.probabilities >= DECISION) != (now.probabilities >= DECISION)
    verdicts = np.array([b.verdict != a.verdict for b, a in zip(before, after, strict=True)])
    found["auc_change"] = found["auc_change_interval"] = None
    if set(labels.tolist()) == {0, 1}:
        # The same pictures are drawn for both, so that the difference is that of pairs.
        change = auc_resamples(labels, now.ranking) - auc_resamples(labels, was.ranking)
        found["auc_change"] = float(roc_auc_score(labels, now.ranking) - roc_auc_score(labels, was.ranking))
        found["auc_change_interval"] = asdict(
            Interval(float(np.quantile(change, 0.025)), float(np.quantile(change, 0.975)))
        )
    for label, name in ((0, "real"), (1, "generated")):
        side = there & (labels == label)
        found[f"drift_{name}"] = float(moved[side].mean()) if side.any() else None
        found[f"flipped_{name}"] = float(flipped[side].mean()) if side.any() else None
    found["verdicts_changed"] = float(verdicts[there].mean()) if there.any() else None
    return found


def _stability(labels: NDArray[np.int64], rows: Sequence[Row], model: dict[str, Any]) -> dict[str, Any] | None:
    """Does the spread under mild deliveries foretell errors?  None where not all of them were tried."""

    def in_band(p: float) -> str:
        return GENERATED if p >= model["t_high"] else REAL if p < model["t_low"] else UNCERTAIN

    mild = [d.spec for d in MILD]
    known = [
        (row, int(label))
        for row, label in zip(rows, labels, strict=True)
        if all(row.prediction(name).probability is not None for name in (AS_IS, *mild))
        # A picture that is too small to be judged is uncertain whatever its probability, and is never unstable.
        and row.scores[AS_IS].verdict == in_band(_probability(row, AS_IS))
    ]
    if not known:
        return None
    found = [stability_of(_probability(row, AS_IS), [row.scores[name] for name in mild]) for row, _ in known]
    p, y = np.array([_probability(row, AS_IS) for row, _ in known]), np.array([label for _, label in known])
    spread = np.array([stability.spread for stability in found])
    unstable = np.array([is_unstable(stability, in_band) for stability in found])
    verdicts = np.array([row.scores[AS_IS].verdict for row, _ in known])
    wrong = (p >= DECISION) != (y == 1)
    decided = verdicts != UNCERTAIN
    wrong_verdict = decided & ((verdicts == GENERATED) != (y == 1))
    return {
        "deliveries": mild,
        "pictures": len(known),
        "median_spread": float(np.median(spread)),
        # How well each ranks the wrong calls at 0.5 before the right ones; 0.5 is chance.
        "auc_of_spread_for_errors": _auc(wrong, spread),
        "auc_of_closeness_for_errors": _auc(wrong, -np.abs(p - DECISION)),
        "unstable": float(unstable.mean()),
        "decided": int(decided.sum()),
        "decided_unstable": int((decided & unstable).sum()),
        "wrong_of_decided_stable": _share(wrong_verdict, decided & ~unstable),
        "wrong_of_decided_unstable": _share(wrong_verdict, decided & unstable),
        "wrong_at_half_stable": _share(wrong, ~unstable),
        "wrong_at_half_unstable": _share(wrong, unstable),
    }


def _probability(row: Row, delivery: str) -> float:
    found = row.scores[delivery].probability
    assert found is not None
    return found


def _auc(wrong: NDArray[np.bool_], values: NDArray[np.float64]) -> float | None:
    return float(roc_auc_score(wrong, values)) if 0 < wrong.sum() < len(wrong) else None


def _share(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    return float(hits[among].mean()) if among.any() else None
