"""JPEG XL: sizes from the header before anything is decoded, then libjxl by way of ``pillow-jxl-plugin``.

Its plugin for Pillow decodes while it opens, so that no limit could be kept; the decoder below it is called here
once the header (ISO/IEC 18181-1, 9.2) has said how large the picture is.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.formats.jxl_colour import told_srgb
from nsnet_cli.inputs.formats.jxl_header import JXL_CODESTREAM, JXL_CONTAINER, JxlHeader, codestream, ends_whole

LINEAR_LIGHT = "linear_light"
# For finding the place behind a profile; it takes a fraction of one.
_SECONDS = 10.0


def is_jxl(data: bytes) -> bool:
    return data.startswith((JXL_CODESTREAM, JXL_CONTAINER))


def decode_jxl(data: bytes, header: JxlHeader) -> tuple[NDArray[Any] | bytes, tuple[str, ...]]:
    """``(height, width, channels)`` uint8 of 1 to 4 channels, turned upright, and what to say of it.

    Of a JPEG that was packed without loss the bytes of that JPEG.  Raises `InputError`.
    """
    # Whoever edits the metadata of a JPEG that was packed makes it one that cannot be put together again.
    decoded = _decoded(data)
    if decoded is None and data.startswith(JXL_CONTAINER):
        decoded = _decoded(codestream(data, len(data))[0])
    if decoded is None:
        # libjxl does not tell the two apart; a container whose last box is there to its end has not been cut.
        if ends_whole(data):
            raise InputError("decode_failed", "damaged: libjxl cannot decode it; get another copy and scan that")
        raise InputError("truncated", "cut short or damaged: libjxl cannot decode it to its end; get a whole copy")
    is_jpeg, info, raw, profile, _ = decoded
    if is_jpeg:
        return bytes(raw), ()
    if not (header.xyb and _is_linear(bytes(profile))):
        return _values(info, raw), ()
    # Linear light is far too dark for anybody, and too coarse.
    deadline = time.monotonic() + _SECONDS
    for stream in told_srgb(data, header):
        if time.monotonic() > deadline:
            break
        again = _decoded(stream)
        if again is not None and not again[0] and (again[1].width, again[1].height) == (info.width, info.height):
            return _values(again[1], again[2]), ()
    values = _values(info, raw).copy()
    values[:, :, : info.num_channels] = _SRGB_CURVE[values[:, :, : info.num_channels]]
    return values, (LINEAR_LIGHT,)


def _decoded(data: bytes) -> Any:
    """What the decoder gives, None where it cannot decode.  Raises `InputError` where there is no decoder."""
    try:
        from pillow_jxl import Decoder
    except ImportError as error:  # there is no wheel for this machine
        what = "JPEG XL, for which the decoder is not installed: pip install pillow-jxl-plugin"
        raise InputError("unsupported_format", what) from error
    try:
        return Decoder(num_threads=0)(data)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException:  # a panic of its Rust part is no `Exception`
        return None


def _values(info: Any, raw: bytes) -> NDArray[np.uint8]:
    """``(height, width, channels)`` in 8 bits.  Raises `InputError`."""
    channels = info.num_channels + bool(info.has_alpha_channel)
    samples = info.width * info.height * channels
    dtype: Any = {1: np.uint8, 2: np.uint16, 4: np.float32}.get(len(raw) // max(1, samples))
    if dtype is None or len(raw) != samples * np.dtype(dtype).itemsize:
        raise InputError("unsupported_format", "JPEG XL of channels that are not read: save it as PNG and scan that")
    values = np.frombuffer(raw, dtype).reshape(info.height, info.width, channels)
    if dtype is np.uint16:  # the decoder does the same to colour
        return (values >> 8).astype(np.uint8)
    if dtype is np.float32:
        return (np.nan_to_num(values, nan=0.0).clip(0.0, 1.0) * 255.0).round().astype(np.uint8)
    return values


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
