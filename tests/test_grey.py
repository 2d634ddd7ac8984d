"""Grey of more and of fewer bits than eight, whichever end is white, and what is clear in it."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from conftest import encoded
from PIL import Image
from unusual import GREY, chunk, difference, read, tiff_of


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}], ids=str)
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_grey_of_16_bits_whichever_end_is_white(order: str, options: dict[str, object], white_is_zero: bool) -> None:
    values = GREY.astype(np.uint16) * 257
    kind = "miniswhite" if white_is_zero else "minisblack"
    data = tiff_of(65535 - values if white_is_zero else values, photometric=kind, byteorder=order, **options)
    assert difference(read(data), np.repeat(GREY[:, :, None], 3, axis=2)) <= 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_of_32_bits_has_no_sign(order: str) -> None:
    data = tiff_of(GREY.astype(np.uint32) * 16843009, photometric="minisblack", byteorder=order)
    top = 255.0 / GREY.max()
    assert difference(read(data), np.repeat((GREY * top).round()[:, :, None], 3, axis=2)) <= 1


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_dark_picture_of_16_bits_is_dark(form: str) -> None:
    """Whatever its highest value: one pixel more does not make it another picture."""
    pixels = read(encoded(Image.fromarray(GREY.astype(np.uint16)), form)).pixels
    assert pixels is not None and pixels.max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_clear_colour_of_grey_png_is_white(bits: int) -> None:
    top = 2**bits - 1
    samples = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64) % (top + 1)
    clear = min(1, top) if bits < 8 else 100
    rows = b"".join(b"\0" + packed(row, bits) for row in samples)
    head = struct.pack(">IIBBBBB", 64, 64, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"tRNS", struct.pack(">H", clear)) + chunk(b"IDAT", zlib.compress(rows))
    found = read(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    expected = np.where(samples == clear, 255, (samples * (255.0 / top)).round())
    assert difference(found, np.repeat(expected[:, :, None], 3, axis=2)) <= 1


def packed(row: np.ndarray, bits: int) -> bytes:
    if bits == 16:
        return row.astype(">u2").tobytes()
    spread = (row[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(spread.astype(np.uint8).ravel()).tobytes()
