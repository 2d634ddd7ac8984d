"""Figures in documents: each benchmark owns what stands between its two markers, and nobody types a number."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PLOTS = ROOT / "docs" / "plots"
README, MODEL_CARD = ROOT / "README.md", ROOT / "weights" / "MODEL_CARD.md"
MANIFEST = ROOT.parent / "shared" / "corpus" / "manifest.csv"


def between_markers(text: str, owner: str, content: str) -> str:
    """``text`` with what stands between the markers of ``owner`` made new."""
    begin, end = f"<!-- figures: begin ({owner}) -->", f"<!-- figures: end ({owner}) -->"
    before, rest = text.split(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def save_plot(name: str, svg: str) -> None:
    """Keep a plot for the documents, on white whatever the reader's page is."""
    PLOTS.mkdir(exist_ok=True)
    (PLOTS / name).write_text(svg.replace("<svg ", '<svg style="background: #fff" ', 1), "utf-8")


def need_manifest(path: Path) -> None:
    """End in words where the labelled pictures are not there."""
    if not path.is_file():
        sys.exit(
            f"no corpus at {path}: the labelled pictures are not part of this repository. Name another manifest "
            "with --manifest, or measure your own pictures with nsnet evaluate and nsnet robustness."
        )


def kept_rows(
    path: Path, weights: str, keys: Iterable[int], make: Callable[[int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each key, appended to ``path`` as it is made; rows of the same weights that are there are taken."""
    there = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    done = {row["key"]: row for row in there if row["weights"] == weights}
    keys = list(keys)
    with path.open("a", encoding="utf-8") as file:
        for n, key in enumerate(keys, start=1):
            if key not in done:
                line = json.dumps({"key": key, "weights": weights, **make(key)})
                file.write(line + "\n")
                file.flush()
                done[key] = json.loads(line)
            if n % 10 == 0 or n == len(keys):
                print(f"{path.stem}: {n}/{len(keys)}", file=sys.stderr)
    return [done[key] for key in keys]
