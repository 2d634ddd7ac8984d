"""Bitmaps of 16 or 32 bits whose colours lie wherever their masks say: Pillow knows the usual places alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.formats.samples import over_white

_BITFIELDS, _ALPHA_BITFIELDS = 3, 6


def has_masks(data: bytes) -> bool:
    """Whether a file is a bitmap of 16 or 32 bits with masks."""
    depth, compression = int.from_bytes(data[28:30], "little"), int.from_bytes(data[30:34], "little")
    size = int.from_bytes(data[14:18], "little")
    masked = compression in (_BITFIELDS, _ALPHA_BITFIELDS) and depth in (16, 32) and 40 <= size <= 124
    return data.startswith(b"BM") and len(data) > 70 and masked


def bitmap_size(data: bytes) -> tuple[int, int]:
    """Width and height."""
    return _signed(data[18:22]), abs(_signed(data[22:26]))


def decode_bitmap(data: bytes) -> NDArray[np.uint8]:
    """``(height, width, 3)`` uint8.  Raises `InputError`.

    Whoever asks has seen to it that the size is within the limits.
    """
    width, height = bitmap_size(data)
    size, depth = int.from_bytes(data[14:18], "little"), int.from_bytes(data[28:30], "little")
    compression, start = int.from_bytes(data[30:34], "little"), int.from_bytes(data[10:14], "little")
    if width < 1 or height < 1:
        raise InputError("decode_failed", "damaged: a bitmap without width or height")
    stride = (width * depth + 31) // 32 * 4
    pixels = data[start : start + stride * height]
    if len(pixels) < stride * height:
        raise InputError("truncated", f"cut short: {len(pixels):,} of {stride * height:,} bytes of pixels")
    rows = np.frombuffer(pixels, np.uint8).reshape(height, stride)[:, : width * depth // 8]
    values = np.ascontiguousarray(rows).view(f"<u{depth // 8}").astype(np.uint32)
    values = values if _signed(data[22:26]) < 0 else values[::-1]
    masks = [int.from_bytes(data[at : at + 4], "little") for at in range(54, 70, 4)]
    colour = np.stack([_channel(values, mask) for mask in masks[:3]], axis=-1)
    has_alpha = compression == _ALPHA_BITFIELDS or size >= 56
    return over_white(colour, _channel(values, masks[3]), False) if has_alpha and masks[3] else colour


def _channel(values: NDArray[np.uint32], mask: int) -> NDArray[np.uint8]:
    """The bits under ``mask`` in 0 to 255."""
    if mask == 0:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    return (((values & mask) >> shift).astype(np.float64) * (255.0 / top)).round().clip(0, 255).astype(np.uint8)


def _signed(four: bytes) -> int:
    return int.from_bytes(four, "little", signed=True)
