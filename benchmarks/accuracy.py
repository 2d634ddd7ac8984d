"""Accuracy of saved scan rows against a manifest, worst groups first, beside a format and a content control.

    nsnet scan PICTURES... --format jsonl > rows.jsonl
    python benchmarks/accuracy.py MANIFEST.csv rows.jsonl --split val

Needs the ``train`` extra.  The format control sees dimensions, JPEG quality's proxy (bytes a pixel) and file
size; the content control sees 32x32 thumbnails.  Both are trained on ``train`` and tested on the split.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--split", default="val")
    args = parser.parse_args()
    with args.manifest.open(newline="") as file:
        everything = list(csv.DictReader(file))
    scanned = {Path(r["path"]).name: r for r in map(json.loads, args.rows.open())}
    pictures = [r for r in everything if r["split"] == args.split]
    rows = [scanned.get(Path(p["path"]).name) for p in pictures]
    missing = sum(r is None or r["error"] is not None for r in rows)
    y = np.array([int(p["label"]) for p in pictures])
    # A missing score counts against the detector: the wrong end of the scale.
    scored = [None if r is None or r["error"] else float(r["probability"]) for r in rows]
    p = np.array([1.0 - label if s is None else s for s, label in zip(scored, y, strict=True)])
    verdicts = np.array(["none" if r is None else str(r["verdict"]) for r in rows])
    photo = np.array([q["photo_like"] == "yes" for q in pictures])
    print(f"{len(y)} pictures, {missing} without a score, {len(scanned)} rows")
    for name, mask in (("all", y >= 0), ("photo-like", photo), ("not photo-like", ~photo)):
        print(f"{name}: {_figures(y[mask], p[mask])}")
    decided = np.isin(verdicts, ["generated", "real"])
    right = (verdicts == "generated") == (y == 1)
    print(
        f"band: coverage {decided.mean():.3f}, accuracy on the decided {right[decided].mean():.3f}, "
        f"false alarms {np.mean(verdicts[y == 0] == 'generated'):.3f}, misses {np.mean(verdicts[y == 1] == 'real'):.3f}"
    )
    groups = defaultdict(list)
    for k, q in enumerate(pictures):
        groups[int(q["label"]), q["generator"]].append(k)
    for label, title in ((1, "F.Acc by generator"), (0, "R.Acc by source")):
        accuracy = sorted(
            (float(np.mean((p[ks] >= 0.5) == label)), g, len(ks)) for (side, g), ks in groups.items() if side == label
        )
        print(title + ", worst first: " + ", ".join(f"{g} {a:.2f} (n={n})" for a, g, n in accuracy))
    train = [r for r in everything if r["split"] == "train"]
    for name, features, model in (
        ("format control", _format_features, HistGradientBoostingClassifier(random_state=0)),
        ("content control", _thumbnails, LogisticRegression(C=1e-3, max_iter=500)),
    ):
        fitted = model.fit(features(train, args.manifest.parent), [int(r["label"]) for r in train])
        score = fitted.predict_proba(features(pictures, args.manifest.parent))[:, 1]
        print(f"{name}: AUC {roc_auc_score(y, score):.3f}")


def _figures(y: np.ndarray, p: np.ndarray) -> str:
    fpr, tpr, _ = roc_curve(y, p)
    real, fake = float(np.mean(p[y == 0] < 0.5)), float(np.mean(p[y == 1] >= 0.5))
    at = {limit: float(tpr[fpr <= limit].max()) for limit in (0.01, 0.05)}
    return (
        f"AUC {roc_auc_score(y, p):.3f}, AP {average_precision_score(y, p):.3f}, bAcc {(real + fake) / 2:.3f}, "
        f"R.Acc {real:.3f}, F.Acc {fake:.3f}, TPR at 1 % FPR {at[0.01]:.3f}, at 5 % {at[0.05]:.3f}"
    )


def _format_features(rows: list[dict[str, str]], folder: Path) -> np.ndarray:
    out = []
    for row in rows:
        path = folder / row["path"]
        with Image.open(path) as image:
            quantisation = [sum(table) for table in image.quantization.values()]
            out.append([*image.size, path.stat().st_size, quantisation[0], quantisation[-1]])
    return np.array(out, dtype=float)


def _thumbnails(rows: list[dict[str, str]], folder: Path) -> np.ndarray:
    out = []
    for row in rows:
        with Image.open(folder / row["path"]) as image:
            out.append(np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BOX)).ravel())
    return np.array(out, dtype=float) / 255


if __name__ == "__main__":
    main()
