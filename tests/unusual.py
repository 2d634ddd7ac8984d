"""Whole files of unusual make, written by hand, and what they are decoded to."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from conftest import encoded, textured
from PIL import Image

from nsnet_cli.inputs.decode import Picture, decode
from nsnet_cli.inputs.limits import DecodeLimits

BASE = textured(125, 82)
GREY = BASE.mean(axis=2).round().astype(np.uint8)


def read(data: bytes, **limits: int) -> Picture:
    return decode(data, DecodeLimits(**limits))


def difference(picture: Picture, expected: np.ndarray = BASE) -> int:
    assert picture.pixels is not None
    return int(np.abs(picture.pixels.astype(int) - expected).max())


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def cgbi(pixels: np.ndarray, alpha: int | None = None) -> bytes:
    """As Apple's pngcrush writes it: no header of zlib, blue first, colour multiplied by alpha."""
    rows = pixels[:, :, ::-1].astype(int)
    if alpha is not None:
        full = np.full((*rows.shape[:2], 1), alpha)
        rows = np.concatenate([(rows * alpha + 127) // 255, full], axis=2)
    raw = b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in rows)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(raw) + packer.flush()
    png = encoded(Image.fromarray(pixels), "PNG")
    header = bytearray(png[8:29])
    header[17] = 2 if alpha is None else 6
    parts = (chunk(b"IHDR", bytes(header[8:])), chunk(b"IDAT", packed[:500]), chunk(b"IDAT", packed[500:]))
    return png[:8] + chunk(b"CgBI", b"\x50\0\x20\x06") + b"".join(parts) + chunk(b"IEND", b"")


def packed_tiff(values: np.ndarray, bits: int) -> bytes:
    """A TIFF of samples of so many bits, one after the other, rows at whole bytes."""
    height, width, samples = values.shape
    single = (values.reshape(height, -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
    strip = np.packbits(single.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    depths = b"".join(bits.to_bytes(2, "little") for _ in range(samples))
    behind = 8 + 2 + 10 * 12 + 4
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, samples, bits if samples == 1 else behind),
               (259, 3, 1, 1), (262, 3, 1, 2 if samples == 3 else 1), (273, 4, 1, behind + 6), (277, 3, 1, samples),
               (278, 4, 1, height), (279, 4, 1, len(strip)), (284, 3, 1, 1)]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, 10) + directory + bytes(4) + depths.ljust(6, b"\0") + strip


def dng(width: int = 320, height: int = 200, preview: bytes | None = None) -> bytes:
    """A minimal DNG of a sensor with a Bayer pattern, as a camera might write it."""
    rows = textured(width, height)[:, :, 1].astype(np.uint16) * 200
    strip = rows.astype("<u2").tobytes()
    rational = struct.pack("<18i", *(value for n in (1, 0, 0, 0, 1, 0, 0, 0, 1) for value in (n, 1)))
    neutral = struct.pack("<6I", 1, 1, 1, 1, 1, 1)
    names = b"Test\0\0\0\0"
    sensor = [(254, 4, 1, 0), (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1),
              (262, 3, 1, 32803), (271, 2, 5, "names"), (272, 2, 5, "names"), (273, 4, 1, "strip"), (277, 3, 1, 1),
              (278, 4, 1, height), (279, 4, 1, len(strip)), (33421, 3, 2, 2 | 2 << 16),
              (33422, 1, 4, 0 | 1 << 8 | 1 << 16 | 2 << 24), (50706, 1, 4, 1 | 4 << 8), (50708, 2, 5, "names"),
              (50717, 4, 1, 51000), (50721, 10, 9, "rational"), (50728, 5, 3, "neutral"),
              (50778, 3, 1, 21)]  # fmt: skip
    if preview is not None:
        sensor.append((330, 4, 1, "preview"))
        sensor.sort()
    at = 8 + 2 + len(sensor) * 12 + 4
    places, blobs = {}, []
    second = b""
    if preview is not None:
        entries = [(254, 4, 1, 1), (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 7),
                   (262, 3, 1, 6), (273, 4, 1, 0), (277, 3, 1, 3), (278, 4, 1, height),
                   (279, 4, 1, len(preview))]  # fmt: skip
        length = 2 + len(entries) * 12 + 4
        entries[6] = (273, 4, 1, at + length)
        second = (
            struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries) + bytes(4) + preview
        )
        second += bytes(len(second) % 2)
    for name, blob in (
        ("preview", second),
        ("names", names),
        ("rational", rational),
        ("neutral", neutral),
        ("strip", strip),
    ):
        places[name] = at
        blobs.append(blob)
        at += len(blob)
    directory = b"".join(struct.pack("<HHII", tag, kind, n, places.get(value, value)) for tag, kind, n, value in sensor)  # type: ignore[call-overload]
    return struct.pack("<2sHIH", b"II", 42, 8, len(sensor)) + directory + bytes(4) + b"".join(blobs)


def tiff_of(values: np.ndarray, **options: object) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    tifffile.imwrite(out, values, **options)
    return out.getvalue()
