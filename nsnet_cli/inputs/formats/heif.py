"""AVIF beside its pixels: sizes, of which its decoder says nothing when it fails, and gain maps put out of the way."""

from __future__ import annotations

# Boxes that describe the file lie in front of the pixels.
_FRONT = 1 << 16
_KNOWN = (b"avif", b"heic", b"heix", b"mif1")


def is_avif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and b"avif" in data[8:64]


def largest_size(data: bytes) -> tuple[int, int]:
    """Width and height of the largest picture that a file declares; zeros where it declares none."""
    front, at, found = data[:_FRONT], -1, (0, 0)
    while (at := front.find(b"ispe", at + 1)) >= 0:
        width, height = int.from_bytes(front[at + 8 : at + 12], "big"), int.from_bytes(front[at + 12 : at + 16], "big")
        found = max(found, (width, height), key=lambda size: size[0] * size[1])
    return found


def under_known_brand(data: bytes) -> bytes:
    """The file, whose first brand is one that decoders know, where it only says to be compatible with such a one."""
    if data[4:8] != b"ftyp" or data[8:12] in _KNOWN:
        return data
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    others = {data[k : k + 4] for k in range(16, end - 3, 4)}
    brand = next((known for known in _KNOWN if known in others), None)
    return data if brand is None else data[:8] + brand + data[12:]


def without_extras(data: bytes) -> bytes:
    """The file, whose gain map and EXIF have become items of a kind that nobody knows: odd ones cost no picture."""
    return data[:_FRONT].replace(b"tmap", b"free").replace(b"Exif\0", b"free\0") + data[_FRONT:]
