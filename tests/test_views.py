"""What the network is shown of a picture."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Literal

import numpy as np
import pytest
from conftest import textured
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nsnet_cli.views.plan import View, fuse, kinds_of, make_views, plan_views, scale_window, window_places
from nsnet_cli.views.selection import PatchGrid, SelectionRecipe, build_mosaic, cut_patches, select_patches

RECIPE = SelectionRecipe(window_by="entropy", looks=())


def pixels(width: int, height: int) -> np.ndarray:
    return textured(width, height, seed=1).transpose(2, 0, 1)


def test_mosaics_and_windows_take_turns_and_the_paper_has_mosaics_alone() -> None:
    assert plan_views(RECIPE, 3) == [View("mosaic", 0), View("window", 0), View("mosaic", 1)]
    assert plan_views(SelectionRecipe(window=0), 2) == [View("mosaic", 0), View("mosaic", 1)]
    assert kinds_of(plan_views(RECIPE, 4)) == ["mosaic", "window"]


@settings(deadline=None, max_examples=15)
@given(st.integers(385, 1400), st.integers(0, 60), st.integers(0, 60))
def test_a_large_window_is_scaled_as_pillow_scales_the_whole_square(side: int, left: int, top: int) -> None:
    image = textured(side + 60, side + 60, seed=side)
    square = Image.fromarray(image).crop((left, top, left + side, top + side))
    expected = square.resize((384, 384), Image.BICUBIC).resize((224, 224), Image.BICUBIC)
    found = scale_window(image.transpose(2, 0, 1), RECIPE, left, top, side)
    assert np.array_equal(found, np.asarray(expected).transpose(2, 0, 1))


def test_views_are_the_mosaics_of_selection_and_the_centre_scaled_by_pillow() -> None:
    image = pixels(900, 640)
    views = make_views(image, SelectionRecipe(window_by="centre", looks=()), 3)
    grid = cut_patches(image, RECIPE)
    for position, selection in zip((0, 2), select_patches(grid, RECIPE, 2), strict=True):
        assert np.array_equal(views.pixels[position], build_mosaic(grid, selection, RECIPE))
        assert np.array_equal(views.selections[position].indices, selection.indices)
    assert views.windows == {1: (258, 128, 384)}
    centre = Image.fromarray(textured(900, 640, seed=1)).crop((258, 128, 642, 512)).resize((224, 224), Image.BICUBIC)
    assert np.array_equal(views.pixels[1].transpose(1, 2, 0), np.array(centre))


def test_the_window_goes_where_the_texture_is_and_flat_ground_comes_last() -> None:
    """A photograph of mostly sky: the judge is shown what lies below it."""
    image = np.full((3, 900, 1300), 128, np.uint8)
    image[:, 516:, 916:] = pixels(384, 384)
    image[:, :384, :384] = pixels(384, 384) // 4 + 96
    views = make_views(image, RECIPE, 6)
    assert views.windows == {1: (916, 516, 384), 3: (0, 0, 384), 5: (458, 258, 384)}


def test_a_large_picture_is_looked_at_at_both_ends_and_a_crop_once() -> None:
    recipe = SelectionRecipe()
    views = make_views(pixels(1600, 1280), recipe, 2)
    assert views.plan == (View("mosaic", 0), View("window", 0), View("window", 0, 1))
    # Squares of 384 in 640 pixels of the shorter side.
    assert views.windows == {1: (0, 256, 768), 2: (832, 256, 768)}
    left = Image.fromarray(textured(1600, 1280, seed=1)).crop((0, 256, 768, 1024))
    scaled = left.resize((384, 384), Image.BICUBIC).resize((224, 224), Image.BICUBIC)
    assert np.array_equal(views.pixels[1].transpose(1, 2, 0), np.array(scaled))
    # No picture is scaled up, and what would be seen twice is seen once.
    assert make_views(pixels(500, 700), recipe, 2).windows == {1: (58, 0, 384), 2: (58, 316, 384)}
    for size in ((384, 384), (300, 310), (40, 39), (420, 400)):
        crop = make_views(pixels(*size), recipe, 2)
        assert len(crop.plan) == len(crop.pixels) == 2
    # Who asks for more views gets more mosaics, and windows at native scale.
    more = make_views(pixels(1600, 1280), recipe, 4)
    assert more.plan[2:] == (View("mosaic", 1), View("window", 1), View("window", 0, 1))
    assert more.windows[3] == (608, 448, 384)


@settings(deadline=None, max_examples=40)
@given(
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    looks=st.lists(st.tuples(st.integers(0, 1500), st.floats(0, 1)), min_size=1, max_size=4),
)
def test_looks_lie_inside_and_none_is_seen_twice(width: int, height: int, looks: list[tuple[int, float]]) -> None:
    views = make_views(np.zeros((3, height, width), np.uint8), SelectionRecipe(looks=tuple(looks)), 2)
    squares = list(views.windows.values())
    assert len(views.pixels) == len(views.plan) and len(set(squares)) == len(squares)
    for left, top, side in squares:
        assert 0 <= left <= width - side and 0 <= top <= height - side and side <= min(width, height)


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 1500),
    height=st.integers(1, 1500),
    entropy=st.randoms(use_true_random=False),
    by=st.sampled_from(["centre", "entropy"]),
)
def test_windows_lie_inside_are_as_large_as_they_may_be_and_follow_a_plain_mean(
    width: int, height: int, entropy: Random, by: Literal["centre", "entropy"]
) -> None:
    rows, columns = max(1, height // 32), max(1, width // 32)
    values = np.array([entropy.uniform(0, 9) for _ in range(rows * columns)])
    grid = PatchGrid(np.empty((3, rows * 32, columns * 32), np.uint8), values, values == 0, 32, exact=True)
    places = window_places(grid, width, height, SelectionRecipe(window_by=by))  # at native scale
    assert len(places) == 5
    for left, top, side in places:
        assert side == min(width, height, RECIPE.window)
        assert 0 <= left <= width - side and 0 <= top <= height - side
    if by == "centre":
        assert places[0][:2] == ((width - places[0][2]) // 2, (height - places[0][2]) // 2)
        return

    def plain_mean(place: tuple[int, int, int]) -> float:
        left, top, side = place
        inside = [
            float(values[row * columns + column])
            for row in range(rows)
            for column in range(columns)
            if left <= 32 * column + 16 < left + side and top <= 32 * row + 16 < top + side
        ]
        return sum(inside) / len(inside) if inside else float("nan")

    means = [plain_mean(place) for place in places]
    if all(mean == mean for mean in means):
        assert all(a > b - 2e-3 for a, b in pairwise(means))


def test_a_picture_with_room_for_one_window_has_one_place() -> None:
    assert set(make_views(pixels(384, 384), RECIPE, 6).windows.values()) == {(0, 0, 384)}


@pytest.mark.parametrize("size", [(1, 1), (40, 900), (224, 224)])
def test_small_and_narrow_pictures_fill_every_view(size: tuple[int, int]) -> None:
    views = make_views(pixels(*size), RECIPE, 2)
    assert views.pixels.shape == (2, 3, 224, 224) and views.pixels.dtype == np.uint8


def test_fusion_weighs_kinds_not_views() -> None:
    weights = {"mosaic": 0.25, "window": 0.75}
    assert fuse({"mosaic": [1.0, 3.0], "window": [4.0]}, weights) == pytest.approx(0.25 * 2 + 0.75 * 4)
    assert fuse({"mosaic": [1.0, 3.0]}, weights) == pytest.approx(2.0)
