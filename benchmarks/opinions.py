"""Does a second opinion pay?  NS-Net's held-out scores, alone and fused with those of other detectors.

Scores are those of the folds that ``nsnet train`` and ``nsnet train --detector`` left out (``held_out.jsonl`` in their
``--work`` folders), of the pictures that all of them left out.  A logistic regression on two scores or more is fitted
and tried in five grouped folds of those, groups weighed alike; AUC, and how far it lies from NS-Net's own, with a 95 %
interval over draws of generators and sources.

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

from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.training.folds import grouped_folds, picture_weights, split_fold

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
        found.append({"beside": list(names), **_fused(pictures, columns)})
    return {"schema": "nsnet.opinions/1", "folds": _FOLDS, "rows": sorted(found, key=lambda row: -row["change"])}


def _scores(path: Path) -> dict[str, dict[str, Any]]:
    rows = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    return {row["name"]: row for row in rows if row.get("score") is not None}


def _fused(pictures: list[LabelledPicture], columns: Array) -> dict[str, Any]:
    labels, weights = np.array([p.label for p in pictures]), np.array(picture_weights(pictures))
    fold_of = grouped_folds(pictures, _FOLDS)
    scaled = (columns - columns.mean(0)) / columns.std(0)
    fused = np.zeros(len(labels))
    for fold in range(_FOLDS):
        inside, outside = split_fold(pictures, fold_of, fold)
        judge = LogisticRegression().fit(scaled[inside], labels[inside], weights[inside])
        fused[outside] = judge.decision_function(scaled[outside])
    low, high = np.quantile(draws_of(pictures, fused) - draws_of(pictures, columns[:, 0]), (0.025, 0.975))
    ours, both = (float(roc_auc_score(labels, scores)) for scores in (columns[:, 0], fused))
    return {
        "pictures": len(pictures),
        "groups": len({(p.label, p.group) for p in pictures}),
        "ours": round(ours, 4),
        "theirs": [round(float(roc_auc_score(labels, column)), 4) for column in columns[:, 1:].T],
        "fused": round(both, 4),
        "change": round(both - ours, 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def render(document: dict[str, Any]) -> str:
    """The table of ``docs/detectors.md``."""
    rows = document["rows"]
    alone = [row for row in rows if len(row["beside"]) == 1]
    pairs = [row for row in rows if len(row["beside"]) == 2][:_LISTED]
    lines = [
        f"Held-out scores within `train`, of the pictures that all of them left out; fused by logistic regression in "
        f"{document['folds']} grouped folds. *Change* has its 95 % interval over draws of groups. All single "
        f"ones, and the best {len(pairs)} of {len(rows) - len(alone)} pairs.",
        "",
        "| beside NS-Net | pictures | AUC alone | NS-Net | fused | change |",
        "|---|---|---|---|---|---|",
    ]
    for row in [*alone, *pairs]:
        low, high = row["interval"]
        theirs = ", ".join(f"{each:.3f}" for each in row["theirs"])
        change = f"{row['change']:+.4f} ({low:+.4f} to {high:+.4f})"
        cells = [
            " and ".join(row["beside"]),
            f"{row['pictures']:,}",
            theirs,
            f"{row['ours']:.3f}",
            f"{row['fused']:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} | {change} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
