"""Photoshop's image resources (Adobe Photoshop File Formats Specification): IPTC, XMP, EXIF and a thumbnail in them."""

from __future__ import annotations

from nsnet_cli.provenance.containers.carried import Carried, Part

_SIGNATURES = (b"8BIM", b"8B64", b"AgHg", b"DCSR", b"PHUT", b"MeSa")
_IPTC, _THUMBNAIL, _OLD_THUMBNAIL, _EXIF, _XMP = 0x0404, 0x040C, 0x0409, 0x0422, 0x0424
_NAMES = {_IPTC: "IPTC", _THUMBNAIL: "thumbnail", _OLD_THUMBNAIL: "thumbnail", _EXIF: "EXIF", _XMP: "XMP"}
_THUMBNAIL_HEADER = 28


def walk_resources(data: bytes, where: str, base: int | None, into: list[Part], carried: Carried) -> None:
    """Each resource: signature, number, a padded name, a length, padded data."""
    at = 0
    while at + 12 <= len(data):
        if data[at : at + 4] not in _SIGNATURES:
            if data[at:].strip(b"\0"):
                carried.trouble("iptc", f"{where}: what stands in Photoshop's resources at {at:,} is none")
            return
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        name = data[at + 6]
        start = at + 6 + (name + 2 if name % 2 == 0 else name + 1)
        size = int.from_bytes(data[start : start + 4], "big")
        body = data[start + 4 : start + 4 + size]
        place = None if base is None else base + at
        carried.part(
            into, Part(f"{where} resource {number:#06x}", place, start + 4 + size - at, _NAMES.get(number, ""))
        )
        if len(body) < size:
            carried.trouble("iptc", f"{where}: resource {number:#06x} says that it is longer than what holds it")
            return
        if number == _IPTC:
            carried.block("iim", where, body)
        elif number == _XMP:
            carried.block("xmp", f"{where} resource", body)
        elif number == _EXIF:
            carried.block("exif", f"{where} resource", body)
        elif number in (_THUMBNAIL, _OLD_THUMBNAIL):
            carried.block("thumbnails", f"{where} resource", body[_THUMBNAIL_HEADER:])
        at = start + 4 + size + size % 2
