"""What Pillow opens a little otherwise than it is meant, or in part, told or put right once it is loaded."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.formats.jpeg import with_more_behind
from nsnet_cli.inputs.formats.png import lacks_rows
from nsnet_cli.inputs.formats.tiff import narrow_palette

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_PNG_DEPTH = 24  # where the header has the bits of a sample
_STRIP = 256  # rows that are compared at a time
_TGA_DEPTH, _TGA_ATTRIBUTES = 16, 17


def amended(image: PilImage, data: bytes) -> PilImage:
    """``image``, loaded from ``data``, as its format means it.  Raises `InputError` where a part of it is not there."""
    form = image.format
    if form in ("JPEG", "PNG") and _may_be_half(image) and _is_half(image, data):
        raise InputError("truncated", "cut short: its end is not there; get a whole copy, half a picture is not judged")
    if form == "PNG":
        _clear_colour(image, data)
    elif form == "TIFF" and image.mode == "P":
        palette = narrow_palette(cast(Any, image).tag_v2)
        if palette is not None:
            image.putpalette(palette)
    elif form in ("TGA", "BMP", "DIB") and image.mode == "RGBA" and _alpha_is_none(image, data):
        return image.convert("RGB")
    elif form == "AVIF":
        # Turned by its own boxes, which Pillow tells as EXIF; what XMP says of that is of before.
        image.info.pop("xmp", None)
    elif form == "PPM" and image.mode == "I":
        return image.convert("I;16")  # a range that is sure, however dark the picture is
    return image


def _may_be_half(image: PilImage) -> bool:
    """Whether a picture ends as decoders fill what a file does not hold: JPEG with grey, PNG with zeros."""
    side, fill = (8, 128) if image.format == "JPEG" else (1, 0)
    width, height = image.size
    corner = image.crop((max(0, width - side), max(0, height - side), width, height))
    extrema: Any = corner.getextrema()
    return set(extrema if isinstance(extrema[0], tuple) else [extrema]) == {(fill, fill)}


def _is_half(image: PilImage, data: bytes) -> bool:
    """Whether the file holds less than the whole: a decoder of JPEG that still waits would show what comes behind."""
    if image.format == "PNG":
        return lacks_rows(data)
    from PIL import Image

    with Image.open(BytesIO(with_more_behind(data)), formats=["JPEG"]) as more:
        strips = [(0, top, image.width, min(image.height, top + _STRIP)) for top in range(0, image.height, _STRIP)]
        return any(more.crop(strip).tobytes() != image.crop(strip).tobytes() for strip in strips)


def _clear_colour(image: PilImage, data: bytes) -> None:
    """The colour that is clear, in the bits in which Pillow compares it."""
    clear, depth = image.info.get("transparency"), data[_PNG_DEPTH]
    if image.mode == "L" and isinstance(clear, int) and depth in (2, 4):
        image.info["transparency"] = clear * 255 // (2**depth - 1)
    elif isinstance(clear, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def _alpha_is_none(image: PilImage, data: bytes) -> bool:
    """Whether what stands where alpha would is none: nothing is said to be there, or all of it would be clear."""
    if image.format == "TGA" and (data[_TGA_ATTRIBUTES] & 15 == 0 or data[_TGA_DEPTH] == 16):
        return True
    return image.getchannel("A").getextrema() == (0, 0)
