"""The Ray engine beside the local one: the same rows, a node killed in the middle, and what it costs.

    python benchmarks/ray_engine.py [--pictures FOLDER] [--mentions 3000] [--real 60]

First ``--mentions`` of the pictures in FOLDER (twelve made ones unless given) are scanned with a stub in place of
the network: by the local engine, by the Ray engine on a local cluster of two nodes, and so again with one node killed
in the middle.  Rows must be the same: one for each mention, scores within 1e-3.  The driver's own rate is that of rows
that cost nothing.  Then ``--real`` pictures are scanned with the real network by both engines on this machine; without
a cluster, so the second starts Ray.  ``--mentions 0`` and ``--real 0`` leave a half out and keep the figures that it
had.  Run it on a quiet machine.  Writes benchmarks/results/ray_engine.json and prints it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from documents import RESULTS, ROOT
from PIL import Image

from nsnet_cli import Detector
from nsnet_cli.arrays import Pixels
from nsnet_cli.inputs.discover import WalkCount, WalkOptions, find_pictures
from nsnet_cli.judges.network import Scored
from nsnet_cli.results.document import PictureResult

RESULT = RESULTS / "ray_engine.json"
_ROWS = "rows.jsonl"
_TOLERANCE = 1e-3
# Enough to tell the driver's rate from the start of actors.
_EMPTY_ROWS = 20_000
# What may differ between two scans of one picture.
_APART = ("scanned_at", "elapsed_ms", "score", "probability", "input_index")

Row = dict[str, Any]


def runtime_env(given: dict[str, Any] | None) -> dict[str, Any]:
    """Ray's own RAY_RUNTIME_ENV_HOOK names this: worker processes of the stubbed scans begin with `stub`."""
    return {**(given or {}), "worker_process_setup_hook": "ray_engine.stub"}


def stub() -> None:
    """No network: scores that hang on the pixels, or with RAY_ENGINE_EMPTY rows that cost nothing at all."""

    def score_views(self: Detector, pictures: list[Pixels], plans: object, probes: bool = False) -> list[Scored]:
        return [Scored(float(views.mean()) / 255.0, np.zeros(1, np.float32)) for views in pictures]

    def scan_many(self: Detector, paths: Iterable[str], *args: Any) -> Iterator[PictureResult]:
        for path in paths:
            yield PictureResult(path, "now", 0.0, verdict="real", probability=0.0, score=0.0)

    Detector.score_views = score_views  # type: ignore[method-assign]
    if os.environ.get("RAY_ENGINE_EMPTY"):
        Detector.scan_many = scan_many  # type: ignore[method-assign]


@dataclass(frozen=True)
class Scan:
    rows: list[Row]
    seconds: float
    started: float  # seconds until the first row
    rows_in_the_middle: int | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="a folder [default: twelve made pictures]")
    parser.add_argument("--mentions", type=int, default=3000)
    parser.add_argument("--real", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each engine with the real network")
    parser.add_argument("--_stubbed", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args._stubbed:
        return _stubbed_scan(args._stubbed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = _pictures(args.pictures, folder)
        found = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
        found["cores"] = os.cpu_count()
        if args.mentions:
            found["stub"] = _same_rows(folder, pictures, args.mentions)
        if args.real:
            found["real"] = _overhead(folder, list(islice(cycle(pictures), args.real)), args.repeats)
    RESULT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(json.dumps(found, indent=2))
    return 0


def _pictures(folder: Path | None, scratch: Path) -> list[str]:
    if folder is not None:
        return list(find_pictures([str(folder)], WalkOptions(), WalkCount()))
    rng = np.random.default_rng(0)
    paths = []
    for k in range(12):
        tile = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        paths.append(str(scratch / f"{k}.jpg"))
        Image.fromarray(tile).resize((512, 384), Image.Resampling.BICUBIC).save(paths[-1], quality=88)
    return paths


def _same_rows(folder: Path, pictures: Sequence[str], count: int) -> Row:
    """The stubbed scans; ends in words where rows differ."""
    paths = list(islice(cycle(pictures), count))
    local = _scan(folder, paths, stubbed=True)
    found: Row = {"rows": count, "pictures": len(pictures), "local": _rate(local)}
    for name, kill in (("two_nodes", False), ("two_nodes_one_killed", True)):
        with _Cluster() as cluster:
            address = ("--ray-address", cluster.address)
            ours = _scan(folder, paths, *address, stubbed=True, in_the_middle=cluster.kill if kill else None)
        found[name] = {**_rate(ours), **_difference(ours.rows, local.rows, paths)}
        if kill:
            found[name]["rows_when_killed"] = ours.rows_in_the_middle
    with _Cluster(RAY_ENGINE_EMPTY="1") as cluster:
        many = list(islice(cycle(pictures), _EMPTY_ROWS))
        empty = _scan(folder, many, "--ray-address", cluster.address, stubbed=True)
    found["rows_that_cost_nothing"] = _rate(empty)
    return found


def _overhead(folder: Path, paths: Sequence[str], repeats: int) -> Row:
    """Both engines with the real network in turn, so that a slow minute of the machine meets both."""
    runs: dict[str, list[Scan]] = {"local": [], "ray": []}
    for _ in range(repeats):
        runs["local"].append(_scan(folder, paths))
        runs["ray"].append(_scan(folder, paths, "--engine", "ray"))
    found: Row = {"pictures": len(paths), "repeats": repeats}
    for name, scans in runs.items():
        rates = [_rate(scan) for scan in scans]
        found[name] = {key: round(statistics.median(rate[key] for rate in rates), 3) for key in rates[0]}
        found[name]["seconds_of_runs"] = [rate["seconds"] for rate in rates]
    found["ray"] |= _difference(runs["ray"][0].rows, runs["local"][0].rows, paths)
    return found


def _rate(scan: Scan) -> Row:
    """Seconds in all, until the first row, and rows a second behind it."""
    later = scan.seconds - scan.started
    return {
        "seconds": round(scan.seconds, 2),
        "seconds_to_first_row": round(scan.started, 2),
        "rows_a_second": round(len(scan.rows) / scan.seconds, 2),
        "rows_a_second_after_the_first": round((len(scan.rows) - 1) / later, 2) if later > 0 else None,
    }


def _difference(ours: list[Row], theirs: list[Row], paths: Sequence[str]) -> Row:
    """Zeros where all is well; else the program ends here."""
    there = [row["input_index"] for row in ours]
    both = list(zip(ours, theirs, strict=False))
    scores = [abs(one["score"] - other["score"]) for one, other in both if None not in (one["score"], other["score"])]
    found = {
        "missing": len(set(range(len(paths))) - set(there)),
        "doubled": len(there) - len(set(there)),
        "out_of_order": sum(row["path"] != path for row, path in zip(ours, paths, strict=False)),
        "differing": sum(one[k] != other[k] for one, other in both for k in one if k not in _APART),
        "largest_score_difference": max(scores, default=0.0),
        "errors": sum(row["error"] is not None for row in ours),
    }
    wrong = any(found[name] for name in ("missing", "doubled", "out_of_order", "differing"))
    if wrong or found["largest_score_difference"] > _TOLERANCE:
        sys.exit(f"the engines differ: {json.dumps(found)}")
    return found


def _scan(folder: Path, paths: Sequence[str], *options: str, stubbed: bool = False, in_the_middle: Any = None) -> Scan:
    """``nsnet scan`` in a process of its own; ``in_the_middle`` is called when a third of the rows are there."""
    listed, output = folder / "list", folder / _ROWS
    listed.write_text("\n".join(paths))
    output.unlink(missing_ok=True)
    if "--ray-address" in options:
        options = ("--engine", "ray", *options)
    command = [sys.executable, "-m", "nsnet_cli"] if not stubbed else [sys.executable, __file__, "--_stubbed"]
    command += ["-q", "scan", "--from-file", str(listed), "-o", str(output), *options]
    environment = {**os.environ, **({"RAY_RUNTIME_ENV_HOOK": "ray_engine.runtime_env"} if stubbed else {})}
    began = time.monotonic()
    process = subprocess.Popen(command, env=_importable(environment))
    first = _when(process, output, 1) - began
    then = None
    if in_the_middle is not None:
        _when(process, output, len(paths) // 3)
        in_the_middle()
        then = output.read_bytes().count(b"\n")  # the node is gone
    if process.wait() not in (0, 3):
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    seconds = time.monotonic() - began
    return Scan([json.loads(line) for line in output.open("rb")], seconds, first, then)


def _when(process: subprocess.Popen[bytes], output: Path, rows: int) -> float:
    """The moment when so many rows are there."""
    while process.poll() is None:
        if output.exists() and output.read_bytes().count(b"\n") >= rows:
            break
        time.sleep(0.05)
    return time.monotonic()


def _stubbed_scan(arguments: Sequence[str]) -> int:
    from nsnet_cli.cli import app

    stub()
    sys.argv = ["nsnet", *arguments]
    app.main()
    return 0


def _importable(environment: dict[str, str]) -> dict[str, str]:
    """With this file and the checkout where every process can import them."""
    folders = [str(ROOT / "benchmarks"), str(ROOT), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, folders))}


class _Cluster:
    """Two nodes of one CPU each on this machine."""

    def __init__(self, **environment: str) -> None:
        os.environ.update(_importable({**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}))
        self._environment = environment

    def __enter__(self) -> _Cluster:
        from ray.cluster_utils import Cluster

        os.environ.update(self._environment)
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self._node = self._cluster.add_node(num_cpus=1)
        self.address: str = self._cluster.address
        return self

    def __exit__(self, *ended: object) -> None:
        self._cluster.shutdown()
        for name in self._environment:
            del os.environ[name]

    def kill(self) -> None:
        self._cluster.remove_node(self._node, allow_graceful=False)


if __name__ == "__main__":
    sys.exit(main())
