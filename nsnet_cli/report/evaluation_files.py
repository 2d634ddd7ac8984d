"""An evaluation as files: JSON, CSV, and one self-contained HTML page."""

from __future__ import annotations

import io
import json
from importlib import resources
from typing import Any

from nsnet_cli.evaluation.metrics import Scored
from nsnet_cli.evaluation.predictions import Prediction
from nsnet_cli.report import plots
from nsnet_cli.results.escaping import csv_writer, printable, spreadsheet_cell, to_json

_METRICS = (
    "pictures", "real", "generated", "missing", "r_acc", "f_acc", "bacc", "auc", "ap", "tpr_at_1", "tpr_at_5", "ece",
    "coverage", "decided_accuracy", "false_alarms", "misses",
)  # fmt: skip
_WITH_INTERVALS = ("r_acc", "f_acc", "bacc", "auc", "tpr_at_1", "tpr_at_5", "coverage", "decided_accuracy")
_BOUNDS = tuple(f"{name}_{end}" for name in _WITH_INTERVALS for end in ("low", "high"))
_COLUMNS = (
    ("auc", "AUC"), ("ap", "AP"), ("bacc", "bAcc"), ("r_acc", "R.Acc"), ("f_acc", "F.Acc"), ("tpr_at_1", "TPR at 1 %"),
    ("tpr_at_5", "TPR at 5 %"), ("ece", "ECE"), ("coverage", "decided"), ("decided_accuracy", "right of decided"),
)  # fmt: skip
_GENERATOR_COLUMNS = (
    ("f_acc", "F.Acc"), ("auc", "AUC"), ("ap", "AP"), ("tpr_at_1", "TPR at 1 %"), ("tpr_at_5", "TPR at 5 %"),
    ("ece", "ECE"), ("coverage", "decided"), ("decided_accuracy", "right of decided"),
)  # fmt: skip
_SOURCE_COLUMNS = (
    ("r_acc", "R.Acc"), ("coverage", "decided"), ("decided_accuracy", "right of decided"), ("false_alarms", "accused"),
)  # fmt: skip


def evaluation_json(document: dict[str, Any]) -> str:
    """The document itself."""
    return to_json(document, indent=2) + "\n"


def evaluation_csv(document: dict[str, Any]) -> str:
    """A row for each set: ``kind`` is total, cut, generator, source or control."""
    out = io.StringIO()
    writer = csv_writer(out)
    writer.writerow(("kind", "name", *_METRICS, *_BOUNDS, "schema", "weights_sha256", "dataset_sha256"))
    tail = (document["schema"], document["model"].get("weights_sha256"), document["dataset"]["sha256"])
    named = [("total", "all", document["total"])]
    named += [("cut", name, f) for name, f in document["cuts"].items()]
    named += [("generator", row["name"], row) for row in document["by_generator"]]
    named += [("source", row["name"], row) for row in document["by_source"]]
    for kind, name, row in named:
        bounds = [row["intervals"].get(metric, {}).get(end) for metric in _WITH_INTERVALS for end in ("low", "high")]
        writer.writerow((kind, spreadsheet_cell(name), *(row[m] for m in _METRICS), *bounds, *tail))
    for control in _controls(document):
        auc = [control["auc"] if m == "auc" else None for m in _METRICS]
        low = [control["auc_low"] if b == "auc_low" else None for b in _BOUNDS]
        writer.writerow(("control", f"{control['sees']}; trained on {control['trained_on']}", *auc, *low, *tail))
    return out.getvalue()


def evaluation_html(document: dict[str, Any]) -> str:
    """One page with tables and plots; no script runs in it and nothing is fetched."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    environment.filters |= {"number": _number, "span": _span, "printable": printable}
    template = resources.files("nsnet_cli.report").joinpath("evaluation.html.j2").read_text("utf-8")
    rows = document["predictions"]
    scored = Scored.of([row["label"] for row in rows], [Prediction(row["probability"]) for row in rows])
    y, p = scored.labels, scored.probabilities
    drawn = {}
    if len(set(y.tolist())) == 2:
        drawn = {
            "roc": plots.roc_plot(y, p),
            "low": plots.roc_plot(y, p, low_end=True),
            "histogram": plots.histogram_plot(y, p),
            "reliability": plots.reliability_plot(y, p),
            "risk": plots.risk_coverage_plot(y, p),
        }
    sections = [
        {
            "title": title,
            "one": one,
            "rows": document[key],
            "columns": columns,
            "accuracy": accuracy,
            "summary": document[f"{one}s"][accuracy],
            "plot": Markup(plots.bars_plot(document[key], accuracy, plot_title)),
        }
        for title, one, key, columns, accuracy, plot_title in (
            ("Generators", "generator", "by_generator", _GENERATOR_COLUMNS, "f_acc", "Generated pictures found at 0.5"),
            ("Sources of real pictures", "source", "by_source", _SOURCE_COLUMNS, "r_acc", "Real pictures right at 0.5"),
        )
        if document[key]
    ]
    # "</" would end the element, whatever it stands in.
    data = json.dumps(document, ensure_ascii=True).replace("<", "\\u003c")
    return environment.from_string(template).render(
        d=document,
        name=printable(document["dataset"]["name"]),
        columns=_COLUMNS,
        cuts=[("all", document["total"]), *((k.replace("_", " "), f) for k, f in document["cuts"].items())],
        controls=_controls(document),
        plots={key: Markup(svg) for key, svg in drawn.items()},
        sections=sections,
        data=Markup(data),
    )


def _controls(document: dict[str, Any]) -> list[dict[str, Any]]:
    found = [document["format_control"], document["format_control"].get("within")]
    found += [v for v in document["content_control"].values() if isinstance(v, dict)]
    return [control for control in found if control is not None]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _span(interval: Any) -> str:
    return f"{interval['low']:.2f}–{interval['high']:.2f}" if isinstance(interval, dict) else ""
