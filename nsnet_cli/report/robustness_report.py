"""Robustness for people and files: the table, CSV, and a plot as SVG."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nsnet_cli.results.escaping import csv_writer, printable

_CSV_FIELDS = (
    "pictures", "missing", "auc", "auc_change", "bacc", "r_acc", "f_acc", "drift_real", "drift_generated",
    "flipped_real", "flipped_generated", "verdicts_changed", "coverage", "decided_accuracy", "false_alarms", "misses",
)  # fmt: skip


def print_robustness(console: Console, document: dict[str, Any]) -> None:
    """Print ``nsnet.robustness/1``."""
    dataset, as_is = document["dataset"], document["as_is"]
    split = f", split {dataset['split']}" if dataset["split"] else ""
    console.print(
        f"{printable(dataset['name'])}{split}: {as_is['real']:,} real, {as_is['generated']:,} generated, "
        f"{as_is['missing']:,} without a score",
    )
    console.print()
    table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 1))
    table.add_column("delivery", overflow="fold")
    for name in ("AUC", "change", "bAcc", "R.Acc", "F.Acc", "drift\nreal", "drift\ngen.", "verdicts\nchanged"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("as is", *_levels(as_is), "", "", "")
    for row in document["deliveries"]:
        table.add_row(
            Text(row["delivery"]),
            *_levels(row),
            _signed(row["drift_real"]),
            _signed(row["drift_generated"]),
            "-" if row["verdicts_changed"] is None else f"{100 * row['verdicts_changed']:.0f} %",
        )
    console.print(table)
    console.print("drift: mean change of the probability; + is towards generated", style="dim")
    worst = worst_delivery(document)
    if worst is not None:
        span = worst["auc_change_interval"]
        console.print(
            f"worst: {worst['delivery']}, AUC {worst['auc_change']:+.3f} ({span['low']:+.3f} to {span['high']:+.3f})",
        )
    if document["stability"] is not None:
        console.print(stability_in_words(document["stability"]), soft_wrap=True)


def worst_delivery(document: dict[str, Any]) -> dict[str, Any] | None:
    """The row whose AUC falls most; None where no row has an AUC."""
    rows = [row for row in document["deliveries"] if row["auc_change"] is not None]
    return min(rows, key=lambda row: row["auc_change"], default=None)


def stability_in_words(s: dict[str, Any]) -> str:
    """What the spread under mild deliveries was worth on these pictures."""
    parts = [f"stability ({', '.join(s['deliveries'])}): {100 * s['unstable']:.0f} % of pictures change their verdict"]
    if s["auc_of_spread_for_errors"] is not None:
        parts.append(
            f"the spread ranks errors at 0.5 with AUC {s['auc_of_spread_for_errors']:.2f}, closeness of the "
            f"probability to 0.5 with {s['auc_of_closeness_for_errors']:.2f}"
        )
    if s["wrong_of_decided_unstable"] is not None and s["wrong_of_decided_stable"] is not None:
        parts.append(
            f"of decided pictures {100 * s['wrong_of_decided_stable']:.1f} % of the stable and "
            f"{100 * s['wrong_of_decided_unstable']:.1f} % of the {s['decided_unstable']:,} unstable are wrong"
        )
    return "; ".join(parts)


def robustness_csv(document: dict[str, Any]) -> str:
    """A row for each delivery, the pictures as they are first."""
    out = io.StringIO()
    writer = csv_writer(out)
    head = ("delivery", *_CSV_FIELDS, "auc_change_low", "auc_change_high", "schema", "weights_sha256", "dataset_sha256")
    writer.writerow(head)
    tail = (document["schema"], document["model"].get("weights_sha256"), document["dataset"]["sha256"])
    for row in ({"delivery": "as is", **document["as_is"]}, *document["deliveries"]):
        span = row.get("auc_change_interval") or {}
        writer.writerow(
            (row["delivery"], *(row.get(name) for name in _CSV_FIELDS), span.get("low"), span.get("high"), *tail)
        )
    return out.getvalue()


def robustness_svg(document: dict[str, Any]) -> str:
    """AUC and balanced accuracy by delivery, and beside them the drift of either class, as one SVG."""
    from nsnet_cli.report.plots import robustness_plot

    return robustness_plot(document)


def _levels(row: dict[str, Any]) -> list[str]:
    levels = {name: "-" if row[name] is None else f"{row[name]:.3f}" for name in ("auc", "bacc", "r_acc", "f_acc")}
    return [levels["auc"], _signed(row.get("auc_change")), levels["bacc"], levels["r_acc"], levels["f_acc"]]


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"
