"""Do other precisions give the verdicts of float32?  What `auto` may choose hangs on it.

    python benchmarks/precisions.py --work DIR [--pictures 400] [--emulated 150]     goes on after a kill from DIR
    python benchmarks/precisions.py --write-only      writes docs/performance.md from the kept figures

Held-out pictures (``val``) go through the shipped weights in float32 on NumPy, which is what a scan on a CPU does, and
again in each other way: float32 and bfloat16 on PyTorch, and products of int8 with one scale for each token.  There is
no kernel for those; their rounding is done in float32, to know what a kernel would be worth.  Where the processor
lacks bfloat16 it is emulated, seconds a picture: so fewer of them.  Nothing is chosen or fitted by these pictures.
Figures are kept in ``benchmarks/results/precisions.json``; a test fails where the document differs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from documents import RESULTS, ROOT, between_markers, kept_rows, need_manifest
from options import parser_with
from sklearn.metrics import roc_auc_score

from nsnet_cli.arrays import Floats
from nsnet_cli.detector import Detector
from nsnet_cli.engines.preparing import Prepared
from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash, read_manifest
from nsnet_cli.evaluation.robustness import take_sample
from nsnet_cli.judges.network import Network, tower_states
from nsnet_cli.tower import on_numpy
from nsnet_cli.tower.file import tower_info
from nsnet_cli.tower.on_torch import TorchTower
from nsnet_cli.verdict.calibration import Calibration

OWNER = "benchmarks/precisions.py"
RESULT = RESULTS / "precisions.json"
DOCUMENT = ROOT / "docs" / "performance.md"
REFERENCE = "float32 on NumPy"
# Products of int8 by the share of channels, those of largest values, that stay in float32 (Dettmers et al., 2022).
INT8 = {
    "int8, a scale for each token (emulated)": 0.0,
    "the same, the largest hundredth of channels in float32": 0.01,
}
# What `auto` may change at most: verdicts, as a share, and AUC.
_VERDICTS, _AUC = 0.003, 0.002
Row = dict[str, Any]


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--work", "--write-only")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--emulated", type=int, default=150, help="of them, those that bfloat16 sees")
    args = parser.parse_args()
    if not args.write_only:
        need_manifest(args.manifest)
        with tempfile.TemporaryDirectory() as scratch:
            document = _measure(args.manifest, args.pictures, args.emulated, args.work or Path(scratch))
        RESULT.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    figures = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), figures), "utf-8")


def _measure(manifest: Path, count: int, emulated: int, work: Path) -> Row:
    detector = Detector.load(patches=False, provenance=False)
    weights = detector.weights
    pictures = list(take_sample(read_manifest(manifest, "val"), count))
    few = {id(picture) for picture in take_sample(pictures, emulated)}
    score: dict[str, Callable[[Prepared], float]] = {
        REFERENCE: _scorer(detector.network),
        "float32 on PyTorch": _scorer(_on_pytorch(detector, "fp32")),
        "bfloat16 on PyTorch": _scorer(_on_pytorch(detector, "bf16")),
        **{name: _with_int8(_scorer(detector.network), share) for name, share in INT8.items()},
    }
    work.mkdir(parents=True, exist_ok=True)

    def row(k: int) -> Row:
        prepared = detector.prepare(str(pictures[k].path))
        seen = [way for way in score if "bfloat16" not in way or id(pictures[k]) in few]
        return {"scores": {way: round(score[way](prepared), 6) for way in seen}}

    mark = f"{weights.sha256}:{manifest_hash(pictures)}:{emulated}:{', '.join(score)}"
    rows = kept_rows(work / "precisions.jsonl", mark, range(len(pictures)), row)
    return {"weights_sha256": weights.sha256, "ways": _figures(rows, pictures, weights.info.calibration)}


def _on_pytorch(detector: Detector, precision: str) -> Network:
    state, adapted = tower_states(detector.weights)
    tower = TorchTower(tower_info(detector.weights.tower_path), state, "cpu", precision, adapted=adapted)
    return replace(detector.network, tower=tower)


def _scorer(network: Network) -> Callable[[Prepared], float]:
    def score(prepared: Prepared) -> float:
        assert prepared.views is not None
        return network.score([prepared.views], [prepared.plan])[0].score

    return score


def _with_int8(scorer: Callable[[Prepared], float], share: float) -> Callable[[Prepared], float]:
    """``scorer``, but what enters the matrices of the blocks has 255 levels a token, up to a share of channels."""
    exact = on_numpy._Linear.__call__

    def rounded(self: on_numpy._Linear, x: Floats) -> Floats:
        few = np.argsort(np.abs(x).max(axis=0))[x.shape[1] - round(share * x.shape[1]) :]
        rest = x.copy()
        rest[:, few] = 0
        scale = np.abs(rest).max(axis=1, keepdims=True) / np.float32(127)
        levels = np.round(rest / scale) * scale
        levels[:, few] = x[:, few]
        return exact(self, levels)

    def score(prepared: Prepared) -> float:
        on_numpy._Linear.__call__ = rounded  # type: ignore[method-assign]
        try:
            return scorer(prepared)
        finally:
            on_numpy._Linear.__call__ = exact  # type: ignore[method-assign]

    return score


def _figures(rows: list[Row], pictures: Sequence[LabelledPicture], calibration: Calibration) -> dict[str, Row]:
    labels = np.array([picture.label for picture in pictures])
    found = {}
    for way in dict.fromkeys(way for row in rows for way in row["scores"] if way != REFERENCE):
        seen = [k for k, row in enumerate(rows) if way in row["scores"]]
        before, after = (np.array([rows[k]["scores"][name] for k in seen]) for name in (REFERENCE, way))
        verdicts = [
            [calibration.verdict(calibration.probability(float(score))) for score in scores]
            for scores in (before, after)
        ]
        changed = [pair for pair in zip(*verdicts, strict=True) if pair[0] != pair[1]]
        signs = [[calibration.probability(float(score)) >= 0.5 for score in scores] for scores in (before, after)]
        found[way] = {
            "pictures": len(seen),
            "largest": round(float(np.abs(after - before).max()), 5),
            "mean": round(float(np.abs(after - before).mean()), 5),
            "verdicts": len(changed),
            "between_real_and_generated": sum("uncertain" not in pair for pair in changed),
            "sides_of_one_half": sum(a != b for a, b in zip(*signs, strict=True)),
            "auc": round(float(roc_auc_score(labels[seen], after) - roc_auc_score(labels[seen], before)), 5),
        }
    return found


def with_figures(text: str, figures: Row) -> str:
    """The document with its table made new."""
    assert figures["weights_sha256"]
    lines = [
        f"Held-out pictures, weights `{figures['weights_sha256'][:12]}`, against float32 on NumPy:",
        "",
        "| | pictures | score moves, mean | at most | other verdict | real for generated, or back | other side of 0.5 "
        "| AUC | may `auto` choose it? |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for way, row in figures["ways"].items():
        fits = row["verdicts"] <= _VERDICTS * row["pictures"] and abs(row["auc"]) <= _AUC
        lines.append(
            f"| {way} | {row['pictures']} | {row['mean']:.4f} | {row['largest']:.4f} | {row['verdicts']} | "
            f"{row['between_real_and_generated']} | {row['sides_of_one_half']} | {row['auc']:+.4f} | "
            f"{'yes' if fits else 'no'} |"
        )
    return between_markers(text, OWNER, "\n".join(lines))


if __name__ == "__main__":
    main()
