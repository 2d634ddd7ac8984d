"""From bytes to pixels: one policy for every kind of file, by content and never by name.

The policy: EXIF orientation is applied; transparency is laid over white; grey, palette, CMYK, 16-bit and
float pictures become 8-bit RGB; ICC profiles are *not* applied, because converting would rewrite the very
values that carry the traces; of an animation the first frame is taken and said so; half a picture is an
error, not a picture.  ``docs/inputs.md`` has the same in a table.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsnet_cli.errors import InputError
from nsnet_cli.inputs import DecodeLimits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PilImage

# Formats that pictures come in (JPEG opens MPO, too).  Pillow knows many more, from EPS, which starts Ghostscript,
# to ICNS, of which a small file can fill 17 GB: they are named in the error, not opened.
FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM", "TGA", "QOI", "PCX",
    "SGI", "SUN",
)  # fmt: skip
# Some kinds that are often met and that we do not read, by their first bytes.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "PDF document"),
    (0, b"8BPS", "Photoshop document"),
    (0, b"FUJIFILMCCD-RAW", "camera RAW (Fujifilm RAF)"),
    (0, b"IIU\x00", "camera RAW (Panasonic RW2)"),
    (0, b"IIRO", "camera RAW (Olympus ORF)"),
    (0, b"IIRS", "camera RAW (Olympus ORF)"),
    (0, b"MMOR", "camera RAW (Olympus ORF)"),
    (8, b"CR\x02\x00", "camera RAW (Canon CR2)"),
    (4, b"ftypcrx", "camera RAW (Canon CR3)"),
    (4, b"ftypqt", "video"),
    (4, b"ftypisom", "video"),
    (4, b"ftypmp4", "video"),
    (4, b"ftypM4V", "video"),
    (4, b"ftypavc1", "video"),
    (4, b"ftyp3gp", "video"),
    (8, b"AVI ", "video"),
    (0, b"\x1a\x45\xdf\xa3", "video"),
    (0, b"\x00\x00\x01\xba", "video"),
    (0, b"PK\x03\x04", "ZIP archive or office document"),
)
# TIFF tags and values by which a camera RAW file that is dressed as TIFF gives itself away.
_TIFF_DNG_VERSION, _TIFF_SUB_IFDS, _TIFF_PHOTOMETRIC, _PHOTOMETRIC_CFA = 50706, 330, 262, 32803
_ANIMATED = "animated"
# Training pictures were square; compression in training went down to quality 50.
EXTREME_ASPECT = 4
# Side in pixels of the thumbnails that the content control looks at.
THUMBNAIL_SIDE = 32
LOW_JPEG_QUALITY = 50
# Sum of the luminance table of ITU-T T.81, annex K.1: quality 50 in the scale of the IJG.
_QUALITY_50_SUM = 3688


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
            raise InputError("not_a_file", f"not a regular file but a {_kind(before.st_mode)}")
        if before.st_size > limits.max_bytes:
            raise InputError(
                "too_large", f"{before.st_size:,} bytes, more than --max-bytes {limits.max_bytes:,} allows"
            )
        with open(path, "rb") as file:
            data = file.read(limits.max_bytes + 1)
            after = os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise InputError("not_found", "no such file") from error
    except PermissionError as error:
        raise InputError("permission", "permission denied") from error
    except (OSError, ValueError) as error:
        raise InputError("decode_failed", f"could not be read: {error}") from error
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns) or len(data) != after.st_size:
        raise InputError("changed_while_reading", "the file changed while it was read; scan it again")
    if not data:
        raise InputError("empty", "the file is empty")
    return data


def pixel_count(data: bytes) -> int:
    """Pixels of a picture by its header, before anything is decoded; 0 where no header can be read."""
    from PIL import Image

    _register_heif()
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            return image.width * image.height
    return 0


def format_of(data: bytes) -> str | None:
    """Pillow's name of a picture's format by its header; None where it opens none."""
    from PIL import Image

    _register_heif()
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
    from PIL import Image, ImageOps, UnidentifiedImageError

    _register_heif()
    Image.MAX_IMAGE_PIXELS = None  # our own limit is checked below, before pixels are decoded
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened: PilImage = Image.open(BytesIO(data), formats=FORMATS)
            width, height = opened.size
            if width * height > limits.max_pixels:
                raise InputError(
                    "too_large",
                    f"{width} x {height} pixels, more than --max-pixels {limits.max_pixels:,} allows",
                )
            file_format = opened.format or "unknown"
            if file_format == "TIFF" and (raw := _raw_in_tiff(opened)):
                raise InputError("unsupported_format", f"{raw}: export it as TIFF or JPEG first")
            flags = [_ANIMATED] if getattr(opened, "n_frames", 1) > 1 and file_format != "MPO" else []
            if max(width, height) > EXTREME_ASPECT * min(width, height):
                flags.append("extreme_aspect")
            quality = jpeg_quality(getattr(opened, "quantization", None) or {})
            if quality is not None and quality < LOW_JPEG_QUALITY:
                flags.append("low_quality_jpeg")
            opened.seek(0)
            opened.load()
            # A damaged EXIF block must not cost the picture; without it there is nothing to turn.
            with suppress(Exception):
                opened = ImageOps.exif_transpose(opened)
            pixels = _to_rgb(opened)
            return Picture((pixels.shape[1], pixels.shape[0]), file_format, tuple(flags), pixels)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except MemoryError as error:
        raise InputError("too_large", "not enough memory to decode it") from error
    except Exception as error:
        # Pillow's plugins raise nearly anything on a damaged file: struct.error, SyntaxError, KeyError ...
        text = " ".join(str(error).split())[:200] or type(error).__name__
        cut = "truncated" in text.lower() or isinstance(error, EOFError) or "end of file" in text.lower()
        code = "truncated" if cut else "decode_failed"
        raise InputError(code, f"damaged or cut short: {text}") from error


def jpeg_quality(tables: Mapping[int, Sequence[int]]) -> int | None:
    """Quality on the IJG's scale of 1 to 100 that the luminance table (the first) comes closest to; None without."""
    if not tables:
        return None
    scale = 100.0 * sum(tables[min(tables)]) / _QUALITY_50_SUM
    return max(1, min(100, round(5000.0 / scale if scale > 100.0 else (200.0 - scale) / 2.0)))


def looks_like_picture(path: Path) -> bool:
    """Whether the first bytes are those of a format that Pillow knows: for the walk of a directory."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return begins_like_picture(file.read(64))
    except OSError:
        return True  # a row with an error is better than silence


def has_picture_suffix(name: str) -> bool:
    """Whether a name ends as those of pictures do: for what cannot be looked at cheaply."""
    from PIL import Image

    _register_heif()
    Image.init()
    return Image.registered_extensions().get(os.path.splitext(name)[1].lower()) in FORMATS


def begins_like_picture(head: bytes) -> bool:
    """Whether 64 bytes are the first ones of a format that Pillow knows."""
    from PIL import Image

    _register_heif()
    if not head:
        return False
    Image.init()
    if any(head[at:].startswith(magic) for at, magic, _ in _SIGNATURES):
        return False
    if re.match(rb"P[1-6]\s+[0-9#]", head):
        return True
    for plugin in _STRICT_PLUGINS:
        accept = Image.OPEN.get(plugin, (None, None))[1]
        with suppress(Exception):  # of a few bytes some say `struct.error`
            if accept is not None and accept(head):
                return True
    return False


# Formats whose signature is long enough that text or data is not taken for a picture.
_STRICT_PLUGINS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "AVIF",
    "HEIF",
    "JPEG2000",
    "DIB",
    "QOI",
)


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
    _register_heif()
    return Image.open(path, formats=FORMATS)


def channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(height, width, 3)`` as ``(3, height, width)``; nothing is copied."""
    return pixels.transpose(2, 0, 1)


def _to_rgb(image: PilImage) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return _stretch_to_8bit(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def _stretch_to_8bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey of more than 8 bits: 16-bit range divided by 257, float taken as [0, 1] or by its own range."""
    import numpy as np

    v = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(v.max(initial=0.0))
    if values.dtype.kind == "f":
        v = v * 255.0 if top <= 1.0 else v * (255.0 / top) if top > 255.0 else v
    elif top > 255.0:
        v = v / 257.0 if top <= 65535.0 else v * (255.0 / top)
    grey = v.round().clip(0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _raw_in_tiff(image: Any) -> str | None:
    tags = image.tag_v2
    if _TIFF_DNG_VERSION in tags:
        return "camera RAW (DNG)"
    if tags.get(_TIFF_PHOTOMETRIC) == _PHOTOMETRIC_CFA:
        return "camera RAW"
    # NEF, ARW and their kin keep a thumbnail in front and the sensor's data in a sub-directory.
    if _TIFF_SUB_IFDS in tags and 271 in tags and max(image.size) <= 1024:
        return "camera RAW"
    return None


def _unidentified(data: bytes) -> InputError:
    for at, magic, name in _SIGNATURES:
        if data[at:].startswith(magic):
            return InputError("unsupported_format", f"{name}: not a format that can be scanned")
    head = data[:512].lstrip().lower()
    if head.startswith((b"<svg", b"<?xml")) and b"<svg" in data[:4096].lower():
        return InputError("unsupported_format", "SVG drawing: it has no pixels to scan")
    other = _other_format(data[:64])
    if other is not None:
        return InputError("unsupported_format", f"{other}: convert it to PNG first")
    if begins_like_picture(data[:64]):
        return InputError("decode_failed", "begins like a picture, but is damaged or of a kind that cannot be decoded")
    return InputError("not_an_image", "not a picture of any format that is known here")


def _other_format(head: bytes) -> str | None:
    """The description of a format that Pillow knows by its first bytes and that is not among `FORMATS`."""
    from PIL import Image

    Image.init()
    for name, (factory, accept) in Image.OPEN.items():
        if name in FORMATS or accept is None:
            continue
        with suppress(Exception):
            # Some answer with a sentence that says why not.
            if accept(head) is True:
                return str(getattr(factory, "format_description", None) or name)
    return None


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISDIR, "directory"),
        (stat.S_ISFIFO, "named pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"),
    ):
        if test(mode):
            return name
    return "special file"


@cache
def _register_heif() -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener()
