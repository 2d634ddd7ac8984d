"""DFFreq: "Dual Frequency Branch Framework with Reconstructed Sliding Windows Attention for AI-Generated Image
Detection" (Yan et al., 2025, arXiv 2501.15253).

One frequency domain does not show everything, so there are two branches: the four bands of a wavelet transform, and
the picture of which the Fourier transform has kept the phase alone.  In each, attention is confined to a small window
that slides over the map; the elements of a window are made anew out of each other, and windows are put together again,
so that what is learnt is how neighbours hang together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsnet_cli.detectors.crops import Crops
from nsnet_cli.detectors.interface import About, Detector, Recipe
from nsnet_cli.detectors.layers.network import LocalNetwork, scaled
from nsnet_cli.detectors.layers.resnet import EXPANSION, initialise, stage, stem
from nsnet_cli.detectors.layers.spectrum import from_spectrum, polar, spectrum
from nsnet_cli.detectors.layers.wavelet import haar

ABOUT = About(
    name="dffreq",
    title="DFFreq",
    paper="Dual Frequency Branch Framework with Reconstructed Sliding Windows Attention for AI-Generated Image "
    "Detection",
    link="https://arxiv.org/abs/2501.15253",
    venue="arXiv",
    year=2025,
    idea="wavelet bands and the Fourier phase, each with attention in sliding windows",
    differs="a thin network of two stages after the branches; Haar's wavelet; sizes of windows are ours",
)
# Values of the bands but for the first are small: a sixteenth of full scale counts as one.
_BAND_SCALE = 8.0


class SlidingWindowAttention(nn.Module):
    """Attention among the ``window`` x ``window`` elements of windows ``stride`` apart, which are put together again.

    Where windows overlap, the mean of what they say is added to what was there.
    """

    def __init__(self, channels: int, window: int = 3, stride: int = 2) -> None:
        super().__init__()
        self.window, self.stride = window, stride
        self.ask = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.tell = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        qkv = self._windows(self.ask(x), 3 * channels)
        q, k, v = qkv.chunk(3, dim=-1)
        made = torch.softmax(q @ k.transpose(1, 2) * channels**-0.5, dim=-1) @ v
        folded = made.transpose(1, 2).reshape(n, -1, channels * self.window**2).transpose(1, 2)
        size = (height, width)
        summed = F.fold(folded.float(), size, self.window, stride=self.stride)
        ones = summed.new_ones(1, self.window**2, folded.shape[2])
        times = F.fold(ones, size, self.window, stride=self.stride)
        return x + self.norm(self.tell(summed / times.clamp(min=1)))

    def _windows(self, x: Tensor, channels: int) -> Tensor:
        """Windows ``(N windows, elements, channels)`` of ``(N, channels, H, W)``."""
        unfolded = F.unfold(x.float(), self.window, stride=self.stride)
        return unfolded.view(len(x), channels, self.window**2, -1).permute(0, 3, 2, 1).flatten(0, 1)


def phase_alone(x: Tensor) -> Tensor:
    """The maps whose spectrum has the phase of that of ``x``, and an amplitude of one everywhere."""
    _, cosine, sine = polar(spectrum(x), 1e-6)
    return from_spectrum(torch.complex(cosine, sine), x.shape[-2:])


class DFFreq(LocalNetwork):
    """Two branches of ``width`` channels, and two stages on both together."""

    def __init__(self, width: int = 16, depths: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        self.bands = nn.Sequential(stem(12, width, 3, 2), SlidingWindowAttention(width))
        self.phase = nn.Sequential(stem(3, width, 3, 2), stem(width, width, 3, 2), SlidingWindowAttention(width))
        self.stages = nn.Sequential(
            stage(2 * width, width, depths[0], 1), stage(EXPANSION * width, 2 * width, depths[1], 2)
        )
        self.score = nn.Conv2d(2 * EXPANSION * width, 1, 1)
        initialise(self)

    def local(self, pixels: Tensor) -> Tensor:
        x = scaled(pixels)
        bands = haar(x)
        bands = torch.cat([bands[:, :1] / 2, bands[:, 1:] * _BAND_SCALE], dim=1).flatten(1, 2)
        seen = [self.bands(bands), self.phase(phase_alone(x))]
        height, width = (min(part.shape[k] for part in seen) for k in (2, 3))
        joint = torch.cat([part[:, :, :height, :width] for part in seen], dim=1)
        return self.score(self.stages(joint))[:, 0].float()


DETECTOR = Detector(ABOUT, Crops(), DFFreq, {"width": 16, "depths": (2, 2)}, Recipe(samples=30_000))
