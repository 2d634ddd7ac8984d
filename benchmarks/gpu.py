"""How fast is it on this GPU, how near to what the card can do, and does it say what the CPU says?

    python benchmarks/gpu.py PICTURE... [--count 2000] [--parity 64] [--batches 8,32,128,512]
    python benchmarks/gpu.py --write-only       writes docs/performance.md from the kept figures

PICTURE is a file or a folder.  First the ceiling: the block's matrix products in bfloat16, large.  Then the tower alone
from views in main memory, and scans from files, at several batches and in both precisions.  Then scores of some
pictures beside those of float32 on NumPy.  Figures of each card are kept in ``benchmarks/results/gpu.json``;
a run replaces those of its own card.  Without a GPU it ends with a word, and keeps nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from documents import RESULTS, between_markers
from options import parser_with
from speeding.document import DOCUMENT, Figures
from speeding.turns import pictures_in

OWNER = "benchmarks/gpu.py"
RESULT = RESULTS / "gpu.json"
_PRECISIONS = ("fp32", "bf16")
_TIMES = 7
_ROWS = 197 * 256
# What we aim at, of the ceiling in bfloat16, from memory.
_AIM = 0.6


def main() -> None:
    parser = parser_with(__doc__, "--write-only")
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE")
    parser.add_argument("--count", type=int, default=2000, help="pictures of a scan from files")
    parser.add_argument("--parity", type=int, default=64, help="pictures that the CPU scores, too")
    parser.add_argument("--batches", default="8,32,128,512", help="pictures of a batch, with commas between")
    args = parser.parse_args()
    if not args.write_only:
        paths = pictures_in(args.pictures)
        if not paths:
            parser.error("name pictures, or a folder of them")
        _need_gpu()
        _keep(_measure(args, paths))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), kept()), "utf-8")


def kept() -> Figures:
    """What was measured, by card."""
    found: Figures = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {"cards": {}}
    return found


def with_figures(text: str, figures: Figures) -> str:
    """The document with its figures made new."""
    return between_markers(text, OWNER, render(figures))


def _need_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        sys.exit(
            f"no GPU: PyTorch {torch.__version__} finds no CUDA device here, so there is nothing to measure. "
            "Run this where `nsnet scan --device cuda` works; --write-only writes what is kept."
        )


def _keep(measured: Figures) -> None:
    import torch

    found = kept()
    found["cards"][torch.cuda.get_device_name()] = measured
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _measure(args: argparse.Namespace, paths: list[str]) -> Figures:
    import torch

    from nsnet_cli import Detector

    batches = [int(size) for size in args.batches.split(",")]
    many = list(itertools.islice(itertools.cycle(paths), args.count))
    detectors = {
        precision: Detector.load(device="cuda", precision=precision, patches=False) for precision in _PRECISIONS
    }
    return {
        "weights_sha256": detectors["fp32"].weights.sha256,
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "ceiling_tflops": round(_ceiling() / 1e12, 1),
        "from_memory": {p: {str(n): _from_memory(d, paths, n) for n in batches} for p, d in detectors.items()},
        "from_files": {p: {str(n): _from_files(d, many, n) for n in batches} for p, d in detectors.items()},
        "files": len(many),
        "parity": {p: _parity(d, paths[: args.parity]) for p, d in detectors.items()},
    }


def _ceiling() -> float:
    """Operations a second of the block's four matrix products in bfloat16."""
    import torch

    width, seconds, operations = 768, 0.0, 0.0
    for inputs, outputs in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)):
        x, w = (
            torch.randn(*shape, device="cuda", dtype=torch.bfloat16) for shape in ((_ROWS, inputs), (outputs, inputs))
        )
        seconds += _median_seconds(lambda x=x, w=w: torch.nn.functional.linear(x, w))  # type: ignore[misc]
        operations += 2.0 * _ROWS * inputs * outputs
    return operations / seconds


def _median_seconds(call: Callable[[], Any]) -> float:
    import torch

    taken = []
    for _ in range(_TIMES + 2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])  # the first two chose kernels


def _from_memory(detector: Any, paths: list[str], together: int) -> Figures:
    """From prepared views in main memory to scores there."""
    prepared = [p for p in map(detector.prepare, paths[:together]) if p.views is not None]
    if not prepared:
        sys.exit(f"none of {len(paths[:together])} pictures can be read")
    few = list(itertools.islice(itertools.cycle(prepared), together))
    views, plans = [p.views for p in few], [p.plan for p in few]
    seconds = _median_seconds(lambda: detector.score_views(views, plans))
    count = sum(len(plan) for plan in plans)
    operations = count * operations_of_a_view(detector)
    return {
        "pictures_a_second": round(together / seconds, 1),
        "views_a_second": round(count / seconds, 1),
        "tflops": round(operations / seconds / 1e12, 1),
    }


def operations_of_a_view(detector: Any) -> float:
    """Of the matrix products of all blocks, attention's among them."""
    from nsnet_cli.tower.file import tower_info

    config = tower_info(detector.weights.tower_path).config
    tokens, width = config.tokens + 1, config.width
    products = tokens * width * (4 * width + 2 * config.mlp_width)
    return 2.0 * config.layers * (products + 2 * tokens * tokens * width)


def _from_files(detector: Any, many: list[str], together: int) -> float:
    """Pictures a second of a scan, decoded by as many processes as a scan takes."""
    from nsnet_cli.engines.workers import enough_workers

    workers = enough_workers(os.cpu_count() or 1, accelerated=True)
    began = time.perf_counter()
    read = sum(result.error is None for result in detector.scan_many(many, batch_size=together, workers=workers))
    if not read:
        sys.exit(f"none of {len(many)} pictures can be read")
    return round(len(many) / (time.perf_counter() - began), 1)


def _parity(detector: Any, paths: list[str]) -> Figures:
    """How far scores lie from those of float32 on NumPy, and how many verdicts differ."""
    from nsnet_cli import Detector

    on_cpu = Detector.load(device="cpu", precision="fp32", patches=False)
    pairs = [
        (ours, exact)
        for ours, exact in zip(detector.scan_many(paths), on_cpu.scan_many(paths), strict=True)
        if ours.score is not None and exact.score is not None
    ]
    apart = [abs(ours.score - exact.score) for ours, exact in pairs]
    return {
        "pictures": len(pairs),
        "half": round(statistics.median(apart), 6),
        "most": round(max(apart), 6),
        "other_verdicts": sum(ours.verdict != exact.verdict for ours, exact in pairs),
    }


def render(figures: Figures) -> str:
    """The figures in Markdown."""
    if not figures["cards"]:
        return "Not measured: no GPU was at hand."
    lines = []
    for name, card in figures["cards"].items():
        lines += [
            f"{name}, {card['cores']} cores beside it, PyTorch {card['torch']}, weights "
            f"`{card['weights_sha256'][:12]}`; bfloat16 products of the block's shapes reach "
            f"{card['ceiling_tflops']:g} TFLOPS.",
            "",
            "| precision | batch | pictures a second from memory | views a second | of the bfloat16 ceiling | "
            "pictures a second from files |",
            "|---|---|---|---|---|---|",
        ]
        best = 0.0
        for precision, sizes in card["from_memory"].items():
            for size, one in sizes.items():
                share = one["tflops"] / card["ceiling_tflops"]
                best = max(best, share) if precision == "bf16" else best
                lines.append(
                    f"| {precision} | {size} | {one['pictures_a_second']:,.0f} | {one['views_a_second']:,.0f} | "
                    f"{100 * share:.0f} % | {card['from_files'][precision][size]:,.0f} |"
                )
        lines += ["", f"Aim: {100 * _AIM:.0f} % of the ceiling from memory; reached {100 * best:.0f} %.", ""]
        lines += [
            f"Against float32 on NumPy, {p['pictures']} pictures in {precision}: scores {p['half']:g} apart in the "
            f"median, {p['most']:g} at most, {p['other_verdicts']} other verdicts."
            for precision, p in card["parity"].items()
        ]
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    main()
