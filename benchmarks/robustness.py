"""The project's own robustness: ``nsnet robustness`` on a sample of ``val``, and its table into the documents.

    python benchmarks/robustness.py --rows rows.jsonl     an hour and more on two cores; goes on after a kill
    python benchmarks/robustness.py --write-only          writes the documents from the kept figures

Figures are kept in ``benchmarks/results/robustness.json``; a test fails where the documents differ.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from documents import MODEL_CARD, README, RESULTS, between_markers, need_manifest, save_plot
from options import parser_with

from nsnet_cli.report.plots import robustness_plot

OWNER = "benchmarks/robustness.py"
RESULT = RESULTS / "robustness.json"
SAMPLE = 280


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--rows", "--precision", "--write-only")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="pictures that are delivered")
    args = parser.parse_args()
    if not args.write_only:
        need_manifest(args.manifest)
        RESULT.write_text(json.dumps(_measure(args), indent=1) + "\n", "utf-8")
    document = json.loads(RESULT.read_text("utf-8"))
    for path in (README, MODEL_CARD):
        path.write_text(with_figures(path.read_text("utf-8"), document, path == MODEL_CARD), "utf-8")


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "nsnet_cli", "robustness", str(args.manifest), "--split", "val", "--json"]
    shown = ["--sample", str(args.sample), *(() if args.precision == "auto" else ("--precision", args.precision))]
    command += [*shown, *(("--rows", str(args.rows)) if args.rows else ())]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if run.returncode not in (0, 3):
        sys.exit(run.returncode)
    document: dict[str, Any] = json.loads(run.stdout)
    save_plot("robustness.svg", robustness_plot(document))
    document["command"] = " ".join(["nsnet robustness MANIFEST.csv --split val", *shown])
    document["dataset"]["name"] = "MANIFEST.csv"
    return document


def with_figures(text: str, document: dict[str, Any], whole: bool) -> str:
    """``text`` with the figures between this benchmark's markers made new."""
    return between_markers(text, OWNER, render(document, whole))


def render(document: dict[str, Any], whole: bool) -> str:
    """The table in Markdown, or the worst delivery alone."""
    as_is, rows = document["as_is"], document["deliveries"]
    worst = min(rows, key=lambda row: row["auc_change"])
    accusing = max(rows, key=lambda row: row["drift_real"])
    hiding = min(rows, key=lambda row: row["drift_generated"])
    span = worst["auc_change_interval"]
    summary = (
        f"Worst of {len(rows)} deliveries of {as_is['pictures']} of the crops ({as_is['real']} real), both classes "
        f"delivered alike: `{worst['delivery']}`, AUC {as_is['auc']:.3f} → {worst['auc']:.3f} (change "
        f"{span['low']:+.3f} to {span['high']:+.3f}). What moves probabilities of real pictures up most: "
        f"`{accusing['delivery']}`, right at 0.5 {as_is['r_acc']:.2f} → {accusing['r_acc']:.2f}; those of generated "
        f"ones down most: `{hiding['delivery']}`, {as_is['f_acc']:.2f} → {hiding['f_acc']:.2f}."
    )
    if not whole:
        return summary
    lines = [
        f"`{document['command']}`: {as_is['real']} real and {as_is['generated']} generated held-out pictures, weights "
        f"`{document['model']['weights_sha256'][:12]}`. Change of AUC with its 95 % interval, paired by picture; drift "
        "is the mean change of the probability, + towards generated.",
        "",
        "| delivery | AUC | change | bAcc at 0.5 | real right | generated right | drift of real | of generated |",
        "|---|---|---|---|---|---|---|---|",
        f"| as is | {as_is['auc']:.3f} | | {_levels(as_is)} | | |",
    ]
    for row in rows:
        span = row["auc_change_interval"]
        lines.append(
            f"| `{row['delivery']}` | {row['auc']:.3f} | {row['auc_change']:+.3f} ({span['low']:+.3f} to "
            f"{span['high']:+.3f}) | {_levels(row)} | {row['drift_real']:+.3f} | {row['drift_generated']:+.3f} |"
        )
    plot = "![AUC and accuracy after each delivery, and which way probabilities move](../docs/plots/robustness.svg)"
    return "\n".join([*lines, "", summary, "", plot, "", _stability(document["stability"])])


def _levels(row: dict[str, Any]) -> str:
    return " | ".join(f"{row[name]:.3f}" for name in ("bacc", "r_acc", "f_acc"))


def _stability(s: dict[str, Any]) -> str:
    spread, closeness = s["auc_of_spread_for_errors"], s["auc_of_closeness_for_errors"]
    return (
        f"**Stability** (`scan --stability`: {', '.join(f'`{d}`' for d in s['deliveries'])}) on the same pictures: "
        f"{100 * s['unstable']:.0f} % would change their verdict. Does that foretell errors? The spread ranks wrong "
        f"calls at 0.5 before right ones with AUC {spread:.2f}; how close the probability lies to 0.5 does so with "
        f"{closeness:.2f}. At 0.5 {_percent(s['wrong_at_half_stable'])} of the stable and "
        f"{_percent(s['wrong_at_half_unstable'])} of the unstable pictures are wrong; of the {s['decided']} with a "
        f"verdict, {_percent(s['wrong_of_decided_stable'])} of the stable and "
        f"{_percent(s['wrong_of_decided_unstable'])} of the {s['decided_unstable']} unstable ones."
    )


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"


if __name__ == "__main__":
    main()
