"""What is wrong with a file that nothing could decode: cut, damaged, of a kind that is not read, or no picture."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, Literal, cast

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.formats.tiff import is_tiff, read_layout
from nsnet_cli.inputs.kinds import FORMATS, HEAD, begins_like_picture, is_text, other_format

# What Pillow's plugins say of a variant that they do not read.
_LEFT_OVER = re.compile(r" \(\d+ bytes not processed\)")
_UNREAD = re.compile(
    r"unsupported|not supported|not implemented|cannot handle|unknown (pixel|compression|image)|unable to determine"
    "|invalid palette size|has not been built in",
    re.IGNORECASE,
)


def reason_of(data: bytes, error: Exception) -> InputError:
    """What is wrong with a file that nothing could decode."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        other = other_format(data[:64])
        if other is not None:
            return InputError("unsupported_format", other.refusal)
        if not begins_like_picture(data[:HEAD]):
            return InputError("not_an_image", _no_picture(data[:HEAD]))
        error = _said_by_plugin(data) or error
    # Pillow's plugins raise nearly anything on a damaged file: struct.error, SyntaxError, KeyError ...
    text = " ".join(str(error).split())[:200] or type(error).__name__
    # What a directory lacks that is cut off is no variant.
    if _UNREAD.search(text) and not (is_tiff(data) and read_layout(data) is None):
        return InputError("unsupported_format", f"a variant that is not read ({text}): save it as PNG and scan that")
    cut = "truncated" in text.lower() or isinstance(error, EOFError) or "end of file" in text.lower()
    cut = cut or _says_it_is_longer(data)
    if cut:
        # How many bytes a decoder had left over says nothing about how much is missing.
        text = _LEFT_OVER.sub("", text)
        return InputError("truncated", f"cut short: {text}; get a whole copy, half a picture is not judged")
    if isinstance(error, UnidentifiedImageError):
        text = "it begins like a picture"
    return InputError("decode_failed", f"damaged or cut short: {text}; get another copy and scan that")


def _says_it_is_longer(data: bytes) -> bool:
    """Whether the length of a WebP, or the place of a TIFF's directory, lies behind the file's end."""
    if data[:4] == b"RIFF":
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    return is_tiff(data) and int.from_bytes(data[2:4], order) == 42 and int.from_bytes(data[4:8], order) >= len(data)


def _no_picture(head: bytes) -> str:
    if is_text(head):
        return "text, not a picture; if it lists the paths of pictures, scan it with --from-file"
    if not any(head):
        return "not a picture: it begins with zeros alone, as files do whose contents were lost"
    return "not a picture of any format that is known here (docs/inputs.md has them)"


def _said_by_plugin(data: bytes) -> Exception | None:
    """What the plugin for a file's signature raises: `Image.open` says only that none would take it."""
    from PIL import Image

    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        try:
            if factory is None or accept is None or accept(data[:16]) is not True:
                continue
            cast(Any, factory)(BytesIO(data), "")
        except Exception as error:
            return error
    return None
