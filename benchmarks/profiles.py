"""Does a profile hold its rate?  ``nsnet calibrate`` on one half of real pictures, measured on the other half.

    python benchmarks/profiles.py                 scans the real pictures of five sources of ``val`` (minutes)
    python benchmarks/profiles.py --rows FILE     keeps the rows there (.jsonl), and goes on from it

Halves are drawn by hash within each source.  Beside them the harder question: a profile made on four of the
sources, measured on the fifth.  Figures go to ``benchmarks/results/profiles.json`` and into the model card.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from documents import MODEL_CARD, RESULTS, between_markers, need_manifest
from options import parser_with

from nsnet_cli.evaluation.labelled import LabelledPicture, read_manifest
from nsnet_cli.evaluation.predictions import read_rows
from nsnet_cli.verdict.profiles import MadeBy, hold_rate, population
from nsnet_cli.verdict.rates import wilson

OWNER = "benchmarks/profiles.py"
RESULT = RESULTS / "profiles.json"
RATE, SOURCES = 0.02, 5
Scored = tuple[LabelledPicture, dict[str, Any]]


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--rows", "--precision", "--write-only")
    args = parser.parse_args()
    if not args.write_only:
        need_manifest(args.manifest)
        RESULT.write_text(json.dumps(_measure(args.manifest, args.rows, args.precision), indent=1) + "\n", "utf-8")
    text = MODEL_CARD.read_text("utf-8")
    MODEL_CARD.write_text(with_figures(text, json.loads(RESULT.read_text("utf-8"))), "utf-8")


def _measure(manifest: Path, rows: Path | None, precision: str) -> dict[str, Any]:
    real = [p for p in read_manifest(manifest, "val") if p.label == 0]
    # The five largest sources: alphabetical order decides among equals.
    sizes = sorted(Counter(p.group for p in real).items(), key=lambda item: (-item[1], item[0]))
    chosen = [name for name, _ in sizes[:SOURCES]]
    pictures = [p for p in real if p.group in chosen]
    with tempfile.TemporaryDirectory() as folder:
        path = rows or Path(folder) / "rows.jsonl"
        listed = "\n".join(str(p.path) for p in pictures).encode()
        command = [sys.executable, "-m", "nsnet_cli", "scan", "--from-file", "-", "--no-provenance", "-o", str(path)]
        command += ["--precision", precision]
        # What is there already is not scanned again; exit code 3 says that some could not be read.
        code = subprocess.run([*command, "--resume"], input=listed, check=False).returncode
        if code not in (0, 3):
            sys.exit(code)
        by_path = {row["path"]: row for row in read_rows(path)[0]}
    scored = [(p, by_path[str(p.path)]) for p in pictures]
    weights = {row["weights_sha256"] for _, row in scored}
    halves = [[s for s in scored if _half(s[0]) == k] for k in (0, 1)]
    return {
        "weights_sha256": weights.pop(),
        "wanted": RATE,
        "sources": chosen,
        "halves": [_trial(halves[k], halves[1 - k]) for k in (0, 1)],
        "other_sources": [
            {
                "source": name,
                **_trial([s for s in scored if s[0].group != name], [s for s in scored if s[0].group == name]),
            }
            for name in chosen
        ],
    }


def _half(picture: LabelledPicture) -> int:
    return hashlib.sha256(picture.name.encode()).digest()[0] % 2


def _trial(
    made_on: list[tuple[LabelledPicture, float]], tried_on: list[tuple[LabelledPicture, float]]
) -> dict[str, Any]:
    anybody = MadeBy("", 0, "")
    mine, theirs = (population([row for _, row in part], anybody).probabilities for part in (made_on, tried_on))
    held = hold_rate(mine, RATE)
    alarms = sum(p >= held.threshold for p in theirs)
    span = wilson(alarms, len(theirs))
    return {
        "made_on": len(mine),
        "threshold": held.threshold,
        "promised": {"expected": held.expected, "low": held.low, "high": held.high},
        "tried_on": len(theirs),
        "alarms": alarms,
        "rate": alarms / len(theirs),
        "low": span.low,
        "high": span.high,
    }


def with_figures(text: str, result: dict[str, Any]) -> str:
    """``text`` with the figures between this benchmark's markers made new."""
    return between_markers(text, OWNER, render(result))


def render(result: dict[str, Any]) -> str:
    """The figures in Markdown."""
    lines = [
        f"Profiles for {100 * result['wanted']:g} % false alarms (`nsnet calibrate`) on the real pictures of the five "
        f"largest sources of `val` ({', '.join(result['sources'])}), weights `{result['weights_sha256'][:12]}`:",
        "",
        "| made on | tried on | threshold | promised | false alarms found |",
        "|---|---|---|---|---|",
    ]
    for name, trial in (
        ("one half of each source", result["halves"][0]),
        ("the other half", result["halves"][1]),
        *((f"all but {t['source']}", t) for t in result["other_sources"]),
    ):
        tried = "the rest" if "half" in name else name.removeprefix("all but ")
        promised = trial["promised"]
        lines.append(
            f"| {name} ({trial['made_on']}) | {tried} ({trial['tried_on']}) | {trial['threshold']:.3f} | "
            f"{_percent(promised['expected'])} ({_percent(promised['low'])} to {_percent(promised['high'])}) | "
            f"{_percent(trial['rate'])} ({_percent(trial['low'])} to {_percent(trial['high'])}) |"
        )
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    main()
