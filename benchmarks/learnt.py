"""What is it worth to learn from whole originals too, from more pictures, and from more kinds?  Held out.

The kernel head is fitted in five grouped folds of ``train`` that share no repository, and scores the crops and the
whole originals of the first manifests that were left out.  A row learns from what the row above does and from more;
the last from the same, but fitted as the shipped one is, with components evened out.  Changes are against the row
above, with 95 % intervals over draws of generators and sources, the same for both.

    python benchmarks/learnt.py --crops CORPUS.csv --crops MORE.csv --crops FIRST/manifest.csv \\
        --crops SECOND/manifest.csv --crops THIRD/manifest.csv --crops FOURTH/manifest.csv \\
        --originals ORIGINALS.csv --originals FIRST/originals.csv --originals SECOND/originals.csv \\
        --originals THIRD/originals.csv --originals FOURTH/originals.csv --labels LABELS.npy --work FOLDER
    python benchmarks/learnt.py --write-only       writes docs/looks.md from the kept figures

FIRST to FOURTH are what ``collected.py`` writes of each of its lists by itself, with ``--list``.
Features are those that ``nsnet train --work FOLDER`` keeps of the same pictures in the same order.  Figures are kept in
``benchmarks/results/learnt.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from documents import RESULTS, between_markers
from looks import DOCUMENT, auc, draws_of
from options import parser_with
from PIL import Image

from nsnet_cli.evaluation.labelled import LabelledPicture, read_each_manifest
from nsnet_cli.judges.semantics import load_basis
from nsnet_cli.training.fitter import Fitter, Parts
from nsnet_cli.training.folds import grouped_folds, split_fold
from nsnet_cli.training.recipe import FitConfig
from nsnet_cli.training.views import LOSSY
from nsnet_cli.views.plan import KERNEL
from nsnet_cli.weights.shapes import HeadConfig
from nsnet_cli.weights.store import TOWER_NAME, find_weights

OWNER, RESULT = "benchmarks/learnt.py", RESULTS / "learnt.json"
_FOLDS = 5
_EVENED = "the same, with components evened out (`KernelConfig.whitening`)"
# How many manifests of crops, and of whole originals, each row learns from.
# All but the last leave components as they are.
_ROWS = {
    "crops of the corpus, and deliveries of them": (1, 0),
    "whole originals of the corpus, met beside the anchors": (1, 1),
    "more crops of the same groups; crops and originals of other kinds, collected later": (3, 2),
    "crops and originals of a second search": (4, 3),
    "crops and originals of a third search": (5, 4),
    "crops and originals of a fourth search, most of them generated": (6, 5),
    _EVENED: (6, 5),
}


def main() -> None:
    parser = parser_with(__doc__, "--labels", "--work", "--write-only")
    parser.add_argument("--crops", type=Path, action="append", default=[], metavar="CSV")
    parser.add_argument("--originals", type=Path, action="append", default=[], metavar="CSV")
    asked = parser.parse_args()
    if not asked.write_only:
        if (len(asked.crops), len(asked.originals)) != _ROWS[_EVENED] or None in (asked.labels, asked.work):
            parser.error("six times --crops, five times --originals, --labels and --work are needed")
        found = measure(asked.crops, asked.originals, asked.labels, asked.work)
        RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    document = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), document), "utf-8")


def with_figures(text: str, document: dict[str, Any]) -> str:
    """The document with its figures made new."""
    return between_markers(text, OWNER, render(document))


def measure(crops_of: Sequence[Path], whole_of: Sequence[Path], labels: Path, work: Path) -> dict[str, Any]:
    crops_by, whole_by = read_each_manifest(crops_of, "train"), read_each_manifest(whole_of, "train")
    crops, whole = list(chain.from_iterable(crops_by)), list(chain.from_iterable(whole_by))
    first_crops, first_whole = crops_by[0], whole_by[0]
    limits = {name: (sum(map(len, crops_by[:c])), sum(map(len, whole_by[:w]))) for name, (c, w) in _ROWS.items()}
    # The kernel head alone: its fit is one linear system, and it gives the verdict most of its weight.
    config = replace(FitConfig(), head=HeadConfig(kinds=()))
    assert config.kernel is not None
    as_they_are = replace(config, kernel=replace(config.kernel, whitening=0.0))
    semantic = load_basis(labels, None)[0].vectors
    fitter = Fitter(
        find_weights(TOWER_NAME), crops, semantic, config, 2, "bf16", "cpu", work, lambda name, progress: None, whole
    )
    fold_of = grouped_folds([*crops, *whole], _FOLDS)
    scores: dict[str, dict[str, float]] = {name: {} for name in _ROWS}
    for fold in range(_FOLDS):
        inside, outside = split_fold([*crops, *whole], fold_of, fold)
        n = len(crops)
        left_out = [i for i in outside if i < len(first_crops)]
        whole_left_out = [i - n for i in outside if n <= i < n + len(first_whole)]
        for name, (of_crops, of_whole) in limits.items():
            parts = Parts(
                [i for i in inside if i < of_crops],
                left_out,
                [i - n for i in inside if n <= i < n + of_whole],
                whole_left_out,
            )
            # Both recipes see the same features, which are gigabytes.
            fitter.config = config if name == _EVENED else as_they_are
            said = fitter.held_out(f"{name} {fold}", parts)
            scores[name] |= {picture: by_judge[KERNEL] for picture, by_judge in said.items()}
        print(f"fold {fold + 1} of {_FOLDS}", flush=True)
    lossy = [picture for picture in first_whole if _is_lossy(picture)]
    return {
        "schema": "nsnet.learnt/1",
        "crops": len(first_crops),
        "whole": len(first_whole),
        "lossy": len(lossy),
        "rows": [
            {
                "learnt": name,
                "pictures": limits[name],
                "on": {
                    of: _row(pictures, scores, name)
                    for of, pictures in (("crops", first_crops), ("whole", first_whole), ("lossy", lossy))
                },
            }
            for name in _ROWS
        ],
    }


def _is_lossy(picture: LabelledPicture) -> bool:
    """Whether a file is of a kind that loses something, as JPEG does: by its header alone."""
    with Image.open(picture.path) as image:
        return image.format in LOSSY


def _row(pictures: Sequence[LabelledPicture], scores: Mapping[str, Mapping[str, float]], name: str) -> dict[str, Any]:
    """AUC with groups as they are, and the change against the row above with its interval."""
    names = list(_ROWS)
    mine, above = (
        np.array([scores[row][p.name] for p in pictures]) for row in (name, names[max(0, names.index(name) - 1)])
    )
    found, before = auc(pictures, mine), auc(pictures, above)
    low, high = np.quantile(draws_of(pictures, mine) - draws_of(pictures, above), (0.025, 0.975))
    return {
        **found,
        "change": round(float(found["auc"]) - float(before["auc"]), 4),  # type: ignore[arg-type]
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def render(document: dict[str, Any]) -> str:
    """The table of ``docs/looks.md``."""
    lines = [
        f"Kernel head alone, five folds within `train` that share neither group nor repository, scored on "
        f"{document['crops']:,} crops of the corpus and {document['whole']:,} whole originals of it. Each row learns "
        "from what the row above does, and from what it names; *change* is against the row above, with its 95 % "
        f"interval over draws of groups. *Lossy* are the {document['lossy']:,} originals that are JPEG, WebP or AVIF.",
        "",
        "| learnt from, too | crops, originals | crops | change | originals | change | photo-like | lossy | change |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for n, row in enumerate(document["rows"]):
        crops, whole, lossy = (row["on"][of] for of in ("crops", "whole", "lossy"))
        counts = ", ".join(f"{count:,}" for count in row["pictures"])
        lines.append(
            f"| {row['learnt']} | {counts} | {_cells(crops, n)} | {_cells(whole, n)} | {whole['photo_like']:.3f} | "
            f"{_cells(lossy, n)} |"
        )
    return "\n".join(lines)


def _cells(found: dict[str, Any], n: int) -> str:
    low, high = found["interval"]
    return f"{found['auc']:.3f} | " + (f"{found['change']:+.3f} ({low:+.3f} to {high:+.3f})" if n else "")


if __name__ == "__main__":
    main()
