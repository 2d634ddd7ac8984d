"""Local scores: probes, what patches score by them, and the composites that they are tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from conftest import textured
from hypothesis import given, settings
from hypothesis import strategies as st
from localising.composites import CompositeDraw, compose
from PIL import Image

from nsnet_cli.detector import Detector
from nsnet_cli.errors import UsageError
from nsnet_cli.evaluation.labelled import LabelledPicture, read_manifest
from nsnet_cli.judges.network import Network
from nsnet_cli.judges.patch_scores import patch_scores
from nsnet_cli.tower.probes import ProbeGrid, probes_of
from nsnet_cli.views.plan import View
from nsnet_cli.views.selection import SelectionRecipe, cut_patches, select_patches
from nsnet_cli.weights.file import load_weights
from nsnet_cli.weights.shapes import SeveralLooks


@pytest.fixture(scope="module")
def network(tiny_weights: Path) -> Network:
    return Network.of_weights(load_weights(str(tiny_weights)))


@pytest.fixture(scope="module")
def views() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 3, 224, 224), dtype=np.uint8)


def with_grid(monkeypatch: pytest.MonkeyPatch, grid: ProbeGrid) -> None:
    monkeypatch.setattr("nsnet_cli.judges.network.probes_of", lambda kind, recipe: grid)


@pytest.mark.parametrize("grid", [ProbeGrid(7, 0.06), ProbeGrid(5, 0.16), ProbeGrid(1, 0.3)])
def test_a_probe_looks_around_the_middle_of_its_cell(grid: ProbeGrid) -> None:
    look = grid.look(14)
    assert look.shape == (grid.count, 196)
    for probe in range(grid.count):
        row, column = ((k + 0.5) / grid.cells for k in divmod(probe, grid.cells))
        for token in (0, 13, 77, 195):
            y, x = ((k + 0.5) / 14 for k in divmod(token, 14))
            distance = (y - row) ** 2 + (x - column) ** 2
            assert float(look[probe, token]) == pytest.approx(-distance / (2 * grid.reach**2), rel=1e-4, abs=1e-5)


@given(x=st.floats(-50, 450), y=st.floats(-50, 450))
def test_points_lie_in_the_cell_that_holds_them(x: float, y: float) -> None:
    cell = ProbeGrid(5, 0.1).cell_at(x, y, (20, 40, 300))
    if not (20 <= x < 320 and 40 <= y < 340):
        assert cell is None
    else:
        assert cell is not None
        row, column = divmod(cell, 5)
        assert 20 + 60 * column <= x + 1e-6 and x - 1e-6 <= 20 + 60 * (column + 1)
        assert 40 + 60 * row <= y + 1e-6 and y - 1e-6 <= 40 + 60 * (row + 1)


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_a_probe_that_looks_everywhere_is_the_class_token(
    network: Network, views: np.ndarray, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    with_grid(monkeypatch, ProbeGrid(3, 1e6, late))
    look = network.look(views, "window", probes=True)
    for probe in range(9):
        one = look.probes_seen.rows(np.arange(probe, 27, 9))
        assert np.allclose(one.class_tokens, look.features.class_tokens, atol=1e-4)
        assert np.allclose(one.embedding, look.features.embedding, atol=1e-4)
    with_grid(monkeypatch, ProbeGrid(3, 0.1, late))
    near = network.look(views, "window", probes=True).probes_seen.embedding.reshape(3, 9, -1)
    assert not np.allclose(near[:, 0], near[:, 8], atol=1e-2)


def test_no_other_token_sees_a_probe(network: Network, views: np.ndarray) -> None:
    with_probes, alone = network.look(views, "mosaic", probes=True), network.look(views, "mosaic")
    assert np.allclose(with_probes.features.class_tokens, alone.features.class_tokens, atol=1e-5)
    assert np.allclose(with_probes.features.embedding, alone.features.embedding, atol=1e-5)


def test_of_many_pictures_each_keeps_its_own(network: Network, views: np.ndarray) -> None:
    together = network.look(views, "window", probes=True)
    for n in range(3):
        one, alone = together.of_picture(n), network.look(views[n : n + 1], "window", probes=True)
        assert np.allclose(one.features.embedding, alone.features.embedding, atol=1e-5)
        assert np.allclose(one.probes_seen.embedding, alone.probes_seen.embedding, atol=1e-5)


def test_a_patch_scores_what_the_picture_would_if_its_views_showed_it_alone(
    tiny_weights: Path, picture: Callable[..., Path], network: Network
) -> None:
    """A picture of 900 x 480: some patches lie in the window, others do not."""
    detector = Detector.load(str(tiny_weights))
    path = str(picture("b.png", 900, 480, seed=8))
    result, prepared = detector.scan(path), detector.prepare(path)
    assert prepared.views is not None and result.patches is not None
    assert result.patch_score_kind == "probe-logit"
    mosaic = network.look(prepared.views[:1], "mosaic", probes=True)
    window = network.look(prepared.views[1:], "window", probes=True)
    left, top, side = prepared.windows[1]
    inside = 0
    for k, patch in enumerate(result.patches):
        x, y = patch.x + 16, patch.y + 16
        seen = window.features
        if left <= x < left + side and top <= y < top + side:
            row, column = (y - top) * 5 // side, (x - left) * 5 // side
            seen = window.probes_seen.rows(np.array([row * 5 + column]))
            inside += 1
        alone = network.fused({"mosaic": [mosaic.probes_seen.rows(np.array([k]))], "window": [seen]})
        assert patch.score == pytest.approx(float(alone[0]), abs=0.011)
    assert 0 < inside < 49
    without = Detector.load(str(tiny_weights), patches=False).scan(path)
    assert without.patches is None and without.patch_score_kind is None
    assert without.score == pytest.approx(result.score, abs=1e-5)


def test_patches_of_a_picture_seen_in_several_places_score_on_its_scale(network: Network, views: np.ndarray) -> None:
    several = replace(network, several=SeveralLooks(2.0, 1.0))
    kinds = [("mosaic", 0), ("window", 0), ("window", 1)]
    looks = [network.look(views[n : n + 1], kind, probes=True) for n, (kind, _) in enumerate(kinds)]
    chosen = {
        0: select_patches(cut_patches(np.moveaxis(textured(400, 300), 2, 0), SelectionRecipe()), SelectionRecipe())[0]
    }
    windows = {1: (0, 0, 200), 2: (100, 0, 200)}

    def scores(looked_at: list[View]) -> np.ndarray:
        return patch_scores(several, looks, chosen, windows, looked_at)[0]

    one_place = scores([View("mosaic", 0), View("window", 0), View("window", 1)])
    assert scores([View("mosaic", 0), View("window", 0), View("window", 0, 1)]) == pytest.approx(2 * one_place + 1)


def test_mosaics_have_a_probe_for_each_patch() -> None:
    assert probes_of("mosaic", SelectionRecipe(grid=6)).cells == 6
    assert probes_of("mosaic", SelectionRecipe()).count == SelectionRecipe().count


# --- composites ---


def image(seed: int, size: int = 320) -> Image.Image:
    return Image.fromarray(textured(size, size, seed))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), width=st.integers(224, 400), height=st.integers(224, 400))
def test_a_quarter_to_a_half_is_pasted_and_all_else_is_the_base(seed: int, width: int, height: int) -> None:
    base, other = Image.new("RGB", (width, height), (200, 10, 10)), Image.new("RGB", (width, height), (10, 10, 200))
    made = compose(base, other, Random(seed))
    again = compose(base, other, Random(seed))
    assert np.array_equal(made.pixels, again.pixels) and made.pixels.shape == (height, width, 3)
    assert 0.2 < made.pasted.mean() < 0.55
    # Encoding moves plain colours by little; where the mask says 0 or 1 there is one picture alone.
    clear = np.abs(made.pixels.astype(int)[made.pasted == 0] - (200, 10, 10)).max(1)
    pasted = np.abs(made.pixels.astype(int)[made.pasted == 1] - (10, 10, 200)).max(1)
    assert np.quantile(clear, 0.9) < 40 and np.quantile(pasted, 0.9) < 40
    assert np.allclose(made.generated(1, 0), 1 - made.pasted)


def test_nothing_pasted_is_the_whole_picture() -> None:
    made = compose(image(1), None, Random(3))
    assert not made.pasted.any()
    assert np.abs(made.pixels.astype(int) - np.asarray(image(1))).mean() < 15


def test_composites_are_drawn_from_both_labels_and_the_same_again(manifest: Path) -> None:
    pictures = read_manifest(manifest, "train")
    draw, again = CompositeDraw(pictures, 224, 240), CompositeDraw(pictures, 224, 240)
    drawn = [draw(k) for k in range(40)]
    assert {d.labels for d in drawn} == {(0, 1), (1, 0), (0, 0), (0, -1), (1, -1)}
    assert np.array_equal(drawn[7].made.pixels, again(7).made.pixels)
    for d in drawn:
        assert d.made.pixels.shape == (240, 240, 3)
        if d.labels in ((0, 1), (1, 0)):  # generated pictures of this manifest are dark
            generated = d.made.generated(*d.labels)
            values = d.made.pixels.mean(2)
            assert values[generated > 0.95].mean() < values[generated < 0.05].mean() - 30


def test_composites_need_both_labels(manifest: Path) -> None:
    real = [replace(p) for p in read_manifest(manifest, "train") if p.label == 0]
    assert all(isinstance(p, LabelledPicture) for p in real)
    with pytest.raises(UsageError, match="real and generated"):
        CompositeDraw(real, 224, 240)
