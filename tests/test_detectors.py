"""The published detectors: found without PyTorch, seeing as they say, and none of them weaker than its idea by a bug.

Every detector is given a task that its idea must solve: pictures made on the spot, half of them with an artifact, of
which it learns some dozens of batches; on others of the kind it has to reach an AUC of 0.95.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from nsnet_cli.detectors import methods
from nsnet_cli.detectors.crops import Crops, at_least
from nsnet_cli.detectors.interface import Detector
from nsnet_cli.detectors.layers.network import LocalNetwork, Network, evened
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
from nsnet_cli.detectors.registry import all_detectors, find_detector, read_about
from nsnet_cli.detectors.scorer import Scorer
from nsnet_cli.errors import UsageError

Pixels = NDArray[np.uint8]
Artifact = Callable[[np.ndarray, np.random.Generator], np.ndarray]

NAMES = [about.name for about in all_detectors()]
SIDE = 65
EMBED = 24
# Networks as small as they come; the tasks are as easy as the ideas are good.
THIN = {
    "cnn-spot": {"width": 8, "depths": (1, 1, 1)},
    "univfd": {"embed_dim": EMBED},
    "freqnet": {"width": 8, "depths": (1, 1)},
    "npr": {"width": 8, "depths": (1, 1)},
    "ladeda": {"width": 8, "depths": (1, 1, 1, 1)},
    "tiny-ladeda": {"width": 8},
    "aide": {"embed_dim": EMBED, "width": 8, "depth": 1, "semantic": 8},
    "dffreq": {"width": 8, "depths": (1, 1)},
    "safe": {"width": 8, "depths": (1, 1)},
    "vib-net": {"embed_dim": EMBED, "hidden": 16, "latent": 8, "beta": 0.01},
}


def thin(name: str) -> Detector:
    """A detector whose network and views are small."""
    detector = find_detector(name)
    eyes = detector.eyes
    if isinstance(eyes, Crops):
        eyes = replace(eyes, side=SIDE, learn=SIDE)
    elif eyes is not None:
        eyes = replace(eyes, side=128)  # type: ignore[type-var]
    return replace(detector, eyes=eyes, shape={**detector.shape, **THIN[name]})


def scene(rng: np.random.Generator, side: int = 96) -> np.ndarray:
    """A picture as a camera might take it, ``(3, side, side)`` float: falling spectrum, patches of unlike contrast,
    and the noise of a sensor."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    falling = 1 / np.maximum(frequency, 1 / side) ** 1.5
    shape = (3, side, side // 2 + 1)
    noise = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    smooth = np.fft.irfft2(noise * falling, s=(side, side))
    smooth *= 30 / smooth.std()
    contrast = np.linspace(0.2, 1.5, side)[rng.permutation(side) if rng.random() < 0.2 else slice(None)]
    return 128 + smooth * contrast + rng.normal(scale=3, size=smooth.shape)


def nearest_upsampled(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x[:, ::2, ::2].repeat(2, 1).repeat(2, 2)


def without_high_band(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All frequencies above a third of a cycle a pixel are gone, in either direction."""
    z = np.fft.rfft2(x)
    z[:, np.abs(np.fft.fftfreq(x.shape[1])) > 1 / 3] = 0
    z[:, :, np.fft.rfftfreq(x.shape[2]) > 1 / 3] = 0
    return np.fft.irfft2(z, s=x.shape[1:])


def with_grid(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A faint grid of four pixels, at any offset: what a transposed convolution leaves."""
    rows, columns = np.indices(x.shape[1:])
    return x + 8.0 * (((rows + rng.integers(4)) % 4 == 0) ^ ((columns + rng.integers(4)) % 4 == 0))


def with_stripes(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x + 20 * np.sin(np.arange(x.shape[2]) * 2 * np.pi / 12 + rng.uniform(0, 6))


def without_noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """No sensor: the mean of 3x3 pixels."""
    shifted = [np.roll(x, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return sum(shifted) / 9


# What each detector's idea has to catch.
ARTIFACTS: dict[str, Artifact] = {
    "cnn-spot": with_stripes,
    "freqnet": without_high_band,
    "npr": nearest_upsampled,
    "ladeda": with_grid,
    "tiny-ladeda": with_grid,
    "aide": without_noise,
    "dffreq": with_grid,
    "safe": without_high_band,
}


def quantised(x: np.ndarray) -> Pixels:
    return np.rint(x).clip(0, 255).astype(np.uint8)


def examples(name: str, count: int, seed: int, side: int = 96) -> tuple[list[Pixels], torch.Tensor, torch.Tensor]:
    """Pictures, embeddings and labels; of detectors that see one of them alone the other says nothing."""
    rng = np.random.default_rng(seed)
    labels = torch.arange(count) % 2
    features = torch.from_numpy(rng.normal(size=(count, EMBED)).astype(np.float32))
    artifact = ARTIFACTS.get(name)
    pictures = []
    for k in range(count):
        x = scene(rng, 160 if name == "aide" else side)
        pictures.append(quantised(artifact(x, rng) if artifact and labels[k] else x))
    if artifact is None:
        # One direction tells, among many that say more about something else.
        features[:, 1:4] *= 3
        features[:, 0] += 8.0 * (labels - 0.5)
    return pictures, features, labels


def learn(name: str, steps: int = 60, batch: int = 16, rate: float = 3e-3) -> Network:
    """The network of a detector, having learnt its task as `Fit` would, but for the bookkeeping."""
    detector = thin(name)
    pictures, features, labels = examples(name, 96, seed=1)
    torch.manual_seed(0)
    network = detector.network(**detector.shape).train()
    teacher = learnt(detector.teacher).network if detector.teacher else None
    optimiser = torch.optim.AdamW(network.parameters(), rate)
    rng = Random(0)
    for _ in range(steps):
        rows = rng.sample(range(len(pictures)), batch)
        views = torch.zeros(batch, 0)
        if detector.eyes is not None:
            views = torch.from_numpy(np.stack([detector.eyes.draw(pictures[k], rng) for k in rows]))
        taught = None
        if isinstance(teacher, LocalNetwork):
            with torch.no_grad():
                taught = teacher.local(views)
        loss = network.loss(views, features[rows] if detector.tower else torch.zeros(batch, 0), labels[rows], taught)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@cache
def learnt(name: str) -> _Learnt:
    return _Learnt(thin(name), learn(name, **TASKS.get(name, {})))


class _Learnt:
    def __init__(self, detector: Detector, network: Network) -> None:
        self.detector, self.network = detector, network

    def logits(self, pictures: list[Pixels], features: torch.Tensor) -> np.ndarray:
        found = []
        for k, pixels in enumerate(pictures):
            eyes = self.detector.eyes
            views = torch.zeros(1, 0) if eyes is None else torch.from_numpy(np.ascontiguousarray(eyes.look(pixels)))
            with torch.inference_mode():
                beside = features[k : k + 1] if self.detector.tower else torch.zeros(1, 0)
                found.append(float(self.network(views, beside.expand(len(views), -1)).mean()))
        return np.array(found)


# Steps and rates of tasks that need others.
TASKS: dict[str, dict[str, Any]] = {
    "ladeda": {"steps": 90},
    "tiny-ladeda": {"steps": 100, "rate": 1e-2},
    "aide": {"steps": 30},
    "univfd": {"steps": 300, "rate": 2e-2},
    "vib-net": {"steps": 300},
}


@pytest.mark.parametrize("name", NAMES)
def test_each_solves_the_task_that_its_idea_is_for(name: str) -> None:
    pictures, features, labels = examples(name, 60, seed=2)
    scores = learnt(name).logits(pictures, features)
    assert roc_auc_score(labels, scores) > 0.95


@pytest.mark.parametrize("name", ["ladeda", "tiny-ladeda"])
def test_scores_of_patches_say_where_a_generated_patch_was_pasted(name: str) -> None:
    rng = np.random.default_rng(5)
    for top, left in ((16, 56), (64, 8), (40, 40)):
        x = scene(rng, 128)
        x[:, top : top + 48, left : left + 48] = with_grid(x, rng)[:, top : top + 48, left : left + 48]
        scores = Scorer(learnt(name).detector, learnt(name).network).local(quantised(x)[None])[0]
        step = (128 - PATCH) // (len(scores) - 1)
        corners = np.arange(len(scores)) * step
        rows = (corners >= top) & (corners + PATCH <= top + 48)
        columns = (corners >= left) & (corners + PATCH <= left + 48)
        within = np.zeros(scores.shape, bool)
        within[np.ix_(rows, columns)] = True
        assert roc_auc_score(within.ravel(), scores.ravel()) > 0.7
        # A ninth of the patches is inside; the best 32x32 pixels are, too.
        smooth = scipy.ndimage.uniform_filter(scores, 32 // step + 1)
        assert within.flat[smooth.argmax()]


# --- found, and described ---


def test_detectors_are_listed_without_numpy_or_pytorch() -> None:
    code = (
        "import sys; from nsnet_cli.detectors.registry import all_detectors; names = [a.name for a in all_detectors()];"
        "print(*names, *{'numpy', 'torch', 'PIL'} & sys.modules.keys())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said == NAMES
    assert set(NAMES) >= {"cnn-spot", "univfd", "freqnet", "npr", "ladeda", "aide", "dffreq", "safe", "vib-net"}


def test_every_detector_says_what_it_is() -> None:
    for about in all_detectors():
        assert all(asdict(about).values()) and "\n" not in about.idea and about.link.startswith("https://")
        detector = find_detector(about.name)
        assert detector.about == about
        doc = sys.modules[detector.network.__module__].__doc__
        # The paper stands in the file's docstring, whatever the lines break.
        assert doc and about.paper.split(":")[0] in " ".join(doc.split())
        assert (detector.eyes is None) <= detector.tower
    with pytest.raises(UsageError, match=r"no detector is called 'nrp'; there are aide, .*npr"):
        find_detector("nrp")


def test_a_new_detector_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(methods.__path__[0]) / "npr.py"
    text = source.read_text("utf-8").replace('name="npr"', 'name="tenth"').replace("year=2024", "year=2031")
    (tmp_path / "tenth.py").write_text(text, "utf-8")
    (tmp_path / "notes.py").write_text('"""No detector."""\n', "utf-8")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    assert all_detectors()[-1].name == "tenth"
    try:
        assert find_detector("tenth").about.year == 2031
    finally:
        sys.modules.pop(f"{methods.__name__}.tenth", None)


def test_what_a_file_says_of_its_detector_is_read_and_not_run() -> None:
    assert read_about("import gone\nX = 1\n", "m") is None
    with pytest.raises(TypeError, match="m: ABOUT must be About"):
        read_about("ABOUT = make_about()\n", "m")
    with pytest.raises(TypeError, match="literals"):
        read_about("ABOUT = About(name=NAME)\n", "m")


def test_shipped_residual_networks_stay_small() -> None:
    """In half precision all of them together, the classifier of 2020 included, take less than 8 megabytes."""
    detectors = [find_detector(name) for name in NAMES]
    sizes = {d.about.name: sum(p.numel() for p in d.network(**d.shape).parameters()) for d in detectors}
    assert 2 * sum(sizes.values()) < 8e6
    assert 1200 < sizes["tiny-ladeda"] < 1500
    # As wide as in the papers they have the papers' sizes.
    for name in ("npr", "safe"):
        detector = find_detector(name)
        wide = detector.network(**{**detector.shape, "width": 64})
        assert sum(p.numel() for p in wide.parameters()) == pytest.approx(1.44e6, rel=0.02)
    full = find_detector("cnn-spot").network(width=64)
    assert sum(p.numel() for p in full.parameters()) == pytest.approx(23.5e6, rel=0.01)


# --- shapes, determinism, and pictures of any size ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(5, 7), (64, 300), (333, 217)], ids=str)
def test_any_picture_has_a_score_and_always_the_same(name: str, size: tuple[int, int]) -> None:
    detector = thin(name)
    torch.manual_seed(3)
    network = detector.network(**detector.shape).eval()
    for parameter in network.parameters():  # what begins as nothing would hide what differs
        torch.nn.init.normal_(parameter, std=0.1)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
    features = torch.randn(1, EMBED) if detector.tower else torch.zeros(1, 0)
    said = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        views = torch.zeros(1, 0) if detector.eyes is None else torch.from_numpy(detector.eyes.look(pixels).copy())
        with torch.inference_mode():
            logits = network(views, features.expand(len(views), -1))
        assert logits.shape == (len(views),) and logits.dtype == torch.float32 and logits.isfinite().all()
        said.append(logits)
    assert torch.equal(*said)
    if detector.eyes is not None:
        drawn = [detector.eyes.draw(pixels, Random(seed)) for seed in (7, 7, 8)]
        assert drawn[0].dtype == np.uint8 and np.array_equal(drawn[0], drawn[1])
        again = torch.from_numpy(np.ascontiguousarray(drawn[0]))[None]
        with torch.inference_mode():
            assert network(again, features).shape == (1,)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("univfd", "vib-net")])
def test_half_precision_says_nearly_the_same(name: str) -> None:
    pictures, features, _ = examples(name, 8, seed=3)
    detector, network = learnt(name).detector, learnt(name).network
    views = torch.from_numpy(np.stack([detector.eyes.look(p)[0] for p in pictures]))  # type: ignore[union-attr]
    beside = features if detector.tower else torch.zeros(8, 0)
    with torch.inference_mode():
        exact = network(views, beside)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(views, beside)
    assert (exact - rough).abs().max() < 0.1 * exact.abs().max() + 0.1


# --- how pictures are seen ---


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


def local(name: str, pixels: Pixels) -> torch.Tensor:
    network = learnt(name).network
    assert isinstance(network, LocalNetwork)
    with torch.inference_mode():
        return network.local(torch.from_numpy(np.ascontiguousarray(pixels))[None])[0]


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
