"""Patch selection against a plain reference, and what must hold for any picture."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import textured
from hypothesis import given, settings
from hypothesis import strategies as st

from nsnet_cli.views.selection import SelectionRecipe, build_mosaic, cut_patches, select_patches, spectral_entropy

RECIPE = SelectionRecipe()


def image_of(width: int, height: int, seed: int = 0) -> np.ndarray:
    return textured(width, height, seed).transpose(2, 0, 1)


def plain_entropy(patch: np.ndarray, *, magnitude: bool, dc: bool) -> float:
    """One patch, term by term, as method.md writes it."""
    grey = 0.299 * patch[:, :, 0] + 0.587 * patch[:, :, 1] + 0.114 * patch[:, :, 2]
    spectrum = np.abs(np.fft.fft2(grey.astype(np.float64)))
    if not magnitude:
        spectrum = spectrum**2
    values = spectrum.flatten().tolist()
    if not dc:
        values[0] = 0.0
    total = sum(values)
    return -sum(v / total * math.log2(v / total + 1e-12) for v in values)


def plain_first_view(image: np.ndarray) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Corners of the 24 lowest and the 25 highest patches."""
    entropies = []
    for y in range(0, image.shape[0] // 32 * 32, 32):
        for x in range(0, image.shape[1] // 32 * 32, 32):
            entropies.append((plain_entropy(image[y : y + 32, x : x + 32], magnitude=False, dc=True), y, x))
    ordered = sorted(entropies)
    return {(x, y) for _, y, x in ordered[:24]}, {(x, y) for _, y, x in ordered[-25:]}


@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("dc", [False, True])
def test_entropy_equals_the_plain_formula(magnitude: bool, dc: bool) -> None:
    image = textured(160, 96)
    recipe = SelectionRecipe(spectrum="magnitude" if magnitude else "power", dc=dc)
    grid = cut_patches(image_of(160, 96), recipe)
    plain = [
        plain_entropy(image[y : y + 32, x : x + 32], magnitude=magnitude, dc=dc)
        for y in range(0, 96, 32)
        for x in range(0, 160, 32)
    ]
    assert grid.entropy.tolist() == pytest.approx(plain, abs=1e-5)
    chosen = select_patches(grid, recipe)[0]
    assert chosen.entropy.tolist() == pytest.approx([plain[k] for k in chosen.indices], abs=1e-7)


@settings(deadline=None, max_examples=25)
@given(
    size=st.tuples(st.integers(32, 900), st.integers(32, 900)),
    contrast=st.sampled_from([0.004, 0.02, 0.3, 1.0]),
    levels=st.sampled_from([2, 9, 256]),
    tiled=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_choice_is_that_of_float64(
    size: tuple[int, int], contrast: float, levels: int, tiled: bool, seed: int
) -> None:
    """Faint, posterised and repeating pictures are where float32 could mistake one patch for another."""
    image = image_of(*size, seed=seed).astype(float)
    if tiled:
        image = np.tile(image[:, :48, :80], (1, size[1] // 48 + 1, size[0] // 80 + 1))[:, : size[1], : size[0]]
    image = (np.floor(image * contrast * levels / 256) * (256 / levels)).clip(0, 255).astype(np.uint8)
    grid = cut_patches(image, RECIPE)
    patches = grid.cut(np.arange(len(grid.entropy)))
    grey = np.einsum("ncij,c->nij", patches, (0.299, 0.587, 0.114))
    exact = replace(grid, entropy=spectral_entropy(grey, RECIPE), exact=True)
    assert np.abs(exact.entropy - grid.entropy).max() < 3e-6
    for fast, slow in zip(select_patches(grid, RECIPE, 2), select_patches(exact, RECIPE, 2), strict=True):
        assert np.array_equal(fast.indices, slow.indices)
        assert np.array_equal(fast.entropy, slow.entropy)


@pytest.mark.parametrize(("width", "height"), [(384, 384), (400, 300), (256, 256), (227, 391)])
def test_first_view_is_the_papers_choice(width: int, height: int) -> None:
    grid = cut_patches(image_of(width, height), RECIPE)
    selection = select_patches(grid, RECIPE)[0]
    low, high = plain_first_view(textured(width, height))
    corners = [selection.corner(k) for k in range(49)]
    assert {c for c, h in zip(corners, selection.is_high.tolist(), strict=True) if not h} == low
    assert {c for c, h in zip(corners, selection.is_high.tolist(), strict=True) if h} == high


def test_mosaic_is_made_of_the_patches_at_the_reported_corners() -> None:
    image = image_of(384, 320)
    grid = cut_patches(image, RECIPE)
    selection = select_patches(grid, RECIPE)[0]
    mosaic = build_mosaic(grid, selection, RECIPE)
    assert mosaic.shape == (3, 224, 224)
    for k in range(49):
        x, y = selection.corner(k)
        row, column = divmod(k, 7)
        tile = mosaic[:, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        assert np.array_equal(tile, image[:, y : y + 32, x : x + 32])


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 420), height=st.integers(1, 420), views=st.integers(1, 4))
def test_any_size_gives_full_mosaics_and_the_same_twice(width: int, height: int, views: int) -> None:
    image = image_of(width, height)
    first = select_patches(cut_patches(image, RECIPE), RECIPE, views)
    second = select_patches(cut_patches(image.copy(), RECIPE), RECIPE, views)
    total = max(1, width // 32) * max(1, height // 32)
    for a, b in zip(first, second, strict=True):
        assert a.indices.shape == (49,)
        assert np.array_equal(a.indices, b.indices)
        assert int(a.indices.min()) >= 0 and int(a.indices.max()) < total
    used = {int(i) for selection in first for i in selection.indices}
    assert len(used) == min(total, RECIPE.reference_patches, 49 * views)


def test_views_do_not_overlap_until_all_patches_are_used() -> None:
    grid = cut_patches(image_of(384, 384), RECIPE)
    one, two = select_patches(grid, RECIPE, 2)
    assert not set(one.indices.tolist()) & set(two.indices.tolist())


def test_on_a_large_picture_the_tails_keep_their_share() -> None:
    """Of 1,600 patches not the outer 49 are taken but ranks spread over the outer third."""
    grid = cut_patches(image_of(1280, 1280), RECIPE)
    selection = select_patches(grid, RECIPE)[0]
    rank_of = np.argsort(np.argsort(grid.entropy)) / (len(grid.entropy) - 1)
    ranks = rank_of[selection.indices]
    assert ranks[~selection.is_high].max() == pytest.approx(23 / 143, abs=0.01)
    assert ranks[selection.is_high].min() == pytest.approx(1 - 24 / 143, abs=0.01)


def test_flat_patches_are_left_out_while_others_are_there() -> None:
    image = image_of(384, 384)
    image[:, :96] = 0  # a letter box
    grid = cut_patches(image, RECIPE)
    selection = select_patches(grid, RECIPE)[0]
    assert grid.distinct == 108
    assert all(selection.corner(k)[1] >= 96 for k in range(49))


def test_ties_go_by_position() -> None:
    tile = image_of(32, 32)
    grid = cut_patches(np.tile(tile, (1, 8, 8)), RECIPE)
    selection = select_patches(grid, RECIPE)[0]
    assert sorted(selection.indices[~selection.is_high].tolist()) == list(range(24))
    assert sorted(selection.indices[selection.is_high].tolist()) == list(range(39, 64))


@pytest.mark.parametrize(("size", "views"), [((224, 224), 1), ((448, 224), 2), ((255, 225), 1)])
def test_of_a_picture_of_few_patches_as_many_are_low_as_the_recipe_says(size: tuple[int, int], views: int) -> None:
    for selection in select_patches(cut_patches(image_of(*size), RECIPE), RECIPE, views):
        assert selection.is_high.sum() == RECIPE.high


def test_a_plain_picture_is_still_a_mosaic() -> None:
    grid = cut_patches(np.full((3, 256, 256), 200, np.uint8), RECIPE)
    assert grid.distinct == 0
    assert select_patches(grid, RECIPE)[0].indices.shape == (49,)
    assert np.isfinite(spectral_entropy(np.zeros((2, 32, 32)), RECIPE)).all()
