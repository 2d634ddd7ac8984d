"""Samples of more than 8 bits, and of other colour than RGB, as 8-bit RGB: one rule for each, whatever the file.

Integers of up to 16 bits have a full range, which becomes 0 to 255.  Floats and integers of 32 bits have none that
is sure, so a rule chooses it, and a picture it was chosen for is marked (`RANGE_CHOSEN`):

* floats: [0, 1], the rest clipped; where more than half of the samples lie above 1, [0, 255], or [0, their highest].
* 32-bit integers: [0, 255], [0, 65535] or [0, their highest], the first that holds all.

Nothing is tone-mapped, and linear light stays linear: both would be a guess about the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANGE_CHOSEN = "sample_range"
_PIECE = 1 << 20
# Brighter than anything in a picture: infinite light is white.
_BEYOND = 1e30


def grey_to_rgb(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey of more than 8 bits as Pillow holds it, ``(height, width)``, as ``(height, width, 3)``.

    What it holds in 16 bits has a range that is sure, however dark the picture is.
    """
    if values.dtype.kind == "f":
        grey = floats_to_8bit(values)
    else:
        grey = integers_to_8bit(values, 65535) if values.dtype.itemsize == 2 else wide_integers_to_8bit(values)
    return np.repeat(grey[:, :, None], 3, axis=2)


def floats_to_8bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """By the rule for floats; what is no number is 0."""
    tops = [(float(v.max(initial=0.0)), int(np.count_nonzero(v > 1.0))) for v in _pieces(values)]
    top, above = max((top for top, _ in tops), default=0.0), sum(count for _, count in tops)
    scale = 255.0
    if top > 1.0 and above * 2 > values.size:
        scale = 1.0 if top <= 255.0 else 255.0 / top
    return _scaled(values, lambda v: v * scale)


def wide_integers_to_8bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """By the rule for integers whose range is not sure."""
    top = float(values.max(initial=0))
    if top > 65535.0:
        return _scaled(values, lambda v: v * (255.0 / top))
    return _scaled(values, lambda v: v / 257.0 if top > 255.0 else v)


def _scaled(values: NDArray[Any], to_8bit: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.uint8]:
    out = np.empty(values.shape, np.uint8)
    rows = 0
    for v in _pieces(values, infinite=_BEYOND):
        out[rows : rows + len(v)] = to_8bit(v).round().clip(0, 255)
        rows += len(v)
    return out


def _pieces(values: NDArray[Any], infinite: float = 0.0) -> Iterator[NDArray[np.float64]]:
    """Rows as float64, a few megabytes at a time: a large picture would not fit eightfold."""
    step = max(1, _PIECE * len(values) // max(1, values.size))
    for row in range(0, len(values), step):
        yield np.nan_to_num(values[row : row + step].astype(np.float64), nan=0.0, posinf=infinite, neginf=0.0)


def integers_to_8bit(values: NDArray[Any], top: int) -> NDArray[np.uint8]:
    """Integers whose highest is ``top``, at least 255."""
    if top == 255:
        return values.clip(0, 255).astype(np.uint8)
    return _scaled(values, lambda v: v * (255.0 / top))


def over_white(colour: NDArray[np.uint8], alpha: NDArray[np.uint8], multiplied: bool) -> NDArray[np.uint8]:
    """``(height, width, 3)`` laid over white by ``(height, width)``; ``multiplied``: colour holds alpha already."""
    a = alpha[:, :, None].astype(np.uint16)
    part = colour.astype(np.uint16) if multiplied else (colour.astype(np.uint16) * a + 127) // 255
    return np.minimum(part + 255 - a, 255).astype(np.uint8)


def cmyk_to_rgb(cmyk: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(height, width, 4)`` ink as Pillow converts it: no profile is applied."""
    from PIL import Image

    return np.array(Image.fromarray(np.ascontiguousarray(cmyk), "CMYK").convert("RGB"))


def lab_to_rgb(lab: NDArray[np.float32]) -> NDArray[np.uint8]:
    """CIE L*a*b* under D50, L* in [0, 100], as sRGB."""
    fy = (lab[..., 0] + 16.0) / 116.0
    f = np.stack([fy + lab[..., 1] / 500.0, fy, fy - lab[..., 2] / 200.0], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array([0.9642, 1.0, 0.8249], np.float32)
    to_linear = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]],
        np.float32,
    )
    linear = np.clip(xyz @ to_linear.T, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (srgb * 255.0).round().astype(np.uint8)


def turned_upright(pixels: NDArray[np.uint8], orientation: object) -> NDArray[np.uint8]:
    """``(height, width, ...)`` turned as EXIF's orientation, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
