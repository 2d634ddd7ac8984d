"""What another seed changes: the window's head fitted anew beside the shipped kernel head, tried on ``val``.

    python benchmarks/seeds.py --rows rows.jsonl --work FOLDER       rows: those that benchmarks/val.py kept
    python benchmarks/seeds.py --write-only                          writes the model card from the kept figures

Of the shipped judges contrastive heads hang on a seed (first weights, order, dropout).  The kernel head solves a linear
system; the seed of its principal components, which random projections find, is not tried.  A head that the fusion gives
no weight is left out.  Features are those of `nsnet train`, kept in the folder; deliveries are drawn once, for all
seeds.  The kernel head's share of each score is what is left of the scan's score when the shipped head's is taken away.
On two AVX2 cores 22 minutes of features for each rendering.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parent))

from documents import MODEL_CARD, RESULTS, between_markers, need_manifest
from options import parser_with

from nsnet_cli.evaluation.labelled import LabelledPicture, read_manifest
from nsnet_cli.judges.head import NullSpaceHead
from nsnet_cli.tower.file import load_tower, tower_info
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.training.features import frozen_features
from nsnet_cli.training.fit import Progress, fit_head, score_features
from nsnet_cli.training.recipe import FitConfig, Phase
from nsnet_cli.training.views import Rendering
from nsnet_cli.views.plan import WINDOW, View
from nsnet_cli.weights.file import SEMANTIC, NsnetWeights, load_weights

OWNER = "benchmarks/seeds.py"
RESULT = RESULTS / "seeds.json"
_JUDGE = WINDOW


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--rows", "--work", "--write-only")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--renderings", type=int, default=2, help="deliveries of each picture, as of nsnet train")
    args = parser.parse_args()
    if not args.write_only:
        need_manifest(args.manifest)
        if args.rows is None or args.work is None:
            parser.error("--rows and --work are needed to measure")
        figures = _measure(args.manifest, args.rows, args.work, args.seeds, args.renderings)
        RESULT.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    figures = json.loads(RESULT.read_text("utf-8"))
    MODEL_CARD.write_text(with_figures(MODEL_CARD.read_text("utf-8"), figures), "utf-8")


def with_figures(text: str, figures: dict[str, Any]) -> str:
    """The model card with these figures between their markers."""
    auc, right = ([seed[name] for seed in figures["seeds"]] for name in ("auc", "bacc"))
    shipped = figures["shipped"]
    drawn, recipe = figures["renderings"], figures["recipe_renderings"]
    deliveries = f"{drawn} deliver{'y' if drawn == 1 else 'ies'} of each picture"
    content = (
        f"The window's head fitted anew with {len(auc)} seeds (first weights, order, dropout; the scan's view and "
        f"{deliveries}, the same for all; the recipe draws {recipe}), beside the shipped kernel "
        f"head: AUC {min(auc):.3f} to {max(auc):.3f}, bAcc {min(right):.3f} to {max(right):.3f} on `val`; with "
        f"the shipped head {shipped['auc']:.3f} and {shipped['bacc']:.3f}. The fusion gives that head "
        f"{figures['weight']:.2f}."
    )
    return between_markers(text, OWNER, content)


def _measure(manifest: Path, rows: Path, work: Path, seeds: int, renderings: int) -> dict[str, Any]:
    weights = load_weights("nsnet-vit-b-16")
    fusion = weights.info.fusion
    if [judge for judge in fusion if fusion[judge] and judge in weights.info.kinds] != [_JUDGE]:
        sys.exit(f"the fusion weighs other contrastive heads than the {_JUDGE}'s; this script knows that one alone")
    train, val = read_manifest(manifest, "train"), read_manifest(manifest, "val")
    config, seen = _recipe(weights), _Looker(weights, work)
    scanned = Rendering(View(_JUDGE, 0))
    learnt = [seen(train, scanned), *(seen(train, replace(scanned, seed=k + 1)) for k in range(renderings))]
    tried = [seen(val, scanned)]
    fused, labels = _scores(rows, val, weights.sha256), np.array([p.label for p in val])
    shipped = _head(weights)
    shipped.load_state_dict({k: torch.from_numpy(v) for k, v in weights.below(f"head.{_JUDGE}").items()})
    others = fused - fusion[_JUDGE] * np.array(score_features(shipped, tried))

    def figures(scores: NDArray[np.float64]) -> dict[str, float]:
        called = np.array([weights.info.calibration.probability(score) for score in scores]) >= 0.5
        right = called == (labels == 1)
        bacc = (right[labels == 0].mean() + right[labels == 1].mean()) / 2
        return {"auc": round(float(roc_auc_score(labels, scores)), 4), "bacc": round(float(bacc), 4)}

    found = []
    for seed in range(1, seeds + 1):
        torch.manual_seed(seed)
        head = _head(weights)
        fit_head(head, learnt, train, range(len(train)), replace(config, seed=seed), _shown)
        found.append(figures(others + fusion[_JUDGE] * np.array(score_features(head, tried))))
        print(f"seed {seed}: {found[-1]}", file=sys.stderr)
    return {
        "weights_sha256": weights.sha256, "renderings": renderings,
        "recipe_renderings": weights.info.training["fit"]["renderings"], "weight": fusion[_JUDGE],
        "shipped": figures(fused), "seeds": found,
    }  # fmt: skip


class _Looker:
    """Features of renderings of pictures, kept."""

    def __init__(self, weights: NsnetWeights, work: Path) -> None:
        info = tower_info(weights.tower_path)
        self._tower, self._normalise = load_tower(weights.tower_path), Normaliser(info.mean, info.std)
        self._weights, self._work = weights, work

    def __call__(self, pictures: Sequence[LabelledPicture], rendering: Rendering) -> VitFeatures:
        def say(done: int, total: int) -> None:
            print(f"{rendering.name}: {done}/{total}", file=sys.stderr, flush=True)

        info = self._weights.info
        folder = self._work / f"features-{len(pictures)}"
        kept = frozen_features(
            self._tower, pictures, info.selection, self._normalise, folder, rendering, info.tower_sha256, report=say
        )
        return kept.features


def _recipe(weights: NsnetWeights) -> FitConfig:
    """The recipe of the shipped heads, from their record."""
    fit = weights.info.training["fit"]
    names = ("weight_decay", "bce_share", "temperature")
    return FitConfig(probe=Phase(**fit["probe"]), head=weights.info.head, **{name: fit[name] for name in names})


def _head(weights: NsnetWeights) -> NullSpaceHead:
    semantic = torch.from_numpy(weights.tensors[SEMANTIC])
    return NullSpaceHead(tower_info(weights.tower_path).config, weights.info.head, semantic)


def _scores(rows: Path, pictures: Sequence[LabelledPicture], sha256: str) -> NDArray[np.float64]:
    """Raw scores of the pictures, in their order, from the rows of a scan with the weights of that hash."""
    read = [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
    by_name = {Path(row["path"]).name: row for row in read}
    if any(row["weights_sha256"] != sha256 for row in read):
        sys.exit(f"{rows}: rows of other weights than the shipped ones")
    return np.array([by_name[picture.path.name]["score"] for picture in pictures])


def _shown(progress: Progress) -> None:
    if progress.step % 500 == 0:
        print(f"  step {progress.step}/{progress.steps}, loss {progress.loss:.3f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
