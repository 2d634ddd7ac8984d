"""The baseline to beat: UnivFD's recipe (arXiv 2302.10174) with our tower, our data and our rules.

A linear probe on CLIP's embedding of the centre crop, trained on the ``train`` rows of a manifest, scored on
its ``val`` rows; the decision point of 0.5 is calibrated as ours is, on scores of grouped folds.  Prints a
JSON object beside the errors of the shipped weights, from ``benchmarks/results/val.json``.

    python benchmarks/univfd.py --work FOLDER
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from documents import RESULTS, need_manifest
from options import parser_with
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash, read_manifest
from nsnet_cli.inputs.decode import channels_first
from nsnet_cli.tower.file import load_tower, tower_info
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.training.folds import grouped_folds, picture_weights
from nsnet_cli.verdict.calibration import fit_calibration
from nsnet_cli.weights.store import TOWER_NAME, find_weights

_CROP, _BATCH, _FOLDS = 224, 16, 3


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--work!")
    asked = parser.parse_args()
    need_manifest(asked.manifest)
    train, val = (read_manifest(asked.manifest, split) for split in ("train", "val"))
    x, y, weights = embeddings(train, asked.work), labels(train), np.array(picture_weights(train))
    folds = np.array(grouped_folds(train, _FOLDS))
    held_out = np.zeros(len(train))
    for fold in range(_FOLDS):
        inside, outside = folds != fold, folds == fold
        held_out[outside] = probe(x[inside], y[inside], weights[inside]).decision_function(x[outside])
    calibration = fit_calibration(held_out, y, weights, "grouped folds of train")
    scores = probe(x, y, weights).decision_function(embeddings(val, asked.work))
    called = np.array([calibration.probability(s) for s in scores]) >= 0.5
    truth = labels(val).astype(bool)
    ours = json.loads((RESULTS / "val.json").read_text("utf-8"))["total"]
    r_acc, f_acc = float((~called[~truth]).mean()), float(called[truth].mean())
    found = {
        "val_auc": round(float(roc_auc_score(truth, scores)), 4),
        "held_out_auc": round(
            float(np.mean([roc_auc_score(y[folds == f], held_out[folds == f]) for f in range(_FOLDS)])), 4
        ),
        "r_acc": round(r_acc, 4),
        "f_acc": round(f_acc, 4),
        "balanced_error": round(1 - (r_acc + f_acc) / 2, 4),
        "our_balanced_error": round(1 - ours["bacc"], 4),
        "fewer_errors": round(1 - (1 - ours["bacc"]) / (1 - (r_acc + f_acc) / 2), 4),
    }
    (RESULTS / "univfd.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(json.dumps(found, indent=2))


def labels(pictures: list[LabelledPicture]) -> np.ndarray:
    return np.array([p.label for p in pictures])


def probe(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> LogisticRegression:
    return LogisticRegression(max_iter=2000).fit(x, y, sample_weight=weights * len(y))


@torch.inference_mode()
def embeddings(pictures: list[LabelledPicture], work: Path) -> np.ndarray:
    """Embeddings of the centre crops, of unit length times sqrt(d), ``(n, d)``; float32, kept."""
    kept = work / f"univfd-{manifest_hash(pictures)[:16]}.npy"
    if not kept.exists():
        path = find_weights(TOWER_NAME)
        tower, info = load_tower(path), tower_info(path)
        dtype = torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
        tower.matrices_to(dtype)
        normalise = Normaliser(info.mean, info.std)
        made = []
        for first in range(0, len(pictures), _BATCH):
            crops = np.stack([centre_crop(p.path) for p in pictures[first : first + _BATCH]])
            made.append(tower(normalise(torch.from_numpy(crops))).embedding.float())
        work.mkdir(parents=True, exist_ok=True)
        np.save(kept, torch.cat(made).numpy())
    raw = torch.from_numpy(np.load(kept))
    return (torch.nn.functional.normalize(raw, dim=1) * raw.shape[1] ** 0.5).numpy()


def centre_crop(path: Path) -> np.ndarray:
    """The central 224 pixels; a smaller picture is scaled up to them first."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if min(image.size) < _CROP:
        factor = _CROP / min(image.size)
        image = image.resize((max(_CROP, round(image.width * factor)), max(_CROP, round(image.height * factor))))
    left, top = (image.width - _CROP) // 2 // 8 * 8, (image.height - _CROP) // 2 // 8 * 8
    return channels_first(np.array(image.crop((left, top, left + _CROP, top + _CROP))))


if __name__ == "__main__":
    main()
