"""Several detectors on the same labelled pictures, side by side: plain data in, one document out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nsnet_cli import __version__

COMPARISON_SCHEMA = "nsnet.comparison/1"
# What of a set of pictures is compared; of one generator, or of one source, only its accuracy.
COMPARED = (
    "pictures", "missing", "r_acc", "f_acc", "bacc", "auc", "tpr_at_5", "ece", "coverage", "decided_accuracy",
    "false_alarms", "misses", "intervals",
)  # fmt: skip


def compare(evaluations: Mapping[str, dict[str, Any]], command: str) -> dict[str, Any]:
    """``nsnet.comparison/1`` of documents ``nsnet.evaluation/1`` of the same pictures, by the name of their detector.

    Detectors come best first, by AUC; generators by the share that all of them together find, and sources by the share
    that they leave alone, worst first.  Raises `ValueError` where pictures differ.
    """
    documents = list(evaluations.values())
    datasets = {document["dataset"]["sha256"] for document in documents}
    if len(datasets) != 1:
        raise ValueError("only evaluations of the same pictures can be compared")
    ranked = sorted(evaluations, key=lambda name: -(evaluations[name]["total"]["auc"] or 0.0))
    return {
        "schema": COMPARISON_SCHEMA,
        "tool": {"name": "nsnet", "version": __version__},
        "command": command,
        "dataset": documents[0]["dataset"],
        "format_control": documents[0]["format_control"],
        "detectors": [
            {
                "name": name,
                "model": evaluations[name]["model"],
                "warnings": evaluations[name]["warnings"],
                **{key: evaluations[name]["total"][key] for key in COMPARED},
                "cuts": {
                    cut: {key: found[key] for key in COMPARED} for cut, found in evaluations[name]["cuts"].items()
                },
            }
            for name in ranked
        ],
        "by_generator": _groups(evaluations, ranked, "by_generator", "f_acc"),
        "by_source": _groups(evaluations, ranked, "by_source", "r_acc"),
    }


def _groups(
    evaluations: Mapping[str, dict[str, Any]], ranked: Sequence[str], key: str, accuracy: str
) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for name in ranked:
        for row in evaluations[name][key]:
            found = rows.setdefault(row["name"], {"name": row["name"], "pictures": row["pictures"], accuracy: {}})
            found[accuracy][name] = row[accuracy]

    def together(row: dict[str, Any]) -> float:
        return sum(row[accuracy].values()) / len(row[accuracy])

    return sorted(rows.values(), key=lambda row: (together(row), row["name"]))
