"""The project's own evaluation: ``nsnet evaluate`` on ``val``, and its figures into README and model card.

    python benchmarks/val.py                                   scans the corpus in ../shared (minutes)
    python benchmarks/val.py --predictions rows.jsonl          measures an earlier scan (seconds)
    python benchmarks/val.py --whole ORIGINALS.csv             the same of whole originals (docs/evaluation.md)
    python benchmarks/val.py --collected MANIFEST.csv          the same of kinds collected later (collected.py)
    python benchmarks/val.py --write-only                      writes the documents from the kept figures

Figures are kept in ``benchmarks/results/`` as ``val.json``, ``whole.json`` and ``collected.json``; documents hold them
between markers, and a test fails where the two differ.  Predictions of single pictures go to ``--rows``, which is not
committed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from documents import MODEL_CARD, README, RESULTS, between_markers, need_manifest, save_plot
from options import parser_with

from nsnet_cli.report.plots import reliability_plot


@dataclass(frozen=True)
class PictureSet:
    """What is measured.  ``owner`` has the figures in the documents, ``manifest`` is the name that stands in them."""

    owner: str
    manifest: str
    kind: str
    short: str
    unseen: str = "that training never saw"


CROPS, WHOLE, COLLECTED = "val", "whole", "collected"
# By the name under which figures are kept.
_SETS = {
    CROPS: PictureSet("benchmarks/val.py", "MANIFEST.csv", "held-out pictures", "crops, at most 384 pixels a side"),
    WHOLE: PictureSet(
        "benchmarks/val.py --whole",
        "ORIGINALS.csv",
        "whole originals of held-out pictures, as their makers published them",
        "whole originals, as people have them",
    ),
    COLLECTED: PictureSet(
        "benchmarks/val.py --collected",
        "COLLECTED.csv",
        "held-out crops of kinds that were collected later",
        "crops of kinds collected later",
        "from repositories that training never saw; eight generators are known by name, most have relatives there",
    ),
}
_BRIEF = ("all", "photo_like", "not_photo_like")
_CUTS = {
    "photo_like": "photo-like",
    "not_photo_like": "not photo-like",
    "without_shared_repositories": "no repository shared with train",
}


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--whole", "--rows", "--precision", "--write-only")
    parser.add_argument("--collected", type=Path, metavar="CSV", help="the manifest that collected.py writes")
    parser.add_argument("--predictions", type=Path)
    args = parser.parse_args()
    if not args.write_only:
        if args.whole and args.collected:
            parser.error("--whole and --collected are two sets: one at a time")
        given = {WHOLE: args.whole, COLLECTED: args.collected, CROPS: args.manifest}
        name = next(name for name, manifest in given.items() if manifest is not None)
        need_manifest(given[name])
        result = RESULTS / f"{name}.json"
        result.write_text(json.dumps(_measure(args, name, given[name]), indent=1) + "\n", "utf-8")
    for path in (README, MODEL_CARD):
        path.write_text(with_figures(path.read_text("utf-8"), path == MODEL_CARD), "utf-8")


def _measure(args: argparse.Namespace, name: str, manifest: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "nsnet_cli", "evaluate", str(manifest), "--split", "val", "--json"]
    shown = [] if args.precision == "auto" else ["--precision", args.precision]
    command += shown
    if args.predictions:
        command += ["--predictions", str(args.predictions)]
    elif args.rows:
        command += ["--output", str(args.rows), "--force"]
    # Exit code 3 says that some pictures have no score; the figures count and name them.
    run = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if run.returncode not in (0, 3):
        sys.exit(run.returncode)
    document: dict[str, Any] = json.loads(run.stdout)
    scored = [row for row in document["predictions"] if row["probability"] is not None]
    y, p = (np.array([row[key] for row in scored]) for key in ("label", "probability"))
    if name == CROPS:
        save_plot("reliability.svg", reliability_plot(y, p))
    # The names of the corpus' files are nobody's business, nor are the paths of this machine.
    del document["predictions"]
    document["command"] = " ".join([f"nsnet evaluate {_SETS[name].manifest} --split val", *shown])
    document["dataset"]["name"] = _SETS[name].manifest
    document["model"].pop("predictions", None)
    return document


def with_figures(text: str, every_group: bool) -> str:
    """``text`` with the figures between this benchmark's markers made new: all of them, or the README's table."""
    kept = {name: json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in _SETS}
    if not every_group:
        return between_markers(text, _SETS[CROPS].owner, brief(kept))
    for name, measured in _SETS.items():
        text = between_markers(text, measured.owner, render(kept[name], measured))
    return text


def brief(kept: dict[str, dict[str, Any]]) -> str:
    """What matters first, all sets in one table."""
    lines = [
        "| pictures that training never saw | n | AUC | right at 0.5: real | generated | decided | of these right | "
        "real called generated | generated called real |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, document in kept.items():
        for cut, f in {"all": document["total"], **document["cuts"]}.items():
            if cut not in _BRIEF:
                continue
            keys = ("coverage", "decided_accuracy", "false_alarms", "misses")
            cells = [_cell(f, "auc", spans=cut == "all"), f"{f['r_acc']:.2f}", f"{f['f_acc']:.2f}"]
            cells += [f"{100 * f[key]:.{0 if key == 'coverage' else 1}f} %" for key in keys]
            what = _SETS[name].short if cut == "all" else f"… {_CUTS[cut]}"
            lines.append(f"| {what} | {f['pictures']:,} | {' | '.join(cells)} |")
    worst = [
        f"{what}: " + ", ".join(f"{row['name']} ({row[accuracy]:.2f})" for row in kept[CROPS][key][:3])
        for what, key, accuracy in (("missed most", "by_generator", "f_acc"), ("accused most", "by_source", "r_acc"))
    ]
    groups = [f"{len(d['by_generator'])} generators and {len(d['by_source'])} sources" for d in kept.values()]
    weights = dict.fromkeys(f"`{d['model']['weights_sha256'][:12]}`" for d in kept.values())
    lines += [
        "",
        f"Crops are of {groups[0]}, originals of {groups[1]}, kinds collected later are {groups[2]} (it was known "
        f"which of these earlier weights were weak on); weights {' and '.join(weights)}; AUC with its 95 % "
        f"interval. Of the first, by the share right at 0.5, {'; '.join(worst)}.",
    ]
    return "\n".join(lines)


def render(document: dict[str, Any], measured: PictureSet) -> str:
    """The figures in Markdown: totals and cuts, the band, controls, and all groups, the worst first."""
    total, model = document["total"], document["model"]
    lines = [
        f"`{document['command']}` on {total['pictures']:,} {measured.kind} "
        f"({len(document['by_generator'])} generators and {len(document['by_source'])} sources {measured.unseen}; "
        f"{total['missing']} without a score), weights `{model['weights_sha256'][:12]}`, 95 % intervals:",
        "",
        "| pictures | n | AUC | AP | bAcc at 0.5 | real right | generated right | TPR at 1 % FPR | at 5 % | ECE |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cut, f in {"all": total, **document["cuts"]}.items():
        keys = ("auc", "ap", "bacc", "r_acc", "f_acc", "tpr_at_1", "tpr_at_5", "ece")
        cells = [_cell(f, key, spans=cut == "all") for key in keys]
        lines.append(f"| {_CUTS.get(cut, cut)} | {f['pictures']:,} | {' | '.join(cells)} |")
    lines += [
        "",
        f"In the band {100 * total['coverage']:.0f} % of pictures are decided, {100 * total['decided_accuracy']:.1f} % "
        f"of those rightly: {100 * total['false_alarms']:.1f} % of real pictures are called generated, "
        f"{100 * total['misses']:.1f} % of generated ones real.",
        "",
        f"Controls (AUC): {', '.join(_controls(document))}.",
        "",
    ]
    for title, key, accuracy in (("Generators", "by_generator", "f_acc"), ("Sources", "by_source", "r_acc")):
        rows = document[key]
        summary = document[key.removeprefix("by_") + "s"][accuracy]
        named = "; ".join(f"{r['name']} {r[accuracy]:.2f} ({_interval(r, accuracy)}, n={r['pictures']})" for r in rows)
        lines.append(f"{title}, worst first (mean {summary['mean']:.2f}): {named}.")
        lines.append("")
    return "\n".join(lines).rstrip()


def _controls(document: dict[str, Any]) -> list[str]:
    content = {k: v for k, v in document["content_control"].items() if isinstance(v, dict)}
    within = "format, within these pictures by grouped folds"
    control = document["format_control"]
    named = {within if "these pictures" in control["trained_on"] else "format, trained on the other splits": control}
    if "within" in control:
        named[within] = control["within"]
    named |= {"32×32 thumbnails": content["thumbnails"], "semantic part f(I − P)": content["semantic_part"]}
    return [f"{name} {c['auc']:.3f}" for name, c in named.items() if c["auc"] is not None]


def _cell(figures: dict[str, Any], key: str, spans: bool) -> str:
    span = f" ({_interval(figures, key)})" if spans and key in figures["intervals"] else ""
    return f"{figures[key]:.3f}{span}"


def _interval(row: dict[str, Any], key: str) -> str:
    return "{low:.2f}–{high:.2f}".format(**row["intervals"][key])


if __name__ == "__main__":
    main()
