"""What Pillow opens a little otherwise than it is meant, or in part, told or put right once it is loaded."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.formats.jpeg import has_end, with_more_behind
from nsnet_cli.inputs.formats.png import has_false_pixels, lacks_rows
from nsnet_cli.inputs.formats.tiff import narrow_palette

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_PNG_DEPTH = 24  # where the header has the bits of a sample
_STRIP = 256  # rows that are compared at a time
_RAW_EXIF = "Raw profile type exif"
_XMP = ("xmp", "XML:com.adobe.xmp")  # where Pillow keeps it
_TGA_DEPTH, _TGA_ATTRIBUTES = 16, 17


def amended(image: PilImage, data: bytes) -> PilImage:
    """``image``, loaded from ``data``, as its format means it.  Raises `InputError` where a part of it is not there."""
    form = image.format
    turn_by_exif_alone(image)
    if form in ("JPEG", "MPO", "PNG") and (_has_no_end(image, data) or (_may_be_half(image) and _is_half(image, data))):
        raise InputError("truncated", "cut short: its end is not there; get a whole copy, half a picture is not judged")
    if form == "PNG" and has_false_pixels(data):
        raise InputError(
            "decode_failed", "damaged: the checksum of its pixels is false; get another copy and scan that"
        )
    if form == "PNG":
        _clear_colour(image, data)
    elif form == "TIFF" and image.mode == "P":
        palette = narrow_palette(cast(Any, image).tag_v2)
        if palette is not None:
            image.putpalette(palette)
    elif form in ("TGA", "BMP", "DIB") and image.mode == "RGBA" and _alpha_is_none(image, data):
        return image.convert("RGB")
    elif form == "GIF" and "transparency" not in image.info:
        return _over_white(image)
    elif form == "PPM" and image.mode == "I":
        return image.convert("I;16")  # a range that is sure, however dark the picture is
    return image


def has_several(image: PilImage) -> bool:
    """Whether there are frames or pages behind the first; a TIFF's are not counted, since each is looked for anew."""
    if image.format != "TIFF":
        return getattr(image, "n_frames", 1) > 1
    several = True
    try:
        image.seek(1)
    except EOFError:
        several = False
    except Exception:
        pass  # another page that is damaged, or cut off; the first is not the worse for it
    image.seek(0)
    return several


def turn_by_exif_alone(image: PilImage) -> None:
    """Pillow asks XMP how a picture is to be turned where EXIF is silent; nobody else does."""
    from PIL import ExifTags, Image

    orientation = ExifTags.Base.Orientation
    if not [name for name in _XMP if image.info.pop(name, None)] or _RAW_EXIF in image.info:
        return
    with suppress(Exception):  # a damaged block says nothing of it
        told = Image.Exif()
        told.load(image.info.get("exif", b""))
        silent = orientation not in (cast(Any, image).tag_v2 if image.format == "TIFF" else told)
        if silent and orientation in image.getexif():
            del image.getexif()[orientation]


def _has_no_end(image: PilImage, data: bytes) -> bool:
    """Whether a JPEG's end is not there, and the zeros that stand for what never came were taken for its pixels."""
    # Only then is it worth a walk through the whole file.
    if image.format == "PNG" or not data.endswith(b"\0") or has_end(data):
        return False
    with suppress(Exception):  # what is not even a picture without them
        return _differs(image, data.rstrip(b"\0") + b"\xff\xd9")
    return True


def _may_be_half(image: PilImage) -> bool:
    """Whether a picture ends as decoders fill what a file does not hold: JPEG with grey, PNG with zeros."""
    side, fill = (1, {0}) if image.format == "PNG" else (8, {127, 128})  # 127 is what was turned round
    width, height = image.size
    corner = image.crop((max(0, width - side), max(0, height - side), width, height))
    extrema: Any = corner.getextrema()
    return {edge for one in (extrema if isinstance(extrema[0], tuple) else [extrema]) for edge in one} <= fill


def _is_half(image: PilImage, data: bytes) -> bool:
    """Whether the file holds less than the whole: a decoder of JPEG that still waits would show what comes behind."""
    if image.format == "PNG":
        return lacks_rows(data)
    return _differs(image, with_more_behind(data))


def _differs(image: PilImage, data: bytes) -> bool:
    """Whether a JPEG of ``data`` shows other pixels than ``image``."""
    from PIL import Image

    with Image.open(BytesIO(data), formats=["JPEG"]) as other:
        strips = [(0, top, image.width, min(image.height, top + _STRIP)) for top in range(0, image.height, _STRIP)]
        return any(other.crop(strip).tobytes() != image.crop(strip).tobytes() for strip in strips)


def _clear_colour(image: PilImage, data: bytes) -> None:
    """The colour that is clear, in the bits in which Pillow compares it."""
    clear, depth = image.info.get("transparency"), data[_PNG_DEPTH]
    if image.mode == "L" and isinstance(clear, int) and depth in (2, 4):
        image.info["transparency"] = clear * 255 // (2**depth - 1)
    elif isinstance(clear, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def _over_white(image: PilImage) -> PilImage:
    """A GIF whose first frame leaves a part of it free: nobody shows the colour that stands for that, but nothing."""
    from PIL import Image

    place = cast(Any, image).dispose_extent
    if place == (0, 0, *image.size):
        return image
    whole = Image.new("RGB", image.size, "white")
    whole.paste(image.crop(place).convert("RGB"), place[:2])
    return whole


def _alpha_is_none(image: PilImage, data: bytes) -> bool:
    """Whether what stands where alpha would is none: nothing is said to be there, or all of it would be clear."""
    if image.format == "TGA" and (data[_TGA_ATTRIBUTES] & 15 == 0 or data[_TGA_DEPTH] == 16):
        return True
    return image.getchannel("A").getextrema() == (0, 0)
