"""The published detectors as small as they come, and a made-up task for each.

Pictures are made on the spot, half of them with an artifact that the detector's idea must see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nsnet_cli.detectors.crops import Crops
from nsnet_cli.detectors.interface import Detector
from nsnet_cli.detectors.layers.network import LocalNetwork, Network
from nsnet_cli.detectors.registry import all_detectors, find_detector

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


def local(name: str, pixels: Pixels) -> torch.Tensor:
    network = learnt(name).network
    assert isinstance(network, LocalNetwork)
    with torch.inference_mode():
        return network.local(torch.from_numpy(np.ascontiguousarray(pixels))[None])[0]
