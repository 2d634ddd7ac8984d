"""How far scores in a fast precision lie from those in float32, on pictures: the bound that scans reckon with."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nsnet_cli.detector import Detector
from nsnet_cli.errors import UsageError
from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash
from nsnet_cli.tower.processor import bfloat16_unit, processor_name
from nsnet_cli.weights.fast import FastScores

# The bound is so many times the largest drift seen, unless another margin is asked for.
MARGIN = 2.0
_PRECISION = "bf16"


@dataclass(frozen=True)
class TwoScores:
    """A picture's score in float32 and in the fast precision."""

    name: str
    exact: float
    fast: float

    @property
    def drift(self) -> float:
        return abs(self.fast - self.exact)


def score_twice(
    weights: str, pictures: Sequence[LabelledPicture], kept: Path | None, on_picture: Callable[[], None]
) -> list[TwoScores]:
    """Both scores of every picture that has any, on a CPU; ``kept``, a file of JSON lines, lets a run go on later.

    Raises `UsageError` where what is kept is of other weights or pictures.
    """
    detectors = {
        precision: Detector.load(weights, device="cpu", precision=precision, patches=False, provenance=False)
        for precision in ("fp32", _PRECISION)
    }
    exact, fast = detectors["fp32"], detectors[_PRECISION]
    mark = f"{exact.weights.sha256}:{manifest_hash(list(pictures))}"
    done = {} if kept is None else _read(kept, mark)

    def both(todo: Sequence[LabelledPicture]) -> Iterator[tuple[LabelledPicture, TwoScores | None]]:
        paths = [str(picture.path) for picture in todo]
        for picture, one, other in zip(todo, exact.scan_many(paths), fast.scan_many(paths), strict=True):
            there = one.score is not None and other.score is not None
            yield picture, TwoScores(picture.name, one.score, other.score) if there else None  # type: ignore[arg-type]

    for _ in done:
        on_picture()
    for picture, scores in both([picture for picture in pictures if picture.name not in done]):
        done[picture.name] = scores
        if kept is not None:
            with kept.open("a", encoding="utf-8") as file:
                pair = None if scores is None else [scores.exact, scores.fast]
                file.write(json.dumps({"of": mark, "name": picture.name, "scores": pair}) + "\n")
        on_picture()
    return [scores for picture in pictures if (scores := done[picture.name]) is not None]


def _read(kept: Path, mark: str) -> dict[str, TwoScores | None]:
    """The scores in ``kept``; a last line that a kill cut short is taken off it."""
    done: dict[str, TwoScores | None] = {}
    data = kept.read_bytes() if kept.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    for line in whole.decode("utf-8", "replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or row.get("of") != mark:
            raise UsageError(f"{kept}: scores of other weights or pictures; name another file, or remove it")
        done[row["name"]] = None if row["scores"] is None else TwoScores(row["name"], *row["scores"])
    if len(whole) < len(data):
        os.truncate(kept, len(whole))
    return done


def bound_of(scores: Sequence[TwoScores], pictures: Sequence[LabelledPicture], margin: float = MARGIN) -> FastScores:
    """``margin`` times the largest drift.  Raises `UsageError` where there is none, or the margin is no margin."""
    if margin < 1.0:
        raise UsageError(f"a margin must be 1 or more, found {margin:g}")
    drifts = sorted(one.drift for one in scores)
    if not drifts or not drifts[-1] > 0.0:
        raise UsageError(f"{len(drifts)} pictures with two scores, and no drift between them: nothing to bound")
    return FastScores(
        precision=_PRECISION,
        bound=round(margin * drifts[-1], 6),
        largest=round(drifts[-1], 6),
        half=round(statistics.median(drifts), 6),
        pictures=len(drifts),
        measured_on=(
            f"{len(drifts)} pictures, {manifest_hash(list(pictures))[:16]}; {processor_name()}, "
            f"{bfloat16_unit() or 'bfloat16 emulated'}; PyTorch {torch.__version__}"
        ),
    )
