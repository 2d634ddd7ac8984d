"""Plots of an evaluation as SVG text, readable in black and white.  Needs matplotlib (the ``plots`` extra)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.errors import UsageError
from nsnet_cli.evaluation.metrics import DECISION, reliability, risk_coverage
from nsnet_cli.results.escaping import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DARK, _MIDDLE, _LIGHT = "0.1", "0.45", "0.8"
_BAR_INCHES = 0.24
_LOW_TICKS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


def need_matplotlib() -> None:
    """Raise `UsageError` now rather than after an hour's scan."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError("plots need matplotlib: pip install 'nsnet-cli[plots]'") from error


def roc_plot(y: NDArray[np.int64], p: NDArray[np.float64], low_end: bool = False) -> str:
    """ROC; with ``low_end`` its false-positive rates below 20 %, on a logarithmic axis."""
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(y, p, drop_intermediate=False)
    figure = blank_figure(3.6, 3.0)
    axes = figure.subplots()
    chance = np.linspace(1e-3, 1, 400)
    axes.plot(fpr, tpr, color=_DARK, drawstyle="steps-post")
    axes.plot(chance, chance, color=_MIDDLE, linestyle=":", linewidth=1)
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate", ylim=(0, 1.02), xlim=(-0.01, 1), title="ROC")
    if low_end:
        axes.set(xscale="log", xlim=(0.002, 0.2), title="ROC, low end")
        axes.set_xticks(_LOW_TICKS, [f"{tick:g}" for tick in _LOW_TICKS])
        axes.minorticks_off()
        for limit in (0.01, 0.05):
            axes.axvline(limit, color=_MIDDLE, linestyle="--", linewidth=0.8)
    return svg_of(figure)


def histogram_plot(y: NDArray[np.int64], p: NDArray[np.float64]) -> str:
    """Distribution of probabilities of either label, each adding up to 1."""
    figure = blank_figure(3.6, 3.0)
    axes = figure.subplots()
    bins = np.linspace(0, 1, 26).tolist()
    for label, name, style in (
        (0, "real", {"color": _LIGHT}),
        (1, "generated", {"color": _DARK, "histtype": "step", "linewidth": 1.4, "hatch": "///"}),
    ):
        values = p[y == label]
        if len(values):
            axes.hist(values, bins, weights=np.full(len(values), 1 / len(values)), label=name, **style)
    axes.axvline(DECISION, color=_MIDDLE, linestyle="--", linewidth=0.8)
    axes.set(xlabel="probability", ylabel="share of the label", title="Scores", xlim=(0, 1))
    axes.legend(frameon=False, fontsize=8)
    return svg_of(figure)


def reliability_plot(y: NDArray[np.int64], p: NDArray[np.float64]) -> str:
    """Share of generated pictures against mean probability, labels weighed equally; area by weight."""
    figure = blank_figure(3.6, 3.0)
    axes = figure.subplots()
    points = reliability(y, p)
    axes.plot([0, 1], [0, 1], color=_MIDDLE, linestyle=":", linewidth=1)
    axes.plot([m for _, m, _ in points], [s for _, _, s in points], color=_DARK, linewidth=0.8)
    axes.scatter([m for _, m, _ in points], [s for _, _, s in points], [400 * w for w, _, _ in points], color=_DARK)
    axes.set(xlabel="mean probability", ylabel="share generated", title="Reliability", xlim=(0, 1), ylim=(0, 1))
    return svg_of(figure)


def risk_coverage_plot(y: NDArray[np.int64], p: NDArray[np.float64]) -> str:
    """Error rate when only the surest share is decided."""
    figure = blank_figure(3.6, 3.0)
    axes = figure.subplots()
    coverage, risk = risk_coverage(y, p)
    axes.plot(coverage, risk, color=_DARK)
    axes.set(xlabel="coverage, surest first", ylabel="error rate", title="Risk and coverage", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    return svg_of(figure)


def bars_plot(rows: Sequence[dict[str, Any]], accuracy: str, title: str) -> str:
    """A bar for each group with its interval, worst on top."""
    figure = blank_figure(7.2, 0.9 + _BAR_INCHES * len(rows))
    axes = figure.subplots()
    values = np.array([row[accuracy] for row in rows])
    spans = [row["intervals"][accuracy] for row in rows]
    errors = np.array([[v - s["low"] for v, s in zip(values, spans, strict=True)],
                       [s["high"] - v for v, s in zip(values, spans, strict=True)]])  # fmt: skip
    place = np.arange(len(rows))
    axes.barh(place, values, color=_LIGHT, edgecolor=_DARK, linewidth=0.5, xerr=errors.clip(0), ecolor=_DARK)
    # matplotlib takes what stands between dollar signs for a formula.
    names = [printable(row["name"]).replace("$", r"\$") for row in rows]
    axes.set_yticks(place, [f"{name} ({row['pictures']})" for name, row in zip(names, rows, strict=True)], fontsize=8)
    axes.set(xlim=(0, 1), title=title, ylim=(len(rows) - 0.4, -0.6))
    axes.axvline(DECISION, color=_MIDDLE, linestyle="--", linewidth=0.8)
    return svg_of(figure)


def robustness_plot(document: dict[str, Any]) -> str:
    """AUC and bAcc after each delivery, and which way the probabilities of either class move."""
    rows = document["deliveries"]
    figure = blank_figure(7.6, 1.2 + _BAR_INCHES * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    place = np.arange(len(rows))
    for key, name, marker, colour in (("auc", "AUC", "o", _DARK), ("bacc", "bAcc at 0.5", "s", _MIDDLE)):
        values = [math.nan if row[key] is None else row[key] for row in rows]
        left.plot(values, place, marker, color=colour, markersize=4, label=name)
        if document["as_is"][key] is not None:
            left.axvline(document["as_is"][key], color=colour, linestyle="--", linewidth=0.8)
    left.set(title="dashed: pictures as they are", ylim=(len(rows) - 0.4, -0.6))
    left.set_yticks(place, [row["delivery"] for row in rows], fontsize=8)
    for key, name, marker, colour in (
        ("drift_real", "real", "o", _LIGHT),
        ("drift_generated", "generated", "s", _DARK),
    ):
        values = [math.nan if row[key] is None else row[key] for row in rows]
        right.plot(values, place, marker, color=colour, markeredgecolor=_DARK, markersize=4, label=name)
    right.axvline(0, color=_MIDDLE, linewidth=0.8)
    right.set(title="mean change of probability", xlabel="← real      generated →")
    for axes in (left, right):
        axes.legend(fontsize=7, frameon=False, loc="best")
        axes.grid(axis="y", color=_LIGHT, linewidth=0.4)
    return svg_of(figure)


def blank_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def svg_of(figure: Figure) -> str:
    """SVG for inlining: no XML prologue, the same text every time, text as shapes so that no font is needed."""
    import matplotlib as mpl

    for axes in figure.axes:
        _plain(axes)
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "nsnet", "svg.fonttype": "path"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    axes.title.set_fontsize(10)
