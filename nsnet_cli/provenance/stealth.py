"""Parameters in the lowest bits of pixels ("stealth pnginfo"), which NovelAI and extensions of web UIs write.

Bit by bit down the columns from the left: 15 letters that say which form it is, 32 bits with the length in bits, the
text, in UTF-8 or gzip.  Alpha has one bit a pixel, RGB three (https://github.com/neggles/sd-webui-stealth-pnginfo).
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

from nsnet_cli.provenance.containers.carried import Carried
from nsnet_cli.provenance.containers.png import SIGNATURE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LETTERS = 15
# PNG for iOS: its alpha was multiplied in, so no lowest bit is what it was.
_IOS = b"CgBI"
_ALPHA = (b"stealth_pnginfo", b"stealth_pngcomp")
_RGB = (b"stealth_rgbinfo", b"stealth_rgbcomp")
_LARGEST = 8 * 1024 * 1024
# Bytes a pixel of PNG's colour types with 8 bits that hold red, green and blue.
_CHANNELS = {2: 3, 6: 4}
# Formats that keep every bit; of WebP only what is lossless.
_LOSSLESS = ("PNG", "BMP", "TIFF", "TGA", "QOI", "PPM", "SGI", "PCX", "SUN", "DIB")


def hidden_text(data: bytes, file_format: str, carried: Carried) -> tuple[str, str] | None:
    """The form's name and the text; None where there is none.  Raises `ValueError` where a text is cut or damaged."""
    seen = None
    if data.startswith(SIGNATURE):
        if data[12:16] == _IOS:
            return None
        seen = first_letters(data)
        if seen is not None and not (seen[0] in _ALPHA or seen[1] in _RGB):
            return None
    elif file_format == "WEBP":
        if not any(part.name in ("VP8L", "ALPH") for part in carried.parts):
            return None
    elif file_format not in _LOSSLESS:
        return None
    try:
        pixels = _pixels(data)
    except Exception:
        if seen is None:  # of a kind that Pillow does not open, and so without the 8 bits that a text would be in
            return None
        raise
    if pixels is None:
        return None
    if pixels.shape[2] == 4 and (found := _read(pixels[:, :, 3:], _ALPHA)):
        return found
    return _read(pixels[:, :, :3], _RGB)


def first_letters(data: bytes) -> tuple[bytes, bytes] | None:
    """The 15 letters that the first column of a PNG spells in alpha and in RGB, without decoding the picture.

    In the first column there is nothing to the left, so each of PNG's filters is a matter of the pixel above, and only
    the first bytes of 120 rows are needed.  None for a PNG that is not of this kind; then it must be decoded.
    """
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    depth, colour, interlaced = data[24], data[25], data[28]
    channels = _CHANNELS.get(colour)
    if data[12:16] != b"IHDR" or depth != 8 or channels is None or interlaced or height < 8 * _LETTERS:
        return None
    row = 1 + width * channels
    above = bytearray(channels)
    alpha, rgb = [], []
    for line in _rows(data, row, 8 * _LETTERS):
        kind, raw = line[0], line[1 : 1 + channels]
        if kind in (2, 4):  # Up; Paeth, which is the same here
            raw = bytes((a + b) & 0xFF for a, b in zip(raw, above, strict=True))
        elif kind == 3:
            raw = bytes((a + b // 2) & 0xFF for a, b in zip(raw, above, strict=True))
        above = bytearray(raw)
        alpha.append(raw[-1] & 1)
        rgb += [value & 1 for value in raw[:3]]
    if len(alpha) < 8 * _LETTERS:
        return None
    return _letters(alpha) if channels == 4 else b"", _letters(rgb[: 8 * _LETTERS])


def _rows(data: bytes, size: int, count: int) -> list[bytes]:
    """The first rows as they stand in the compressed data."""
    inflater, out, at = zlib.decompressobj(), bytearray(), 8
    while at + 8 <= len(data) and len(out) < size * count:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"IDAT":
            try:
                out += inflater.decompress(data[at + 8 : at + 8 + length], size * count - len(out))
            except zlib.error:
                break
        at += 12 + length
    return [bytes(out[k * size : (k + 1) * size]) for k in range(len(out) // size)]


def _letters(bits: list[int]) -> bytes:
    return int("".join(map(str, bits)), 2).to_bytes(_LETTERS, "big")


def _pixels(data: bytes) -> NDArray[np.uint8] | None:
    import numpy as np
    from PIL import Image

    from nsnet_cli.inputs.decode import FORMATS

    with Image.open(BytesIO(data), formats=FORMATS) as image:
        if image.mode not in ("RGB", "RGBA"):
            return None
        return np.asarray(image)


def _read(channels: NDArray[np.uint8], forms: tuple[bytes, bytes]) -> tuple[str, str] | None:
    """A text in the lowest bits of ``channels`` ``(height, width, channels)``, down the columns."""
    height, per_pixel = channels.shape[0], channels.shape[2]
    head = 8 * _LETTERS + 32
    columns = -(-head // (height * per_pixel))
    start = _bits(channels[:, :columns], head)
    name = start[:_LETTERS]
    if name not in forms:
        return None
    length = int.from_bytes(start[_LETTERS : _LETTERS + 4], "big")
    total = head + length
    if total > channels.size or length > 8 * _LARGEST:
        raise ValueError(f"{name.decode()}: says that it is longer than the picture can hold")
    columns = -(-total // (height * per_pixel))
    body = _bits(channels[:, :columns], total)[head // 8 :]
    if name == forms[1]:
        inflater = zlib.decompressobj(31)
        try:
            body = inflater.decompress(body, _LARGEST)
        except zlib.error as error:
            raise ValueError(f"{name.decode()}: cannot be inflated ({error})") from error
    return name.decode(), body.decode("utf-8", "replace")


def _bits(channels: Any, count: int) -> bytes:
    import numpy as np

    ordered = channels.transpose(1, 0, 2).reshape(-1)[:count] & 1
    return np.packbits(ordered).tobytes()
