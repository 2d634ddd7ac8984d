"""Tables for people: a report card for one picture, a row each for many."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nsnet_cli.provenance.declared import all_contradictions
from nsnet_cli.report.lines import MARKS, STYLES, Line, below_folder, cut_in_the_middle, picture_lines
from nsnet_cli.report.statements import Statement, claims_in_words, statements_of
from nsnet_cli.report.text import WARNINGS, verdict_in_words
from nsnet_cli.results import NS_NET
from nsnet_cli.results.document import (
    ClipResult,
    ModelInfo,
    PatchResult,
    PictureResult,
    StabilityResult,
    Summary,
)
from nsnet_cli.results.escaping import printable

# Columns that two numbers take up between the marks.
_ROOM_BETWEEN = 10
_BAR_WIDTH = 40
# Of what a file says: lines of the card, and characters of each.
_MOST_SAID, _LONGEST_SAID = 14, 160
_STRONGEST = 4


_WIDE_ENOUGH = 81  # columns for a SHA-256 in one line of the card


def print_card(console: Console, result: PictureResult, model: ModelInfo, threshold: float | None) -> None:
    """The report card of one picture."""
    title = Text(printable(result.path), overflow="fold")
    if result.error is not None:
        body: RenderableType = Text(f"could not be scanned ({result.error.code}): {printable(result.error.message)}")
        console.print(Panel(body, title=title, title_align="left", border_style="red"))
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, said in verdict_rows(result, model, threshold):
        grid.add_row(name, said)
    if result.stability is not None:
        grid.add_row("stability", _stability_line(result.stability))
    for n, line in enumerate(_provenance_lines(result)):
        grid.add_row("" if n else "file says", line)
    grid.add_row("picture", f"{result.format}, {result.width} x {result.height}, {result.bytes:,} bytes")
    for code in result.warnings:
        grid.add_row("warning", f"{code}: {WARNINGS.get(code, '')}")
    if result.patches:
        grid.add_row("patches", _patch_line(result.patches))
        grid.add_row("", _patch_map(result))
        if result.patch_score_kind is not None:
            grid.add_row("strongest", _strongest(result.patches))
    for n, window in enumerate(result.windows or ()):
        where = f"{window.width} x {window.height} pixels at ({window.x}, {window.y})"
        where += ", scaled to 224 x 224" if model.detector == NS_NET else ""
        grid.add_row("" if n else "windows" if len(result.windows or ()) > 1 else "window", where)
    seen = _views_seen(result, model)
    views = f"{seen} view{'s' if seen > 1 else ''}"
    grid.add_row(
        "model",
        f"{model.name} {model.weights_sha256[:12]}, {model.precision} on {model.device}, {views}"
        + (f", profile {model.profile}" if model.profile else ""),
    )
    sha256 = result.sha256 or ""
    # In 80 columns its last digit would have a line of its own.
    halves = console.width < _WIDE_ENOUGH
    grid.add_row("sha256", f"{sha256[:32]}\n{sha256[32:]}" if halves else sha256)
    console.print(Panel(grid, title=title, title_align="left"))


def _views_seen(result: PictureResult, model: ModelInfo) -> int:
    """How often the tower looked: a large picture has more views than were asked for."""
    if result.patches is None or result.windows is None:
        return model.views
    return len({patch.view for patch in result.patches}) + len(result.windows)


def verdict_rows(result: PictureResult, model: ModelInfo, threshold: float | None) -> list[tuple[str, RenderableType]]:
    """Name and content of the lines that say the verdict of a picture that could be read, and how sure it is."""
    assert result.verdict is not None and result.probability is not None
    return [
        ("verdict", Text(f"{MARKS[result.verdict]} {result.verdict.upper()}", style=STYLES[result.verdict])),
        ("", verdict_in_words(result.verdict, result.warnings, model, threshold)),
        ("probability", f"{result.probability:.3f} that it is generated, if both were equally likely before"),
        ("", _bar(result.probability, model, threshold)),
    ]


def print_rows(console: Console, results: list[PictureResult], below: str | None = None) -> None:
    """A line for each of many pictures; paths are those below the folder ``below``, if one was named."""
    if below is not None:
        console.print(Text("in " + cut_in_the_middle(printable(below), max(20, console.width - 3)), style="dim"))
    lines = [
        Line(
            "error" if result.error is not None else result.verdict or "uncertain",
            result.probability,
            printable(below_folder(result.path, below)),
            _notes(result) if result.error is None else f"{result.error.code}: {printable(result.error.message)}",
        )
        for result in results
    ]
    for line in picture_lines(lines, console.width):
        console.print(line, soft_wrap=True)


def _notes(result: PictureResult) -> str:
    """What stands beside the verdict of one of many: what the file claims of itself, the span of scores, warnings."""
    told = "" if result.provenance is None else claims_in_words(result.provenance)
    span = "" if result.stability is None else f"{result.stability.low:.3f}–{result.stability.high:.3f}"
    if result.clip is not None:
        return _clip_note(result.clip)
    # That a frame is one stands in its name.
    warnings = " ".join(code for code in result.warnings if result.frame is None or code != "video_frame")
    return "; ".join(filter(None, (told, span, warnings)))


def _clip_note(clip: ClipResult) -> str:
    """How far the frames of a clip agree."""
    counts = (
        (clip.generated, "generated"),
        (clip.real, "real"),
        (clip.uncertain, "uncertain"),
        (clip.errors, "unread"),
    )
    told = ", ".join(f"{count} {name}" for count, name in counts if count)
    span = "" if clip.low is None or clip.high is None else f"; {clip.low:.3f}–{clip.high:.3f}"
    return f"{clip.frames} frame{'s' if clip.frames != 1 else ''}: {told}{span}"


def summary_line(summary: Summary, model: ModelInfo, threshold: float | None) -> str:
    """Counts, and the error rates behind them."""
    c = summary.to_dict()
    pictures = "1 picture" if c["total"] == 1 else f"{c['total']} pictures"
    parts = [f"{pictures}: {c['generated']} generated, {c['real']} real, {c['uncertain']} uncertain"]
    if c["errors"]:
        parts.append(f"{c['errors']} could not be read")
    if c["skipped"]:
        others = "1 other file" if c["skipped"] == 1 else f"{c['skipped']:,} other files"
        parts.append(f"{others} skipped (--skipped FILE lists them)")
    rule = (
        f"one cut at {threshold:g}"
        if threshold is not None
        else f"real below {model.t_low:.2f}, generated from {model.t_high:.2f}"
    )
    return f"{', '.join(parts)}; {rule}{_in_fast_precision(summary, model)}"


def _in_fast_precision(summary: Summary, model: ModelInfo) -> str:
    fast = sum(count for name, count in summary.precisions.items() if name != model.precision)
    return f"; {fast} scores in bfloat16, verdicts as in float32" if fast else ""


def _bar(probability: float, model: ModelInfo, threshold: float | None) -> Group:
    """Probability as a bar, with the thresholds marked below it."""
    filled = round(probability * _BAR_WIDTH)
    bar = Text("█" * filled + "░" * (_BAR_WIDTH - filled))
    line = [" "] * (_BAR_WIDTH + 20)

    def mark(label: str, start: int) -> None:
        start = max(0, start)
        line[start : start + len(label)] = label

    low, high, only = (
        min(_BAR_WIDTH - 1, round(value * _BAR_WIDTH)) for value in (model.t_low, model.t_high, threshold or 0.0)
    )
    if threshold is not None:
        mark(f"▴threshold {threshold:.2f}", only)
    elif high - low < _ROOM_BETWEEN:
        mark("real◂", low - len("real◂"))
        mark(f"▸generated {model.t_high:.2f}", high)
    else:
        mark(f"real◂{model.t_low:.2f}", low - len("real◂"))
        mark(f"{model.t_high:.2f}▸generated", high - len("0.00"))
    return Group(bar, Text("".join(line).rstrip(), style="dim"))


def _provenance_lines(result: PictureResult) -> list[str]:
    """What the file declares, the most telling first; that it declares nothing is said once."""
    provenance = result.provenance
    if provenance is None:
        return []
    lines = [f"cannot both be right: {text}" for text in all_contradictions(result.verdict, provenance)]
    lines += [printable(f"{trouble['source']} not read: {trouble['message']}") for trouble in provenance["errors"]]
    # What claims nothing and is on nearly every file stands in the JSON.
    told = [said for said in statements_of(provenance) if said.telling]
    room = max(1, _MOST_SAID - len(lines))
    lines += [_shortened(said).line for said in told[:room]]
    if len(told) > room:
        lines.append(f"and {len(told) - room} more: --json has all of it, nsnet inspect where it stands")
    return lines or ["nothing about its origin (no sign of anything: saving a picture anew strips it)"]


def _shortened(said: Statement) -> Statement:
    # What is said of a signature is in our own words, and no longer than it must be.
    return (
        said
        if len(said.value) <= _LONGEST_SAID or not said.backing
        else replace(said, value=said.value[:_LONGEST_SAID] + "…")
    )


def _stability_line(stability: StabilityResult) -> str:
    known = [d for d in stability.deliveries if d.probability is not None]
    return (
        f"{stability.low:.3f} to {stability.high:.3f} as it is and after "
        f"{', '.join(d.delivery for d in known) or 'no delivery that it allows'}"
    )


def _patch_line(patches: tuple[PatchResult, ...]) -> str:
    # The entropy of next to nothing may lie a rounding below zero.
    tails = {rank: [max(0.0, p.entropy) for p in patches if p.rank == rank] for rank in ("low", "high")}
    spans = [f"{len(v)} of {rank} entropy ({min(v):.2f}-{max(v):.2f} bits)" for rank, v in tails.items() if v]
    return " and ".join(spans)


def _strongest(patches: tuple[PatchResult, ...]) -> str:
    """The patches that look most generated, and their scores."""
    scored = sorted(patches, key=lambda p: (-(p.score or 0.0), p.y, p.x))[:_STRONGEST]
    places = ", ".join(f"{p.score:+.1f} at ({p.x}, {p.y})" for p in scored)
    return f"{places} (each alone; the higher, the more generated it looks; `nsnet explain` maps the picture)"


def _patch_map(result: PictureResult) -> Text:
    """Where the selected patches are: ● high and ○ low entropy on a small map of the picture."""
    assert result.width and result.height and result.patches
    columns = 32
    rows = max(1, min(16, round(columns * result.height / result.width / 2)))
    cells = [["·"] * columns for _ in range(rows)]
    for patch in result.patches:
        x = min(columns - 1, (patch.x + patch.width // 2) * columns // result.width)
        y = min(rows - 1, (patch.y + patch.height // 2) * rows // result.height)
        cells[y][x] = "●" if patch.rank == "high" else "○" if cells[y][x] != "●" else "●"
    return Text("\n".join("".join(row) for row in cells) + "\n● high, ○ low", style="dim")
