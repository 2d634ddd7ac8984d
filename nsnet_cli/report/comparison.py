"""Detectors side by side, for people and as CSV."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nsnet_cli.results.escaping import csv_writer, printable, spreadsheet_cell

_COLUMNS = (
    ("auc", "AUC"), ("r_acc", "R.Acc"), ("f_acc", "F.Acc"), ("tpr_at_5", "TPR@5%"), ("coverage", "decided"),
    ("false_alarms", "accused"), ("misses", "missed"),
)  # fmt: skip
_SHOWN = 12


def print_comparison(console: Console, document: dict[str, Any], every_group: bool = False) -> None:
    """Print ``nsnet.comparison/1``.  ``every_group`` lists all generators and sources, not the worst only."""
    dataset, detectors = document["dataset"], document["detectors"]
    split = f", split {dataset['split']}" if dataset["split"] else ""
    console.print(f"{printable(dataset['name'])}{split}: {detectors[0]['pictures']:,} pictures")
    console.print()
    table = _table("", "detector", *(title for _, title in _COLUMNS))
    for number, row in enumerate(detectors, start=1):
        table.add_row(str(number), Text(printable(row["name"])), *(_number(row[key], 3) for key, _ in _COLUMNS))
    console.print(table)
    for warning, names in _warnings(detectors).items():
        said = Text.assemble(("! ", "bold red"), (warning[0], "bold"), f" ({', '.join(names)}): {warning[1]}")
        console.print(said)
    for title, key, accuracy in (
        ("generators, F.Acc", "by_generator", "f_acc"),
        ("sources, R.Acc", "by_source", "r_acc"),
    ):
        rows = document[key]
        shown = rows if every_group else rows[:_SHOWN]
        if not shown:
            continue
        console.print()
        console.print(f"{title} at 0.5 of each detector by its number, worst first", style="bold")
        groups = _table("", "n", *(str(number) for number in range(1, len(detectors) + 1)))
        for row in shown:
            shares = [_number(row[accuracy].get(of["name"]), 2) for of in detectors]
            groups.add_row(Text(printable(row["name"])), f"{row['pictures']:,}", *shares)
        console.print(groups)
        if len(shown) < len(rows):
            console.print(f"... and {len(rows) - len(shown)} better ones (--all lists them)", style="dim")


def _warnings(detectors: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Who earned each warning, by its code and words."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in detectors:
        for warning in row["warnings"]:
            found.setdefault((warning["code"], warning["message"]), []).append(printable(row["name"]))
    return found


def comparison_csv(document: dict[str, Any]) -> str:
    """A row for each detector and set: ``kind`` is total, cut, generator or source."""
    out = io.StringIO()
    writer = csv_writer(out)
    figures = [key for key, _ in _COLUMNS]
    writer.writerow(("detector", "kind", "name", "pictures", *figures, "weights_sha256", "schema"))
    for detector in document["detectors"]:
        name, tail = spreadsheet_cell(detector["name"]), (detector["model"].get("weights_sha256"), document["schema"])
        for kind, of, row in [("total", "all", detector), *(("cut", cut, f) for cut, f in detector["cuts"].items())]:
            writer.writerow((name, kind, of, row["pictures"], *(row[key] for key in figures), *tail))
        for kind, key, accuracy in (("generator", "by_generator", "f_acc"), ("source", "by_source", "r_acc")):
            for row in document[key]:
                cells = [row[accuracy].get(detector["name"]) if f == accuracy else None for f in figures]
                writer.writerow((name, kind, spreadsheet_cell(row["name"]), row["pictures"], *cells, *tail))
    return out.getvalue()


def _table(first: str, *titles: str) -> Table:
    table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 1))
    table.add_column(first, overflow="fold")
    for title in titles:
        table.add_column(title, justify="left" if title == "detector" else "right", no_wrap=True)
    return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
