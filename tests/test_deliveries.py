"""Deliveries: specs that say what they do, pixels that hang on picture, spec and seed alone."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from conftest import textured
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nsnet_cli.errors import UsageError
from nsnet_cli.training.chains import random_chain, random_chain_mark
from nsnet_cli.views.deliveries import GRID, MILD, Delivery, Mirror, Resize, specs
from nsnet_cli.weights.file import weights_info
from nsnet_cli.weights.store import DEFAULT_WEIGHTS, find_weights

PICTURE = Image.fromarray(textured(200, 120))


@pytest.mark.parametrize("delivery", [*GRID, *MILD, Delivery.parse("noise:3:7+mirror")], ids=lambda d: d.spec)
def test_a_spec_says_all_and_the_same_seed_gives_the_same_pixels(delivery: Delivery) -> None:
    assert Delivery.parse(delivery.spec) == delivery
    first, again = delivery(PICTURE, "seed"), Delivery.parse(delivery.spec)(PICTURE, "seed")
    assert first.mode == "RGB" and np.array_equal(np.array(first), np.array(again))
    assert not np.array_equal(np.array(first.resize(PICTURE.size)), np.array(PICTURE))


@given(st.floats(0.05, 8, allow_nan=False), st.sampled_from(["bilinear", "bicubic", "lanczos"]))
def test_any_number_survives_its_spec(factor: float, kernel: str) -> None:
    delivery = Delivery((Resize(factor, kernel), Mirror()))
    assert Delivery.parse(delivery.spec) == delivery


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ("resize:0.5", (100, 60)),
        ("fit:100", (100, 60)),
        ("fit:5000", (200, 120)),
        ("fit:16", (16, 10)),
        ("crop:8", (192, 112)),
        ("cutout:0.5", (100, 60)),
        ("screenshot:1", (200, 140)),
        ("resize:0.5+fit:50", (50, 30)),
    ],
)
def test_sizes(spec: str, size: tuple[int, int]) -> None:
    assert Delivery.parse(spec)(PICTURE, "").size == size


def test_a_strip_of_any_length_fits() -> None:
    assert Delivery.parse("fit:512")(Image.new("RGB", (16_000, 400)), "").size == (512, 13)


def test_noise_hangs_on_the_seed_unless_it_has_its_own() -> None:
    def pixels(spec: str, seed: str) -> np.ndarray:
        return np.array(Delivery.parse(spec)(PICTURE, seed)).astype(int)

    assert not np.array_equal(pixels("noise:4", "a"), pixels("noise:4", "b"))
    assert np.array_equal(pixels("noise:4:1", "a"), pixels("noise:4:1", "b"))
    inside = (np.array(PICTURE) > 30) & (np.array(PICTURE) < 225)
    assert (pixels("noise:4", "a") - np.array(PICTURE))[inside].std() == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("", "none of jpeg"),
        ("gif:3", "'gif' is none of"),
        ("jpeg", "QUALITY"),
        ("jpeg:101", "1-100"),
        ("jpeg:75:411", "420|444"),
        ("resize:nan", "FACTOR"),
        ("resize:x", "could not convert"),
        ("resize:0.5:cubic", "KERNEL"),
        ("jpeg:75+", "none of jpeg"),
        ("mirror:1", "expected mirror"),
        ("noise:4:-1", "SEED 0 or more"),
    ],
)
def test_a_wrong_spec_is_refused_in_words(spec: str, word: str) -> None:
    with pytest.raises(UsageError, match=word.replace("|", r"\|")):
        Delivery.parse(spec)


def test_the_same_delivery_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"resize:0\.5 is given twice"):
        specs([Delivery.parse("resize:0.5"), Delivery.parse("resize:0.50:bicubic")])


@pytest.mark.parametrize(
    ("spec", "pixel", "expected"),
    [
        ("brightness:1.5", (100, 40, 200), (150, 60, 255)),
        ("contrast:2", (100, 100, 100), (100, 100, 100)),
        ("saturation:0", (100, 100, 200), (111, 111, 111)),
        ("saturation:1", (100, 40, 200), (100, 40, 200)),
        ("gamma:1", (100, 40, 200), (100, 40, 200)),
        ("gamma:2", (255, 0, 128), (255, 0, 64)),
    ],
)
def test_what_edits_do_to_a_flat_picture(
    spec: str, pixel: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    assert Delivery.parse(spec)(Image.new("RGB", (8, 8), pixel), "").getpixel((3, 3)) == expected


def test_training_draws_what_the_shipped_weights_were_trained_on() -> None:
    assert weights_info(find_weights(DEFAULT_WEIGHTS)).training["deliveries"] == random_chain_mark()


def test_training_draws_edits_and_codecs_of_every_kind() -> None:
    drawn = Delivery(tuple(step for k in range(300) for step in random_chain(Random(k), (384, 384)))).spec
    edits = ("brightness", "contrast", "saturation", "gamma", "resize", "blur", "sharpen", "denoise", "noise", "mirror")
    for name in (*edits, "jpeg", "webp", "avif"):
        assert name in drawn


def test_noise_reduction_takes_grains_and_sharpening_lifts_edges_and_flat_ground_stays() -> None:
    image = Image.new("RGB", (16, 16), (100, 100, 100))
    for spec in ("denoise:1", "sharpen:100", "avif:90"):
        assert Delivery.parse(spec)(image, "").getpixel((8, 8)) == pytest.approx((100,) * 3, abs=2)
    image.putpixel((8, 8), (250, 250, 250))
    assert Delivery.parse("denoise:1")(image, "").getpixel((8, 8)) == (100, 100, 100)
    assert Delivery.parse("denoise:0.5")(image, "").getpixel((8, 8)) == (175, 175, 175)
    image.paste((150, 150, 150), (8, 0, 16, 16))
    edge = Delivery.parse("sharpen:100")(image, "")
    assert edge.getpixel((7, 4))[0] < 100 and edge.getpixel((8, 4))[0] > 150  # type: ignore[index]
    for bad in ("avif:0", "sharpen:600", "denoise:2"):
        with pytest.raises(UsageError):
            Delivery.parse(bad)
