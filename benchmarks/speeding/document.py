"""The measured speeds in words: what docs/performance.md says between its markers."""

from __future__ import annotations

from typing import Any

from documents import ROOT, between_markers

OWNER = "benchmarks/speed.py"
DOCUMENT = ROOT / "docs" / "performance.md"
Figures = dict[str, Any]


def with_figures(text: str, figures: Figures) -> str:
    """The document with its figures made new."""
    return between_markers(text, OWNER, render(figures))


def render(figures: Figures) -> str:
    """The figures in Markdown."""
    machine, warm, stages = figures["machine"], figures["warm"], figures["stages"]
    given, large = stages["as they are"], stages["12 megapixels"]
    ceiling, views, reached = figures["ceiling"], given["views"], _share_of_ceiling(figures)
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, NumPy {machine['numpy']} (nsnet), PyTorch "
        f"{machine['torch']} (open_clip and the ceiling), weights `{figures['weights_sha256'][:12]}`, float32.",
        "",
        "| matrix products of the tower's shapes | billion operations a second | at least, a view |",
        "|---|---|---|",
        *(f"| {name} | {row['gops']} | {row['ms_a_view']} ms |" for name, row in ceiling.items()),
        "",
        "| command, from a cold start | seconds |",
        "|---|---|",
        *(f"| `{name}` | {seconds:.2f} |" for name, seconds in figures["start"].items()),
        "",
        "| warm process | one picture | in groups of 25 | pictures a second | peak memory |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {row['one_by_one_ms']} ms | {row['in_groups_ms']} ms | {row['pictures_a_second']:.2f} | "
            f"{row['peak_mb']:,} MB |"
            for name, row in warm.items()
        ),
        "",
        f"`nsnet scan` of {figures['command']['pictures']} pictures, start and all: "
        f"{figures['command']['seconds']:.0f} s, {figures['command']['pictures_a_second']:.2f} a second.",
        "",
        "| stage of a scan, in one process | ms a picture | of 12 megapixels |",
        "|---|---|---|",
        *(
            f"| {stage} | {ms:.1f} | {large['ms_a_picture'][stage]:.1f} |"
            for stage, ms in given["ms_a_picture"].items()
        ),
        "",
        f"Of encoding, {views} views a picture, {100 * reached:.0f} % are the matrix products of the blocks at the "
        "float32 ceiling.",
    ]
    if "gpu" in figures:
        rates = ", ".join(f"{rate:,} in {name}" for name, rate in figures["gpu"]["views_a_second"].items())
        lines += ["", f"{figures['gpu']['name']}: {rates} views a second through the tower."]
    return "\n".join([*lines, "", "| what we aim at | aim | reached |", "|---|---|---|", *_aims(figures)])


def _aims(figures: Figures) -> list[str]:
    """Rows of the table of aims; those beside the peer only where it was there."""
    warm, start = figures["warm"], figures["start"]
    ours, plain = warm["nsnet"], warm["open_clip, float32"]
    rows = [
        ("`nsnet --help`", "under 0.2 s", f"{start['nsnet --help']:.2f} s"),
        (
            "throughput, against open_clip in float32 with one view",
            "2.5 times",
            f"{plain['in_groups_ms'] / ours['in_groups_ms']:.2f} times",
        ),
    ]
    if "sahu65" in warm:
        peer, cold, theirs = warm["sahu65"], start["nsnet scan photo.jpg"], start["sahu65 detect photo.jpg"]
        rows += [
            ("throughput, against sahu65", "1.5 times", f"{peer['in_groups_ms'] / ours['in_groups_ms']:.2f} times"),
            ("time of one picture, warm", "0.7 of sahu65", f"{ours['one_by_one_ms'] / peer['one_by_one_ms']:.2f}"),
            ("time of one picture from a cold start", "0.6 of sahu65", f"{cold / theirs:.2f}"),
        ]
    large, gpu = figures["stages"]["12 megapixels"], figures.get("gpu")
    rows += [
        ("encoder, of the ceiling of its type", "60 %", f"{100 * _share_of_ceiling(figures):.0f} %"),
        ("patch selection of 12 megapixels", "60 ms", f"{large['ms_a_picture']['select']:.0f} ms"),
        (
            "views a second through the tower of an H100-class GPU",
            "12,000",
            "not measured: no GPU was at hand" if gpu is None else f"{max(gpu['views_a_second'].values()):,}",
        ),
    ]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _share_of_ceiling(figures: Figures) -> float:
    """Of the time that encoding takes, what the matrix products of the blocks take at the float32 ceiling."""
    stages = figures["stages"]["as they are"]
    return float(stages["views"] * figures["ceiling"]["float32"]["ms_a_view"] / stages["ms_a_picture"]["encode"])
