"""``docs/ablation.md``, made from the kept figures: what they say in words, tables, and plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from documents import ROOT

from nsnet_cli.report.plots import blank_figure, svg_of

DOCUMENT = ROOT / "docs" / "ablation.md"
_PROJECTION_PLOT, _SELECTION_PLOT, _DEPTH_PLOT = (
    f"ablation-{name}.svg" for name in ("projection", "selection", "depth")
)
Row = Mapping[str, Any]


def change(row: Row) -> str:
    """A difference with its interval."""
    return f"{row['change']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"


def judged(row: Row, gains: str, costs: str, neither: str) -> str:
    """One of three sentences, by whether the interval of a change lies above, below or about zero."""
    return gains if row["low"] > 0 else costs if row["high"] < 0 else neither


def render(document: Mapping[str, Any]) -> str:
    """The whole document in Markdown."""
    found = document["sections"]
    parts = [
        "# What each part of NS-Net is worth here",
        "*Made by `python benchmarks/ablation.py`; nobody types a number.*",
        _answers(found),
        _how(document),
        _projection(found),
        _separability(found),
        _selection(found),
        _objective(found),
        _depth(found),
        _adapted(document),
        _elsewhere(document),
        _limits(document),
    ]
    return "\n\n".join(parts) + "\n"


def plots(document: Mapping[str, Any]) -> dict[str, str]:
    """The plots that the document shows, SVG by file name."""
    found = document["sections"]
    return {
        _PROJECTION_PLOT: _plot_projection(found["projection"]),
        _SELECTION_PLOT: _plot_selection(found["selection, middle blocks"]),
        _DEPTH_PLOT: _plot_depth(found["depth"]),
    }


def _answers(found: Mapping[str, Any]) -> str:
    rank, whole = found["projection"]["rank 100"], found["projection of whole pictures"]["rank 100"]
    heads = found["projection, trained heads"]
    beside_random = dict(zip(("change", "low", "high"), rank["against_random"], strict=True))
    selected = found["selection, middle blocks"]
    added, unselected = (found["beside the whole picture"][f"resized + {way}"] for way in ("mosaic", "random patches"))
    loss, loss_middle = (found["objective"][f"{name}: λ 0.5"] for name in ("last block", "with blocks 5-10"))
    return "\n\n".join(
        (
            "**Does the null space help?** "
            + judged(rank, "Yes, a little", "No, it costs", "It neither helps nor harms beyond chance")
            + f": a linear probe on CLIP's embedding of the mosaic changes by {change(rank)} AUC when the 100 directions "
            f"of class labels are taken away, and by {change(whole)} on the whole picture; NS-Net's own head by "
            f"{change(heads['last block: rank 100'])}, and by {change(heads['with blocks 5-10: rank 100'])} where the "
            "middle blocks join it. "
            + judged(
                beside_random,
                "But it is not nothing: to take away 100 *random* directions costs more, and beside that control the "
                f"semantic ones gain {change(beside_random)}. What labels can say is the cheapest part to lose.",
                "Random directions are cheaper to lose.",
                f"Random directions of that number are as cheap to lose ({change(beside_random)} beside them).",
            ),
            "**Does patch selection help?** "
            + judged(
                selected["random patches"],
                "No: random patches do better",
                "Yes, selected patches beat random ones",
                "Selected patches and random ones cannot be told apart",
            )
            + f" ({change(selected['random patches'])} for random ones against the mosaic); "
            f"a crop of the same area, not cut to pieces, lies at {change(selected['crop'])}, the whole picture scaled "
            f"down at {change(selected['resized'])}. Beside the whole picture, which this tool looks at too, the mosaic "
            f"adds {change(added)}, and random patches would add {change(unselected)}.",
            "**Does the contrastive loss help?** "
            + judged(loss, "Yes", "No, it costs", "Not beyond chance")
            + f": {change(loss)} on the last block, {change(loss_middle)} with the middle blocks, against BCE alone on "
            "the frozen tower.",
        )
    )


def _how(document: Mapping[str, Any]) -> str:
    pictures = document["pictures"]
    return (
        f"## How it was measured\n\n{pictures['real']} real pictures of {pictures['sources']} sources and "
        f"{pictures['generated']} generated ones of {pictures['generators']} generators, an even subset of the training "
        f"pictures. Figures are AUC on held-out pictures, the mean of {document['folds']} folds ± its standard deviation "
        "over folds; whole lineages of generators, and whole sources, are on one side. A *change* is against the first "
        "row of its table, with its 90 % interval when lineages are drawn anew: an interval that holds zero is chance. "
        "The tower is CLIP ViT-B/16, frozen unless said otherwise, in float32. *Linear probe* is ridge regression whose "
        "ridge the other folds choose: no random number, and even terms for any dimension. *Heads* are those of "
        "`nsnet train`, three seeds. No delivery (re-encoding) is drawn in any arm."
    )


def _projection(found: Mapping[str, Any]) -> str:
    def more(row: Row) -> list[str]:
        taken = f"{100 * row['removed']:.0f} %" if "removed" in row else ""
        beside = row.get("against_random")
        return [taken, "" if beside is None else f"{beside[0]:+.3f} ({beside[1]:+.3f} to {beside[2]:+.3f})"]

    columns = ("variance taken away", "against random of that rank")
    return "\n\n".join(
        (
            "## Projection",
            "Linear probe on the embedding of the mosaic. *Variance taken away* is the share of the variance between "
            "pictures that lies in the subspace.",
            _table("embedding", found["projection"], columns, more),
            f"![AUC by rank, labels against random directions](plots/{_PROJECTION_PLOT})",
            "The same of whole pictures, scaled to 224 pixels, which show more of their content:",
            _table("embedding", found["projection of whole pictures"], columns, more),
            "NS-Net's own head, contrastive loss and BCE, on the mosaic:",
            _table("head", found["projection, trained heads"]),
        )
    )


def _separability(found: Mapping[str, Any]) -> str:
    sections = found["separability"]
    lines = [
        "| | " + " | ".join(sections) + " |",
        "|---|" + "---|" * len(sections),
    ]

    def row(name: str, of: Callable[[Mapping[str, Any]], str]) -> None:
        lines.append(f"| {name} | " + " | ".join(of(section) for section in sections.values()) + " |")

    def spread(name: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda s: f"{s[name]['median']:.0f}° ({s[name]['low']:.0f}–{s[name]['high']:.0f}, {s[name]['count']})"

    row("a random direction", lambda s: f"{s['random']:.0f}°")
    row("weights of a linear probe", lambda s: f"{s['linear probe']:.0f}°")
    row("mean of generated less mean of real", lambda s: f"{s['all generators']:.0f}°")
    row("each generator less real: median (tenth to ninetieth percentile, count)", spread("generators"))
    row("each *real source* less other real ones", spread("sources"))
    for name in ("generators", "sources", "random"):
        row(f"smallest principal angle, span of ten {name}", lambda s, n=name: f"{s['principal'][n][0]:.0f}°")
    row("share of the probe's margin in the null space", lambda s: f"{100 * s['margin']['null space']:.0f} %")
    for name in ("as they are", "projected", "semantic part alone"):
        row(f"pairs of like content in the right order, {name}", lambda s, n=name: f"{s['pairs']['right'][n]:.3f}")
        row(f"… any pair, {name}", lambda s, n=name: f"{s['pairs']['any real picture'][n]:.3f}")
    mosaic = sections["mosaic"]
    further = mosaic["generators"]["median"] - mosaic["sources"]["median"]
    gain, gain_any = (
        mosaic["pairs"][of]["projected"] - mosaic["pairs"][of]["as they are"] for of in ("right", "any real picture")
    )
    return "\n\n".join(
        (
            "## Separability",
            "The paper's review asked whether artifact directions and semantics are (nearly) linearly separable. Angles "
            "between directions, before any projection, and the subspace of the labels (rank 100); 90° would mean that the "
            "projection leaves a direction untouched.",
            "\n".join(lines),
            "Artifact directions are **not orthogonal to semantics**: they lie about where a random direction lies, and "
            f"{abs(further):.0f}° {'further from' if further > 0 else 'nearer to'} the labels than directions in which "
            "real sources differ from each other. Of each generated picture and the real one whose semantic part is most "
            f"alike, the projection changes the share in the right order by {gain:+.3f}, and of any pair by {gain_any:+.3f}.",
        )
    )


def _selection(found: Mapping[str, Any]) -> str:
    several = found["several mosaics"]
    pictures = several["pictures"]
    return "\n\n".join(
        (
            "## Selection",
            "Ways of showing a picture; linear probe on the projected embedding and the class tokens of blocks 5–10, as the "
            "shipped heads look at them. *Crop* is the centre, 224 pixels wide: the area of a mosaic. *Random patches* are "
            "cut to pieces, but not selected; *crop, shuffled* are the crop's own patches in any order.",
            _table("shown", found["selection, middle blocks"]),
            f"![AUC by way of showing the picture](plots/{_SELECTION_PLOT})",
            "The same on the projected embedding alone, which is the paper's:",
            _table("shown", found["selection, last block"]),
            "Beside the whole picture, scaled to 224 (in the shipped weights: the window):",
            _table("shown", found["beside the whole picture"]),
            f"Several mosaics, of the {pictures['real'] + pictures['generated']} pictures with 144 patches or more (four "
            "mosaics repeat some):",
            _table("shown", several["arms"]),
        )
    )


def _objective(found: Mapping[str, Any]) -> str:
    return "\n\n".join(
        (
            "## Objective",
            "Heads on frozen features of the mosaic, projected. λ is the share of BCE beside the supervised contrastive "
            "loss; temperature 0.1 unless said.",
            _table("loss", found["objective"]),
        )
    )


def _depth(found: Mapping[str, Any]) -> str:
    sections = found["depth"]
    lines = ["| | " + " | ".join(sections) + " |", "|---|" + "---|" * len(sections)]
    for arm in next(iter(sections.values())):
        lines.append(f"| {arm} | " + " | ".join(_auc(section[arm]) for section in sections.values()) + " |")
    return "\n\n".join(
        (
            "## Depth",
            "Linear probe on class tokens of single blocks, and of several; *embedding* is the last block in CLIP's joint "
            "space, not projected.",
            "\n".join(lines),
            f"![AUC by block](plots/{_DEPTH_PLOT})",
        )
    )


def _adapted(document: Mapping[str, Any]) -> str:
    section = document["sections"]["adapted tower"]
    pictures = section["pictures"]
    return "\n\n".join(
        (
            "## Adapted tower",
            f"The paper's LoRA (q, k, v; rank 6, alpha 6), the last block and the mosaic alone, from a head that was fitted "
            f"first; {document['tune_samples']:,} pictures seen, each with half of its patches, once, on one of "
            f"{document['tuned_folds']} folds ({pictures['real'] + pictures['generated']} pictures held out). That is far "
            "less training than the paper's: it shows the direction, not the end.",
            _table("tower", section["arms"]),
        )
    )


def _elsewhere(document: Mapping[str, Any]) -> str:
    pictures, found = document["val_pictures"], document["sections"]["val"]
    lines = ["| shown: what the probe looks at | AUC |", "|---|---|"]
    lines += [f"| {name} | {row['auc']:.3f} |" for name, row in found.items()]
    return "\n\n".join(
        (
            "## On other generators and sources",
            f"Probes fitted on all of the subset, tried once on {pictures['real']} real and {pictures['generated']} "
            f"generated pictures of `val` ({pictures['sources']} sources, {pictures['generators']} generators). Nothing was "
            "chosen by it.",
            "\n".join(lines),
        )
    )


def _limits(document: Mapping[str, Any]) -> str:
    return (
        "## What this does not show\n\nViT-B/16, not the paper's ViT-L/14. Pictures of 256 and 384 pixels, where the "
        "mosaic holds three quarters or a third of all patches: on photographs of many megapixels selection has more to "
        "choose from, and none are in the corpus. Short adaptation on two cores. An interval of ±0.02 AUC is what so many "
        "lineages allow; smaller effects may be there."
    )


def _auc(row: Row) -> str:
    return f"{row['auc']:.3f}" + (f" ± {row['spread']:.3f}" if "spread" in row else "")


def _table(
    first: str, rows: Mapping[str, Row], columns: Iterable[str] = (), more: Callable[[Row], list[str]] = lambda row: []
) -> str:
    names = [first, "AUC", "change", *columns]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for name, row in rows.items():
        cells = [name, _auc(row), change(row) if "change" in row else "", *more(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
