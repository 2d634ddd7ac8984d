"""``docs/ablation.md``, made from the kept figures: ``ablation.md.jinja`` has the words, this the tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from documents import ROOT
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nsnet_cli.report.plots import blank_figure, svg_of

DOCUMENT = ROOT / "docs" / "ablation.md"
Row = Mapping[str, Any]


def render(document: Mapping[str, Any]) -> str:
    """The whole document in Markdown."""
    words = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    words.globals |= {"auc": auc, "change": change, "judged": judged, "table": table, "side_by_side": side_by_side}
    return words.get_template("ablation.md.jinja").render(document, found=document["sections"])


def plots(document: Mapping[str, Any]) -> dict[str, str]:
    """The plots that the document shows, SVG by file name."""
    found = document["sections"]
    return {
        "ablation-projection.svg": _plot_projection(found["projection"]),
        "ablation-selection.svg": _plot_selection(found["selection, middle blocks"]),
        "ablation-depth.svg": _plot_depth(found["depth"]),
    }


def auc(row: Row) -> str:
    """A figure with its spread over folds, where there are several."""
    return f"{row['auc']:.3f}" + (f" ± {row['spread']:.3f}" if "spread" in row else "")


def change(row: Row) -> str:
    """A difference with its interval; nothing for the row that others are compared with."""
    return f"{row['change']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})" if "change" in row else ""


def judged(row: Row, gains: str, costs: str, neither: str) -> str:
    """One of three phrases, by whether the interval of a change lies above, below or about zero."""
    return gains if row["low"] > 0 else costs if row["high"] < 0 else neither


def table(first: str, rows: Mapping[str, Row], controls: bool = False) -> str:
    """Arms one below the other; with ``controls`` what a projection takes away, and how a random one does."""
    more = ["variance taken away", "against random of that rank"] if controls else []
    lines = _header([first, "AUC", "change", *more])
    for name, row in rows.items():
        cells = [name, auc(row), change(row)]
        if controls:
            cells += [f"{100 * row['removed']:.0f} %" if "removed" in row else "", change(row.get("beside_random", {}))]
        lines.append(_line(cells))
    return "\n".join(lines)


def side_by_side(sections: Mapping[str, Mapping[str, Row]]) -> str:
    """The same arms of several sections beside each other."""
    lines = _header(["", *sections])
    for arm in next(iter(sections.values())):
        lines.append(_line([arm, *(auc(section[arm]) for section in sections.values())]))
    return "\n".join(lines)


def _header(names: Sequence[str]) -> list[str]:
    return [_line(names), "|" + "---|" * len(names)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plot_projection(rows: Mapping[str, Row]) -> str:
    """AUC against the rank of what is taken away."""
    figure = blank_figure(4.6, 3.0)
    axes = figure.subplots()
    as_it_is = rows["as they are"]["auc"]
    for name, label, style in (
        ("rank {}", "class labels", {"color": "0.1", "marker": "o"}),
        ("random, rank {}", "random directions", {"color": "0.45", "marker": "s", "linestyle": "--"}),
    ):
        ranks = [rank for rank in (10, 25, 50, 100, 150, 300) if name.format(rank) in rows]
        points = [rows[name.format(rank)] for rank in ranks]
        axes.plot([0, *ranks], [as_it_is, *(row["auc"] for row in points)], label=label, markersize=4, **style)
        low, high = ([as_it_is, *(as_it_is + row[end] for row in points)] for end in ("low", "high"))
        axes.fill_between([0, *ranks], low, high, color=style["color"], alpha=0.12, linewidth=0)
    axes.set(xlabel="directions taken away, of 512", ylabel="AUC, held out", title="Projection")
    axes.legend(frameon=False, fontsize=8)
    return svg_of(figure)


def _plot_selection(rows: Mapping[str, Row]) -> str:
    """Change of AUC against the mosaic, with its interval."""
    figure = blank_figure(5.2, 0.28 * len(rows) + 0.8)
    axes = figure.subplots()
    others = sorted(((name, row) for name, row in rows.items() if "change" in row), key=lambda item: item[1]["change"])
    for place, (_, row) in enumerate(others):
        axes.plot([row["low"], row["high"]], [place, place], color="0.45", linewidth=1.5)
        axes.plot(row["change"], place, "o", color="0.1", markersize=4)
    axes.axvline(0.0, color="0.45", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(others)), [name for name, _ in others])
    axes.set(xlabel="change of AUC against the mosaic, 90 % interval", title="Selection")
    return svg_of(figure)


def _plot_depth(sections: Mapping[str, Mapping[str, Row]]) -> str:
    """AUC of the class token of each block, for each way of showing pictures."""
    figure = blank_figure(4.6, 3.0)
    axes = figure.subplots()
    for (way, rows), style in zip(sections.items(), ("-", "--", ":"), strict=True):
        blocks = [name for name in rows if name.startswith("block ")]
        numbers = [int(name.removeprefix("block ")) for name in blocks]
        axes.plot(numbers, [rows[name]["auc"] for name in blocks], style, color="0.1", label=way, marker=".")
    axes.set(xlabel="block", ylabel="AUC, held out", title="Depth: one class token", xticks=range(1, 13))
    axes.legend(frameon=False, fontsize=8)
    return svg_of(figure)
