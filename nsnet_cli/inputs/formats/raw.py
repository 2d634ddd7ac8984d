"""Camera RAW through LibRaw (the ``raw`` extra): the preview that the camera made, or the sensor's data developed."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.formats.samples import turned_upright
from nsnet_cli.inputs.kinds import Kind, Sort

PREVIEW, DEVELOPED = "raw_preview", "raw_developed"
# A preview whose longer side has this share of the sensor's is the whole picture.
_FULL_SIZE = 0.9
# LibRaw's flip as EXIF's orientation.
_ORIENTATION = {0: 1, 3: 3, 5: 8, 6: 6}
_TIFF_DNG_VERSION, _TIFF_SUB_IFDS, _TIFF_MAKE, _TIFF_PHOTOMETRIC = 50706, 330, 271, 262
_SENSOR_PHOTOMETRICS = (32803, 34892)


def raw_in_tiff(tags: Any, size: tuple[int, int]) -> Kind | None:
    """The kind of RAW that is dressed as a TIFF of these tags, if any."""
    if _TIFF_DNG_VERSION in tags:
        return Kind("camera RAW (DNG)", Sort.RAW)
    if tags.get(_TIFF_PHOTOMETRIC) in _SENSOR_PHOTOMETRICS:
        return Kind("camera RAW", Sort.RAW)
    # NEF, ARW and their kin keep a thumbnail in front and the sensor's data in a sub-directory.
    if _TIFF_SUB_IFDS in tags and _TIFF_MAKE in tags and max(size) <= 1024:
        return Kind("camera RAW", Sort.RAW)
    return None


def raw_pixel_count(data: bytes) -> int:
    """Pixels of the sensor, by the header; 0 where LibRaw is not there or reads none."""
    try:
        import rawpy

        with rawpy.imread(BytesIO(data)) as raw:
            return int(raw.sizes.raw_width) * int(raw.sizes.raw_height)
    except Exception:
        return 0


def decode_raw(data: bytes, kind: Kind, max_pixels: int) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """``(height, width, 3)`` uint8, upright, and which of the two it is.  Raises `InputError`."""
    try:
        import rawpy
    except ImportError as error:
        raise InputError("unsupported_format", kind.refusal) from error
    try:
        opened = rawpy.imread(BytesIO(data))
    except Exception as error:
        what = f"{kind.name} that LibRaw cannot make out ({_text(error)}): export it as TIFF or JPEG and scan that"
        raise InputError("unsupported_format", what) from error
    try:
        with opened as raw:
            sizes = raw.sizes
            width, height = max(sizes.raw_width, sizes.width), max(sizes.raw_height, sizes.height)
            if width * height > max_pixels:
                raise InputError(
                    "too_large", f"{width} x {height} pixels, more than --max-pixels {max_pixels:,} allows"
                )
            preview = _preview(raw, max(sizes.width, sizes.height), max_pixels)
            if preview is not None:
                return preview, (PREVIEW,)
            developed: NDArray[np.uint8] = raw.postprocess(use_camera_wb=True, output_bps=8)
            # A sensor without colours gives one channel, with or without an axis for it.
            grey = developed.ndim == 2 or developed.shape[2] < 3
            colour = developed.reshape(*developed.shape[:2], -1)[:, :, :1].repeat(3, 2) if grey else developed[:, :, :3]
            return np.ascontiguousarray(colour), (DEVELOPED,)
    except InputError:
        raise
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawNotImplementedError, rawpy.NotSupportedError) as error:
        what = f"{kind.name} of a camera that LibRaw does not know: export it as TIFF or JPEG and scan that"
        raise InputError("unsupported_format", what) from error
    except (MemoryError, rawpy.LibRawUnsufficientMemoryError, rawpy.LibRawTooBigError) as error:
        raise InputError("too_large", "not enough memory to develop it") from error
    except Exception as error:
        code = "truncated" if isinstance(error, rawpy.LibRawIOError) else "decode_failed"
        raise InputError(code, f"damaged or cut short: LibRaw says {_text(error)}") from error


def _text(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return " ".join(text.split())[:200] or type(error).__name__


def _preview(raw: Any, sensor_side: int, max_pixels: int) -> NDArray[np.uint8] | None:
    """The preview in the file, if it has nearly as many pixels as the sensor; a damaged one is none."""
    import rawpy
    from PIL import Image

    try:
        thumb = raw.extract_thumb()
        if thumb.format != rawpy.ThumbFormat.JPEG:
            return None
        with Image.open(BytesIO(thumb.data), formats=["JPEG"]) as image:
            if max(image.size) < _FULL_SIZE * sensor_side or image.width * image.height > max_pixels:
                return None
            orientation = image.getexif().get(274) or _ORIENTATION.get(raw.sizes.flip, 1)
            return turned_upright(np.array(image.convert("RGB")), orientation)
    except Exception:
        return None
