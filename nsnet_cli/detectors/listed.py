"""The list of detectors with what their weights say of themselves, as plain data.  Only timing imports PyTorch."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nsnet_cli.detectors.registry import all_detectors
from nsnet_cli.detectors.weights import detector_info, detector_weights

# What is timed: a picture of this side in pixels, so often; the first time does not count.
_SIDE = 512
_TIMES = 5


def listed_detectors(timed: bool = False) -> list[dict[str, Any]]:
    """Each detector, oldest first: its `About`, and of its weights, where there are any, ``parameters``,
    ``held_out_auc`` (of the first fold, the same groups for all) and ``weights``, their path; else None.

    With ``timed`` also ``milliseconds``, what a decoded picture of 512x512 pixels takes here in float32.  Raises
    `WeightsError` for weights that are damaged.
    """
    rows = []
    for about in all_detectors():
        path = detector_weights(about.name)
        info = None if path is None else detector_info(path)
        row: dict[str, Any] = {
            **asdict(about),
            "parameters": None if info is None else info.parameters,
            "held_out_auc": None if info is None else info.held_out.get("first_fold_auc"),
            "weights": None if path is None else str(path),
        }
        if timed:
            row["milliseconds"] = None if path is None else _milliseconds(path)
        rows.append(row)
    return rows


def _milliseconds(path: Path) -> float:
    from nsnet_cli.detectors.scorer import Scorer

    scorer = Scorer.load(path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, _SIDE, _SIDE), dtype=np.uint8)
    taken = []
    for _ in range(1 + _TIMES):
        began = time.perf_counter()
        scorer.score([pixels])
        taken.append(time.perf_counter() - began)
    return round(1000 * statistics.median(taken[1:]), 1)
