"""What the network is shown of a picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import textured
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nsnet_cli.selection import SelectionRecipe, build_mosaic, cut_patches, select_patches
from nsnet_cli.views import View, fuse, kinds_of, make_views, place_window, plan_views

RECIPE = SelectionRecipe()


def pixels(width: int, height: int) -> torch.Tensor:
    return torch.from_numpy(textured(width, height, seed=1)).permute(2, 0, 1).contiguous()


def test_mosaics_and_windows_take_turns_and_the_paper_has_mosaics_alone() -> None:
    assert plan_views(RECIPE, 3) == [View("mosaic", 0), View("window", 0), View("mosaic", 1)]
    assert plan_views(SelectionRecipe(window=0), 2) == [View("mosaic", 0), View("mosaic", 1)]
    assert kinds_of(plan_views(RECIPE, 4)) == ["mosaic", "window"]


def test_views_are_the_mosaics_of_selection_and_the_centre_scaled_by_pillow() -> None:
    image = pixels(900, 640)
    views = make_views(image, RECIPE, 3)
    grid = cut_patches(image, RECIPE)
    for position, selection in zip((0, 2), select_patches(grid, RECIPE, 2), strict=True):
        assert torch.equal(views.pixels[position], build_mosaic(grid, selection, RECIPE))
        assert torch.equal(views.selections[position].indices, selection.indices)
    assert views.windows == {1: (258, 128, 384)}
    centre = Image.fromarray(textured(900, 640, seed=1)).crop((258, 128, 642, 512)).resize((224, 224), Image.BICUBIC)
    assert np.array_equal(views.pixels[1].permute(1, 2, 0).numpy(), np.array(centre))


@settings(deadline=None, max_examples=60)
@given(width=st.integers(1, 5000), height=st.integers(1, 5000), number=st.integers(0, 9))
def test_a_window_lies_inside_and_is_as_large_as_it_may_be(width: int, height: int, number: int) -> None:
    left, top, side = place_window(width, height, RECIPE, number)
    assert side == min(width, height, RECIPE.window)
    assert 0 <= left <= width - side and 0 <= top <= height - side


@pytest.mark.parametrize("size", [(1, 1), (40, 900), (224, 224)])
def test_small_and_narrow_pictures_fill_every_view(size: tuple[int, int]) -> None:
    views = make_views(pixels(*size), RECIPE, 2)
    assert views.pixels.shape == (2, 3, 224, 224) and views.pixels.dtype == torch.uint8


def test_fusion_weighs_kinds_not_views() -> None:
    weights = {"mosaic": 0.25, "window": 0.75}
    assert fuse({"mosaic": [1.0, 3.0], "window": [4.0]}, weights) == pytest.approx(0.25 * 2 + 0.75 * 4)
    assert fuse({"mosaic": [1.0, 3.0]}, weights) == pytest.approx(2.0)
