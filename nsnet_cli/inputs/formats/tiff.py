"""TIFF of samples that Pillow does not open: floats, 10 to 64 bits, planes apart, CIELab, each at any depth.

Strips and tiles are unpacked one by one, each to no more bytes than its place in the picture has; Pillow's libtiff
unpacks those that zlib does not, as rows of bytes.  TIFF 6.0, with Adobe's technical notes for predictors and floats.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.formats.samples import (
    RANGE_CHOSEN,
    cmyk_to_rgb,
    floats_to_8bit,
    integers_to_8bit,
    lab_to_rgb,
    over_white,
    turned_upright,
    wide_integers_to_8bit,
)

_UINT, _INT, _FLOAT = 1, 2, 3
_GREY, _RGB, _CMYK, _YCBCR, _LAB = (0, 1), 2, 5, 6, (8, 9)
_CHANNELS = {0: 1, 1: 1, _RGB: 3, _CMYK: 4, 8: 3, 9: 3}
_PLAIN, _LZW, _PACKBITS, _LZMA, _ZSTD = 1, 5, 32773, 34925, 50000
_DEFLATE = (8, 32946)
_COMPRESSIONS = {
    2: "CCITT fax", 3: "CCITT fax", 4: "CCITT fax", 6: "old-style JPEG", 7: "JPEG", 32809: "ThunderScan",
    33003: "JPEG 2000", 33005: "JPEG 2000", 34661: "JBIG", 34676: "SGI LogLuv", 34677: "SGI LogLuv", 34712: "JPEG 2000",
    34887: "LERC", 34892: "lossy JPEG", 34933: "PNG", 34934: "JPEG XR", 50001: "WebP", 50002: "JPEG XL",
    52546: "JPEG XL", 32909: "Pixar log",
}  # fmt: skip
# Of these, what Pillow's libtiff unpacks.
_BY_PILLOW = (2, 3, 4, 6, 7, 34676, 34677)
_ASSOCIATED, _UNASSOCIATED = 1, 2
# Rows whose bits are unpacked together hold about so many samples.
_PIECE = 1 << 20
# A strip or a tile, unpacked: a picture may be one strip, and a pixel may have many samples.
_LARGEST_CHUNK = 2 << 30
_CLASSIC = {b"II": b"*\0", b"MM": b"\0*"}


@dataclass(frozen=True)
class TiffLayout:
    """How the samples of a TIFF's first picture lie."""

    width: int
    height: int
    bits: int
    samples: int
    kind: int
    photometric: int
    compression: int
    planes: int
    predictor: int
    reversed_bits: bool
    extra: tuple[int, ...]
    orientation: object
    little: bool
    chunk: tuple[int, int]
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    pages: bool
    tags: Any

    @property
    def in_a_plane(self) -> int:
        """Samples of a pixel that lie together."""
        return self.samples if self.planes == 1 else 1

    @property
    def says(self) -> str:
        kind = {_UINT: "", _INT: "signed ", _FLOAT: "float "}.get(self.kind, "odd ")
        return f"TIFF of {self.samples} {kind}samples of {self.bits} bits"


def is_tiff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_layout(data: bytes) -> TiffLayout | None:
    """The layout by the first directory; None where that cannot be read."""
    try:
        return _layout(data)
    except Exception:  # Pillow raises nearly anything for a hostile directory
        return None


def pillow_misreads(tags: Any) -> bool:
    """Whether Pillow opens a TIFF of these tags, but not as what it is."""
    bits = tags.get(258, (1,))
    depth = max(bits) if isinstance(bits, tuple) else bits
    if tags.get(259, 1) in (6, 7, 34676, 34677):
        return False
    # It lays planes of plain 16-bit samples beside each other, and takes 12 bits for the lower ones of 16.
    if depth in (10, 12, 14, 24) or (tags.get(284, 1) == 2 and depth > 8 and tags.get(259, 1) == _PLAIN):
        return True
    if tags.get(284, 1) == 2 and tags.get(262) in _LAB:
        return True
    # Of grey and alpha in planes of their own it leaves alpha out where they are compressed, and so all of it clear.
    if tags.get(284, 1) == 2 and tags.get(277, 1) == 2 and tags.get(259, 1) != _PLAIN:
        return True
    # Where white is 0 it shows the negative, of 32 bits it takes the highest for a sign, and of signs for a bit.
    grey = tags.get(277, 1) == 1
    kinds = tags.get(339, (1,))
    kind = kinds[0] if isinstance(kinds, tuple) else kinds
    signed, whole = kind == _INT and depth <= 16, kind == _UINT
    # What libtiff has unpacked is in the machine's order already, and is turned once more.
    turned = tags.prefix == b"MM" and tags.get(259, 1) != _PLAIN and depth == 32
    return grey and ((tags.get(262) == 0 and depth > 8) or (depth == 32 and whole) or signed or turned)


def narrow_palette(tags: Any) -> bytes | None:
    """The palette of a TIFF that gives its colours 8 bits where 16 belong, and so is black; None of any other."""
    values = tags.get(320, ())
    if not isinstance(values, tuple) or len(values) % 3 or not 0 < max(values, default=0) < 256:
        return None
    third = len(values) // 3
    return bytes(value for k in range(third) for value in values[k::third])


def may_be_read_apart(t: TiffLayout) -> bool:
    """Whether this module may read what Pillow stumbled over, or else know it for a kind that is not read."""
    return t.compression in (_PLAIN, _LZW, _PACKBITS, _LZMA, _ZSTD, *_DEFLATE) and t.photometric in (*_CHANNELS, _YCBCR)


def needs_another_program(t: TiffLayout) -> bool:
    """Whether its compression is one that neither Pillow's libtiff nor this module unpacks."""
    return t.compression in _COMPRESSIONS and t.compression not in _BY_PILLOW


def decode_tiff(data: bytes, t: TiffLayout) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """``(height, width, 3)`` uint8, upright, and what to say of it.  Raises `InputError`.

    Whoever asks has seen to it that width and height are within the limits.
    """
    _check(t)
    # Colour, and alpha where there is some; whatever else there is of a pixel is nothing to be seen.
    seen = min(t.samples, _CHANNELS[t.photometric] + 1)
    values = np.zeros((t.height, t.width, seen), _kept_dtype(t))
    for plane, y, x, place in _chunks(data, t):
        if plane >= seen:
            break
        rows, columns = min(place.shape[0], t.height - y), min(place.shape[1], t.width - x)
        into = slice(plane, plane + 1) if t.planes > 1 else slice(None)
        values[y : y + rows, x : x + columns, into] = place[:rows, :columns, :seen]
    wide = t.kind == _FLOAT or t.bits > 16
    if t.photometric in _LAB:
        pixels = lab_to_rgb(_lab_values(values, t))
    else:
        eight = _to_8bit(values, t)
        pixels = _coloured(eight, t)
    return turned_upright(pixels, t.orientation), ((RANGE_CHOSEN,) if wide else ())


def _layout(data: bytes) -> TiffLayout:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    little = data[:2] == b"II"
    tags: Any = ImageFileDirectory_v2(data[:16] if data[2:4] == b"+\0" else data[:2] + _CLASSIC[data[:2]] + data[4:8])
    if data[2:4] == b"\0+":  # Pillow takes a BigTIFF for one by its third byte alone
        tags._bigtiff, tags.next = True, int.from_bytes(data[8:16], "big")
    file = BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    width, height = int(tags[256]), int(tags[257])
    samples = int(tags.get(277, 1))
    bits, kinds = _all_alike(tags.get(258, 1)), _all_alike(tags.get(339, _UINT))
    tiled = 322 in tags
    chunk = (int(tags[323]), int(tags[322])) if tiled else (min(height, int(tags.get(278, height))), width)
    # Old writers have the places of tiles where those of strips belong.
    offsets = tuple(map(int, _several(tags[324 if 324 in tags else 273])))
    counts = tuple(map(int, _several(tags.get(325 if 325 in tags else 279, ()))))
    return TiffLayout(
        width=width,
        height=height,
        bits=bits,
        samples=samples,
        kind=_UINT if kinds == 4 else kinds,
        photometric=int(tags.get(262, 1)),
        compression=int(tags.get(259, 1)),
        planes=samples if tags.get(284, 1) == 2 and samples > 1 else 1,
        predictor=int(tags.get(317, 1)),
        reversed_bits=tags.get(266, 1) == 2,
        extra=tuple(map(int, _several(tags.get(338, ())))),
        orientation=tags.get(274, 1),
        little=little,
        chunk=chunk,
        offsets=offsets,
        counts=counts or (len(data),) * len(offsets),
        pages=bool(tags.next),
        tags=tags,
    )


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _all_alike(value: Any) -> int:
    """The one value of a tag that has one for each sample; 0 where they differ."""
    values = set(_several(value))
    return int(values.pop()) if len(values) == 1 else 0


def _check(t: TiffLayout) -> None:
    """Raises `InputError` for what is not read here, and for what cannot be."""
    packed = (_PLAIN, _LZW, _PACKBITS, _LZMA, _ZSTD, *_DEFLATE)
    if t.compression not in packed:
        name = _COMPRESSIONS.get(t.compression, f"scheme {t.compression}")
        raise _unsupported(f"{t.says}, compressed by {name}")
    depths = (16, 24, 32, 64) if t.kind == _FLOAT else (*range(1, 17), 24, 32, 64)
    if (
        t.bits not in depths
        or t.kind not in (_UINT, _INT, _FLOAT)
        or (t.kind == _INT and t.bits not in (8, 16, 32, 64))
    ):
        raise _unsupported(t.says)
    if t.predictor not in (1, 2, 3) or (t.predictor == 2 and t.bits == 24) or (t.predictor == 3 and t.kind != _FLOAT):
        raise _unsupported(f"{t.says} behind predictor {t.predictor}")
    if t.photometric not in _CHANNELS or (t.photometric in _LAB and (t.kind == _FLOAT or t.bits not in (8, 16))):
        raise _unsupported(f"{t.says} of colour space {t.photometric}")
    # A palette or a luminance of so few bits is for Pillow, which has been asked.
    if t.samples < _CHANNELS[t.photometric] or t.samples > 32 or min(t.width, t.height, *t.chunk) < 1:
        raise InputError("decode_failed", f"damaged: {t.says}, which is too few or too many for its colour space")
    rows, columns = t.chunk
    across, down = -(-t.width // columns), -(-t.height // rows)
    if columns > 2 * t.width + 4096 or rows > 2 * t.height + 4096:
        raise InputError("decode_failed", "damaged: tiles that are far larger than the picture")
    if min(len(t.offsets), len(t.counts)) < across * down * t.planes:
        raise InputError("truncated", f"cut short: {len(t.offsets)} of {across * down * t.planes} strips or tiles")


def _unsupported(what: str) -> InputError:
    return InputError(
        "unsupported_format", f"{what}, which is not read: save it as 16-bit RGB TIFF or PNG and scan that"
    )


def _chunks(data: bytes, t: TiffLayout) -> Iterator[tuple[int, int, int, NDArray[Any]]]:
    """Plane, top, left and samples ``(rows, columns, samples together)`` of each strip or tile."""
    rows, columns = t.chunk
    index = 0
    tiled = columns != t.width or rows > t.height
    row_bytes = -(-columns * t.in_a_plane * t.bits // 8)
    if min(rows, t.height) * row_bytes > _LARGEST_CHUNK:
        raise InputError("too_large", f"{t.says}, in strips or tiles of more than {_LARGEST_CHUNK >> 30} GB")
    for plane in range(t.planes):
        for y in range(0, t.height, rows):
            # The last strip may be shorter; a tile never is.
            here = rows if tiled else min(rows, t.height - y)
            for x in range(0, t.width, columns):
                raw = _unpacked(data, t, index, here, row_bytes)
                index += 1
                yield plane, y, x, _samples(raw, t, here, columns)


def _unpacked(data: bytes, t: TiffLayout, index: int, rows: int, row_bytes: int) -> NDArray[np.uint8]:
    """``(rows, row_bytes)`` of a strip or tile."""
    wanted = rows * row_bytes
    packed = data[t.offsets[index] : t.offsets[index] + min(t.counts[index], len(data))]
    if t.reversed_bits:
        packed = packed.translate(_REVERSED)
    if t.compression == _PLAIN:
        plain = packed[:wanted]
    elif t.compression in _DEFLATE:
        try:
            plain = zlib.decompressobj().decompress(packed, wanted)
        except zlib.error as error:
            raise InputError("decode_failed", f"damaged: strip or tile {index + 1} cannot be inflated") from error
    else:
        plain = _by_libtiff(packed, t.compression, rows, row_bytes)
    if len(plain) < wanted:
        raise InputError("truncated", f"cut short: strip or tile {index + 1} has {len(plain):,} of {wanted:,} bytes")
    return np.frombuffer(plain, np.uint8, wanted).reshape(rows, row_bytes)


def _by_libtiff(packed: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """Bytes of a strip, told to libtiff as a grey picture of 8 bits that is ``row_bytes`` wide."""
    from PIL import Image

    entries = [(256, 4, row_bytes), (257, 4, rows), (258, 3, 8), (259, 3, compression), (262, 3, 1),
               (273, 4, 8 + 2 + 9 * 12 + 4), (277, 3, 1), (278, 4, rows), (279, 4, len(packed))]  # fmt: skip
    directory = b"".join(
        tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + b"\1\0\0\0" + value.to_bytes(4, "little")
        for tag, kind, value in entries
    )
    file = b"II*\0\x08\0\0\0" + len(entries).to_bytes(2, "little") + directory + bytes(4) + packed
    with Image.open(BytesIO(file), formats=["TIFF"]) as image:
        return image.tobytes()


_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def _samples(raw: NDArray[np.uint8], t: TiffLayout, rows: int, columns: int) -> NDArray[Any]:
    together = t.in_a_plane
    shape = (rows, columns, together)
    order = "<" if t.little else ">"
    if t.predictor == 3:
        size = t.bits // 8
        summed = np.cumsum(raw.reshape(rows, -1, together), axis=1, dtype=np.uint8).reshape(rows, size, -1)
        raw, order = np.ascontiguousarray(summed.swapaxes(1, 2)).reshape(rows, -1), ">"
    if t.bits == 24:
        parts = raw[:, : columns * together * 3].reshape(*shape, 3).astype(np.uint32)
        low, middle, high = parts[..., 0], parts[..., 1], parts[..., 2]
        if order == ">":
            low, high = high, low
        whole = low | (middle << 8) | (high << 16)
        return _float24(whole) if t.kind == _FLOAT else whole
    if t.bits not in (8, 16, 32, 64):
        narrow = _from_bits(raw, t.bits, columns * together).reshape(shape)
        return np.cumsum(narrow, axis=1, dtype=np.uint16) & ((1 << t.bits) - 1) if t.predictor == 2 else narrow
    letter = {_UINT: "u", _INT: "i", _FLOAT: "f"}[t.kind]
    stored = np.dtype(f"{order}{'u' if t.predictor == 2 else letter}{t.bits // 8}")
    values = np.ascontiguousarray(raw).view(stored).reshape(shape)
    values = values.astype(stored.newbyteorder("="))
    if t.predictor == 2:
        values = np.cumsum(values, axis=1, dtype=values.dtype).view(f"{letter}{t.bits // 8}")
    return values


def _from_bits(raw: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint16]:
    """``(rows, count)`` values of so many bits, up to 16, the highest bit first; rows begin at whole bytes."""
    out = np.empty((len(raw), count), np.uint16)
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.uint16)
    step = max(1, _PIECE // max(1, count))
    for y in range(0, len(raw), step):
        single = np.unpackbits(raw[y : y + step], axis=1, count=count * bits)
        out[y : y + step] = single.reshape(-1, count, bits) @ weights
    return out


def _float24(whole: NDArray[Any]) -> NDArray[np.float32]:
    """A sign, 7 bits of exponent, 16 of mantissa."""
    exponent, mantissa = ((whole >> 16) & 127).astype(np.int32), (whole & 0xFFFF).astype(np.float32)
    size = np.where(exponent == 0, np.ldexp(mantissa, -62 - 16), np.ldexp(mantissa + 65536.0, exponent - 63 - 16))
    return np.where(whole >> 23, -size, size).astype(np.float32)


def _kept_dtype(t: TiffLayout) -> Any:
    if t.kind == _FLOAT:
        return np.float32
    if t.kind == _INT:
        return np.dtype(f"i{t.bits // 8}")
    return np.uint8 if t.bits <= 8 else np.uint16 if t.bits <= 16 else np.uint32 if t.bits <= 32 else np.uint64


def _to_8bit(values: NDArray[Any], t: TiffLayout) -> NDArray[np.uint8]:
    if t.kind == _FLOAT:
        # Alpha has a range of its own: light may be brighter than white, and nothing is denser than opaque.
        colour = _CHANNELS[t.photometric]
        return np.concatenate([floats_to_8bit(part) for part in (values[..., :colour], values[..., colour:])], axis=2)
    if t.bits > 16:
        return wide_integers_to_8bit(values)
    if t.bits == 16 and t.kind == _UINT and t.photometric not in _GREY:
        return (values >> 8).astype(np.uint8)  # as Pillow does where samples lie together
    top = (1 << (t.bits - (t.kind == _INT))) - 1
    if top < 255:
        return (values.clip(0, top).astype(np.uint16) * 255 // top).astype(np.uint8)
    return integers_to_8bit(values, top)


def _coloured(eight: NDArray[np.uint8], t: TiffLayout) -> NDArray[np.uint8]:
    channels = _CHANNELS[t.photometric]
    colour = eight[:, :, :channels]
    if t.photometric == 0:
        colour = 255 - colour
    pixels = (
        cmyk_to_rgb(colour) if t.photometric == _CMYK else np.repeat(colour, 3, axis=2) if channels == 1 else colour
    )
    alpha = t.extra[0] if t.extra and t.samples > channels else 0
    if alpha in (_ASSOCIATED, _UNASSOCIATED):
        return over_white(pixels, eight[:, :, channels], alpha == _ASSOCIATED)
    return pixels


def _lab_values(values: NDArray[Any], t: TiffLayout) -> NDArray[np.float32]:
    """L* in [0, 100], a* and b* as they are: CIELab has them signed, ICCLab (9) with an offset."""
    top, half = (1 << t.bits) - 1, 1 << (t.bits - 1)
    lab = values[:, :, :3].astype(np.float32)
    chroma = (
        lab[..., 1:] - half
        if t.photometric == 9
        else np.where(lab[..., 1:] >= half, lab[..., 1:] - 2 * half, lab[..., 1:])
    )
    return np.concatenate([lab[..., :1] * (100.0 / top), chroma / (half / 128.0)], axis=-1).astype(np.float32)
