"""FreqNet: "Frequency-Aware Deepfake Detection: Improving Generalizability through Frequency Space Domain Learning"
(Tan et al., AAAI 2024, arXiv 2403.07240).

A detector that may look at everything learns its training generators' traces.  This one is forced to look at high
frequencies, again and again: the picture's low ones are removed first (in the Fourier domain), then those of feature
maps, over space and over channels; and between transform and inverse transform convolutions work on the amplitude and
on the phase, so that it learns in the frequency domain itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsnet_cli.detectors.crops import Crops
from nsnet_cli.detectors.interface import About, Detector, Recipe
from nsnet_cli.detectors.layers.network import LocalNetwork
from nsnet_cli.detectors.layers.resnet import EXPANSION, initialise, stage, stem
from nsnet_cli.detectors.layers.spectrum import (
    from_spectrum,
    high_part,
    high_pass,
    high_pass_matrix,
    polar,
    spectrum,
)

ABOUT = About(
    name="freqnet",
    title="FreqNet",
    paper="Frequency-Aware Deepfake Detection: Improving Generalizability through Frequency Space Domain Learning",
    link="https://arxiv.org/abs/2403.07240",
    venue="AAAI",
    year=2024,
    idea="high-pass of picture and feature maps by FFT; convolutions on amplitude and phase",
    differs="the phase is convolved as cosine and sine, which do not jump; a quarter as wide (--shape width=64)",
)
# Grey levels that count as one: what is left without low frequencies is small.
_UNIT = 16.0
# Amplitudes much below this have no phase to speak of.
_LEAST = 1e-2


class FrequencyBlock(nn.Module):
    """The high-frequency representation of feature maps, and convolutions in the Fourier domain.

    Low frequencies are removed along the channels, then over space; there follow, before the inverse transform, a
    convolution on the amplitude and one on the phase.  They are 1x1: they mix channels, alike at every frequency.
    """

    along_channels: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("along_channels", high_pass_matrix(channels)[:, :, None, None], persistent=False)
        self.amplitude = nn.Conv2d(channels, channels, 1)
        self.phase = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def begin_as_high_pass(self) -> None:
        """Begin with convolutions that change nothing: phases mixed at random would leave nothing where it was."""
        for convolution in (self.amplitude, self.phase):
            nn.init.dirac_(convolution.weight)

    def forward(self, x: Tensor) -> Tensor:
        z = high_part(spectrum(F.conv2d(x, self.along_channels.to(x.dtype))), x.shape[-1])
        amplitude, cosine, sine = polar(z, _LEAST)
        amplitude = F.relu(self.amplitude(amplitude)).float()
        cosine, sine = self.phase(torch.cat([cosine, sine], dim=1)).float().chunk(2, dim=1)
        _, cosine, sine = polar(torch.complex(cosine, sine), _LEAST)
        made = from_spectrum(torch.complex(amplitude * cosine, amplitude * sine), x.shape[-2:])
        return self.norm(F.relu(made))


class FreqNet(LocalNetwork):
    """Two stages of bottlenecks, before each of which maps are stripped of low frequencies and convolved in the Fourier
    domain."""

    def __init__(self, width: int = 16, depths: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        wide = EXPANSION * width
        self.entry = nn.Sequential(stem(3, width, 3, 2), FrequencyBlock(width))
        self.middle = nn.Sequential(stage(width, width, depths[0], 2), FrequencyBlock(wide))
        self.last = stage(wide, 2 * width, depths[1], 2)
        self.score = nn.Conv2d(2 * wide, 1, 1)
        initialise(self)
        for module in self.modules():
            if isinstance(module, FrequencyBlock):
                module.begin_as_high_pass()

    def local(self, pixels: Tensor) -> Tensor:
        x = high_pass(pixels.float() / _UNIT)
        return self.score(self.last(self.middle(self.entry(x))))[:, 0].float()


DETECTOR = Detector(ABOUT, Crops(learn=96), FreqNet, {"width": 16, "depths": (2, 2)}, Recipe(samples=30_000))
