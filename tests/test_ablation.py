"""The ablation: its judges on cases whose answer is known, and its document, which is what was measured."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import pytest
import torch
from ablating import frozen, ways
from ablating.judging import Study, probe, probe_elsewhere
from ablating.kept import even_subset
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from nsnet_cli.disk import sha256_of
from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.weights.store import TOWER_NAME, find_weights


def _ablation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablation", ROOT / "benchmarks" / "ablation.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _pictures(groups: int = 12, each: int = 10) -> list[LabelledPicture]:
    return [
        LabelledPicture(Path(), f"{label}-{group}-{k}", label, f"g{group}x{label}", "", "")
        for label in (0, 1)
        for group in range(groups)
        for k in range(each)
    ]


def _features(study: Study, gap: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(study.pictures), 16, generator=generator, dtype=torch.float64)
    x[:, 0] += gap * torch.from_numpy(study.labels)
    return x


def test_a_probe_finds_what_is_there_and_nothing_where_nothing_is() -> None:
    study = Study.grouped(_pictures(), 4)
    assert study.auc(probe(study, _features(study, 4.0))).mean() > 0.98
    assert 0.35 < study.auc(probe(study, _features(study, 0.0))).mean() < 0.65


def test_a_probe_tried_elsewhere_is_the_one_that_was_fitted() -> None:
    study = Study.grouped(_pictures(), 4)
    x = _features(study, 4.0)
    scores = probe_elsewhere(study, x, x)
    assert study.auc(scores).mean() > 0.98


def test_an_arm_that_is_the_baseline_under_another_name_changes_nothing() -> None:
    study = Study.grouped(_pictures(), 4)
    scores = probe(study, _features(study, 1.0))
    better = scores + 3.0 * study.labels
    found = study.compare({"base": [scores], "same": [scores], "better": [better]}, "base")
    assert found["base"].change is None
    same, best = found["same"], found["better"]
    assert (same.change, same.low, same.high) == (0.0, 0.0, 0.0)
    assert (
        best.low is not None and best.low > 0.0 and best.change == pytest.approx(best.auc - found["base"].auc, abs=2e-4)
    )


def test_an_even_subset_takes_as_many_of_each_group_of_both_labels() -> None:
    pictures = _pictures(groups=3, each=10)
    chosen = even_subset(pictures, 30)
    counts = {p.group: sum(q.group == p.group for q in chosen) for p in chosen}
    assert set(counts.values()) == {5} and len(counts) == 6
    assert even_subset(pictures, 1_000) == pictures


@given(rank=st.integers(1, 100), seed=st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_controls_are_orthonormal_and_take_away_their_share(rank: int, seed: int) -> None:
    basis = frozen.random_subspace(rank, seed)
    assert torch.allclose(basis @ basis.T, torch.eye(rank, dtype=basis.dtype), atol=1e-9)
    f = torch.randn(40, 512, generator=torch.Generator().manual_seed(seed))
    features = VitFeatures(f, torch.zeros(40, 12, 768))
    assert 0.0 < frozen.removed(features, basis) < 1.0
    assert torch.allclose(
        frozen.projected(features, basis) @ basis.T, torch.zeros(40, rank, dtype=basis.dtype), atol=1e-9
    )


@pytest.mark.parametrize("side", [256, 384])
def test_every_way_shows_224_pixels_of_the_picture(side: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, side, side), dtype=np.uint8)
    for name, way in ways.WAYS.items():
        shown = way(picture, Random("a"))
        assert shown.shape == (3, 224, 224) and shown.dtype == np.uint8, name
        assert np.array_equal(shown, way(picture, Random("a"))), name
        if name != "resized":  # pixels of the picture, none of them made
            assert _colours(shown) <= _colours(picture), name


def _colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, picture.reshape(3, -1).T.tolist()))


def test_the_document_says_what_was_measured_with_the_shipped_tower() -> None:
    ablation = _ablation()
    figures = json.loads(ablation.RESULT.read_text("utf-8"))
    assert figures["tower_sha256"] == sha256_of(find_weights(TOWER_NAME))
    assert ablation.DOCUMENT.read_text("utf-8") == ablation.render(figures)
