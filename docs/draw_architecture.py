"""Draws ``docs/architecture.svg``, the way of a picture through the rooms.

    python docs/draw_architecture.py

Sizes come from the code; a test fails where the picture is not what this draws.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from nsnet_cli.views.selection import SelectionRecipe
from nsnet_cli.weights.shapes import VitConfig

PICTURE = Path(__file__).with_name("architecture.svg")
_WIDTH, _LEFT, _RIGHT = 900, 150, 640
_BOX, _GAP, _TOP = 58, 40, 44
_STYLE = """
text { font: 13px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.room { font-weight: 600; font-size: 15px; }
.quiet { fill: #59636e; font-size: 12px; }
.shape { fill: #0550ae; font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 12px; }
.page { fill: #ffffff; }
.box { fill: #f6f8fa; stroke: #8c959f; }
.line { fill: none; stroke: #59636e; }
.head { fill: #59636e; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .quiet { fill: #9198a1; }
  .shape { fill: #79c0ff; }
  .page { fill: #0d1117; }
  .box { fill: #151b23; stroke: #656c76; }
  .line { stroke: #9198a1; }
  .head { fill: #9198a1; }
}
"""


def drawn() -> str:
    """The picture as SVG."""
    recipe, tower = SelectionRecipe(), VitConfig()
    size, windows = recipe.size, len(recipe.looks)
    stages = [
        ("inputs/", "discover, sources, decode", "files, members and objects; bytes; pixels, by one policy"),
        ("views/", "make_views", f"a mosaic of {recipe.count} patches by spectral entropy; windows of the picture"),
        (
            "tower/",
            "on_numpy, on_torch",
            f"CLIP: {tower.tokens + 1} tokens of {tower.width} through {tower.layers} blocks",
        ),
        ("judges/", "network.fused", "null space of semantics, a head a kind of view, the kernel head; one sum"),
        ("verdict/", "calibration", "Platt scaling, then thresholds that hold error rates"),
        ("results/", "document, journal", "one result a picture; rows that survive a kill"),
        ("report/", "table, rows, scan_report", "for people and for scripts: table, JSON, CSV, Parquet, HTML"),
    ]
    passed = [
        "photo.jpg",
        "pixels (3, H, W) uint8",
        f"views (n, 3, {size}, {size}) uint8; n = 2, of a large picture {1 + windows}",
        f"embedding (n, {tower.embed_dim}), class tokens (n, {tower.layers}, {tower.width}) float32",
        "score: one logit",
        "probability; generated, real or uncertain",
        "row: plain data",
        "stdout, or a file",
    ]
    parts = [_text(_LEFT + 22, _TOP - 18, "shape", passed[0])]
    for number, ((room, modules, what), out) in enumerate(zip(stages, passed[1:], strict=True)):
        y = _y(number)
        parts += [
            _arrow(_LEFT + 10, y - _GAP + (8 if number else 14), _LEFT + 10, y),
            _rectangle(_LEFT, y, _RIGHT - _LEFT, _BOX),
            _text(_LEFT + 14, y + 24, "room", room),
            _text(_LEFT + 110, y + 24, "shape", modules),
            _text(_LEFT + 14, y + 45, "quiet", what),
            _text(_LEFT + 22, y + _BOX + 25, "shape", out),
        ]
    last = len(stages) - 1
    parts.append(_arrow(_LEFT + 10, _y(last) + _BOX + 8, _LEFT + 10, _y(last) + _BOX + _GAP - 4))
    parts += _bracket(118, 0, 1, "engines/", "processes")
    parts += _bracket(62, 0, 5, "detector.py", "joins them")
    parts += _bracket(8, 0, 6, "cli/", "asks")
    # Beside the way: what the file says of itself goes past the network, and weights serve four rooms.
    side, wide = 700, 130
    parts += [
        _rectangle(side, _y(0), wide, _BOX),
        _text(side + 12, _y(0) + 24, "room", "provenance/"),
        _text(side + 12, _y(0) + 45, "quiet", "never in the score"),
        _arrow(_RIGHT, _y(0) + _BOX // 2, side, _y(0) + _BOX // 2),
        _text(_RIGHT + 12, _y(0) + _BOX // 2 - 8, "quiet", "bytes"),
        f'<path class="line" d="M{side + wide} {_y(0) + 29}H870V{_y(5) + 29}H{_RIGHT + 9}"/>',
        _head_left(_RIGHT, _y(5) + 29),
        _text(_RIGHT + 30, _y(5) + 22, "quiet", "what the file says of itself"),
        _rectangle(side, _y(1), wide, _y(4) + _BOX - _y(1)),
        _text(side + 12, (_y(1) + _y(4)) // 2 + 20, "room", "weights/"),
        _text(side + 12, (_y(1) + _y(4)) // 2 + 41, "quiet", "what was learnt"),
    ]
    for number, what in ((1, "recipe"), (2, "tower"), (3, "heads"), (4, "thresholds")):
        y = _y(number) + _BOX // 2
        parts += [f'<path class="line" d="M{side} {y}H{_RIGHT + 9}"/>', _head_left(_RIGHT, y)]
        parts.append(_text(side + 12, y + 4, "quiet", what))
    height = _y(last) + _BOX + _GAP + 28
    aside = (
        "beside the way: explain.py, a map; evaluation/, how often right; training/, new weights; detectors/, of others"
    )
    parts.append(_text(8, height - 12, "quiet", aside))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">\n'
        f"<title>The way of a picture through the rooms of nsnet_cli</title>\n<style>{_STYLE}</style>\n"
        f'<rect class="page" width="{_WIDTH}" height="{height}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _y(number: int) -> int:
    """Upper edge of the ``number``-th room on the way."""
    return _TOP + number * (_BOX + _GAP)


def _text(x: int, y: int, kind: str, words: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>'


def _rectangle(x: int, y: int, width: int, height: int) -> str:
    return f'<rect class="box" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'


def _arrow(x: int, y: int, to_x: int, to_y: int) -> str:
    """Down, or to the right."""
    if x == to_x:
        head = f"M{x - 5} {to_y - 9}h10l-5 9z"
        return f'<path class="line" d="M{x} {y}V{to_y - 9}"/><path class="head" d="{head}"/>'
    return f'<path class="line" d="M{x} {y}H{to_x - 9}"/><path class="head" d="M{to_x - 9} {y - 5}v10l9 -5z"/>'


def _head_left(x: int, y: int) -> str:
    return f'<path class="head" d="M{x + 9} {y - 5}v10l-9 -5z"/>'


def _bracket(x: int, first: int, last: int, name: str, what: str) -> list[str]:
    """Who calls the rooms from the ``first`` to the ``last``: a bracket with its name along it."""
    top, bottom = _y(first), _y(last) + _BOX
    at, middle = x + 22, (top + bottom) // 2
    return [
        f'<path class="line" d="M{at + 8} {top}h-8V{bottom}h8"/>',
        f'<text class="room" text-anchor="middle" transform="translate({at - 16} {middle}) rotate(-90)">{name}</text>',
        f'<text class="quiet" text-anchor="middle" transform="translate({at - 3} {middle}) rotate(-90)">{what}</text>',
    ]


if __name__ == "__main__":
    PICTURE.write_text(drawn(), "utf-8")
