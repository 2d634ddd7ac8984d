"""Batches under stress: memory over many files and large ones, and kills of scans with the real network.

    python benchmarks/batch.py memory [--small 20000] [--large 50] [--megapixels 50] [--network]
    python benchmarks/batch.py kills FOLDER [--kills 100]
    python benchmarks/batch.py shards [--count 5000] [--parts 4]
    python benchmarks/batch.py throughput [--count 64]

``memory`` scans made pictures (240x232, and of 50 megapixels) and samples the process tree.  Unless ``--network`` is
given the network answers once for real and is then replaced by a mean of pixels, because twenty thousand pictures take
hours on a CPU; weights and activations are in memory all the same.  ``kills`` scans the pictures in FOLDER, ends the
scan with SIGKILL at random moments, and goes on with --resume until all are done.  ``shards`` scans made pictures at
once and in parts that are merged, with scores that hang on the pixels in place of the network.  ``throughput`` times
the whole pipeline beside the network alone, on 384-pixel and on 12-megapixel pictures.  All print a JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    memory = commands.add_parser("memory")
    memory.add_argument("--small", type=int, default=20_000)
    memory.add_argument("--large", type=int, default=50)
    memory.add_argument("--megapixels", type=int, default=50, help="of a large picture")
    memory.add_argument("--network", action="store_true")
    kills = commands.add_parser("kills")
    kills.add_argument("folder", type=Path)
    kills.add_argument("--kills", type=int, default=100)
    kills.add_argument("--longest", type=float, default=20.0, help="seconds until a kill, at most")
    shards = commands.add_parser("shards")
    shards.add_argument("--count", type=int, default=5_000)
    shards.add_argument("--parts", type=int, default=4)
    throughput = commands.add_parser("throughput")
    throughput.add_argument("--count", type=int, default=64)
    scan = commands.add_parser("_scan")
    scan.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    run = {"memory": _memory, "kills": _kills, "shards": _shards, "throughput": _throughput, "_scan": _scan}
    return run[args.command](args)


def _scan(args: argparse.Namespace) -> int:
    """``nsnet scan`` with the network asked once for real; then scores are a function of the pixels."""
    from nsnet_cli import Detector
    from nsnet_cli.cli import app
    from nsnet_cli.judges.network import Scored

    real, asked = Detector.score_views, []

    def cheap(self, pictures, plans, probes=False):  # type: ignore[no-untyped-def]
        if not asked:
            asked.extend(real(self, pictures[:1], plans[:1], probes))
        return [Scored(float(views.mean()) / 255.0, asked[0].semantic) for views in pictures]

    Detector.score_views = cheap  # type: ignore[method-assign]
    sys.argv = ["nsnet", "scan", *args.arguments]
    app.main()
    return 0


def _memory(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "in"
        _make(folder, args.small, args.large, args.megapixels)
        output = Path(name) / "rows.jsonl"
        command = [sys.executable, __file__, "_scan", str(folder), "-o", str(output)]
        if args.network:
            command = [sys.executable, "-m", "nsnet_cli", "scan", str(folder), "-o", str(output)]
        began = time.monotonic()
        process = subprocess.Popen(command)
        peak = Counter[str]()
        while process.poll() is None:
            for kind, size in _tree(process.pid).items():
                peak[kind] = max(peak[kind], size)
            time.sleep(0.25)
        rows = [json.loads(line) for line in output.open("rb")]
        found = {
            "small": args.small,
            "large": args.large,
            "megapixels_of_large": args.megapixels,
            "network": "real" if args.network else "asked once, then replaced",
            "rows": len(rows),
            "errors": sum(row["error"] is not None for row in rows),
            "peak_rss_gb": {"main": round(peak["main"] / 1e9, 2), "all_processes": round(peak["rss"] / 1e9, 2)},
            "peak_pss_gb": round(peak["pss"] / 1e9, 2),
            "seconds": round(time.monotonic() - began),
        }
    print(json.dumps(found, indent=2))
    return int(found["rows"] != args.small + args.large)


def _make(folder: Path, small: int, large: int, megapixels: int = 50) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    tile = rng.integers(0, 256, (58, 60, 3), dtype=np.uint8)
    for k in range(small):
        Image.fromarray(np.roll(tile, k % 997, axis=1)).resize((240, 232)).save(folder / f"s{k:06d}.jpg", quality=80)
    if large:
        # 3:2, as large cameras write them; links, so that the disk holds one.
        width = round((1.5e6 * megapixels) ** 0.5)
        first = folder / "l000.jpg"
        Image.fromarray(tile).resize((width, round(width / 1.5)), Image.Resampling.BICUBIC).save(first, quality=90)
        for k in range(1, large):
            (folder / f"l{k:03d}.jpg").hardlink_to(first)


def _tree(root: int) -> dict[str, int]:
    """Bytes held by a process and all below it: resident of the first, resident in all, and proportional in all."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(entry.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found = Counter[str]()
    todo = [root]
    while todo:
        pid = todo.pop()
        todo += children.get(pid, [])
        for key, value in _rollup(pid):
            found[key] += value
            if pid == root and key == "rss":
                found["main"] = value
    return dict(found)


def _rollup(pid: int) -> Iterator[tuple[str, int]]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss"):
            yield name.lower(), 1024 * int(rest.split()[0])


def _kills(args: argparse.Namespace) -> int:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "rows.jsonl"
        command = [sys.executable, "-m", "nsnet_cli", "-q", "scan", str(args.folder), "-o", str(output), "--resume"]
        killed, torn = 0, 0
        while True:
            process = subprocess.Popen(command)
            if killed < args.kills:
                try:
                    process.wait(rng.uniform(0.5, args.longest))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    killed += 1
                    torn += output.exists() and not output.read_bytes().endswith(b"\n") and output.stat().st_size > 0
                    continue
            process.wait()
            break
        rows = [json.loads(line) for line in output.open("rb")]
        paths = Counter(row["path"] for row in rows)
    from nsnet_cli.inputs.discover import WalkCount, WalkOptions, find_pictures

    wanted = Counter(find_pictures([str(args.folder)], WalkOptions(), WalkCount()))
    found = {
        "pictures": sum(wanted.values()),
        "kills": killed,
        "kills_that_tore_a_row": torn,
        "rows": len(rows),
        "missing": sum((wanted - paths).values()),
        "doubled": sum((paths - wanted).values()),
        "exit_code": process.returncode,
    }
    print(json.dumps(found, indent=2))
    return int(bool(found["missing"] or found["doubled"]))


def _shards(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder, whole, merged = Path(name) / "in", Path(name) / "whole.jsonl", Path(name) / "merged.jsonl"
        _make(folder, args.count, 0)
        command = [sys.executable, __file__, "_scan", str(folder)]
        subprocess.run([*command, "-o", str(whole)], check=True)
        parts = []
        for k in range(1, args.parts + 1):
            parts.append(str(Path(name) / f"part{k}.jsonl"))
            subprocess.run([*command, "--shard", f"{k}/{args.parts}", "-o", parts[-1]], check=True)
        merge = [sys.executable, "-m", "nsnet_cli", "-q", "merge", *parts, "-o", str(merged), "--expect", str(folder)]
        subprocess.run(merge, check=True)
        rows = [[json.loads(line) for line in path.open("rb")] for path in (whole, merged)]
    apart = {"scanned_at", "elapsed_ms", "shard", "score", "probability"}
    differing = 0
    for one, other in zip(*rows, strict=True):
        same = all(one[k] == other[k] for k in one.keys() - apart) and abs(one["score"] - other["score"]) < 1e-3
        differing += not same
    found = {"pictures": args.count, "parts": args.parts, "rows": [len(r) for r in rows], "differing": differing}
    print(json.dumps(found, indent=2))
    return int(bool(differing) or len(rows[0]) != args.count)


def _throughput(args: argparse.Namespace) -> int:

    from nsnet_cli import Detector

    detector = Detector.load(patches=False)
    found: dict[str, object] = {"device": detector.model.device, "precision": detector.precision, "workers": 2}
    with tempfile.TemporaryDirectory() as name:
        for kind, size in (("384 pixels", (384, 384)), ("12 megapixels", (4000, 3000))):
            rng = np.random.default_rng(0)
            paths = []
            for k in range(args.count):
                path = Path(name) / f"{size[0]}-{k:03d}.jpg"
                tile = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
                Image.fromarray(tile).resize(size, Image.Resampling.BICUBIC).save(path, quality=88)
                paths.append(str(path))
            prepared = [p for p in map(detector.prepare, paths) if p.views is not None]
            views, plans = [p.views for p in prepared], [p.plan for p in prepared]
            detector.score_views(views[:8], plans[:8])
            began = time.perf_counter()
            for first in range(0, len(views), 8):
                detector.score_views(views[first : first + 8], plans[first : first + 8])
            alone = args.count / (time.perf_counter() - began)
            results = detector.scan_many(paths, workers=2)
            next(results)  # the workers have started
            began, n = time.perf_counter(), 0
            for _ in results:
                n += 1
            whole = n / (time.perf_counter() - began)
            found[kind] = {
                "network_alone_per_second": round(alone, 3),
                "pipeline_per_second": round(whole, 3),
                "ratio": round(whole / alone, 3),
            }
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
