"""What do the looks at large pictures cost?  A crop and a 12-megapixel photograph, before and after, in one run.

    python benchmarks/looking.py PHOTO [--rounds 9] [--precision bf16]    a minute on a quiet machine
    python benchmarks/looking.py --write-only          writes docs/looks.md from the kept figures

PHOTO is a picture of some 12 megapixels; the crop is 384x384 pixels of its middle.  *Before* is the recipe without
looks (one window at native scale beside the mosaic), *after* the shipped one; both with the shipped network, in turns,
each first as often, from a file on disk to a verdict, warm.  Medians, and the ratio of each pair.  Figures are kept in
``benchmarks/results/looking.json``.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from documents import RESULTS, ROOT, between_markers
from options import parser_with
from PIL import Image

from nsnet_cli.detector import Detector
from nsnet_cli.scanner import Settings
from nsnet_cli.weights.file import load_weights
from nsnet_cli.weights.store import DEFAULT_WEIGHTS

OWNER, RESULT, DOCUMENT = "benchmarks/looking.py", RESULTS / "looking.json", ROOT / "docs" / "looks.md"
_CROP = 384
_BEFORE, _AFTER = "before", "after"


def main() -> None:
    parser = parser_with(__doc__, "--precision", "--write-only")
    parser.add_argument("photo", type=Path, nargs="?", metavar="PHOTO")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    if not args.write_only:
        if args.photo is None:
            parser.error("name a photograph of some 12 megapixels")
        if args.precision == "auto":  # would begin with the one precision and go on in the other
            args.precision = "fp32"
        RESULT.write_text(json.dumps(measure(args.photo, args.rounds, args.precision), indent=1) + "\n", "utf-8")
    document = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), document), "utf-8")


def with_figures(text: str, document: dict[str, Any]) -> str:
    """The document with its figures made new."""
    return between_markers(text, OWNER, render(document))


def measure(photo: Path, rounds: int, precision: str) -> dict[str, Any]:
    from nsnet_cli.tower.processor import processor_name

    weights = load_weights(DEFAULT_WEIGHTS)
    native = replace(weights, info=replace(weights.info, selection=replace(weights.info.selection, looks=())))
    settings = Settings(device="cpu", precision=precision, patches=False)
    detectors = {_BEFORE: Detector(native, None, settings), _AFTER: Detector(weights, None, settings)}
    with tempfile.TemporaryDirectory() as folder:
        crop = Path(folder) / "crop.jpg"
        with Image.open(photo) as opened:
            size = opened.size
            left, top = (side // 2 - _CROP // 2 for side in size)
            opened.convert("RGB").crop((left, top, left + _CROP, top + _CROP)).save(crop, quality=90)
        seconds: dict[str, dict[str, list[float]]] = {
            what: {name: [] for name in detectors} for what in ("crop", "photo")
        }
        for turn in range(-1, rounds):  # the first loads what is loaded late
            for what, path in (("crop", crop), ("photo", photo)):
                for name, detector in list(detectors.items())[:: 1 if turn % 2 else -1]:
                    began = time.perf_counter()
                    assert detector.scan(path).error is None
                    if turn >= 0:
                        seconds[what][name].append(time.perf_counter() - began)
    return {
        "schema": "nsnet.looking/1",
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "precision": precision,
        "weights_sha256": weights.sha256,
        "photo": list(size),
        "rounds": rounds,
        "milliseconds": {
            what: {name: round(1000 * statistics.median(taken), 1) for name, taken in by_name.items()}
            for what, by_name in seconds.items()
        },
        "ratio": {
            what: round(statistics.median(a / b for a, b in zip(found[_AFTER], found[_BEFORE], strict=True)), 3)
            for what, found in seconds.items()
        },
    }


def render(document: dict[str, Any]) -> str:
    """The table of ``docs/looks.md``."""
    width, height = document["photo"]
    lines = [
        f"Warm, from file to verdict, {document['processor']}, {document['cores']} cores, precision "
        f"`{document['precision']}`, {document['rounds']} rounds in turns; milliseconds, and the median of the "
        "ratios:",
        "",
        "| picture | one window at native scale | as shipped | ratio |",
        "|---|---|---|---|",
    ]
    for what, name in (("crop", f"crop, {_CROP} x {_CROP}"), ("photo", f"photograph, {width} x {height}")):
        taken = document["milliseconds"][what]
        lines.append(f"| {name} | {taken[_BEFORE]:.0f} | {taken[_AFTER]:.0f} | {document['ratio'][what]:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
