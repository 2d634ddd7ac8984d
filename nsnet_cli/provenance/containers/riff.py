"""WebP (RFC 9649): the chunks of a RIFF file."""

from __future__ import annotations

from nsnet_cli.provenance.containers.carried import Carried, Part
from nsnet_cli.provenance.containers.trailer import walk_trailer

_SAYING = (b"EXIF", b"XMP ", b"XMP\0", b"C2PA")


def walk_riff(data: bytes, carried: Carried) -> None:
    """Every chunk of ``RIFF....WEBP``; frames of animations are parts like any other."""
    whole = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        # Who adds metadata does not always make the file's own length longer.
        if at + 8 > whole and kind not in _SAYING:
            break
        name = kind.decode("latin-1").strip()
        if at + 8 + size > len(data):
            carried.trouble("file", f"chunk {name} at {at:,} says that it is longer than the file")
        body = data[at + 8 : at + 8 + size]
        carried.part(carried.parts, Part(name, at, 8 + len(body)))
        if kind == b"EXIF":
            carried.block("exif", "EXIF chunk", body, at + 8)
        elif kind in (b"XMP ", b"XMP\0"):
            carried.block("xmp", "XMP chunk", body, at + 8)
        elif kind == b"C2PA":
            carried.block("jumbf", "C2PA chunk", body, at + 8)
        at += 8 + size + size % 2
    walk_trailer(data, max(at, whole), carried)
