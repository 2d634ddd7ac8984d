"""An explanation in words, and as a small map of characters."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nsnet_cli.explain import Explanation
from nsnet_cli.report.table import verdict_rows
from nsnet_cli.report.text import printable

_COLUMNS, _ROWS = 48, 20
_MARKED, _ABOVE, _BELOW, _UNSEEN = "█", "▒", "·", " "


def shares(explanation: Explanation) -> str:
    """How much is marked, and the largest region."""
    share, regions = explanation.marked_share, explanation.regions
    said = f"{share:.0%} of the picture is marked as looking generated"
    if not regions:
        return f"{said}, no connected part of it large enough to name."
    first = regions[0]
    said += f"; the largest part, {first.share:.0%}, lies within {first.width} x {first.height} pixels"
    return f"{said} at ({first.x}, {first.y})."


def meaning(explanation: Explanation) -> str:
    """What a mark means and what it does not."""
    return (
        f"Of pictures that are real all over, {explanation.false_marks:.0%} of the area is marked, too. The map comes "
        "from a head of its own that is no part of the verdict: it shows where traces are found, it does not prove "
        "that just this was altered."
    )


def print_explanation(console: Console, explanation: Explanation) -> None:
    """The verdict as `nsnet scan` says it, then the map."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in verdict_rows(explanation.result, explanation.model, None):
        grid.add_row(name, value)
    grid.add_row("where", shares(explanation))
    grid.add_row("", _characters(explanation))
    grid.add_row("", f"{_MARKED} marked  {_ABOVE} rather generated  {_BELOW} rather real")
    grid.add_row("", meaning(explanation))
    scales = sorted({tile.side for tile in explanation.tiles})
    grid.add_row("looked at", f"{len(explanation.tiles)} tiles of {' and '.join(map(str, scales))} pixels a side")
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
        if np.isnan(value):
            return _UNSEEN
        return _MARKED if value >= explanation.threshold else _ABOVE if value > 0 else _BELOW

    return Text("\n".join("".join(map(mark, row)) for row in shown))
