"""An explanation in words, and as a small map of characters."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nsnet_cli.explain import Explanation
from nsnet_cli.report.table import verdict_rows
from nsnet_cli.results import NS_NET
from nsnet_cli.results.escaping import printable

_COLUMNS, _ROWS = 48, 20
# From "looks real" to "looks generated", cut at these local scores.
_SHADES, _CUTS, _UNSEEN = "·░▒▓█", (-2.0, -0.5, 0.5, 2.0), " "


def extent(explanation: Explanation) -> str:
    """How far local scores reach, beside the score of the whole."""
    x, y = explanation.peak
    return (
        f"looked at alone, parts of the picture score {explanation.lowest:+.1f} to {explanation.highest:+.1f}, highest "
        f"near ({x}, {y}); the whole scores {explanation.result.score:+.1f}"
    )


_MEANING = "The map shows how each part scores when it is looked at alone. It does not show what was altered"


def meaning(explanation: Explanation) -> str:
    """What the map is, and how far it was measured."""
    if explanation.model.detector != NS_NET:
        return f"{_MEANING}, and how often it is higher there was not measured for {explanation.model.detector}."
    return f"{_MEANING}: docs/explain.md says how often parts that a generator made score higher than others."


def print_explanation(console: Console, explanation: Explanation) -> None:
    """The verdict as `nsnet scan` says it, then the map."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in verdict_rows(explanation.result, explanation.model, None):
        grid.add_row(name, value)
    grid.add_row("where", extent(explanation))
    grid.add_row("", _characters(explanation))
    between = [*(f" {cut:+g} " for cut in _CUTS), ""]
    grid.add_row("", "score  " + "".join(shade + cut for shade, cut in zip(_SHADES, between, strict=True)))
    grid.add_row("", meaning(explanation))
    scales = sorted({tile.side for tile in explanation.tiles})
    tiles = f"{len(explanation.tiles)} tile{'s' * (len(explanation.tiles) > 1)}"
    looked_at = f"{tiles} of {' and '.join(map(str, scales))} pixels a side"
    looked_at += ", scaled to 224" if explanation.model.detector == NS_NET else ""
    grid.add_row("looked at", looked_at)
    if explanation.unseen:
        grid.add_row("", f"blank: {explanation.unseen:.0%} of the picture, not looked at; a larger --budget covers it")
    console.print(Panel(grid, title=Text(printable(explanation.result.path), overflow="fold"), title_align="left"))


def _characters(explanation: Explanation) -> Text:
    values = explanation.values
    height, width = explanation.pixels.shape[:2]
    columns = max(1, min(_COLUMNS, values.shape[1] * 2))
    # A character is about twice as high as it is wide.
    rows = max(1, min(_ROWS, round(columns * height / width / 2)))
    y = np.minimum((np.arange(rows) + 0.5) * values.shape[0] / rows, values.shape[0] - 1).astype(int)
    x = np.minimum((np.arange(columns) + 0.5) * values.shape[1] / columns, values.shape[1] - 1).astype(int)
    shown = values[np.ix_(y, x)]

    def mark(value: float) -> str:
        return _UNSEEN if np.isnan(value) else _SHADES[int(np.searchsorted(_CUTS, value))]

    return Text("\n".join("".join(map(mark, row)) for row in shown))
