"""The list of detectors for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_detectors(console: Console, detectors: Sequence[dict[str, Any]]) -> None:
    """Print what `nsnet_cli.detectors.listed.listed_detectors` gives."""
    timed = any("milliseconds" in row for row in detectors)
    table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 1))
    table.add_column("name", no_wrap=True)
    table.add_column("published", no_wrap=True)
    titles = ["parameters", "AUC", *(["ms"] if timed else [])]
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("idea", overflow="fold")
    for row in detectors:
        cells = [_count(row["parameters"]), "-" if row["held_out_auc"] is None else f"{row['held_out_auc']:.3f}"]
        if timed:
            cells.append("-" if row["milliseconds"] is None else f"{row['milliseconds']:.0f}")
        table.add_row(row["name"], f"{row['venue']} {row['year']}", *cells, Text(row["idea"]))
    console.print(table)
    console.print()
    without = [row["name"] for row in detectors if row["weights"] is None]
    console.print(
        "AUC: of one fold of groups that training left out, the same for all; nsnet evaluate --detector measures anew."
        + (" ms: a decoded picture of 512 x 512 pixels here, in float32." if timed else ""),
        style="dim",
    )
    if without:
        console.print(f"No weights here: {', '.join(without)} (nsnet train --detector NAME makes them).", style="dim")


def _count(parameters: int | None) -> str:
    return "-" if parameters is None else f"{parameters:,}"
