"""Do patch scores and maps say where?  On held-out pictures.

    python benchmarks/localisation.py --work DIR     about 20 minutes on two cores; goes on after a kill from DIR
    python benchmarks/localisation.py --write-only   writes the documents from the kept figures

Three questions:

* **Localisation.**  Composites of ``val`` pictures (`localising.composites`): are patches, and cells of the
  map of ``nsnet explain``, that a generator made scored above the rest *of the same picture*?  The control pastes real
  pictures into real ones, where every region is as real as the next.
* **Leave-one-patch-out.**  Does a patch's score say how much the verdict's logit falls when the patch is replaced in
  its mosaic, by the mean of its neighbours in the picture, or by another patch of the picture?  How far these two
  references agree with each other bounds what any score can reach.
* **Cost** of patch scores over a scan without them.

Figures are kept in ``benchmarks/results/localisation.json``; a test fails where the documents differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from documents import RESULTS, ROOT, between_markers, kept_rows, need_manifest
from localising.composites import CompositeDraw
from options import parser_with
from PIL import Image
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from nsnet_cli.arrays import Pixels
from nsnet_cli.detector import Detector
from nsnet_cli.evaluation.labelled import LabelledPicture, read_manifest
from nsnet_cli.explain import explain
from nsnet_cli.inputs.decode import channels_first
from nsnet_cli.scanner import DEFAULT_BUDGET
from nsnet_cli.training.views import read_picture

OWNER = "benchmarks/localisation.py"
RESULT = RESULTS / "localisation.json"
EXPLAIN_DOC = ROOT / "docs" / "explain.md"
# Mixed pictures come three times in five, controls once in five.
_COMPOSITES, _LEFT_OUT, _TIMED = 360, 12, 24
# Patches and cells on the border of a region are neither.
_MOSTLY, _HARDLY = 0.75, 0.25
Row = dict[str, Any]


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--work", "--write-only")
    parser.add_argument("--weights", default=None, help="other weights than the shipped ones")
    parser.add_argument("--composites", type=int, default=_COMPOSITES)
    parser.add_argument("--left-out", type=int, default=_LEFT_OUT, help="pictures of the leave-one-patch-out reference")
    args = parser.parse_args()
    if not args.write_only:
        need_manifest(args.manifest)
        with tempfile.TemporaryDirectory() as scratch:
            document = _measure(args, args.work or Path(scratch))
        RESULT.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    document = json.loads(RESULT.read_text("utf-8"))
    EXPLAIN_DOC.write_text(with_figures(EXPLAIN_DOC.read_text("utf-8"), document), "utf-8")


def _measure(args: argparse.Namespace, work: Path) -> Row:
    given = {} if args.weights is None else {"weights": args.weights}
    detector = Detector.load(**given, provenance=False)
    pictures = read_manifest(args.manifest, "val")
    work.mkdir(parents=True, exist_ok=True)
    sha, recipe = detector.model.weights_sha256, detector.weights.info.selection
    draw = CompositeDraw(pictures, recipe.size, recipe.window or recipe.size)
    composites = kept_rows(
        work / "composites.jsonl", sha, range(args.composites), lambda k: _composite(detector, draw, k)
    )
    left_out = kept_rows(
        work / "left-out.jsonl",
        sha,
        _evenly(pictures, args.left_out, detector),
        lambda k: _leave_one_out(detector, pictures[k]),
    )
    return {
        "schema": "nsnet.localisation/1",
        "weights_sha256": sha,
        "precision": detector.precision,
        "device": detector.model.device,
        "budget": DEFAULT_BUDGET,
        "localisation": {where: _located(composites, where) for where in ("patches", "map")},
        "of_full_windows": _of_full_windows(composites),
        "leave_one_out": _agreement(left_out),
        "cost": _cost(detector, Detector.load(**given, provenance=False, patches=False), pictures),
    }


# --- localisation ---


def _composite(detector: Detector, draw: CompositeDraw, k: int) -> Row:
    drawn = draw(k)
    generated = drawn.made.generated(drawn.labels[0], max(0, drawn.labels[1]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "composite.png"
        Image.fromarray(drawn.made.pixels).save(path)
        found = explain(detector, str(path))
    assert found.result.patches is not None
    # Of real in real every pixel is real: there the question is whether what was pasted stands out.
    truth = drawn.made.pasted if drawn.labels == (0, 0) else generated
    patches = [(float(truth[p.y : p.y + p.height, p.x : p.x + p.width].mean()), p.score) for p in found.result.patches]
    cell = found.cell
    cells = [
        (
            float(truth[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell].mean()),
            round(float(value), 3),
        )
        for (row, column), value in np.ndenumerate(found.values)
        if not np.isnan(value)
    ]
    return {
        "labels": drawn.labels,
        "patches": [(round(t, 3), s) for t, s in patches],
        "map": [(round(t, 3), s) for t, s in cells],
    }


def _located(rows: Sequence[Row], where: str) -> Row:
    """Mean of the AUC within each composite, with its 95 % interval by bootstrap over composites."""

    def within(wanted: Callable[[list[int]], bool]) -> Row:
        found = []
        for row in rows:
            pairs = [(t >= _MOSTLY, s) for t, s in row[where] if t >= _MOSTLY or t <= _HARDLY]
            if wanted(row["labels"]) and 0 < sum(t for t, _ in pairs) < len(pairs):
                found.append(roc_auc_score([t for t, _ in pairs], [s for _, s in pairs]))
        return {"composites": len(found), **_interval(found)}

    pairs = [(t >= _MOSTLY, s) for row in rows if row["labels"] != [0, 0] for t, s in row[where]]
    return {
        "generated_into_real": within(lambda labels: labels == [0, 1]),
        "real_into_generated": within(lambda labels: labels == [1, 0]),
        "mixed": within(lambda labels: sorted(labels) == [0, 1]),
        "control": within(lambda labels: labels == [0, 0]),
        "pooled": round(float(roc_auc_score([t for t, _ in pairs], [s for _, s in pairs])), 4),
    }


def _of_full_windows(rows: Sequence[Row]) -> Row:
    """The map of pictures that are as large as a window, as it is, and without what hangs on the place alone.

    The latter is the mean over all these pictures, whatever was pasted, of the scores at each cell.
    """
    most = max(len(row["map"]) for row in rows)
    full = [row for row in rows if len(row["map"]) == most]
    place = np.mean([[score for _, score in row["map"]] for row in full], axis=0)
    without = [{**row, "map": [(t, s - mean) for (t, s), mean in zip(row["map"], place, strict=True)]} for row in full]
    return {"pictures": len(full), "as_it_is": _located(full, "map"), "place_removed": _located(without, "map")}


def _interval(values: Sequence[float]) -> Row:
    drawn = np.random.default_rng(0).choice(np.array(values), (2_000, len(values))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"auc": round(float(np.mean(values)), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


# --- leave one patch out ---


def _evenly(pictures: Sequence[LabelledPicture], count: int, detector: Detector) -> list[int]:
    """Half real, half generated, each from another source or generator as long as there are any."""
    size = detector.weights.info.selection.size
    chosen: list[int] = []
    order = Random("left-out").sample(range(len(pictures)), len(pictures))
    for label in (0, 1):
        groups: set[str] = set()
        for k in order:
            picture = pictures[k]
            if len(groups) == (count + label) // 2:
                break
            if picture.label == label and picture.group not in groups and min(read_picture(picture.path).size) >= size:
                groups.add(picture.group)
                chosen.append(k)
    return chosen


def _leave_one_out(detector: Detector, picture: LabelledPicture) -> Row:
    prepared = detector.prepare(str(picture.path))
    assert prepared.views is not None
    network, selection = detector.network, prepared.selections[0]
    pixels = channels_first(np.array(read_picture(picture.path)))
    patch, rng = selection.patch, Random(prepared.facts.sha256 if prepared.facts else "")
    across = int(len(selection.indices) ** 0.5)

    def without(replacement: Callable[[int, int], Pixels]) -> Pixels:
        views = []
        for k in range(len(selection.indices)):
            row, column = (n * patch for n in divmod(k, across))
            view = prepared.views[0].copy()  # type: ignore[index]
            view[:, row : row + patch, column : column + patch] = replacement(*selection.corner(k))
            views.append(view)
        return np.stack(views)

    def neighbours(x: int, y: int) -> Pixels:
        around = [
            pixels[:, b : b + patch, a : a + patch]
            for a in (x - patch, x, x + patch)
            for b in (y - patch, y, y + patch)
            if (a, b) != (x, y) and 0 <= a <= pixels.shape[2] - patch and 0 <= b <= pixels.shape[1] - patch
        ]
        return np.mean(around, axis=0).round().astype(np.uint8)

    def another(x: int, y: int) -> Pixels:
        a, b = rng.randint(0, pixels.shape[2] - patch), rng.randint(0, pixels.shape[1] - patch)
        return pixels[:, b : b + patch, a : a + patch]

    window = network.look(prepared.views[1:2], "window").features
    scores = [p.score for p in detector.scan(picture.path).patches or ()]

    def falls(views: Pixels) -> list[float]:
        mosaics = network.look(np.concatenate([prepared.views[:1], views]), "mosaic").features  # type: ignore[index]
        everywhere = window.rows(np.zeros(len(views) + 1, np.int64))
        logits = network.fused({"mosaic": [mosaics], "window": [everywhere]})
        return [round(float(v), 5) for v in logits[0] - logits[1:]]

    return {
        "label": picture.label,
        "scores": scores,
        "neighbours": falls(without(neighbours)),
        "another": falls(without(another)),
    }


def _agreement(rows: Sequence[Row]) -> Row:
    def of(a: str, b: str) -> float:
        return round(median(float(spearmanr(row[a], row[b]).statistic) for row in rows), 4)

    spread = [float(np.std(row["neighbours"])) for row in rows]
    return {
        "pictures": len(rows),
        "with_neighbours": of("scores", "neighbours"),
        "with_another": of("scores", "another"),
        "references_with_each_other": of("neighbours", "another"),
        "spread_of_neighbours": round(median(spread), 4),
    }


# --- cost ---


def _cost(with_scores: Detector, without: Detector, pictures: Sequence[LabelledPicture]) -> Row:
    """Seconds a picture, one after the other and in turn, in one process; the median of the ratios."""
    chosen = [str(p.path) for p in Random("timed").sample(list(pictures), _TIMED)]
    for detector in (with_scores, without):
        detector.scan(chosen[0])
    times: list[tuple[float, float]] = []
    for path in chosen:
        pair = []
        for detector in (with_scores, without):
            began = time.perf_counter()
            detector.scan(path)
            pair.append(time.perf_counter() - began)
        times.append((pair[0], pair[1]))
    return {
        "pictures": len(times),
        "seconds_with": round(median(a for a, _ in times), 4),
        "seconds_without": round(median(b for _, b in times), 4),
        "more": round(median(a / b for a, b in times) - 1.0, 4),
    }


# --- documents ---


def with_figures(text: str, document: Row) -> str:
    """``text`` with the figures between this benchmark's markers made new."""
    return between_markers(text, OWNER, render(document))


def render(document: Row) -> str:
    """The figures in Markdown, a summary first."""
    patches, chart = document["localisation"]["patches"], document["localisation"]["map"]
    left, cost = document["leave_one_out"], document["cost"]
    summary = (
        f"Weights `{document['weights_sha256'][:12]}`, {chart['mixed']['composites']} held-out pictures that a "
        f"generator made in part: the AUC within a picture is {_with_interval(chart['mixed'])} for cells of the map of "
        f"`nsnet explain`, {_with_interval(patches['mixed'])} for `patches[].score`. Real pasted into real, which must "
        f"stay at 0.5: {_with_interval(chart['control'])} and {_with_interval(patches['control'])}."
    )
    lines = [
        summary,
        "",
        "| AUC within a picture | pictures | cells of the map | selected patches |",
        "|---|---|---|---|",
    ]
    names = {
        "mixed": "generated in part",
        "generated_into_real": "… generated pasted into real",
        "real_into_generated": "… real pasted into generated",
        "control": "control: real pasted into real",
    }
    for key, name in names.items():
        lines.append(
            f"| {name} | {chart[key]['composites']} | {_with_interval(chart[key])} | {_with_interval(patches[key])} |"
        )
    lines.append(f"| over all pictures together | | {chart['pooled']:.3f} | {patches['pooled']:.3f} |")
    full = document["of_full_windows"]
    as_is, removed = full["as_it_is"], full["place_removed"]
    lines += [
        "",
        f"**Of pictures that fill a window** ({full['pictures']} of 384 x 384 pixels; the others are smaller) the map "
        f"reaches {_with_interval(as_is['mixed'])}, its control {_with_interval(as_is['control'])}. Without what hangs "
        f"on the place alone, the mean of all these maps, it is {_with_interval(removed['mixed'])} and "
        f"{_with_interval(removed['control'])}; {removed['generated_into_real']['auc']:.3f} for generated pasted into "
        f"real, {removed['real_into_generated']['auc']:.3f} for the reverse.",
        "",
        f"**Leave one patch out** ({left['pictures']} pictures): the median rank correlation of `patches[].score` with "
        f"the fall of the verdict's logit is {left['with_neighbours']:.2f} where the mean of its neighbours replaces "
        f"the patch, and {left['with_another']:.2f} where another patch does. The two references agree with each other "
        f"to {left['references_with_each_other']:.2f} only, which bounds what any score can reach.",
        "",
        f"**Cost** ({cost['pictures']} pictures in turn, {document['precision']} on {document['device']}): "
        f"{cost['seconds_with']:.2f} s a picture with patch scores, {cost['seconds_without']:.2f} s without, "
        f"{cost['more']:+.0%}.",
    ]
    return "\n".join(lines)


def _with_interval(found: Row) -> str:
    return f"{found['auc']:.3f} ({found['low']:.2f}–{found['high']:.2f})"


if __name__ == "__main__":
    main()
