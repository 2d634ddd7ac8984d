"""Where the time of a scan goes, step by step, with the tower in float32 and in bfloat16.

    python benchmarks/steps.py --crops FOLDER --originals FOLDER [--pictures 64]     minutes on a quiet machine
    python benchmarks/steps.py --write-only       writes docs/performance.md from the kept figures

Pictures of each folder, in the order of their names, evenly drawn, go through a scan's steps in one process, eight at a
time, each step on its own clock; nothing overlaps, so that shares are those of the work.  Figures of each kind of
processor are kept in ``benchmarks/results/steps.json``; a run replaces those of its own.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from documents import RESULTS, ROOT, between_markers
from options import parser_with
from speed import stages

from nsnet_cli.weights.store import DEFAULT_WEIGHTS, find_weights

OWNER, RESULT, DOCUMENT = "benchmarks/steps.py", RESULTS / "steps.json", ROOT / "docs" / "performance.md"
_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}


def main() -> None:
    parser = parser_with(__doc__, "--write-only")
    parser.add_argument("--crops", type=Path, metavar="FOLDER")
    parser.add_argument("--originals", type=Path, metavar="FOLDER")
    parser.add_argument("--pictures", type=int, default=64, help="of each folder")
    args = parser.parse_args()
    if not args.write_only:
        if args.crops is None or args.originals is None:
            parser.error("--crops and --originals: name folders of pictures")
        _keep(measure({"crops": args.crops, "originals": args.originals}, args.pictures))
    document = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), document), "utf-8")


def with_figures(text: str, document: dict[str, Any]) -> str:
    """The document with its figures made new."""
    return between_markers(text, OWNER, render(document))


def measure(folders: dict[str, Path], count: int) -> dict[str, Any]:
    from nsnet_cli.disk import sha256_of

    found: dict[str, Any] = {}
    for name, folder in folders.items():
        paths = sorted(str(path) for path in folder.iterdir() if path.is_file())
        count = min(count, len(paths))
        paths = [paths[k * len(paths) // count] for k in range(count)]
        found[name] = {
            "pictures": len(paths),
            **{precision: stages(paths, precision)["ms_a_picture"] for precision in _PRECISIONS},
        }
    return {"cores": os.cpu_count(), "weights_sha256": sha256_of(find_weights(DEFAULT_WEIGHTS)), "of": found}


def _keep(measured: dict[str, Any]) -> None:
    from nsnet_cli.tower.processor import processor_name

    found: dict[str, Any] = {"schema": "nsnet.steps/1", "processors": {}}
    if RESULT.exists():
        found = json.loads(RESULT.read_text("utf-8"))
    found["processors"][processor_name()] = measured
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def render(document: dict[str, Any]) -> str:
    """The tables of ``docs/performance.md``."""
    lines: list[str] = []
    for processor, measured in document["processors"].items():
        of = measured["of"]
        lines += [
            f"{processor}, {measured['cores']} cores, milliseconds a picture and share of the whole; "
            + " and ".join(f"{found['pictures']} {name}" for name, found in of.items())
            + f"; weights `{measured['weights_sha256'][:12]}`.",
            "",
            "| step | " + " | ".join(f"{name}, {words}" for name in of for words in _PRECISIONS.values()) + " |",
            "|---" * (1 + len(of) * len(_PRECISIONS)) + "|",
        ]
        columns = [found[precision] for found in of.values() for precision in _PRECISIONS]
        for step in columns[0]:
            cells = [f"{taken[step]:.1f} ({taken[step] / sum(taken.values()):.0%})" for taken in columns]
            lines.append(f"| {step} | {' | '.join(cells)} |")
        lines.append("| all | " + " | ".join(f"{sum(taken.values()):.0f}" for taken in columns) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
