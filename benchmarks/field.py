"""The field side by side: every detector that has weights here, on the same held-out pictures by the same rules.

    python benchmarks/field.py --whole ORIGINALS.csv --rows ROWS.jsonl    an hour on two cores; goes on after a kill
    python benchmarks/field.py --write-only                              writes the document from the kept figures

Each picture of ``val`` is decoded once and shown to all: NS-Net with its shipped weights, and the published detectors
of ``weights/baselines``.  Crops as they are and after `DELIVERIES`, whole originals as they are.  ``milliseconds`` is
what looking and judging take for a crop, eight at a time and all detectors in turns, without decoding, which is the
same for all; it wants a quiet machine.  All are asked in the one ``--precision``, float32 unless told otherwise.
Figures are kept in ``benchmarks/results/field.json``; tables in ``docs/detectors.md`` and a plot are made of them, and
a test fails where they differ.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from documents import RESULTS, ROOT, between_markers, need_manifest, save_plot
from options import parser_with
from PIL import Image

from nsnet_cli.arrays import Pixels
from nsnet_cli.detector import Detector
from nsnet_cli.detectors.listed import listed_detectors
from nsnet_cli.detectors.published import PublishedDetector
from nsnet_cli.engines.preparing import seen as look_at
from nsnet_cli.errors import InputError
from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash, read_manifest
from nsnet_cli.evaluation.metrics import Scored, figures
from nsnet_cli.evaluation.predictions import Prediction
from nsnet_cli.evaluation.robustness import take_sample
from nsnet_cli.inputs.decode import channels_first, decode, facts_of, read_file
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.report.plots import blank_figure, svg_of
from nsnet_cli.scanner import Scanner
from nsnet_cli.verdict.calibration import UNCERTAIN
from nsnet_cli.views.deliveries import Delivery
from nsnet_cli.weights.file import load_weights

OWNER = "benchmarks/field.py"
RESULT, DOCUMENT = RESULTS / "field.json", ROOT / "docs" / "detectors.md"
CROPS, WHOLE = "crops", "whole"
AS_IS = "as_is"
DELIVERIES = ("jpeg:75", "resize:0.5", "webp:80")
# Pictures that are shown together, and how often for the time that they take.
_TOGETHER, _ROUNDS = 8, 5
_KEPT = (
    "pictures", "missing", "auc", "bacc", "r_acc", "f_acc", "tpr_at_5", "ece", "coverage", "false_alarms", "misses",
)  # fmt: skip
_LISTED = 15
# Crops that are delivered.
_SAMPLE = 200


@dataclass
class Rows:
    """What every detector says of every picture and delivery, appended to a file as it is said.

    A detector is known by the hash of its weights: a later run asks those alone who have not said yet.  ``mark`` is
    what all rows must have been made with.
    """

    path: Path | None
    mark: str
    said: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))

    def __post_init__(self) -> None:
        if self.path is None:
            return
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]  # a line that a kill cut short is no row
        first, *lines = whole.decode("utf-8").splitlines() or [self.mark]
        if first != self.mark:
            raise SystemExit(f"{self.path}: rows of another precision or of other pictures; choose another --rows")
        self.path.write_bytes(whole or f"{self.mark}\n".encode())
        for row in map(json.loads, lines):
            self.said[row["of"], row["path"], row["delivery"]] |= row["said"]

    def add(self, of: str, path: str, delivery: str, said: dict[str, dict[str, Any]]) -> None:
        self.said[of, path, delivery] |= said
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"of": of, "path": path, "delivery": delivery, "said": said}) + "\n")


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--whole", "--rows", "--precision", "--write-only")
    parser.add_argument("--sample", type=int, default=_SAMPLE, help="pictures that are delivered")
    args = parser.parse_args()
    if not args.write_only:
        need_manifest(args.manifest)
        document = _measure(args)
        RESULT.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        save_plot("field.svg", plot(document))
    document = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), document), "utf-8")


def with_figures(text: str, document: dict[str, Any]) -> str:
    """The document with its figures made new."""
    return between_markers(text, OWNER, render(document))


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    from nsnet_cli.tower.processor import processor_name

    precision = "fp32" if args.precision == "auto" else args.precision
    given: dict[str, Any] = {"precision": precision, "device": "cpu", "patches": False, "provenance": False}
    scanners: list[Scanner] = [Detector.load(**given)]
    listed = {row["name"]: row for row in listed_detectors() if row["weights"] is not None}
    scanners += [PublishedDetector.load(name, **given) for name in listed]
    sets = {CROPS: read_manifest(args.manifest, "val")}
    if args.whole is not None:
        sets[WHOLE] = read_manifest(args.whole, "val")
    rows = Rows(args.rows, json.dumps([precision, *(manifest_hash(pictures) for pictures in sets.values())]))
    sample = take_sample(sets[CROPS], args.sample)
    for of, pictures in sets.items():
        _ask(scanners, of, pictures, (AS_IS,), rows)
    _ask(scanners, CROPS, sample, DELIVERIES, rows)
    taken = _milliseconds(scanners, sets[CROPS])
    detectors = []
    for scanner in scanners:
        known = scanner.known
        info = listed.get(known.method)
        detectors.append(
            {
                "name": known.method,
                "published": "this project" if info is None else f"{info['venue']} {info['year']}",
                "weights_sha256": known.weights_sha256,
                "parameters": _own_parameters() if info is None else info["parameters"],
                "tower": known.tower,
                "milliseconds": taken[known.method],
                **{of: _figures(rows, scanner, of, pictures) for of, pictures in sets.items()},
                "deliveries": {
                    spec: figures(_scored(rows, scanner, CROPS, sample, spec), resamples=0).auc
                    for spec in (AS_IS, *DELIVERIES)
                },
            }
        )
    return {
        "schema": "nsnet.field/1",
        "processor": processor_name(),
        "precision": precision,
        "data_sha256": {of: manifest_hash(pictures) for of, pictures in sets.items()},
        "pictures": {of: len(pictures) for of, pictures in sets.items()},
        "sample": len(sample),
        "detectors": sorted(detectors, key=lambda row: -row[CROPS][AS_IS]["auc"]),
    }


def _own_parameters() -> int:
    """Numbers in NS-Net's weights file; the tower's are not counted, as they are not for others."""
    return sum(int(np.prod(tensor.shape)) for tensor in load_weights("nsnet-vit-b-16").tensors.values())


def _ask(
    scanners: Sequence[Scanner], of: str, pictures: Sequence[LabelledPicture], wanted: Sequence[str], rows: Rows
) -> None:
    def lacking(picture: LabelledPicture, delivery: str) -> list[Scanner]:
        there = rows.said[of, picture.name, delivery]
        return [scanner for scanner in scanners if scanner.known.weights_sha256 not in there]

    todo = [p for p in pictures if any(lacking(p, delivery) for delivery in wanted)]
    for first in range(0, len(todo), _TOGETHER):
        few = todo[first : first + _TOGETHER]
        decoded = [_decoded(picture.path) for picture in few]
        for delivery in wanted:
            shown = [None if found is None else _delivered(*found, delivery) for found in decoded]
            said: list[dict[str, dict[str, Any]]] = [{} for _ in few]
            for scanner in scanners:
                asked = [k for k, picture in enumerate(few) if scanner in lacking(picture, delivery)]
                answers = _answers(scanner, [shown[k] for k in asked])
                for k, answer in zip(asked, answers, strict=True):
                    said[k][scanner.known.weights_sha256] = answer
            for picture, new in zip(few, said, strict=True):
                if new:
                    rows.add(of, picture.name, delivery, new)
        print(f"{of}: {min(first + _TOGETHER, len(todo))} of {len(todo)}", flush=True)


def _decoded(path: Path) -> tuple[Pixels, str] | None:
    """Pixels ``(H, W, 3)`` and the file's hash, None of one that cannot be read."""
    limits = DecodeLimits()
    try:
        data = read_file(path, limits)
        pixels = decode(data, limits).pixels
    except InputError:
        return None
    assert pixels is not None
    return pixels, facts_of(data).sha256


def _delivered(pixels: Pixels, sha256: str, delivery: str) -> Pixels:
    if delivery != AS_IS:
        pixels = np.array(Delivery.parse(delivery)(Image.fromarray(pixels), sha256))
    return channels_first(pixels)


def _answers(scanner: Scanner, pictures: Sequence[Pixels | None]) -> Iterator[dict[str, Any]]:
    """What a scanner says of pictures ``(3, H, W)``; nothing of None."""
    seen = [None if pixels is None else look_at(scanner.known.look, pixels, "") for pixels in pictures]
    there = [one for one in seen if one is not None]
    scored = iter(scanner.judged(there) if there else ())
    for one in seen:
        if one is None:
            yield {"score": None, "probability": None, "verdict": None}
            continue
        score = next(scored).score
        probability = scanner.calibration.probability(score)
        verdict = UNCERTAIN if one.weak else scanner.calibration.verdict(probability)
        yield {"score": score, "probability": probability, "verdict": verdict}


def _milliseconds(scanners: Sequence[Scanner], pictures: Sequence[LabelledPicture]) -> dict[str, float]:
    """What a crop takes each, the median over rounds in turns; the first round, which loads what is loaded late, does
    not count."""
    some = [_decoded(picture.path) for picture in pictures[:: max(1, len(pictures) // _TOGETHER)]]
    crops = [channels_first(found[0]) for found in some if found is not None][:_TOGETHER]
    taken: dict[str, list[float]] = defaultdict(list)
    for _ in range(1 + _ROUNDS):
        for scanner in scanners:
            began = time.perf_counter()
            list(_answers(scanner, crops))
            taken[scanner.known.method].append((time.perf_counter() - began) / len(crops))
    return {name: round(1000 * statistics.median(each[1:]), 1) for name, each in taken.items()}


def _figures(rows: Rows, scanner: Scanner, of: str, pictures: Sequence[LabelledPicture]) -> dict[str, Any]:
    groups, as_is = np.array([p.group for p in pictures]), _scored(rows, scanner, of, pictures, AS_IS)
    whole = figures(as_is)
    photo = np.array([p.photo_like == "yes" for p in pictures])
    found: dict[str, Any] = {
        AS_IS: {
            **{key: getattr(whole, key) for key in _KEPT},
            "auc_interval": asdict(whole.intervals["auc"]),
            "auc_photo_like": figures(as_is.take(photo), resamples=0).auc,
        }
    }
    for label, key, accuracy in ((1, "generators", "f_acc"), (0, "sources", "r_acc")):
        names = sorted({p.group for p in pictures if p.label == label})
        shares = {}
        for name in names:
            mine = (groups == name) & (as_is.labels == label)
            shares[name] = [int(mine.sum()), getattr(figures(as_is.take(mine), resamples=0), accuracy)]
        found[key] = shares
    return found


def _scored(rows: Rows, scanner: Scanner, of: str, pictures: Sequence[LabelledPicture], delivery: str) -> Scored:
    said = [rows.said[of, p.name, delivery][scanner.known.weights_sha256] for p in pictures]
    return Scored.of(
        [p.label for p in pictures], [Prediction(s["probability"], s["score"], s["verdict"]) for s in said]
    )


def render(document: dict[str, Any]) -> str:
    """The figures in Markdown: all detectors, then generators and sources, worst first."""
    detectors, counts = document["detectors"], document["pictures"]
    lines = [
        f"`python benchmarks/field.py` on {counts[CROPS]:,} crops of `val`"
        + (f" and {counts[WHOLE]:,} whole originals" if WHOLE in counts else "")
        + f" (generators and sources that no training saw), {document['processor']}, precision "
        f"`{document['precision']}`. AUC of crops with its 95 % interval; real and generated right at 0.5; "
        f"what deliveries do to AUC on {document['sample']} of the crops; milliseconds a crop without decoding; "
        "parameters without CLIP's.",
        "",
        "| detector | AUC, crops | photo-like | real right | generated right | TPR at 5 % FPR | accused | decided | "
        + "AUC, originals | " + " | ".join(DELIVERIES) + " | ms | parameters |",
        "|" + "---|" * (11 + len(DELIVERIES)),
    ]  # fmt: skip
    for row in detectors:
        crops = row[CROPS][AS_IS]
        span = crops["auc_interval"]
        cells = [
            f"{row['name']} ({row['published']})",
            f"{crops['auc']:.3f} ({span['low']:.2f}–{span['high']:.2f})",
            f"{crops['auc_photo_like']:.3f}",
            *(f"{crops[key]:.2f}" for key in ("r_acc", "f_acc", "tpr_at_5")),
            *(f"{100 * crops[key]:.{digits}f} %" for key, digits in (("false_alarms", 1), ("coverage", 0))),
            f"{row[WHOLE][AS_IS]['auc']:.3f}" if WHOLE in row else "–",
            *(f"{row['deliveries'][spec] - row['deliveries'][AS_IS]:+.3f}" for spec in DELIVERIES),
            f"{row['milliseconds']:.0f}",
            f"{row['parameters']:,}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for of in (CROPS, WHOLE):
        if of not in counts:
            continue
        where = of if of == CROPS else "whole originals"
        for key, what in (("generators", "generated pictures found"), ("sources", "real pictures left alone")):
            lines += ["", *_groups(detectors, of, key, f"Share of {what} at 0.5, {where}")]
    return "\n".join(lines)


def _groups(detectors: Sequence[dict[str, Any]], of: str, key: str, title: str) -> list[str]:
    shares = {row["name"]: row[of][key] for row in detectors}
    names = list(next(iter(shares.values())))

    def together(name: str) -> float:
        return sum(found[name][1] for found in shares.values()) / len(shares)

    worst = sorted(names, key=lambda name: (together(name), name))
    lines = [
        f"**{title}**, worst first (the mean over detectors){_of_how_many(names)}:",
        "",
        f"| {key[:-1]} | n | " + " | ".join(shares) + " |",
        "|---" * (2 + len(shares)) + "|",
    ]
    for name in worst[:_LISTED]:
        counted = next(iter(shares.values()))[name][0]
        cells = [f"{found[name][1]:.2f}" for found in shares.values()]
        lines.append(f"| {name} | {counted} | " + " | ".join(cells) + " |")
    means = [sum(value for _, value in found.values()) / len(found) for found in shares.values()]
    lines.append(f"| mean of all {len(names)} | | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    return lines


def _of_how_many(names: Sequence[str]) -> str:
    return f", {_LISTED} of {len(names)}" if len(names) > _LISTED else ""


def plot(document: dict[str, Any]) -> str:
    """AUC against milliseconds a picture; filled on crops, hollow on whole originals."""
    drawn = blank_figure(6.4, 3.8)
    axes = drawn.subplots()
    for row in document["detectors"]:
        x, y = row["milliseconds"], row[CROPS][AS_IS]["auc"]
        axes.plot([x], [y], "o", color="0.1", markersize=5)
        if WHOLE in row:
            axes.plot([x], [row[WHOLE][AS_IS]["auc"]], "o", markerfacecolor="none", color="0.1", markersize=5)
        axes.annotate(row["name"], (x, y), xytext=(6, -3), textcoords="offset points", fontsize=8)
    axes.set(
        xscale="log",
        xlabel="milliseconds a picture, without decoding",
        ylabel="AUC",
        title="filled: crops, hollow: whole originals",
    )
    axes.grid(axis="y", color="0.8", linewidth=0.4)
    return svg_of(drawn)


if __name__ == "__main__":
    main()
