"""The tower in bfloat16: near float32, the same alone and in any batch, with oneDNN and without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import textured

from nsnet_cli.tower.features import Features, ViewBatch
from nsnet_cli.tower.file import tower_info, tower_state
from nsnet_cli.tower.on_numpy import NumpyTower
from nsnet_cli.tower.on_onednn import OnednnTower
from nsnet_cli.tower.probes import ProbeGrid
from nsnet_cli.weights.store import TOWER_NAME, find_weights


def some_views(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 3, 224, 224), dtype=np.uint8)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.median(np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)))


def test_the_shipped_tower_in_bfloat16_sees_what_it_sees_in_float32() -> None:
    path = find_weights(TOWER_NAME)
    info, state = tower_info(path), tower_state(path)
    asked = [ViewBatch(some_views(1), ProbeGrid(7, 0.05, late=0.5)), ViewBatch(textured_view())]
    for fast, exact in zip(OnednnTower(info, state).encode(asked), NumpyTower(info, state).encode(asked), strict=True):
        pairs = [(fast.features, exact.features)]
        if fast.probes is not None and exact.probes is not None:
            pairs.append((fast.probes, exact.probes))
        for a, b in pairs:
            assert relative(a.embedding, b.embedding) < 0.03 and relative(a.class_tokens, b.class_tokens) < 0.01


def textured_view() -> np.ndarray:
    return textured(224, 224).transpose(2, 0, 1)[None]


def test_a_view_in_bfloat16_is_the_same_alone_and_in_any_batch(tiny_tower: Path) -> None:
    info, state, views = tower_info(tiny_tower), tower_state(tiny_tower), some_views(7)

    def features(threads: int, sizes: Sequence[int]) -> Features:
        tower, at, found = OnednnTower(info, state, threads), 0, []
        for size in sizes:
            found.append(tower.encode([ViewBatch(views[at : at + size])])[0].features)
            at += size
        return Features.join(found)

    together = features(2, [7])
    for threads, sizes in ((1, [7]), (3, [1] * 7), (2, [3, 4])):
        again = features(threads, sizes)
        assert np.array_equal(together.class_tokens, again.class_tokens)
        assert np.array_equal(together.embedding, again.embedding)


def test_without_onednn_the_products_are_pytorchs_own(tiny_tower: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info, state, asked = tower_info(tiny_tower), tower_state(tiny_tower), [ViewBatch(some_views(2))]
    with_it = OnednnTower(info, state).encode(asked)[0].features

    def refuses(*given: object) -> None:
        raise RuntimeError("no such products for this processor")

    monkeypatch.setattr("torch.ops.mkldnn._reorder_linear_weight", refuses)
    without = OnednnTower(info, state).encode(asked)[0].features
    assert relative(without.class_tokens, with_it.class_tokens) < 0.02


# --- whole detectors ---
