"""PNG (W3C, third edition): chunks, their texts in three forms, and ImageMagick's raw profiles in those."""

from __future__ import annotations

import binascii
import re

from nsnet_cli.provenance.containers.carried import Carried, Part, text_of
from nsnet_cli.provenance.containers.photoshop import walk_resources
from nsnet_cli.provenance.containers.trailer import walk_trailer

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEY = "XML:com.adobe.xmp"
_PROFILE_KEY = "Raw profile type "
# A line with a name of one word or more ("IPTC profile" by Google), the length, and the digits.
_PROFILE = re.compile(rb"\s*+(?:(?!\d++\s*+\n)[^\n]*+\n)?\s*+(?P<length>\d++)\s++(?P<digits>[0-9a-fA-F\s]*+)\Z")
_EXIF_HEAD = b"Exif\0\0"
# Some writers leave the digits out and put the profile there as it is.
_RAW = (b"\x1c\x02", b"8BIM", b"Photoshop 3.0\0", _EXIF_HEAD, b"II*\0", b"MM\0*", b"<?xpacket", b"<x:xmpmeta")
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"


def walk_png(data: bytes, carried: Carried) -> None:
    """Every chunk up to IEND, and what stands behind it.  A run of IDAT is one part."""
    at = len(SIGNATURE)
    pixels: Part | None = None
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        name = kind.decode("latin-1") if kind.isalpha() else kind.hex()
        if size > len(data) - at - 8:
            carried.trouble("file", f"chunk {name} at {at:,} says that it is longer than the file")
            size = len(data) - at - 8
        if kind in (b"IDAT", b"fdAT") and pixels is not None and pixels.name == name:
            pixels.size += size + 12
        else:
            part = carried.part(carried.parts, Part(name, at, size + 12))
            pixels = part if kind in (b"IDAT", b"fdAT") else None
            try:
                _sort(kind, data[at + 8 : at + 8 + size], part, carried)
            except ValueError as error:
                carried.trouble("text", f"chunk {name} at {at:,}: {error}")
        at += size + 12
        if kind == b"IEND":
            break
    walk_trailer(data, at, carried)


def _sort(kind: bytes, body: bytes, part: Part, carried: Carried) -> None:
    if kind == b"eXIf":
        carried.block("exif", "eXIf", body, (part.offset or 0) + 8)
    elif kind == b"caBX":
        carried.block("jumbf", "caBX", body, (part.offset or 0) + 8)
    elif kind == b"AIGC":  # China's label (TC260's guide) in a chunk of its own
        carried.text("AIGC", "AIGC", text_of(body))
    elif kind == b"comf":  # key and value, as ComfyUI's animated PNG has them
        raw_key, _, value = body.partition(b"\0")
        part.note = text_of(raw_key)[:80]
        carried.text(f"comf {part.note}", text_of(raw_key), text_of(value))
    elif kind in (b"tEXt", b"zTXt", b"iTXt"):
        key, value = _text(kind, body, carried)
        part.note = key[:80]
        _sort_text(key, value, f"{part.name} {key}".strip(), carried)


def _text(kind: bytes, body: bytes, carried: Carried) -> tuple[str, bytes]:
    """Key and value, the value inflated where it is compressed.  Raises `ValueError`."""
    raw_key, there, rest = body.partition(b"\0")
    key = text_of(raw_key)
    if not there:
        return "", body
    if kind == b"zTXt":
        return key, carried.inflate(rest[1:])
    if kind == b"iTXt":
        compressed = rest[:1] == b"\1"
        _, _, rest = rest[2:].partition(b"\0")
        _, _, rest = rest.partition(b"\0")
        return key, carried.inflate(rest) if compressed else rest
    return key, rest


def _sort_text(key: str, value: bytes, where: str, carried: Carried) -> None:
    if key == XMP_KEY:
        carried.block("xmp", where, value)
    elif key.startswith(_PROFILE_KEY):
        _raw_profile(key.removeprefix(_PROFILE_KEY).strip().casefold(), value, where, carried)
    else:
        carried.text(where, key, text_of(value))


def _raw_profile(kind: str, value: bytes, where: str, carried: Carried) -> None:
    """ImageMagick's form (coders/png.c): the name, the length, and hexadecimal digits in lines."""
    found = _PROFILE.match(value)
    if found is not None:
        digits, length = found["digits"].translate(None, b" \t\r\n\v\f"), int(found["length"])
        raw = binascii.unhexlify(digits[: len(digits) // 2 * 2])
        if len(raw) < length:
            carried.trouble("text", f"{where}: {len(raw):,} of {length:,} bytes are there")
    elif value.startswith(_RAW):
        raw = value
    else:
        raise ValueError("a raw profile that is neither hexadecimal text nor the profile itself")
    if kind in ("exif", "app1"):
        if raw.startswith(_XMP_HEAD):
            carried.block("xmp", where, raw.removeprefix(_XMP_HEAD))
        else:
            carried.block("exif", where, raw)
    elif kind == "xmp":
        carried.block("xmp", where, raw)
    elif kind in ("iptc", "8bim", "app13"):
        raw = raw.removeprefix(b"Photoshop 3.0\0")
        if raw.startswith(b"8BIM"):
            walk_resources(raw, where, None, carried.parts, carried)
        else:
            carried.block("iim", where, raw)
    elif kind not in ("icc", "icm"):
        carried.text(where, kind, text_of(raw))
