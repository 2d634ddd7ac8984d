"""The header of a JPEG XL codestream (ISO/IEC 18181-1, annex D): size, motion, alpha, where its colours are said."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from nsnet_cli.inputs.formats.boxes import boxes

# How a bare codestream begins, and one in a container.
JXL_CODESTREAM, JXL_CONTAINER = b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n"
# width : height, by the three bits behind the height.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIZES = ((9, 1), (13, 1), (18, 1), (30, 1))
_PREVIEW_BY_8, _PREVIEW = ((0, 16), (0, 32), (5, 1), (9, 33)), ((6, 1), (8, 65), (10, 321), (12, 1345))
_DEPTHS, _FLOAT_DEPTHS = ((0, 8), (0, 10), (0, 12), (6, 1)), ((0, 32), (0, 16), (0, 24), (6, 1))
_EXTRA_CHANNELS, ENUM = ((0, 0), (0, 1), (4, 2), (12, 1)), ((0, 0), (0, 1), (4, 2), (6, 18))
_SHIFTS, _NAME_LENGTHS = ((0, 0), (0, 3), (0, 4), (3, 1)), ((0, 0), (4, 0), (5, 16), (10, 48))
_CFA_CHANNELS = ((0, 1), (2, 0), (4, 3), (8, 19))
_ALPHA, _SPOT, _CFA = 0, 2, 5
# Bytes of a codestream that hold its size and whether it moves.
_HEADER = 256


@dataclass(frozen=True)
class JxlHeader:
    """``width`` and ``height`` after orientation; ``multiplied`` where colours have been multiplied by alpha.

    ``xyb``: it holds no RGB, so that decoded pixels are in a colour space of the decoder's choice.  ``colours_at`` is
    the bit where the original's is said, None where it is the usual one; ``more``: fields of tone mapping follow.
    """

    width: int
    height: int
    animated: bool
    gain_map: bool = False
    multiplied: bool = False
    xyb: bool = True
    colours_at: int | None = None
    more: bool = False


class Bits:
    """Bits of a codestream, the lowest of each byte first.  Raises `EOFError`."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left, self.at = int.from_bytes(data, "little"), 8 * len(data), 0

    def take(self, count: int) -> int:
        if count > self._left:
            raise EOFError
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        self.at += count
        return value

    def choose(self, among: tuple[tuple[int, int], ...]) -> int:
        bits, offset = among[self.take(2)]
        return offset + self.take(bits)


def read_header(data: bytes) -> JxlHeader | None:
    """What the header of a codestream or container says; None where it cannot be read, or is cut."""
    stream, gain_map = codestream(data, _HEADER)
    if not stream.startswith(JXL_CODESTREAM):
        return None
    with suppress(EOFError):
        bits = Bits(stream[:_HEADER])
        bits.take(16)
        height, width = _size(bits, _SIZES)
        animated, multiplied, xyb, colours_at, more = False, False, True, None, False
        if not bits.take(1):  # not all as usual
            if more := bool(bits.take(1)):
                if bits.take(3) >= 4:
                    width, height = height, width
                if bits.take(1):
                    _size(bits, _SIZES)
                if bits.take(1):
                    _size(bits, _PREVIEW, _PREVIEW_BY_8)
                animated = bool(bits.take(1))
            if not animated:
                with suppress(EOFError):
                    multiplied, xyb = _channels(bits)
                    colours_at = bits.at
        return JxlHeader(width, height, animated, gain_map, multiplied, xyb, colours_at, more)
    return None


def _channels(bits: Bits) -> tuple[bool, bool]:
    """Whether colours have been multiplied by alpha, and whether they are XYB, from the depth of samples on."""
    _skip_depth(bits)
    bits.take(1)  # 16-bit buffers are enough
    multiplied = False
    for _ in range(bits.choose(_EXTRA_CHANNELS)):
        if bits.take(1):  # alpha of 8 bits, as usual
            continue
        kind = bits.choose(ENUM)
        _skip_depth(bits)
        bits.choose(_SHIFTS)
        bits.take(8 * bits.choose(_NAME_LENGTHS))
        if kind == _ALPHA:
            multiplied = bool(bits.take(1)) or multiplied
        elif kind == _SPOT:
            bits.take(64)
        elif kind == _CFA:
            bits.choose(_CFA_CHANNELS)
    return multiplied, bool(bits.take(1))


def _skip_depth(bits: Bits) -> None:
    floats = bits.take(1)
    bits.choose(_FLOAT_DEPTHS if floats else _DEPTHS)
    if floats:
        bits.take(4)


def _size(
    bits: Bits, plain: tuple[tuple[int, int], ...], by_8: tuple[tuple[int, int], ...] = ((5, 1),) * 4
) -> tuple[int, int]:
    """Height and width of a size header, or of a preview's."""
    small = bits.take(1)

    def side() -> int:
        if not small:
            return bits.choose(plain)
        # A picture's own header has five bits here, a preview's a choice of lengths.
        return 8 * (1 + bits.take(5) if by_8 == ((5, 1),) * 4 else bits.choose(by_8))

    height = side()
    ratio = bits.take(3)
    if ratio == 0:
        return height, side()
    across, down = _RATIOS[ratio]
    return height, height * across // down


def ends_whole(data: bytes) -> bool:
    """Whether a container's last box is there to its end."""
    if not data.startswith(JXL_CONTAINER):
        return False
    return max((end for _, _, end in boxes(data, len(JXL_CONTAINER))), default=-1) == len(data)


def codestream(data: bytes, length: int) -> tuple[bytes, bool]:
    """So many bytes of the codestream, at least, and whether a gain map lies beside it."""
    if not data.startswith(JXL_CONTAINER):
        return data, False
    stream, gain_map = bytearray(), False
    for kind, start, end in boxes(data, len(JXL_CONTAINER)):
        if kind in (b"jxlc", b"jxlp") and len(stream) < length:
            stream += data[start + (4 if kind == b"jxlp" else 0) : end]
        gain_map = gain_map or kind == b"jhgm"
    return bytes(stream), gain_map
