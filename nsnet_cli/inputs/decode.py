"""From bytes to pixels: one policy for every kind of file, by content and never by name.

The policy: EXIF orientation is applied; transparency is laid over white; grey, palette, CMYK, 16-bit and float
pictures become 8-bit RGB (`nsnet_cli.inputs.formats.samples`); metadata never costs a verdict; ICC profiles are *not*
applied, because converting would rewrite the very values that carry the traces; of an animation the first frame is
taken and said so; half a picture is an error, not a picture.  ``docs/inputs.md`` has the same in a table.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.damage import reason_of
from nsnet_cli.inputs.formats.amended import amended, has_several, turn_by_exif_alone
from nsnet_cli.inputs.formats.bmp import bitmap_size, decode_bitmap, has_masks
from nsnet_cli.inputs.formats.heif import is_avif, largest_size, under_known_brand, without_extras
from nsnet_cli.inputs.formats.jp2 import in_full_range, misread
from nsnet_cli.inputs.formats.jpeg import has_gain_map, is_jpeg, scans, unread_variant, without_metadata
from nsnet_cli.inputs.formats.jpeg import jpeg_quality as jpeg_quality
from nsnet_cli.inputs.formats.jxl import decode_jxl, is_jxl
from nsnet_cli.inputs.formats.jxl_header import read_header
from nsnet_cli.inputs.formats.png import cgbi_size, decode_cgbi, is_cgbi, is_png, still, within_bounds
from nsnet_cli.inputs.formats.raw import decode_raw, raw_in_tiff, raw_pixel_count
from nsnet_cli.inputs.formats.samples import RANGE_CHOSEN, grey_to_rgb, over_white
from nsnet_cli.inputs.formats.tiff import (
    decode_tiff,
    is_tiff,
    may_be_read_apart,
    needs_another_program,
    pillow_misreads,
    read_layout,
)
from nsnet_cli.inputs.in_place import in_one_piece, shared, turned
from nsnet_cli.inputs.kinds import FORMATS as FORMATS
from nsnet_cli.inputs.kinds import (
    HEAD,
    Kind,
    Sort,
    foreign_kind,
    kind_of_file,
    register_formats,
)
from nsnet_cli.inputs.limits import DecodeLimits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PilImage

_ANIMATED, GAIN_MAP = "animated", "gain_map"
# Training pictures were square; compression in training went down to quality 50.
EXTREME_ASPECT = 4
# Side in pixels of the thumbnails that the content control looks at.
THUMBNAIL_SIDE = 32
# Rows that are made RGB at a time.
_STRIP = 256
LOW_JPEG_QUALITY = 50
# Each goes through all pixels: a small file of thousands keeps a core busy for minutes.
_MOST_SCANS = 500


@dataclass(frozen=True)
class FileFacts:
    """What is known of a file whether or not it can be decoded."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Picture:
    """A decoded picture.  ``size`` is (width, height) after orientation; ``format`` is Pillow's name.

    ``pixels`` is ``(height, width, 3)`` uint8 RGB, or None once they have been used and let go.
    """

    size: tuple[int, int]
    format: str
    warnings: tuple[str, ...]
    pixels: NDArray[np.uint8] | None


def read_file(path: Path, limits: DecodeLimits) -> bytes:
    """Read a regular file whole.  Raises `InputError`; a FIFO or a device is never opened."""
    try:
        before = os.stat(path)
        if stat.S_ISDIR(before.st_mode) and not os.access(path, os.R_OK | os.X_OK):
            raise InputError("permission", "this folder cannot be read")
        if not stat.S_ISREG(before.st_mode):
            raise InputError("not_a_file", f"not a regular file but a {kind_of_file(before.st_mode)}")
        if before.st_size > limits.max_bytes:
            raise InputError(
                "too_large", f"{before.st_size:,} bytes, more than --max-bytes {limits.max_bytes:,} allows"
            )
        with open(path, "rb") as file:
            data = file.read(limits.max_bytes + 1)
            after = os.fstat(file.fileno())
    except FileNotFoundError as error:
        # A path of another system is a common reason, above all in lists.
        hint = "; folders are separated by / here" if "\\" in str(path) and os.sep == "/" else ""
        raise InputError("not_found", f"no such file{hint}") from error
    except PermissionError as error:
        raise InputError("permission", "permission denied") from error
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        # A folder that is none, a name longer than there can be, a link in a circle: nothing there to be decoded.
        nowhere = isinstance(error, OSError) and error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
        raise InputError("not_found" if nowhere else "decode_failed", f"could not be read: {said}") from error
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns) or len(data) != after.st_size:
        raise InputError("changed_while_reading", "the file changed while it was read; scan it again")
    if not data:
        raise InputError("empty", "the file is empty")
    return data


def pixel_count(data: bytes) -> int:
    """Pixels of a picture by its header, before anything is decoded; 0 where no header can be read."""
    from PIL import Image

    register_formats()
    kind = foreign_kind(data[:HEAD])
    if kind is not None:
        return raw_pixel_count(data) if kind.sort == Sort.RAW else 0
    width, height = _size_without_pillow(data)
    if width and height:
        return width * height
    for attempt in (lambda: data, lambda: _plain(data)):
        with suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(attempt()), formats=FORMATS) as image:
                return image.width * image.height
    layout = read_layout(data) if is_tiff(data) else None
    return 0 if layout is None else layout.width * layout.height


def format_of(data: bytes) -> str | None:
    """Pillow's name of a picture's format by its header; None where it opens none."""
    from PIL import Image

    register_formats()
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            return image.format
    return None


def facts_of(data: bytes) -> FileFacts:
    """SHA-256 and size of a file's bytes."""
    return FileFacts(hashlib.sha256(data).hexdigest(), len(data))


def decode(data: bytes, limits: DecodeLimits) -> Picture:
    """Decode a picture from the bytes of its file.  Raises `InputError` for everything that goes wrong."""
    register_formats()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind = foreign_kind(data[:HEAD])
            if kind is not None:
                return _foreign(data, kind, limits)
            if is_jxl(data):
                return _jxl(data, limits)
            if is_cgbi(data):
                _check_size(*cgbi_size(data), limits)
                return _picture(decode_cgbi(data), "PNG")
            try:
                return _by_pillow(data, limits)
            except (InputError, MemoryError):
                raise
            except Exception as error:
                return _by_other_means(data, limits, error)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError("too_large", "not enough memory to decode it; a smaller copy can be scanned") from error
    except Exception as error:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raise reason_of(data, error) from error


def _by_pillow(data: bytes, limits: DecodeLimits) -> Picture:
    from PIL import ExifTags, Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # our own limit is checked below, before pixels are decoded
    opened: PilImage = Image.open(BytesIO(data), formats=FORMATS)
    _check_size(*opened.size, limits)
    file_format = opened.format or "unknown"
    flags = [_ANIMATED] if file_format != "MPO" and has_several(opened) else []
    if file_format == "TIFF":
        tags = cast(Any, opened).tag_v2
        raw = raw_in_tiff(tags, opened.size)
        if raw is not None:
            return _foreign(data, raw, limits)
        if pillow_misreads(tags) and (layout := read_layout(data)) is not None:
            pixels, said = decode_tiff(data, layout)
            return _picture(pixels, file_format, (*flags, *said))
    if file_format == "JPEG2000" and (odd := misread(data)) is not None:
        raise InputError("unsupported_format", f"{odd}, which is not read: save it as PNG and scan that")
    if is_jpeg(data) and scans(data, _MOST_SCANS) > _MOST_SCANS:
        raise InputError("too_large", f"a JPEG of more than {_MOST_SCANS} scans, which nobody writes: save it as PNG")
    quality = jpeg_quality(getattr(opened, "quantization", None) or {})
    if quality is not None and quality < LOW_JPEG_QUALITY:
        flags.append("low_quality_jpeg")
    if has_gain_map(data, file_format):
        flags.append(GAIN_MAP)
    if file_format != "HEIF":  # which is opened at the picture that it calls its primary one
        opened.seek(0)
    turn_by_exif_alone(opened)  # TIFF is turned while it is loaded
    with in_one_piece(opened.size):
        opened.load()
    opened = amended(opened, data)
    in_place = shared(opened)
    # A damaged EXIF block must not cost the picture; without it there is nothing to turn.
    with suppress(Exception):
        if in_place is None:
            ImageOps.exif_transpose(opened, in_place=True)  # else what need not be turned is copied
        else:
            in_place = turned(in_place, opened.getexif().get(ExifTags.Base.Orientation))
    if opened.mode == "F" or (opened.mode == "I" and file_format == "TIFF"):
        flags.append(RANGE_CHOSEN)
    pixels = _to_rgb(opened) if in_place is None else in_place
    return _picture(in_full_range(pixels, data) if file_format == "JPEG2000" else pixels, file_format, flags)


def _by_other_means(data: bytes, limits: DecodeLimits, error: Exception) -> Picture:
    """What Pillow would not open or decode, for a reason that need not be damage.  Raises ``error`` for damage."""
    from PIL import UnidentifiedImageError

    layout = read_layout(data) if is_tiff(data) else None
    unread = isinstance(error, UnidentifiedImageError | KeyError | ValueError)
    if layout is not None and (unread or needs_another_program(layout) or may_be_read_apart(layout)):
        if (raw := raw_in_tiff(layout.tags, (layout.width, layout.height))) is not None:
            return _foreign(data, raw, limits)
        _check_size(layout.width, layout.height, limits)
        pixels, said = decode_tiff(data, layout)
        return _picture(pixels, "TIFF", ((_ANIMATED,) if layout.pages else ()) + said)
    if has_masks(data):
        _check_size(*bitmap_size(data), limits)
        return _picture(decode_bitmap(data), "BMP")
    if is_jpeg(data) and (variant := unread_variant(data)) is not None:
        raise InputError("unsupported_format", f"{variant}, which is not read: save it as PNG and scan that")
    if is_avif(data):
        _check_size(*largest_size(data), limits)
    # Metadata never costs a verdict: once more without what Pillow may have stumbled over.
    for plain in (_plain(data), still(data) if is_png(data) else data):
        if plain != data:
            with suppress(InputError, Exception):
                picture = _by_pillow(plain, limits)
                # What was left out may be what said so.
                lost = GAIN_MAP not in picture.warnings and has_gain_map(data, picture.format)
                return replace(picture, warnings=(*picture.warnings, GAIN_MAP)) if lost else picture
    raise error


def _plain(data: bytes) -> bytes:
    """The file without metadata that Pillow may stumble over, and under a name that it knows."""
    if is_png(data):
        return within_bounds(data)
    if is_jpeg(data):
        return without_metadata(data)
    return under_known_brand(without_extras(data) if is_avif(data) else data)


def _foreign(data: bytes, kind: Kind, limits: DecodeLimits) -> Picture:
    if kind.sort != Sort.RAW:
        raise InputError("unsupported_format", kind.refusal)
    pixels, said = decode_raw(data, kind, limits.max_pixels)
    return _picture(pixels, "RAW", said)


def _jxl(data: bytes, limits: DecodeLimits) -> Picture:
    header = read_header(data)
    if header is None:
        raise InputError("truncated", "cut short: it ends within the header of a JPEG XL picture")
    _check_size(header.width, header.height, limits)
    if header.animated:
        raise InputError("unsupported_format", "animated JPEG XL, which is not read: export its first frame as PNG")
    found, said = decode_jxl(data, header)
    flags = (*said, GAIN_MAP) if header.gain_map else said
    if isinstance(found, bytes):
        inner = _by_pillow(found, limits)
        return replace(inner, format="JXL", warnings=(*inner.warnings, *flags))
    colour = found[:, :, :3] if found.shape[2] > 2 else found[:, :, :1].repeat(3, axis=2)
    if found.shape[2] in (2, 4):
        colour = over_white(colour, found[:, :, -1], header.multiplied)
    return _picture(colour, "JXL", flags)


def _picture(pixels: NDArray[np.uint8], file_format: str, flags: Sequence[str] = ()) -> Picture:
    height, width = pixels.shape[:2]
    if max(width, height) > EXTREME_ASPECT * min(width, height):
        # Beside the flags in the order in which they have always been written.
        flags = sorted((*flags, "extreme_aspect"), key=lambda flag: (flag != _ANIMATED, flag != "extreme_aspect"))
    return Picture((width, height), file_format, tuple(flags), pixels)


def _check_size(width: int, height: int, limits: DecodeLimits) -> None:
    if width * height > limits.max_pixels:
        raise InputError(
            "too_large",
            f"{width} x {height} pixels, more than --max-pixels {limits.max_pixels:,} allows",
        )


def _size_without_pillow(data: bytes) -> tuple[int, int]:
    if is_cgbi(data):
        return cgbi_size(data)
    if has_masks(data):
        return bitmap_size(data)
    header = read_header(data) if is_jxl(data) else None
    return (0, 0) if header is None else (header.width, header.height)


def thumbnail_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A ``(32, 32, 3)`` thumbnail of ``(height, width, 3)`` pixels, for the content control."""
    import numpy as np
    from PIL import Image

    small = Image.fromarray(pixels).resize((THUMBNAIL_SIDE,) * 2, Image.Resampling.BOX, reducing_gap=3.0)
    return np.asarray(small)


def read_thumbnail(path: Path, limits: DecodeLimits) -> NDArray[np.uint8]:
    """The thumbnail of a file, JPEGs decoded at reduced size.  Raises `InputError` as `decode` does."""
    import numpy as np
    from PIL import Image, ImageOps

    data = read_file(path, limits)
    if data.startswith(b"\xff\xd8"):
        with suppress(Exception), Image.open(BytesIO(data), formats=["JPEG"]) as image:
            if image.width * image.height <= limits.max_pixels:
                image.draft("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
                small = image.convert("RGB").resize((THUMBNAIL_SIDE,) * 2, Image.Resampling.BOX)
                small.getexif().update(image.getexif())
                return np.asarray(ImageOps.exif_transpose(small))
    pixels = decode(data, limits).pixels
    assert pixels is not None
    return thumbnail_of(pixels)


def read_container(path: Path) -> PilImage:
    """Open a file for what its container says; nothing is decoded.  The caller closes it.

    Raises `InputError` for what is no regular file, and Pillow's errors for what is no picture.
    """
    from PIL import Image

    if not stat.S_ISREG(os.stat(path).st_mode):
        raise InputError("not_a_file", "not a regular file")
    register_formats()
    return Image.open(path, formats=FORMATS)


def channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(height, width, 3)`` as ``(3, height, width)``; nothing is copied."""
    return pixels.transpose(2, 0, 1)


def _to_rgb(image: PilImage) -> NDArray[np.uint8]:
    """``(height, width, 3)``, transparency over white; made a strip at a time, since each step is a copy."""
    import numpy as np
    from PIL import Image

    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        values = np.asarray(image)
        pixels = grey_to_rgb(values)
        clear = image.info.get("transparency")
        if image.mode.startswith("I;16") and isinstance(clear, int):
            pixels[values == clear] = 255
        return pixels
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(image.height, top + _STRIP)))
        if transparent:
            rgba = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        pixels[top : top + _STRIP] = np.asarray(strip.convert("RGB"))
    return pixels
