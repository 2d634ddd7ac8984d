"""Where should the window of a large picture lie?  Emulated on training pictures, as a choice must be.

    python benchmarks/windows.py --work DIR     about six minutes on two cores; goes on after a kill from DIR
    python benchmarks/windows.py --write-only   writes the model card from the kept figures

No training picture is larger than a window.  So windows of 256 pixels of pictures of 384 stand for it, five of each:
the centre and the corners.  The kernel head, refitted without the fold that a picture is of, judges each beside the
picture's mosaic.  Figures are kept in ``benchmarks/results/windows.json``; a test fails where the card differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from documents import MANIFEST, MODEL_CARD, RESULTS, between_markers, kept_rows, need_manifest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from nsnet_cli.decode import channels_first
from nsnet_cli.features import Features
from nsnet_cli.kernel import KernelHead, gaussian_kernel
from nsnet_cli.labelled import LabelledPicture, read_manifest
from nsnet_cli.network import Network
from nsnet_cli.selection import build_mosaic, cut_patches, select_patches
from nsnet_cli.tower import tower_info
from nsnet_cli.training.folds import grouped_folds, picture_weights
from nsnet_cli.training.kernel import ridge_regression
from nsnet_cli.training.views import read_picture
from nsnet_cli.views import MOSAIC, WINDOW, scale_window
from nsnet_cli.vit import VitFeatures
from nsnet_cli.weights import SEMANTIC, NsnetWeights, load_weights
from nsnet_cli.weights_store import DEFAULT_WEIGHTS

OWNER = "benchmarks/windows.py"
RESULT = RESULTS / "windows.json"
_SIDE, _PICTURE = 256, 384
_PLACES = ((64, 64), (0, 0), (128, 128), (128, 0), (0, 128))
_PICTURES, _FOLDS, _DRAWN = 200, 10, 1_000
# Targets of the kernel head's fit, see `nsnet_cli.training.kernel`.
_TARGET = 4.0
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=MANIFEST)
    parser.add_argument("--work", type=Path, help="keep the scores of single pictures here, and go on from them")
    parser.add_argument("--pictures", type=int, default=_PICTURES)
    parser.add_argument("--write-only", action="store_true")
    args = parser.parse_args()
    if not args.write_only:
        need_manifest(args.manifest)
        with tempfile.TemporaryDirectory() as scratch:
            document = _measure(args.manifest, args.pictures, args.work or Path(scratch))
        RESULT.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    MODEL_CARD.write_text(with_figures(MODEL_CARD.read_text("utf-8"), json.loads(RESULT.read_text("utf-8"))), "utf-8")


def _measure(manifest: Path, count: int, work: Path) -> Row:
    weights = load_weights(DEFAULT_WEIGHTS)
    network, kernel = Network.of_weights(weights), _kernel(weights)
    pictures = read_manifest(manifest, "train")
    folds = grouped_folds(pictures, _FOLDS)
    judges = _refitted(kernel, pictures, folds)
    work.mkdir(parents=True, exist_ok=True)
    chosen = _evenly(pictures, count)
    rows = kept_rows(
        work / "windows.jsonl", weights.sha256, chosen, lambda k: _row(network, kernel, judges[folds[k]], pictures[k])
    )
    return {"weights_sha256": weights.sha256, **_figures(rows, [pictures[k] for k in chosen])}


def _evenly(pictures: list[LabelledPicture], count: int) -> list[int]:
    """Pictures of full size, both labels in turn, each label going round its generators or sources."""
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    for k in Random(0).sample(range(len(pictures)), len(pictures)):
        groups[pictures[k].label, pictures[k].group].append(k)
    in_turn: dict[int, list[int]] = {0: [], 1: []}
    for depth in range(max(map(len, groups.values()))):
        for (label, _), members in sorted(groups.items()):
            if depth < len(members) and len(in_turn[label]) < count:
                k = members[depth]
                if read_picture(pictures[k].path).size == (_PICTURE, _PICTURE):
                    in_turn[label].append(k)
        if min(map(len, in_turn.values())) >= count // 2:
            break
    return [k for pair in zip(in_turn[0], in_turn[1], strict=False) for k in pair][:count]


class _Judge:
    """The kernel head, fitted to the pictures ``inside`` alone."""

    def __init__(self, kernel: KernelHead, inside: Tensor, targets: Tensor) -> None:
        self._anchors, self._gamma = kernel.anchors[inside].double(), kernel.config.gamma
        square = gaussian_kernel(self._anchors, self._anchors, self._gamma)
        self._coefficients, self._offset = ridge_regression(square, targets[inside], kernel.config.ridge)

    def __call__(self, x: Tensor) -> list[float]:
        said = gaussian_kernel(x.double(), self._anchors, self._gamma) @ self._coefficients + self._offset
        return [round(float(score), 5) for score in said]


def _refitted(kernel: KernelHead, pictures: list[LabelledPicture], folds: list[int]) -> list[_Judge]:
    """A judge for each fold, which has not seen it.  The components are those of the shipped head."""
    targets = _TARGET * (2.0 * torch.tensor([float(p.label) for p in pictures], dtype=torch.float64) - 1.0)
    fold = torch.tensor(folds)
    return [_Judge(kernel, torch.nonzero(fold != k).squeeze(1), targets) for k in range(_FOLDS)]


def _kernel(weights: NsnetWeights) -> KernelHead:
    """The shipped kernel head as training has it."""
    info, state = weights.info, {name: torch.from_numpy(value) for name, value in weights.below("kernel").items()}
    assert info.kernel is not None
    semantic = torch.from_numpy(weights.tensors[SEMANTIC])
    return KernelHead.of_state(
        tower_info(weights.tower_path).config, info.kernel, semantic, info.kernel.looked_at(info.kinds), state
    )


@torch.inference_mode()
def _row(network: Network, kernel: KernelHead, judge: _Judge, picture: LabelledPicture) -> Row:
    recipe = network.selection
    pixels = channels_first(np.array(read_picture(picture.path)))
    grid = cut_patches(pixels, recipe)
    mosaic = network.look(build_mosaic(grid, select_patches(grid, recipe)[0], recipe)[None], MOSAIC).features
    cuts = [pixels[:, y : y + _SIDE, x : x + _SIDE] for x, y in _PLACES]
    windows = network.look(np.stack([scale_window(cut, recipe, 0, 0, _SIDE) for cut in cuts]), WINDOW).features
    beside = kernel.describe(MOSAIC, [_tensors(mosaic)]).expand(len(cuts), -1)
    return {
        "scores": judge(torch.cat([beside, kernel.describe(WINDOW, [_tensors(windows)])], dim=1)),
        "entropy": [round(float(cut_patches(cut, recipe).entropy.mean()), 4) for cut in cuts],
    }


def _tensors(features: Features) -> VitFeatures:
    return VitFeatures(torch.from_numpy(features.embedding), torch.from_numpy(features.class_tokens))


def _figures(rows: list[Row], pictures: list[LabelledPicture]) -> Row:
    scores, entropy = (np.array([row[name] for row in rows]) for name in ("scores", "entropy"))
    labels, weights = np.array([p.label for p in pictures]), np.array(picture_weights(pictures))
    order = np.argsort(-entropy, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    ways = {
        "centre": scores[:, 0],
        "highest entropy": ranked[:, 0],
        "lowest entropy": ranked[:, -1],
        "mean of the two highest": ranked[:, :2].mean(1),
        "mean of all five": scores.mean(1),
    }

    def auc(said: NDArray[np.float64], rows: NDArray[np.intp] | slice = slice(None)) -> float:
        return float(roc_auc_score(labels[rows], said[rows], sample_weight=weights[rows]))

    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(rows), len(rows)) for _ in range(_DRAWN)]
    found = {}
    for name, said in ways.items():
        change = [auc(said, few) - auc(ways["centre"], few) for few in drawn]
        low, high = np.quantile(change, [0.05, 0.95])
        found[name] = {
            "auc": round(auc(said), 4),
            "change": round(auc(said) - auc(ways["centre"]), 4),
            "low": round(float(low), 4),
            "high": round(float(high), 4),
        }
    return {
        "pictures": len(rows),
        "anywhere": round(float(np.mean([auc(scores[:, k]) for k in range(len(_PLACES))])), 4),
        "ways": found,
    }


def with_figures(text: str, document: Row) -> str:
    """``text`` with the figures between this benchmark's markers made new."""
    return between_markers(text, OWNER, render(document))


def render(document: Row) -> str:
    """The figures in Markdown."""
    lines = [
        f"`python benchmarks/windows.py`, {document['pictures']} training pictures, windows of {_SIDE} of their "
        f"{_PICTURE} pixels, kernel head refitted out of fold; change against the centre with its 90 % interval:",
        "",
        "| window | AUC | change |",
        "|---|---|---|",
        f"| anywhere (mean of the five places) | {document['anywhere']:.3f} | |",
    ]
    for name, figures in document["ways"].items():
        change = (
            "" if name == "centre" else f"{figures['change']:+.3f} ({figures['low']:+.3f} to {figures['high']:+.3f})"
        )
        lines.append(f"| {name} | {figures['auc']:.3f} | {change} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
