"""What several detectors do with the discrete Fourier transform of maps ``(N, C, H, W)``."""

from __future__ import annotations

import torch
from torch import Tensor


def spectrum(x: Tensor) -> Tensor:
    """The half spectrum ``(N, C, H, W // 2 + 1)`` of real maps, orthonormal; float32 whatever ``x`` is."""
    return torch.fft.rfft2(x.float(), norm="ortho")


def from_spectrum(z: Tensor, size: torch.Size) -> Tensor:
    """The maps of ``size`` ``(H, W)`` with that half spectrum."""
    return torch.fft.irfft2(z, s=list(size), norm="ortho")


def high_part(z: Tensor, width: int, cut: float = 0.25) -> Tensor:
    """A half spectrum of maps of that ``width``, without what lies below ``cut`` cycles a pixel in both directions;
    1/4 is half of what there is."""
    down = torch.fft.fftfreq(z.shape[-2], device=z.device).abs() >= cut
    across = torch.fft.rfftfreq(width, device=z.device) >= cut
    return z * (down[:, None] | across[None, :])


def high_pass(x: Tensor) -> Tensor:
    """``x`` without its low frequencies."""
    return from_spectrum(high_part(spectrum(x), x.shape[-1]), x.shape[-2:])


def high_pass_matrix(channels: int) -> Tensor:
    """The matrix that takes the lower half of frequencies out of so many values: a transform over channels would take
    longer than this product."""
    z = torch.fft.rfft(torch.eye(channels), dim=0)
    high = torch.fft.rfftfreq(channels) >= 0.25
    return torch.fft.irfft(z * high[:, None], n=channels, dim=0)


def polar(z: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Amplitude of complex ``z``, and its phase as cosine and sine; what is much smaller than ``least`` has no phase.

    Unlike an angle these do not jump, and their gradients stay bounded where ``z`` is next to nothing.
    """
    real, imaginary = z.real, z.imag
    amplitude = torch.sqrt(real.square() + imaginary.square() + least**2)
    return amplitude, real / amplitude, imaginary / amplitude
