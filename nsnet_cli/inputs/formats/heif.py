"""AVIF beside its pixels: sizes, of which its decoder says nothing when it fails, and gain maps put out of the way."""

from __future__ import annotations

# Boxes that describe the file lie in front of the pixels.
_FRONT = 1 << 16


def is_avif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and b"avif" in data[8:64]


def largest_size(data: bytes) -> tuple[int, int]:
    """Width and height of the largest picture that a file declares; zeros where it declares none."""
    front, at, found = data[:_FRONT], -1, (0, 0)
    while (at := front.find(b"ispe", at + 1)) >= 0:
        width, height = int.from_bytes(front[at + 8 : at + 12], "big"), int.from_bytes(front[at + 12 : at + 16], "big")
        found = max(found, (width, height), key=lambda size: size[0] * size[1])
    return found


def without_gain_map(data: bytes) -> bytes:
    """The file, whose gain map has become an item of a kind that nobody knows: one that is odd costs no picture."""
    return data[:_FRONT].replace(b"tmap", b"free") + data[_FRONT:]
