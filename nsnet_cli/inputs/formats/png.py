"""PNG as files are: with metadata of any length, and as Apple's tools write it for iOS (CgBI)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.formats.samples import over_white, turned_upright

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Bounds within which text and profiles are read; Pillow refuses the whole file where one goes beyond its own.
_LONGEST, _ALL = 1 << 20, 16 << 20
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT")
_PIECE = 1 << 20  # bytes that are inflated at a time where they are only counted
# Bytes of chunks that have one length.
_EXACTLY = {b"gAMA": 4, b"sRGB": 1, b"cHRM": 32, b"pHYs": 9}
# Where the passes of Adam7 begin, and how far apart their pixels are: x, y, dx, dy.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True)
class Chunk:
    """A chunk with its place in the file; ``sound`` where its checksum fits."""

    kind: bytes
    start: int
    end: int
    sound: bool


def is_png(data: bytes) -> bool:
    return data.startswith(SIGNATURE)


def is_cgbi(data: bytes) -> bool:
    return is_png(data) and data[12:16] == b"CgBI"


def chunks(data: bytes) -> Iterator[Chunk]:
    """Whole chunks in order, to the last that is whole."""
    at, view = len(SIGNATURE), memoryview(data)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return
        sound = zlib.crc32(view[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        yield Chunk(data[at + 4 : at + 8], at, end, sound)
        at = end


def still(data: bytes) -> bytes:
    """The picture that programs without animation show, where what makes it an animation is damaged."""
    return within_bounds(data, _PIXELS[:5])


def within_bounds(data: bytes, pixels: tuple[bytes, ...] = _PIXELS) -> bytes:
    """The file without metadata that is damaged or unfolds to more than anybody reads; what is cut stays cut."""
    kept, left, end = [SIGNATURE], _ALL, len(SIGNATURE)
    for chunk in chunks(data):
        end = chunk.end
        if chunk.kind in _PIXELS and chunk.kind not in pixels:
            continue
        if chunk.kind not in pixels:
            body = data[chunk.start + 8 : chunk.end - 4]
            right = chunk.sound and len(body) == _EXACTLY.get(chunk.kind, len(body))
            size = _unfolded(chunk.kind, body) if right else None
            if size is None or size > min(_LONGEST, left):
                continue
            left -= size
        kept.append(data[chunk.start : chunk.end])
        if chunk.kind == b"IEND":
            end = len(data)
    kept.append(data[end:])
    return b"".join(kept)


def has_false_pixels(data: bytes) -> bool:
    """Whether the checksum of a chunk of pixels is false: decoders may have had all rows before they come to that."""
    return any(chunk.kind == b"IDAT" and not chunk.sound for chunk in chunks(data))


def lacks_rows(data: bytes) -> bool:
    """Whether what a PNG holds unfolds to fewer rows than its header says, though the stream ends as it should."""
    header, wanted = data[16:29], _raw_size(data[16:29])
    inflate = zlib.decompressobj()
    for chunk in chunks(data):
        if chunk.kind == b"IDAT":
            rest = data[chunk.start + 8 : chunk.end - 4]
            while rest and wanted > 0 and not inflate.eof:
                wanted -= len(inflate.decompress(rest, _PIECE))
                rest = inflate.unconsumed_tail
    return wanted > 0 and len(header) == 13


def decode_cgbi(data: bytes) -> NDArray[np.uint8]:
    """``(height, width, 3)`` uint8 of a PNG for iOS: deflated without zlib's header, blue first, alpha multiplied in.

    Whoever asks has seen to it that the size is within the limits.  Raises `InputError`.
    """
    from PIL import Image

    header, others, packed = b"", [], []
    for chunk in chunks(data):
        body = data[chunk.start + 8 : chunk.end - 4]
        if chunk.kind == b"IHDR":
            header = body
        elif chunk.kind == b"IDAT":
            packed.append(body)
        elif chunk.kind in (b"PLTE", b"tRNS", b"eXIf") and chunk.sound:
            others.append((chunk.kind, body))
    if len(header) != 13:
        raise InputError("decode_failed", "damaged: a PNG for iOS without a header")
    colour = header[9]
    wanted = _raw_size(header)
    try:
        raw = zlib.decompressobj(-15).decompress(b"".join(packed), wanted)
    except zlib.error as error:
        raise InputError("decode_failed", f"damaged: {error}") from error
    if len(raw) < wanted:
        raise InputError("truncated", f"cut short: {len(raw):,} of {wanted:,} bytes of pixels")
    file = SIGNATURE + b"".join(
        _chunk(kind, body)
        for kind, body in ((b"IHDR", header), *others, (b"IDAT", zlib.compress(raw, 0)), (b"IEND", b""))
    )
    with Image.open(BytesIO(file), formats=["PNG"]) as image:
        orientation = image.getexif().get(274)
        pixels = np.array(image.convert("RGBA"))
    if colour in (2, 6):
        pixels = pixels[:, :, [2, 1, 0, 3]]
    return turned_upright(over_white(pixels[:, :, :3], pixels[:, :, 3], colour == 6), orientation)


def cgbi_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG for iOS; zeros where it has no header."""
    for chunk in chunks(data):
        if chunk.kind == b"IHDR":
            body = data[chunk.start + 8 : chunk.end - 4]
            return int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    return 0, 0


def _unfolded(kind: bytes, body: bytes) -> int | None:
    """Bytes that a chunk unfolds to, as far as `_LONGEST` and one more; None where it is damaged."""
    if kind in (b"zTXt", b"iCCP"):
        method, packed = body.partition(b"\0")[2][:1], body.partition(b"\0")[2][1:]
        if method != b"\0":
            return None  # of all methods the format knows one
    elif kind == b"iTXt":
        rest = body.partition(b"\0")[2]
        if rest[:1] != b"\1":
            return len(body)
        if rest[1:2] != b"\0":
            return None
        packed = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        return len(body)
    try:
        return len(zlib.decompressobj().decompress(packed, _LONGEST + 1))
    except zlib.error:
        return None


def _raw_size(header: bytes) -> int:
    """Bytes of a picture as they are deflated: rows, with a byte for the filter before each."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * _SAMPLES.get(header[9], 4)
    sizes = [(width, height)]
    if header[12]:
        sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in _PASSES]
    return sum(h * (1 + -(-w * bits // 8)) for w, h in sizes if w > 0 and h > 0)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
