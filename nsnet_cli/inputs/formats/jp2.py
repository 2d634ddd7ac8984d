"""JPEG 2000 beside its pixels: what Pillow opens and shows in other colours than it has, by the headers alone.

ISO/IEC 15444-1: the size marker of the codestream (A.5.1), and the boxes of JP2 (annex I).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.inputs.formats.boxes import boxes

_SIZE_MARKER = b"\xff\x4f\xff\x51"
_COMPONENTS = 42  # bytes from there to the first component
_CONTAINER = b"\0\0\0\x0cjP  "
_COLOUR, _OPACITY = 0, 1


@dataclass(frozen=True)
class _Header:
    """Bits of each component, whether some are coarser than the picture, and the boxes of the header."""

    bits: tuple[int, ...]
    coarse: bool
    boxes: dict[bytes, bytes]


def misread(data: bytes) -> str | None:
    """What of a JPEG 2000 Pillow would show in false colours, None where there is nothing."""
    header = _header(data)
    if header is None:
        return None
    bits, within = header.bits, header.boxes
    if header.coarse and len(bits) > 1:
        return "JPEG 2000 of colour that is coarser than its brightness"
    # It rounds the brightest up to what 8 bits do not hold; grey of 10 to 16 bits it leaves as it is.
    if max(bits) > 8 and (len(bits) > 1 or bits[0] == 9):
        return f"JPEG 2000 of {max(bits)} bits a sample"
    palette = within.get(b"pclr")
    if palette is not None and (bits != (8,) or palette[2:3] != b"\3" or palette[3:6] != b"\7\7\7"):
        return "JPEG 2000 with a palette that is not of three colours of 8 bits"
    if b"cdef" in within and not _as_usual(within[b"cdef"]):
        return "JPEG 2000 whose channels are in an order or of a kind of their own"
    return None


def in_full_range(pixels: NDArray[np.uint8], data: bytes) -> NDArray[np.uint8]:
    """``pixels`` with white as 255, where samples have fewer than 8 bits: Pillow puts zeros behind them."""
    header = _header(data)
    bits = 8 if header is None else max(header.bits)
    if bits >= 8:
        return pixels
    top = (1 << bits) - 1
    spread = np.array([(value >> (8 - bits)) * 255 // top for value in range(256)], np.uint8)
    return spread[pixels]


def _header(data: bytes) -> _Header | None:
    at = data.find(_SIZE_MARKER)
    if at < 0:
        return None
    count = int.from_bytes(data[at + _COMPONENTS - 2 : at + _COMPONENTS], "big")
    listed = data[at + _COMPONENTS : at + _COMPONENTS + 3 * count]
    if not listed or len(listed) < 3 * count:
        return None
    within: dict[bytes, bytes] = {}
    if data.startswith(_CONTAINER):
        head = next((data[start:end] for kind, start, end in boxes(data) if kind == b"jp2h"), b"")
        within = {kind: head[start:end] for kind, start, end in boxes(head)}
    return _Header(
        bits=tuple((value & 0x7F) + 1 for value in listed[::3]),
        coarse=listed[1::3] != b"\1" * count or listed[2::3] != b"\1" * count,
        boxes=within,
    )


def _as_usual(definition: bytes) -> bool:
    """Whether channels are colours in their order, and then at most an opacity that is not multiplied in."""
    numbers: Sequence[int] = [int.from_bytes(definition[k : k + 2], "big") for k in range(2, len(definition) - 1, 2)]
    channels = sorted(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=False))
    usual = [(k, _COLOUR, k + 1) for k in range(len(channels))]
    return channels == usual or channels == [*usual[:-1], (len(channels) - 1, _OPACITY, 0)]
