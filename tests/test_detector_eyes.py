"""What each published detector sees, and what it does not: its crops, residuals, bands and layers."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import torch
from toy_detectors import (
    EMBED,
    SIDE,
    learnt,
    local,
    quantised,
    scene,
    thin,
)

from nsnet_cli.detectors.crops import Crops, at_least
from nsnet_cli.detectors.layers.network import evened
from nsnet_cli.detectors.layers.resnet import Bottleneck
from nsnet_cli.detectors.layers.rich_model import rich_filters
from nsnet_cli.detectors.layers.spectrum import high_pass, high_pass_matrix
from nsnet_cli.detectors.layers.wavelet import haar
from nsnet_cli.detectors.methods.aide import grades
from nsnet_cli.detectors.methods.dffreq import SlidingWindowAttention, phase_alone
from nsnet_cli.detectors.methods.freqnet import FrequencyBlock
from nsnet_cli.detectors.methods.ladeda import PATCH, STEP
from nsnet_cli.detectors.methods.npr import neighbouring_pixels
from nsnet_cli.detectors.methods.vibnet import VibNet
from nsnet_cli.detectors.registry import find_detector


def test_crops_are_parts_of_the_picture_as_it_is() -> None:
    pixels = np.arange(3 * 300 * 400, dtype=np.uint32).astype(np.uint8).reshape(3, 300, 400)
    pixels[0] = np.arange(300)[:, None] % 251
    views = Crops(side=128, count=5).look(pixels)
    assert views.shape == (5, 3, 128, 128)
    assert np.array_equal(views[0], pixels[:, 86:214, 136:264])
    assert len({view.tobytes() for view in views}) == 5
    # Where there is next to no room beside the first, others would show the same.
    assert len(Crops(side=280, count=5).look(pixels[:, :, :300])) == 1
    rng = Random(0)
    for _ in range(20):
        cut = Crops(learn=64).draw(pixels, rng)
        rows = cut[0, :, 0].astype(int)
        assert set(np.diff(rows) % 251) == {1} and np.ptp(cut[0], axis=1).max() == 0


def test_small_pictures_go_on_in_the_mirror() -> None:
    pixels = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3)
    grown = at_least(pixels, 8)
    assert grown.shape == (3, 8, 8)
    assert np.array_equal(grown[:, :4, :3], pixels) and np.array_equal(grown[:, 4:8, :3], pixels[:, ::-1])
    assert at_least(pixels, 3) is pixels


def test_cnn_spot_blurs_and_saves_half_of_what_it_learns_from() -> None:
    eyes = find_detector("cnn-spot").eyes
    assert eyes is not None
    pixels = quantised(scene(np.random.default_rng(0), 128))
    plain = {pixels.tobytes(), pixels[:, :, ::-1].tobytes()}
    rng = Random(0)
    drawn = [eyes.draw(pixels, rng) for _ in range(400)]
    untouched = np.mean([np.ascontiguousarray(view).tobytes() in plain for view in drawn])
    assert 0.18 < untouched < 0.32  # neither blurred nor saved: a quarter
    assert np.array_equal(Crops(side=128).look(pixels), replace(eyes, side=128).look(pixels))  # type: ignore[type-var]


def test_safe_masks_turns_and_jitters_only_what_it_learns_from() -> None:
    eyes = find_detector("safe").eyes
    assert eyes is not None
    bright = np.full((3, 256, 256), 200, np.uint8)
    assert (eyes.look(bright) == 200).all()
    rng = Random(1)
    drawn = [eyes.draw(bright, rng) for _ in range(200)]
    dark = np.array([(view == 0).all(axis=0).mean() for view in drawn])
    assert 0.3 < (dark > 0.001).mean() < 0.7 and dark.max() <= 0.76
    values = {int(view.max()) for view in drawn}
    assert len(values) > 20  # brightness is jittered
    stripes = np.zeros((3, 256, 256), np.uint8)
    stripes[:, :, ::8] = 255
    turned = [eyes.draw(stripes, rng) for _ in range(40)]
    upright = [np.ptp(view[:, view.max(axis=(0, 2)) > 0], axis=1).max() == 0 for view in turned]
    assert 0 < np.mean(upright) < 1


def test_aide_takes_patches_of_highest_and_lowest_frequency() -> None:
    rng = np.random.default_rng(0)
    pixels = np.full((3, 128, 160), 90, np.uint8)
    pixels[:, 32:64, 64:96] = rng.integers(0, 256, (3, 32, 32))
    pixels[:, 96:128, 0:32] = rng.integers(60, 120, (3, 32, 32))
    eyes = find_detector("aide").eyes
    assert eyes is not None
    view = eyes.look(pixels)[0]
    assert np.array_equal(view[0], pixels[:, 32:64, 64:96]) and np.array_equal(view[1], pixels[:, 96:128, 0:32])
    assert (view[2:] == 90).all()
    # The grade is that of the paper's formula, term by term.
    patch = pixels[:, 32:64, 64:96]
    luma = np.tensordot([0.299, 0.587, 0.114], patch.astype(float), (0, 0))
    spectrum = scipy.fft.dctn(luma, norm="ortho")
    rows, columns = np.indices((32, 32))
    expected = sum(
        2**k * np.log1p(np.abs(spectrum[(rows + columns >= k * 64 / 6) & (rows + columns < (k + 1) * 64 / 6)])).sum()
        for k in range(6)
    )
    assert grades(patch[None])[0] == pytest.approx(expected, rel=1e-4)


# --- the parts, and what they do not see ---


def test_npr_of_what_was_upsampled_by_repetition_is_nothing() -> None:
    x = torch.randint(0, 256, (2, 3, 17, 24)).float()
    repeated = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert neighbouring_pixels(repeated).abs().max() == 0
    residual = neighbouring_pixels(x)
    assert residual.shape == (2, 3, 16, 24) and residual[:, :, ::2, ::2].abs().max() == 0
    assert torch.equal(residual[:, :, 1::2, ::2], x[:, :, 1:16:2, ::2] - x[:, :, :16:2, ::2])


@pytest.mark.parametrize("name", ["npr", "safe", "freqnet"])
def test_residual_detectors_do_not_see_brightness(name: str) -> None:
    pixels = quantised(scene(np.random.default_rng(1), 64) * 0.4 + 60)
    brighter = pixels + 30
    assert brighter.max() < 255
    assert torch.allclose(local(name, pixels), local(name, brighter), atol=1e-3)
    other = quantised(scene(np.random.default_rng(2), 64) * 0.4 + 60)
    assert not torch.allclose(local(name, pixels), local(name, other), atol=1e-3)


def test_safe_does_not_see_what_is_alike_along_rows_or_columns() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(80, 120, (3, 64, 64)).astype(np.uint8)
    edges = rng.integers(0, 60, 64).astype(np.uint8)
    assert torch.allclose(local("safe", pixels), local("safe", pixels + edges[None, None, :]), atol=1e-4)
    assert torch.allclose(local("safe", pixels), local("safe", pixels + edges[None, :, None]), atol=1e-4)


def test_freqnet_does_not_see_slow_waves() -> None:
    rows, columns = np.indices((64, 64))
    slow = 40 * np.cos(2 * np.pi * (rows * 5 + columns * 9) / 64)
    fast = 40 * np.cos(2 * np.pi * (rows * 5 + columns * 20) / 64)
    x = torch.from_numpy(slow + fast).float()[None, None]
    assert torch.allclose(high_pass(x)[0, 0], torch.from_numpy(fast).float(), atol=1e-3)
    projection = high_pass_matrix(16)
    assert torch.allclose(projection @ projection, projection, atol=1e-5)
    assert torch.allclose(projection @ torch.ones(16), torch.zeros(16), atol=1e-5)
    quick = torch.tensor([1.0, -1.0] * 8)
    assert torch.allclose(projection @ quick, quick, atol=1e-5)
    # A convolution in the Fourier domain goes on in gradients, also where the high-pass has left nothing.
    block = FrequencyBlock(4)
    y = torch.zeros(1, 4, 16, 16, requires_grad=True)
    block(y).square().sum().backward()
    assert y.grad is not None and y.grad.isfinite().all()


@pytest.mark.parametrize("name", ["ladeda", "tiny-ladeda"])
def test_a_score_hangs_on_nine_by_nine_pixels_alone(name: str) -> None:
    pixels = quantised(scene(np.random.default_rng(1), 65))
    before = local(name, pixels)
    step = (65 - PATCH) // (len(before) - 1)
    assert step == (STEP if name == "ladeda" else STEP // 2)
    i, j = 3, 2
    outside = np.ones((65, 65), bool)
    outside[step * i : step * i + PATCH, step * j : step * j + PATCH] = False
    changed = pixels.copy()
    changed[:, outside] = 255 - changed[:, outside]
    after = local(name, changed)
    assert after[i, j] == pytest.approx(before[i, j].item(), abs=1e-5)
    assert (after != before).sum() > 0.8 * before.numel()
    # Patches reach from the first pixel to the last: the picture's border counts for those along it, and for no other.
    for row, along in ((0, 0), (-1, -1)):
        for turned in (False, True):
            touched = pixels.copy()
            touched[(slice(None), slice(None), row) if turned else (slice(None), row)] ^= 128
            moved = (local(name, touched) != before).numpy()
            moved = moved.T if turned else moved
            assert moved[along].any() and moved.sum() == moved[along].sum()


def test_haar_bands_hold_what_their_names_say() -> None:
    x = torch.randn(2, 3, 9, 12)
    bands = haar(x)
    assert bands.shape == (2, 4, 3, 4, 6)
    assert bands.square().sum() == pytest.approx(x[:, :, :8].square().sum().item(), rel=1e-5)
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    waves = {0: torch.ones(8, 8), 1: (-1.0) ** columns, 2: (-1.0) ** rows, 3: (-1.0) ** (rows + columns)}
    for band, wave in waves.items():
        found = haar(wave[None, None])[0].abs().sum((1, 2, 3))
        assert found[band] > 0 and found.sum() == found[band]


def test_the_rich_model_predicts_what_is_smooth() -> None:
    filters = rich_filters()
    assert filters.shape == (30, 5, 5) and len({f.tobytes() for f in filters}) == 30
    assert np.abs(filters[:, 2, 2]).min() == np.abs(filters[:, 2, 2]).max() == 1
    assert np.abs(filters.sum(axis=(1, 2))).max() < 1e-6
    ramp = np.add.outer(np.arange(5.0), 3 * np.arange(5.0))
    assert np.abs((filters[8:] * ramp).sum(axis=(1, 2))).max() < 1e-5  # all but those of the first order
    bowl = np.arange(-2.0, 3.0)[None, :] ** 2 + np.zeros((5, 1))
    assert np.abs((filters[12:20] * bowl).sum(axis=(1, 2))).max() < 1e-5  # those of the third


def test_dffreq_sees_phase_without_contrast_and_attention_stays_in_its_windows() -> None:
    x = torch.randn(1, 2, 16, 16)
    assert torch.allclose(phase_alone(x), phase_alone(7 * x), atol=1e-4)
    assert phase_alone(x).square().mean() == pytest.approx(1, rel=1e-3)
    torch.manual_seed(0)
    attention = SlidingWindowAttention(4).eval()
    maps = torch.randn(1, 4, 17, 17)
    before = attention(maps)
    changed = maps.clone()
    changed[:, :, 8, 8] += 5
    moved = (attention(changed) - before).abs().amax((0, 1)) > 1e-6
    rows, columns = torch.nonzero(moved, as_tuple=True)
    # Windows of 3 that hold (8, 8), two apart: they begin at 6 and at 8.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 10, 6, 10)


def test_a_bottleneck_without_padding_sees_only_what_there_is() -> None:
    block = Bottleneck(8, 2, stride=2, padding=False).eval()
    assert block(torch.randn(1, 8, 17, 17)).shape == (1, 8, 8, 8)
    assert Bottleneck(8, 2).eval()(torch.randn(1, 8, 17, 17)).shape == (1, 8, 17, 17)


def test_features_count_by_direction_and_not_by_length() -> None:
    for name in ("univfd", "vib-net"):
        network = learnt(name).network
        features = torch.randn(5, EMBED)
        with torch.inference_mode():
            assert torch.allclose(network(torch.zeros(5, 0), features), network(torch.zeros(5, 0), 9 * features))


def test_vib_net_pays_for_what_it_lets_through() -> None:
    features, labels = torch.randn(64, EMBED), torch.arange(64) % 2
    nothing = torch.zeros(64, 0)
    torch.manual_seed(0)
    network = VibNet(EMBED, hidden=16, latent=8, beta=0.0)
    costs = {}
    for beta in (0.0, 1.0):
        network.beta = beta
        torch.manual_seed(1)
        costs[beta] = float(network.loss(nothing, features, labels, None).detach())
    encoded = network.encode(evened(features))
    normal = torch.distributions.Normal(network.mean(encoded), torch.exp(0.5 * network.spread(encoded)))
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0, 1)).sum(1).mean()
    assert costs[1.0] - costs[0.0] == pytest.approx(expected.item(), rel=1e-4)
    # Training draws, a scan does not.
    again = float(network.loss(nothing, features, labels, None).detach())
    assert again != costs[1.0]


def test_tiny_ladeda_learns_from_its_teacher_alone() -> None:
    network = thin("tiny-ladeda").network()
    views, labels = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="LaDeDa's local scores"):
        network.loss(views, torch.zeros(2, 0), labels, None)
    taught = torch.zeros(2, 8, 8)
    assert network.loss(views, torch.zeros(2, 0), labels, taught) == network.loss(
        views, torch.zeros(2, 0), 1 - labels, taught
    )
