"""A lossy JPEG XL told to be sRGB, so that libjxl writes sRGB.

XYB, what lossy pictures are kept in, is no RGB; libjxl writes it in the colours of the original, and, where it cannot
write those without a colour management system, in linear light, of which 8 bits make coarse steps of all shadows.
The header's few bits on colours are replaced here and the profile behind them is left out; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from nsnet_cli.inputs.formats.jxl_header import ENUM, Bits, JxlHeader, codestream

_RGB, _GREY, _CUSTOM = 0, 1, 2
_CUSTOM_XY = ((19, 0), (19, 524288), (20, 1048576), (21, 2097152))
# Bits and how many, the first of them lowest: sRGB as usual; grey under D65 with sRGB's curve, relative.
_SRGB = {_RGB: ((1, 1),), _GREY: ((0, 1), (0, 1), (1, 2), (1, 2), (0, 1), (2, 2), (11, 4), (1, 2))}
# How long a packed profile is, is not said; the first frame begins at the byte from which all can be decoded.
_LONGEST_PROFILE, _MOST_BYTES = 1 << 14, 1 << 31


def told_srgb(data: bytes, header: JxlHeader) -> Iterator[bytes]:
    """Codestreams of which one may be the picture in sRGB; the others cannot be decoded."""
    if header.colours_at is None or not header.xyb:
        return
    stream = codestream(data, len(data))[0]
    with suppress(EOFError):
        bits = Bits(stream[:1024])
        before = bits.take(header.colours_at)
        if bits.take(1):
            return  # it is sRGB
        has_profile, space = bits.take(1), bits.choose(ENUM)
        if space not in _SRGB:
            return
        if not has_profile:
            _skip_colours(bits, space)
        start = bits.at
        if header.more and not bits.take(1):
            bits.take(16 + 16 + 1 + 16)
        if bits.take(2) or not bits.take(1):
            return  # extensions, or a transform of its own: what comes behind is not read
        end = bits.at
        kept = (int.from_bytes(stream[:1024], "little") >> start) & ((1 << (end - start)) - 1)
        value, length = before, header.colours_at
        for part, count in (*_SRGB[space], (kept, end - start)):
            value |= part << length
            length += count
        head = value.to_bytes(-(-length // 8), "little")
        first = -(-end // 8)
        tries = min(_LONGEST_PROFILE, 1 + _MOST_BYTES // max(1, len(stream))) if has_profile else 1
        for at in range(first, min(first + tries, len(stream))):
            yield head + stream[at:]


def _skip_colours(bits: Bits, space: int) -> None:
    """White point, primaries, curve and intent of colours that are said by their names."""
    for points in (1, 3) if space == _RGB else (1,):
        if bits.choose(ENUM) == _CUSTOM:
            for _ in range(2 * points):
                bits.choose(_CUSTOM_XY)
    if bits.take(1):
        bits.take(24)
    else:
        bits.choose(ENUM)
    bits.choose(ENUM)
