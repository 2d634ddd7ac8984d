"""Draws ``docs/card.svg``, what ``nsnet scan`` prints of the bundled picture; the README's transcript is its beginning.

    python docs/draw_card.py

It is a real run with the shipped weights: draw it anew when they change (a test says so).
"""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from nsnet_cli.detector import Detector
from nsnet_cli.report.table import print_card

PICTURE = Path(__file__).with_name("card.svg")
README = Path(__file__).parent.parent / "README.md"
SCANNED = "examples/rocket.jpg"
_WIDTH = 80
# Colours that are read on this ground, which the picture brings along, whatever the page around it.
_NORMAL = [
    (72, 79, 88),
    (255, 123, 114),
    (63, 185, 80),
    (210, 153, 34),
    (88, 166, 255),
    (188, 140, 255),
    (57, 197, 207),
]
_GROUND, _INK = (13, 17, 23), (230, 237, 243)
_THEME = TerminalTheme(_GROUND, _INK, [*_NORMAL, _INK])
# Rich's own form fetches a font from the network, and draws a window around.
_FORM = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {terminal_width} {terminal_height}" role="img">
<title>nsnet scan examples/rocket.jpg</title>
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}}
{styles}
</style>
<defs>
{lines}
</defs>
<rect width="{terminal_width}" height="{terminal_height}" rx="8" fill="#0d1117"/>
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</svg>
"""


def card() -> Console:
    """A console on which the card was printed."""
    detector = Detector.load(device="cpu")
    console = Console(file=io.StringIO(), record=True, width=_WIDTH, force_terminal=True, color_system="standard")
    print_card(console, detector.scan(SCANNED), detector.model, None)
    return console


def drawn(console: Console) -> str:
    """What was printed, as SVG."""
    svg = console.export_svg(theme=_THEME, code_format=_FORM, unique_id="card", font_aspect_ratio=0.61, clear=False)
    return "\n".join(line.strip() for line in svg.splitlines() if line.strip()) + "\n"


def with_transcript(text: str, printed: str) -> str:
    """The README with the first lines of the card, as far as the probability."""
    command = f"$ nsnet scan {SCANNED}\n"
    before, after = text.split(command, 1)
    lines = printed.splitlines(keepends=True)
    last = next(number for number, line in enumerate(lines) if "probability" in line)
    return before + command + "".join(lines[: last + 1]) + after[after.index("...\n") :]


if __name__ == "__main__":
    printed = card()
    PICTURE.write_text(drawn(printed), "utf-8")
    README.write_text(with_transcript(README.read_text("utf-8"), printed.export_text(clear=False)), "utf-8")
