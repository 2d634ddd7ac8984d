"""Which engine should carry the tower on this processor?  All candidates, each in a process of its own.

    python benchmarks/engines.py --work DIR [--manifest FILE] [--pictures 500] [--only NAME]...
    python benchmarks/engines.py --write-only       writes docs/performance.md from the kept figures

With ``openvino`` and ``onnxruntime`` installed beside the package; without one its rows are left out.  Of each engine:
seconds to import it, from the tower file to the first view's features, views a second at several batches with one
thread and two, memory, the size of what has to be installed, and how far scores of held-out pictures (``val``) drift
from float32 on NumPy.  Rows are kept in DIR, one by one, so a run that was stopped goes on.  Figures of each kind of
processor are kept in ``benchmarks/results/engines.json``; a run replaces those of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from comparing.document import DOCUMENT, RESULT, with_figures
from comparing.engines import ENGINES
from documents import need_manifest
from options import parser_with

from nsnet_cli.detector import Detector
from nsnet_cli.evaluation.labelled import read_manifest
from nsnet_cli.evaluation.robustness import take_sample
from nsnet_cli.tower.features import Features, ViewFeatures
from nsnet_cli.tower.processor import processor_name
from nsnet_cli.views.plan import View

REFERENCE = "NumPy, float32"
Row = dict[str, Any]


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--work", "--write-only")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--only", action="append", choices=list(ENGINES), help="measure this engine; repeatable")
    args = parser.parse_args()
    if not args.write_only:
        if args.work is None:
            parser.error("--work: name a folder where rows are kept")
        need_manifest(args.manifest)
        _measure(args)
    figures = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), figures), "utf-8")


def _measure(args: argparse.Namespace) -> None:
    args.work.mkdir(parents=True, exist_ok=True)
    detector = Detector.load(device="cpu", precision="fp32", patches=False, provenance=False)
    views_file, plans = _views(detector, args)
    rows_file = args.work / "rows.json"
    rows: dict[str, Row] = json.loads(rows_file.read_text("utf-8")) if rows_file.exists() else {}
    for name in args.only or ENGINES:
        package = ENGINES[name].package
        if package is not None and _installed_mb(package) is None:
            print(f"{name}: {package} is not installed, left out", file=sys.stderr)
            continue
        for threads in (1, 2):
            if f"{name}, {threads}" in rows:
                continue
            print(f"measuring: {name}, {threads} threads", file=sys.stderr, flush=True)
            rows[f"{name}, {threads}"] = _timed(name, threads, views_file, detector.weights.tower_path, args.work)
            rows_file.write_text(json.dumps(rows), "utf-8")
    found = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {"processors": {}}
    found["weights_sha256"] = detector.weights.sha256
    found["processors"][processor_name()] = {
        "cores": os.cpu_count(),
        "weights_sha256": detector.weights.sha256,
        "versions": _versions(),
        "engines": _figures(detector, rows, plans, args.work),
    }
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _views(detector: Detector, args: argparse.Namespace) -> tuple[Path, list[list[View]]]:
    """A file with the views of all pictures one after another, and the plan of each picture."""
    file, sample = args.work / f"views-{args.pictures}.npz", args.work / f"plans-{args.pictures}.json"
    if not file.exists():
        pictures = take_sample(read_manifest(args.manifest, "val"), args.pictures)
        prepared = [p for p in (detector.prepare(str(picture.path)) for picture in pictures) if p.views is not None]
        np.savez(file, views=np.concatenate([p.views for p in prepared if p.views is not None]))
        sample.write_text(json.dumps([[[v.kind, v.number, v.look] for v in p.plan] for p in prepared]), "utf-8")
    return file, [[View(*view) for view in plan] for plan in json.loads(sample.read_text("utf-8"))]


def _timed(name: str, threads: int, views: Path, tower: Path, work: Path) -> Row:
    script = Path(__file__).resolve().parent / "comparing" / "timed.py"
    features = [str(_features_file(name, work))] if threads == 2 else []
    done = subprocess.run(
        [sys.executable, script, name, str(threads), views, tower, *features],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} with {threads} threads ended with {done.returncode}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def _features_file(name: str, work: Path) -> Path:
    return work / f"{name.replace(', ', '-').replace(' ', '-')}.npz"


def _figures(detector: Detector, rows: dict[str, Row], plans: list[list[View]], work: Path) -> dict[str, Row]:
    exact = None
    found: dict[str, Row] = {}
    for name, engine in ENGINES.items():
        if f"{name}, 2" not in rows:
            continue
        with np.load(_features_file(name, work)) as file:
            scores = _scores(detector, Features(file["embedding"], file["class_tokens"]), plans)
        exact = scores if name == REFERENCE else exact
        assert exact is not None, f"{REFERENCE} is measured first"
        drift = np.abs(scores - exact)
        found[name] = {
            "package": engine.package,
            "installed_mb": None if engine.package is None else _installed_mb(engine.package),
            "threads": {str(threads): rows[f"{name}, {threads}"] for threads in (1, 2)},
            "pictures": len(drift),
            "drift": {"half": round(float(np.median(drift)), 4), "most": round(float(drift.max()), 4)},
        }
    return found


def _scores(detector: Detector, features: Features, plans: list[list[View]]) -> Any:
    at, looks = 0, []
    for plan in plans:
        looks.append([ViewFeatures(features.rows(slice(at + k, at + k + 1))) for k in range(len(plan))])
        at += len(plan)
    return np.array([one.score for one in detector.network.judged(looks, plans)])


def _installed_mb(package: str) -> int | None:
    """Size of an installed package without what it needs; None where it is not there."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    return round(sum(file.size or 0 for file in files) / 1e6)


def _versions() -> dict[str, str]:
    names = ("numpy", "torch", "openvino", "onnxruntime")
    return {name: metadata.version(name) for name in names if name == "numpy" or _installed_mb(name) is not None}


if __name__ == "__main__":
    main()
