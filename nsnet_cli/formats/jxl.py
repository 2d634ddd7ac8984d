"""JPEG XL: sizes from the header before anything is decoded, then libjxl by way of ``pillow-jxl-plugin``.

Its plugin for Pillow decodes while it opens, so that no limit could be kept; the decoder below it is called here
once the header (ISO/IEC 18181-1, 9.2) has said how large the picture is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.errors import InputError
from nsnet_cli.kinds import JXL_CODESTREAM, JXL_CONTAINER

LINEAR_LIGHT = "linear_light"
# width : height, by the three bits behind the height.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIZES = ((9, 1), (13, 1), (18, 1), (30, 1))
_PREVIEW_BY_8, _PREVIEW = ((0, 16), (0, 32), (5, 1), (9, 33)), ((6, 1), (8, 65), (10, 321), (12, 1345))
_DEPTHS, _FLOAT_DEPTHS = ((0, 8), (0, 10), (0, 12), (6, 1)), ((0, 32), (0, 16), (0, 24), (6, 1))
_EXTRA_CHANNELS, _ENUM = ((0, 0), (0, 1), (4, 2), (12, 1)), ((0, 0), (0, 1), (4, 2), (6, 18))
_SHIFTS, _NAME_LENGTHS = ((0, 0), (0, 3), (0, 4), (3, 1)), ((0, 0), (4, 0), (5, 16), (10, 48))
_CFA_CHANNELS = ((0, 1), (2, 0), (4, 3), (8, 19))
_ALPHA, _SPOT, _CFA = 0, 2, 5
# Bytes of a codestream that hold its size and whether it moves.
_HEADER = 64


@dataclass(frozen=True)
class JxlHeader:
    """``width`` and ``height`` after orientation; ``multiplied`` where colours have been multiplied by alpha.

    ``xyb``: it holds no RGB, so that decoded pixels are in a colour space of the decoder's choice.
    """

    width: int
    height: int
    animated: bool
    gain_map: bool = False
    multiplied: bool = False
    xyb: bool = True


class _Bits:
    """Bits of a codestream, the lowest of each byte first.  Raises `EOFError`."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise EOFError
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def choose(self, among: tuple[tuple[int, int], ...]) -> int:
        bits, offset = among[self.take(2)]
        return offset + self.take(bits)


def is_jxl(data: bytes) -> bool:
    return data.startswith((JXL_CODESTREAM, JXL_CONTAINER))


def read_header(data: bytes) -> JxlHeader | None:
    """What the header of a codestream or container says; None where it cannot be read, or is cut."""
    stream, gain_map = _codestream(data)
    if not stream.startswith(JXL_CODESTREAM):
        return None
    with suppress(EOFError):
        bits = _Bits(stream[2:_HEADER])
        height, width = _size(bits, _SIZES)
        animated, multiplied, xyb = False, False, True
        if not bits.take(1):  # not all as usual
            if bits.take(1):
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
        return JxlHeader(width, height, animated, gain_map, multiplied, xyb)
    return None


def _channels(bits: _Bits) -> tuple[bool, bool]:
    """Whether colours have been multiplied by alpha, and whether they are XYB, from the depth of samples on."""
    _skip_depth(bits)
    bits.take(1)  # 16-bit buffers are enough
    multiplied = False
    for _ in range(bits.choose(_EXTRA_CHANNELS)):
        if bits.take(1):  # alpha of 8 bits, as usual
            continue
        kind = bits.choose(_ENUM)
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


def _skip_depth(bits: _Bits) -> None:
    floats = bits.take(1)
    bits.choose(_FLOAT_DEPTHS if floats else _DEPTHS)
    if floats:
        bits.take(4)


def decode_jxl(data: bytes, xyb: bool) -> tuple[NDArray[Any] | bytes, tuple[str, ...]]:
    """``(height, width, channels)`` uint8 of 1 to 4 channels, turned upright, and what to say of it.

    ``xyb`` is what the header says.

    Of a JPEG that was packed without loss the bytes of that JPEG.  Raises `InputError`.
    """
    try:
        from pillow_jxl import Decoder
    except ImportError as error:  # there is no wheel for this machine
        what = "JPEG XL, for which the decoder is not installed: pip install pillow-jxl-plugin"
        raise InputError("unsupported_format", what) from error
    try:
        is_jpeg, info, raw, profile, _ = Decoder(num_threads=0)(data)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of its Rust part is no `Exception`
        # libjxl does not tell the two apart; a container whose last box is there to its end has not been cut.
        if _ends_whole(data):
            raise InputError("decode_failed", "damaged: libjxl cannot decode it; get another copy") from error
        raise InputError("truncated", "cut short or damaged: libjxl cannot decode it to its end") from error
    if is_jpeg:
        return bytes(raw), ()
    channels = info.num_channels + bool(info.has_alpha_channel)
    samples = info.width * info.height * channels
    dtype: Any = {1: np.uint8, 2: np.uint16, 4: np.float32}.get(len(raw) // max(1, samples))
    if dtype is None or len(raw) != samples * np.dtype(dtype).itemsize:
        raise InputError("unsupported_format", "JPEG XL of channels that are not read: save it as PNG and scan that")
    values = np.frombuffer(raw, dtype).reshape(info.height, info.width, channels)
    if dtype is np.uint16:  # the decoder does the same to colour
        values = (values >> 8).astype(np.uint8)
    elif dtype is np.float32:
        values = (np.nan_to_num(values, nan=0.0).clip(0.0, 1.0) * 255.0).round().astype(np.uint8)
    if not (xyb and _is_linear(bytes(profile))):
        return values, ()
    # libjxl gives such pictures in linear light, far too dark for anybody, where it cannot write their profile.
    curved = values.copy()
    curved[:, :, : info.num_channels] = _SRGB_CURVE[values[:, :, : info.num_channels]]
    return curved, (LINEAR_LIGHT,)


def _is_linear(profile: bytes) -> bool:
    """Whether the ICC profile of decoded pixels has a straight line for a curve (ICC.1:2022, 10.6 and 10.18)."""
    for at in range(132, min(132 + 12 * int.from_bytes(profile[128:132], "big"), len(profile) - 11), 12):
        if profile[at : at + 4] in (b"rTRC", b"kTRC"):
            start = int.from_bytes(profile[at + 4 : at + 8], "big")
            curve = profile[start : start + 24]
            if curve[:4] == b"curv":
                return curve[8:12] == b"\0\0\0\0" or curve[8:14] == b"\0\0\0\1\1\0"
            # Gamma 1, and of the longer forms those that scale by 1 and add 0.
            one = b"\0\1\0\0"
            straight = curve[12:16] == one and (curve[8:10] == b"\0\0" or curve[16:24] == one + bytes(4))
            return curve[:4] == b"para" and straight
    return False


def _srgb_curve() -> NDArray[np.uint8]:
    linear = np.arange(256) / 255.0
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (curved * 255.0).round().astype(np.uint8)


_SRGB_CURVE = _srgb_curve()


def _size(
    bits: _Bits, plain: tuple[tuple[int, int], ...], by_8: tuple[tuple[int, int], ...] = ((5, 1),) * 4
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


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start of the content and declared end of each box of a container."""
    at = len(JXL_CONTAINER)
    while at + 8 <= len(data):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        size = size or len(data) - at
        if size < head:
            return
        yield kind, at + head, at + size
        at += size


def _ends_whole(data: bytes) -> bool:
    if not data.startswith(JXL_CONTAINER):
        return False
    return max((end for _, _, end in _boxes(data)), default=-1) == len(data)


def _codestream(data: bytes) -> tuple[bytes, bool]:
    """The beginning of the codestream, and whether a gain map lies beside it."""
    if not data.startswith(JXL_CONTAINER):
        return data[:_HEADER], False
    stream, gain_map = b"", False
    for kind, start, end in _boxes(data):
        if kind in (b"jxlc", b"jxlp") and len(stream) < _HEADER:
            skip = 4 if kind == b"jxlp" else 0
            stream += data[start + skip : min(end, start + skip + _HEADER)]
        gain_map = gain_map or kind == b"jhgm"
    return stream, gain_map
