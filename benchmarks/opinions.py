"""Does a second opinion pay?  NS-Net's held-out scores, alone and fused with those of other detectors.

Scores are those of the folds that ``nsnet train`` and ``nsnet train --detector`` left out (``held_out.jsonl`` in their
``--work`` folders), of the pictures that all of them left out.  A logistic regression on two scores or more is fitted
and tried in five grouped folds of those; AUC, and how far it lies from NS-Net's own, fitted and tried in the same way,
with a 95 % interval over draws of generators and sources.

    python benchmarks/opinions.py --ours WORK/held_out.jsonl --theirs WORK/npr/held_out.jsonl WORK/univfd/held_out.jsonl
    python benchmarks/opinions.py --write-only       writes docs/detectors.md from the kept figures

Figures are kept in ``benchmarks/results/opinions.json``.
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from documents import RESULTS, ROOT, between_markers
from looks import draws_of
from options import parser_with
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.training.folds import lineage, picture_weights

OWNER, RESULT, DOCUMENT = "benchmarks/opinions.py", RESULTS / "opinions.json", ROOT / "docs" / "detectors.md"
_FOLDS, _LISTED = 5, 8
Array = np.ndarray[Any, Any]


def main() -> None:
    parser = parser_with(__doc__, "--write-only")
    parser.add_argument("--ours", type=Path, metavar="JSONL", help="held-out scores of NS-Net")
    parser.add_argument(
        "--theirs", type=Path, nargs="+", metavar="JSONL", help="of detectors, in folders of their names"
    )
    args = parser.parse_args()
    if not args.write_only:
        if args.ours is None or not args.theirs:
            parser.error("--ours and --theirs are needed")
        RESULT.write_text(json.dumps(measure(args.ours, args.theirs), indent=1) + "\n", "utf-8")
    document = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), document), "utf-8")


def with_figures(text: str, document: dict[str, Any]) -> str:
    """The document with its figures made new."""
    return between_markers(text, OWNER, render(document))


def measure(ours: Path, theirs: list[Path]) -> dict[str, Any]:
    """Every detector, and every two, beside NS-Net."""
    said = {path.parent.name: _scores(path) for path in theirs}
    own = _scores(ours)
    found: list[dict[str, Any]] = []
    common = sorted(own.keys() & set.intersection(*map(set, said.values())))
    pictures = [LabelledPicture(Path(n), n, own[n]["label"], own[n]["group"], "", "") for n in common]
    for names in [(name,) for name in said] + list(combinations(said, 2)):
        columns = np.array([[own[n]["score"], *(said[name][n]["score"] for name in names)] for n in common])
        found.append({"beside": list(names), **_compared(pictures, columns)})
    groups = {(p.label, p.group) for p in pictures}
    counts = {"pictures": len(pictures), "generators": sum(label for label, _ in groups), "groups": len(groups)}
    lineages = sorted({lineage(p.group, 1) for p in pictures if p.label == 1})
    return {
        "schema": "nsnet.opinions/1",
        "folds": _FOLDS,
        **counts,
        "lineages": lineages,
        "rows": sorted(found, key=lambda row: -row["change"]),
    }


def _scores(path: Path) -> dict[str, dict[str, Any]]:
    rows = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    return {row["name"]: row for row in rows if row.get("score") is not None}


def _compared(pictures: list[LabelledPicture], columns: Array) -> dict[str, Any]:
    labels = np.array([p.label for p in pictures])
    alone, both = _fused(pictures, columns[:, :1]), _fused(pictures, columns)
    low, high = np.quantile(draws_of(pictures, both) - draws_of(pictures, alone), (0.025, 0.975))
    ours, fused = (float(roc_auc_score(labels, scores)) for scores in (alone, both))
    return {
        "theirs": [round(float(roc_auc_score(labels, column)), 4) for column in columns[:, 1:].T],
        "ours": round(ours, 4),
        "fused": round(fused, 4),
        "change": round(fused - ours, 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def _fused(pictures: list[LabelledPicture], columns: Array) -> Array:
    """What a logistic regression on ``columns`` says of the groups that it was not fitted to."""
    labels = np.array([p.label for p in pictures])
    # One on average: against weights that sum to one the regression's own penalty would win.
    weights = np.array(picture_weights(pictures)) * len(pictures)
    groups = [f"{p.label} {p.group}" for p in pictures]
    scaled = (columns - columns.mean(0)) / columns.std(0)
    fused = np.zeros(len(labels))
    # By name, not by lineage: the generators that detectors left out may all be of one.
    for inside, outside in StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0).split(scaled, labels, groups):
        judge = LogisticRegression().fit(scaled[inside], labels[inside], weights[inside])
        fused[outside] = judge.decision_function(scaled[outside])
    return fused


def render(document: dict[str, Any]) -> str:
    """The table of ``docs/detectors.md``."""
    rows = document["rows"]
    alone = [row for row in rows if len(row["beside"]) == 1]
    pairs = [row for row in rows if len(row["beside"]) == 2][:_LISTED]
    lineages = ", ".join(name.removeprefix("1:") for name in document["lineages"][:5])
    generators, sources = document["generators"], document["groups"] - document["generators"]
    lines = [
        f"Held-out scores within `train` of the {document['pictures']:,} pictures that all of them left out "
        f"({generators} generators, of the lineages {lineages}; {sources} sources), fused by logistic regression in "
        f"{document['folds']} grouped folds. *Change* has its 95 % interval over draws of groups. All single ones, and "
        f"the best {len(pairs)} of {len(rows) - len(alone)} pairs.",
        "",
        "| beside NS-Net | AUC alone | NS-Net | fused | change |",
        "|---|---|---|---|---|",
    ]
    for row in [*alone, *pairs]:
        low, high = row["interval"]
        theirs = ", ".join(f"{each:.3f}" for each in row["theirs"])
        change = f"{row['change']:+.4f} ({low:+.4f} to {high:+.4f})"
        names, figures = " and ".join(row["beside"]), f"{row['ours']:.3f} | {row['fused']:.3f}"
        lines.append(f"| {names} | {theirs} | {figures} | {change} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
