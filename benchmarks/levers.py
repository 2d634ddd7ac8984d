"""What made whole pictures right: more kinds of pictures, and where to look?  Each apart, held out.

The kernel head is fitted in five grouped folds of ``train`` that share no repository, on crops, and scores the crops
and the whole originals of the fold that is left out.  *Kinds*: fitted on all groups, on some of them (drawn three
times; the mean of the figures), or on as many pictures of all of them.  *Looks*: the same head shown other squares of
the originals.  (Reconstructions have a script of their own, ``aligned.py``.)  Changes have 95 % intervals over draws of
generators and sources, the same draws for both.

    python benchmarks/levers.py --whole ORIGINALS.csv --labels LABELS.npy --work FOLDER
    python benchmarks/levers.py --write-only       writes docs/looks.md from the kept figures

Features of crops are those that ``nsnet train --work FOLDER`` keeps.  Figures are kept in
``benchmarks/results/levers.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from documents import RESULTS, between_markers, need_manifest
from looks import DOCUMENT, LOOKS, draws_of, kept_crops, kept_look
from options import parser_with
from sklearn.metrics import roc_auc_score

from nsnet_cli.disk import sha256_of
from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash, read_manifest
from nsnet_cli.judges.kernel import KernelHead
from nsnet_cli.judges.semantics import load_basis
from nsnet_cli.tower.file import tower_info
from nsnet_cli.training.folds import grouped_folds, picture_weights, split_fold
from nsnet_cli.training.kernel import fit_kernel
from nsnet_cli.training.recipe import FitConfig
from nsnet_cli.views.plan import MOSAIC, WINDOW
from nsnet_cli.views.selection import SelectionRecipe
from nsnet_cli.weights.store import TOWER_NAME, find_weights

OWNER, RESULT = "benchmarks/levers.py", RESULTS / "levers.json"
_FOLDS, _DRAWN = 5, 3
# The share of groups that the weights of the corpus before saw: 165 of 761.
_BEFORE, _HALF = 165 / 761, 0.5
_ENDS, _NATIVE = ("one end at 640", "other end at 640"), ("centre, native",)
_ALL = "all"
Scores = np.ndarray[Any, Any]


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--whole", "--labels", "--work", "--write-only")
    asked = parser.parse_args()
    if not asked.write_only:
        need_manifest(asked.manifest)
        if None in (asked.whole, asked.labels, asked.work):
            parser.error("--whole, --labels and --work are needed")
        crops, whole = (read_manifest(path, "train") for path in (asked.manifest, asked.whole))
        RESULT.write_text(json.dumps(measure(crops, whole, asked), indent=1) + "\n", "utf-8")
    document = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), document), "utf-8")


def with_figures(text: str, document: dict[str, Any]) -> str:
    """The document with its figures made new."""
    return between_markers(text, OWNER, render(document))


@torch.inference_mode()
def measure(crops: list[LabelledPicture], whole: list[LabelledPicture], asked: Any) -> dict[str, Any]:
    tower_path = find_weights(TOWER_NAME)
    info, semantic = tower_info(tower_path), load_basis(asked.labels, None)[0].vectors
    tower, normalise, shown = kept_crops(tower_path, crops, asked.work)
    mark = f"{manifest_hash(whole)}:{sha256_of(tower_path)}:{tower.conv1.weight.dtype}"
    seen = {
        name: kept_look(
            asked.work / "looks" / f"{n}.safetensors",
            f"{mark}:{look}",
            tower,
            normalise,
            whole,
            SelectionRecipe(),
            look,
        )
        for n, (name, look) in enumerate([("mosaic", None), *LOOKS.items()])
        if name in ("mosaic", *_NATIVE, *_ENDS)
    }
    fold_of = grouped_folds([*crops, *whole], _FOLDS)
    config = FitConfig().kernel
    assert config is not None
    arms = [(_ALL, 0), *((name, k) for name in ("before", "half", "as few") for k in range(_DRAWN))]
    of_crops = {arm: np.zeros(len(crops)) for arm in arms}
    of_whole = {(*arm, looks): np.zeros(len(whole)) for arm in arms for looks in (_ENDS, _NATIVE)}
    for fold in range(_FOLDS):
        inside, outside = split_fold([*crops, *whole], fold_of, fold)
        inside = [i for i in inside if i < len(crops)]
        left_out = [i for i in outside if i < len(crops)]
        beside = [i - len(crops) for i in outside if i >= len(crops)]
        for arm in arms:
            some = _some(crops, inside, *arm)
            rows, few = torch.tensor(some), [crops[i] for i in some]
            head = fit_kernel(
                info.config,
                config,
                semantic,
                {kind: [shown[kind].rows(rows)] for kind in config.kinds},
                [p.label for p in few],
                0,
                picture_weights(few),
            )
            of_crops[arm][left_out] = _score(head, {kind: [shown[kind].rows(torch.tensor(left_out))] for kind in shown})
            for looks in (_ENDS, _NATIVE) if beside else ():
                at = torch.tensor(beside)
                views = {WINDOW: [seen[look].rows(at) for look in looks], MOSAIC: [seen["mosaic"].rows(at)]}
                of_whole[*arm, looks][beside] = _score(head, views)
        print(f"fold {fold + 1} of {_FOLDS}", flush=True)
    everyone = range(len(crops))
    counts = {name: _mean_counts(crops, name) for name in ("before", "half", "as few")}
    reference_crops, reference = of_crops[_ALL, 0], of_whole[_ALL, 0, _ENDS]

    def row(name: str) -> dict[str, Any]:
        drawn = range(1 if name == _ALL else _DRAWN)
        return {
            "crops": _against(crops, [of_crops[name, k] for k in drawn], reference_crops),
            "whole": _against(whole, [of_whole[name, k, _ENDS] for k in drawn], reference),
        }

    return {
        "schema": "nsnet.levers/1",
        "crops": _counts(crops, everyone),
        "whole": _counts(whole, range(len(whole))),
        "counts": counts,
        "kinds": {name: row(name) for name in (_ALL, "half", "before", "as few")},
        "looks": {"native": _against(whole, [of_whole[_ALL, 0, _NATIVE]], reference)},
    }


def _score(head: KernelHead, views: Any) -> Scores:
    scores: Scores = head.score(views).numpy()
    return scores


def _some(pictures: Sequence[LabelledPicture], inside: Sequence[int], name: str, draw: int) -> list[int]:
    """Which of ``inside`` an arm learns from: pictures of some groups, or some pictures of all."""
    if name == _ALL:
        return list(inside)
    share = _HALF if name == "half" else _BEFORE
    rng = Random(f"{name}:{draw}")
    if name == "as few":
        # As many as the draw of groups has, from all groups alike.
        wanted = len(_some(pictures, inside, "before", draw))
        return sorted(rng.sample(list(inside), wanted))
    groups = sorted({(p.label, p.group) for p in pictures})
    rng.shuffle(groups)
    kept: set[tuple[int, str]] = set()
    for label in (0, 1):
        mine_of_label = [group for group in groups if group[0] == label]
        kept |= set(mine_of_label[: round(share * len(mine_of_label))])
    return [i for i in inside if (pictures[i].label, pictures[i].group) in kept]


def _counts(pictures: Sequence[LabelledPicture], rows: Sequence[int]) -> dict[str, int]:
    return {"pictures": len(rows), "groups": len({(pictures[i].label, pictures[i].group) for i in rows})}


def _mean_counts(pictures: Sequence[LabelledPicture], name: str) -> dict[str, int]:
    """Of all folds together, the mean over draws."""
    drawn = [_counts(pictures, _some(pictures, range(len(pictures)), name, k)) for k in range(_DRAWN)]
    return {key: round(sum(each[key] for each in drawn) / _DRAWN) for key in drawn[0]}


def _against(pictures: Sequence[LabelledPicture], scores: Sequence[Scores], reference: Scores) -> dict[str, Any]:
    """Mean AUC of ``scores``, one of each draw, and how far it lies from that of ``reference``, with its interval."""
    labels = np.array([p.label for p in pictures])
    found = [float(roc_auc_score(labels, each)) for each in scores]
    changes = np.mean([draws_of(pictures, each) for each in scores], axis=0) - draws_of(pictures, reference)
    low, high = np.quantile(changes, (0.025, 0.975))
    return {
        "auc": round(float(np.mean(found)), 4),
        "lowest": round(min(found), 4),
        "highest": round(max(found), 4),
        "change": round(float(np.mean(found)) - float(roc_auc_score(labels, reference)), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def render(document: dict[str, Any]) -> str:
    """The table of ``docs/looks.md``."""
    counts, kinds = document["counts"], document["kinds"]
    named = {
        _ALL: f"all {document['crops']['groups']} groups, {document['crops']['pictures']:,} crops",
        "half": f"half of the groups ({counts['half']['groups']}; {counts['half']['pictures']:,} crops)",
        "before": f"as many groups as before ({counts['before']['groups']}; {counts['before']['pictures']:,} crops)",
        "as few": f"all groups, but only {counts['as few']['pictures']:,} crops",
    }
    lines = [
        f"Kernel head alone, five folds within `train` that share neither group nor repository, scored on "
        f"{document['crops']['pictures']:,} crops and {document['whole']['pictures']:,} whole originals. *Change* is "
        "against the first row, with its 95 % interval over draws of groups.",
        "",
        "| lever | AUC, crops | change | AUC, originals | change |",
        "|---|---|---|---|---|",
    ]
    for name, words in named.items():
        crops, whole = kinds[name]["crops"], kinds[name]["whole"]
        lines.append(f"| {words} | {_cells(crops, name != _ALL)} | {_cells(whole, name != _ALL)} |")
    native = document["looks"]["native"]
    lines.append(f"| looks: the centre at native scale, not both ends at 640 | | | {_cells(native, True)} |")
    return "\n".join(lines)


def _cells(found: dict[str, Any], changed: bool) -> str:
    if not changed:
        return f"{found['auc']:.3f} | "
    low, high = found["interval"]
    return f"{found['auc']:.3f} | {found['change']:+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
