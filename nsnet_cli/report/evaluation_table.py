"""An evaluation for people: totals and cuts, controls, then generators and sources, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nsnet_cli.results.escaping import printable

_CUTS = {
    "all": "all",
    "photo_like": "photo-like",
    "not_photo_like": "not photo-like",
    "without_shared_repositories": "no shared repos",
}
_METRICS = (
    ("auc", "AUC"), ("ap", "AP"), ("bacc", "bAcc at 0.5"), ("r_acc", "R.Acc"), ("f_acc", "F.Acc"),
    ("tpr_at_1", "TPR at 1 % FPR"), ("tpr_at_5", "TPR at 5 % FPR"), ("ece", "balanced ECE"),
    ("coverage", "decided"), ("decided_accuracy", "right of decided"),
    ("false_alarms", "real accused"), ("misses", "generated missed"),
)  # fmt: skip
_SHOWN = 12


def print_evaluation(console: Console, document: dict[str, Any], every_group: bool = False) -> None:
    """Print ``nsnet.evaluation/1``.  ``every_group`` lists all generators and sources, not the worst only."""
    total, dataset = document["total"], document["dataset"]
    split = f", split {dataset['split']}" if dataset["split"] else ""
    console.print(
        f"{printable(dataset['name'])} ({dataset['layout']}{split}): {total['real']:,} real, "
        f"{total['generated']:,} generated, {total['missing']:,} without a score",
    )
    console.print()
    console.print(_totals(document))
    console.print()
    _print_controls(console, document)
    for title, key, accuracy in (
        ("generator", "by_generator", "f_acc"),
        ("source", "by_source", "r_acc"),
    ):
        _print_groups(console, title, document[key], accuracy, every_group)
    for warning in document["warnings"]:
        console.print(Text.assemble(("! ", "bold red"), (warning["code"], "bold"), f": {warning['message']}"))


def _totals(document: dict[str, Any]) -> Table:
    sets = {"all": document["total"], **document["cuts"]}
    table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for name in sets:
        table.add_column(_CUTS.get(name, name), justify="right", no_wrap=True)
        if name == "all":
            table.add_column("95 %", justify="right", no_wrap=True, style="dim")
    table.add_row("pictures", *_beside([f"{f['pictures']:,}" for f in sets.values()], ""))
    for key, title in _METRICS:
        numbers = [_number(f[key]) for f in sets.values()]
        table.add_row(title, *_beside(numbers, _span(document["total"], key)))
    return table


def _beside(cells: list[str], interval: str) -> list[str]:
    """The interval of all pictures stands right of their figure."""
    return [cells[0], interval, *cells[1:]]


def _print_controls(console: Console, document: dict[str, Any]) -> None:
    content = document["content_control"]
    rows = {"format": document["format_control"], **{k: v for k, v in content.items() if isinstance(v, dict)}}
    if "within" in document["format_control"]:
        rows["format, within"] = document["format_control"]["within"]
    for name, control in rows.items():
        said = f"AUC {control['auc']:.3f}" if control["auc"] is not None else f"none ({control['reason']})"
        label = name.replace("_", " ")
        style = "bold red" if control["leaks"] else ""
        console.print(Text.assemble("control, ", (f"{label}: ", "bold"), (said, style)))
    console.print()


def _print_groups(
    console: Console, title: str, rows: Sequence[dict[str, Any]], accuracy: str, every_group: bool
) -> None:
    if not rows:
        return
    shown = rows if every_group else rows[:_SHOWN]
    table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 1))
    table.add_column(title, overflow="fold")
    names = ("n", "F.Acc" if accuracy == "f_acc" else "R.Acc", "95 %")
    for name in (*names, *(("AUC", "AP", "TPR@5%") if accuracy == "f_acc" else ()), "decided", "right"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in shown:
        extra = [_number(row[key]) for key in ("auc", "ap", "tpr_at_5")] if accuracy == "f_acc" else []
        table.add_row(
            Text(printable(row["name"])),
            f"{row['pictures']:,}",
            _number(row[accuracy]),
            _span(row, accuracy),
            *extra,
            _number(row["coverage"]),
            _number(row["decided_accuracy"]),
        )
    console.print(f"{title}s, worst first", style="bold")
    console.print(table)
    if len(shown) < len(rows):
        console.print(f"... and {len(rows) - len(shown)} better ones (--all lists them)", style="dim")
    console.print()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _span(row: dict[str, Any], key: str) -> str:
    interval = row["intervals"].get(key)
    return "" if interval is None else f"{interval['low']:.2f}-{interval['high']:.2f}".replace("0.", ".")
