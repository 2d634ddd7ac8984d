"""What many pictures cost: a plan for clusters, computed from what was measured on one machine.

    python benchmarks/plan.py [--core-hour 0.05]

Reads ``benchmarks/results/speed.json`` (`benchmarks/speed.py`) and ``ray_engine.json`` (`benchmarks/ray_engine.py`) and
writes the plan in ``docs/cluster.md``; with ``peers.json`` (`benchmarks/peers.py`) and ``gpu.json``
(`benchmarks/gpu.py`), where they are, the hours of a million pictures in ``docs/performance.md``.  So nobody types a
number.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from documents import RESULTS, ROOT, between_markers
from jinja2 import Environment, StrictUndefined

OWNER = "benchmarks/plan.py"
DOCUMENT, HOURS_DOCUMENT = ROOT / "docs" / "cluster.md", ROOT / "docs" / "performance.md"
CORE_HOUR = 0.05
_COUNTS = {"a million": 1e6, "a billion": 1e9}
_MILLION, _CORES = 1e6, (2, 16, 64)
_PREPARING = ("read and hash", "decode", "provenance", "select")
_WORDS = Path(__file__).with_name("plan.md.jinja")
# Bytes of a picture, and of its row in JSONL with provenance.
_SMALL, _LARGE, _ROW = 40e3, 4e6, 1.6e3
# Operations of one view in the tower; of an H100 in bfloat16 at its data sheet's rate, and the share that is realistic.
_VIEW, _H100, _SHARE = 35e9, 989e12, 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core-hour", type=float, default=CORE_HOUR, help="price of one, in your currency")
    price = parser.parse_args().core_hour
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), price), "utf-8")
    HOURS_DOCUMENT.write_text(with_hours(HOURS_DOCUMENT.read_text("utf-8")), "utf-8")


def with_figures(text: str, price: float = CORE_HOUR) -> str:
    """The document with its plan made new."""
    speed, ray = (json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in ("speed", "ray_engine"))
    return between_markers(text, OWNER, render(speed, ray, price))


def with_hours(text: str) -> str:
    """The other document with the hours of a million pictures made new."""
    speed, peers, gpu = (
        json.loads(path.read_text("utf-8")) if (path := RESULTS / f"{name}.json").exists() else {}
        for name in ("speed", "peers", "gpu")
    )
    return between_markers(text, OWNER, hours(speed, peers.get("processors", {}), gpu.get("cards", {})))


def hours(speed: dict[str, Any], processors: dict[str, Any], cards: dict[str, Any]) -> str:
    """Of a million pictures, in Markdown: as many cores as were measured, others in proportion."""
    machine = speed["machine"]
    measured = [
        (f"{name}, {one['kind']}, {one['precision']}", one["cores"], one["warm"]["nsnet"]["pictures_a_second"], one)
        for name, one in processors.items()
    ]
    measured.append(
        (f"{machine['processor']}, fp32", machine["cores"], speed["warm"]["nsnet"]["pictures_a_second"], speed)
    )
    lines = [
        f"| processor, precision | weights |{''.join(f' {count} cores |' for count in _CORES)}",
        "|---|---|" + "---|" * len(_CORES),
    ]
    for name, cores, rate, of in measured:
        cells = "".join(
            f" {_MILLION / (rate * count / cores) / 3600:,.1f} h{' (measured rate)' if count == cores else ''} |"
            for count in _CORES
        )
        lines.append(f"| {name} | `{of['weights_sha256'][:12]}` |{cells}")
    lines += ["", "| GPU | precision | from files |", "|---|---|---|"]
    for name, card in cards.items():
        for precision, by_batch in card["from_files"].items():
            rate = max(by_batch.values())
            lines.append(
                f"| {name}, {card['cores']} cores that decode | {precision} | {_MILLION / rate / 3600:,.1f} h "
                "(measured rate) |"
            )
    if not cards:
        lines.append("| one | | not measured: no GPU was at hand |")
    return "\n".join(lines)


def render(speed: dict[str, Any], ray: dict[str, Any], price: float) -> str:
    """The plan in Markdown."""
    machine, stages = speed["machine"], speed["stages"]
    small = machine["cores"] * speed["warm"]["nsnet"]["in_groups_ms"] / 1e3
    preparing, preparing_large = (
        sum(stages[of]["ms_a_picture"][stage] for stage in _PREPARING) / 1e3 for of in ("as they are", "12 megapixels")
    )
    large = small + preparing_large - preparing
    driver = ray["stub"]["rows_that_cost_nothing"]["rows_a_second_after_the_first"]
    gpu = _SHARE * _H100 / (stages["as they are"]["views"] * _VIEW)
    rows: list[tuple[str, Callable[[float], str]]] = [
        ("core-hours, pictures of 384 pixels", lambda n: f"{n * small / 3600:,.0f}"),
        ("core-hours, pictures of 12 megapixels", lambda n: f"{n * large / 3600:,.0f}"),
        (f"price of the former, at {price:g} a core-hour", lambda n: f"{n * small / 3600 * price:,.0f}"),
        ("hours of the former on 64 such cores", lambda n: f"{n * small / 3600 / 64:,.1f}"),
        ("… on 1,000", lambda n: f"{n * small / 3600 / 1000:,.1f}"),
        ("read, at 40 kB or 4 MB a picture", lambda n: f"{size(n * _SMALL)} or {size(n * _LARGE)}"),
        ("rows, as JSONL", lambda n: size(n * _ROW)),
        ("hours of one driver for its rows", lambda n: f"{n / driver / 3600:,.1f}"),
    ]
    template = Environment(undefined=StrictUndefined, trim_blocks=True).from_string(_WORDS.read_text("utf-8"))
    return template.render(
        machine=machine,
        small=small,
        large=large,
        preparing=preparing,
        preparing_large=preparing_large,
        driver=driver,
        gpu=gpu,
        share=_SHARE,
        counts=list(_COUNTS),
        rows=[(name, [of(n) for n in _COUNTS.values()]) for name, of in rows],
        read_by_a_thousand=size(1000 / large * _LARGE),
    ).rstrip()


def size(count: float) -> str:
    """Bytes, for people."""
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1e3
        if count < 1e3:
            return f"{count:,.0f} {unit}" if count >= 10 else f"{count:.1f} {unit}"
    return f"{count / 1e3:,.0f} PB"


if __name__ == "__main__":
    main()
