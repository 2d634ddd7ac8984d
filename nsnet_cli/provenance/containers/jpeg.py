"""JPEG (ITU-T T.81, annex B): marker segments, and what stands behind the end of the picture."""

from __future__ import annotations

import re
from collections import defaultdict

from nsnet_cli.inputs.formats.jpeg import MARKER
from nsnet_cli.provenance.containers.carried import Carried, Part, text_of
from nsnet_cli.provenance.containers.photoshop import walk_resources
from nsnet_cli.provenance.containers.trailer import walk_trailer

_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_ALONE = {0x01, *range(0xD0, 0xD8), _SOI}
_EXIF = (b"Exif\0\0", b"Exif\0\xff")
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# XMP specification, part 3, 1.1.3.1: 32 digits of an MD5, length of the whole, place of this piece.
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
# JUMBF in JPEG XT boxes (ISO/IEC 19566-5, annex D): CI, box instance, packet number, then the box.
_JPEG_XT = b"JP"
_LARGEST_EXTENSION = 64 * 1024 * 1024
# Identifiers of segments whose content is no text.
_BINARY = (b"JFIF\0", b"JFXX\0", b"ICC_PROFILE\0", b"MPF\0", b"Adobe", b"FPXR\0", b"Ducky", b"urn:iso:std:iso:ts:21496")
_MOST_IMAGES = 8
# A label of generated content without a key of its own (GB 45438-2025, as some write it).
_LABEL = re.compile(rb'AIGC"?+\s*+[:=]?+\s*+\{')


def walk_jpeg(data: bytes, carried: Carried) -> None:
    """All pictures in a file: JPEG, and the further ones of MPO, gain maps and motion photos."""
    at, number = 0, 1
    while data.startswith(b"\xff\xd8", at) and number <= _MOST_IMAGES:
        end = _walk_image(data, at, number, carried)
        following = re.compile(rb"\0*\xff\xd8\xff").match(data, end)
        if following is None:
            at = end
            break
        at, number = following.end() - 3, number + 1
    walk_trailer(data, at, carried)


def _walk_image(data: bytes, at: int, number: int, carried: Carried) -> int:
    """The segments of one picture; gives the place behind it."""
    label = "" if number == 1 else f"image {number}: "
    photoshop: list[bytes] = []
    extensions: dict[bytes, dict[int, bytes]] = defaultdict(dict)
    boxes: dict[bytes, dict[int, bytes]] = defaultdict(dict)
    start = at
    try:
        while at + 2 <= len(data):
            if data[at] != 0xFF:
                found = MARKER.search(data, at)
                if found is None:
                    at = len(data)
                    break
                at = found.start()
            marker = data[at + 1]
            if marker == 0xFF:
                at += 1
                continue
            if marker in _ALONE:
                at += 2
                continue
            if marker == _EOI:
                at += 2
                break
            size = int.from_bytes(data[at + 2 : at + 4], "big")
            if size < 2 or at + 2 + size > len(data):
                carried.trouble("file", f"{label}a JPEG segment at {at:,} says that it is longer than the file")
                at = len(data)
                break
            body = data[at + 4 : at + 2 + size]
            part = carried.part(carried.parts, Part(label + _name(marker), at, size + 2, _identifier(marker, body)))
            _sort(marker, body, label, part, carried, photoshop, extensions, boxes)
            at += 2 + size
            if marker == _SOS:
                found = MARKER.search(data, at)
                at = len(data) if found is None else found.start()
    finally:
        _put_together(label, carried, photoshop, extensions, boxes)
    return max(at, start + 2)


def _sort(
    marker: int,
    body: bytes,
    label: str,
    part: Part,
    carried: Carried,
    photoshop: list[bytes],
    extensions: dict[bytes, dict[int, bytes]],
    boxes: dict[bytes, dict[int, bytes]],
) -> None:
    """Put a segment where it belongs."""
    where = part.name
    if marker == _COM:
        carried.text(where, "comment", text_of(body))
    elif marker == 0xE1 and body.startswith(_EXIF):
        carried.block("exif", where, body, (part.offset or 0) + 4)
    elif marker == 0xE1 and body.startswith(_XMP):
        carried.block("xmp", where, body[len(_XMP) :], (part.offset or 0) + 4 + len(_XMP))
    elif marker == 0xE1 and body.startswith(_XMP_EXTENSION):
        head = body[len(_XMP_EXTENSION) :]
        extensions[head[:36]][int.from_bytes(head[36:40], "big")] = head[40:]
    elif marker == 0xED and body.startswith(_PHOTOSHOP):
        photoshop.append(body[len(_PHOTOSHOP) :])
    elif marker == 0xEB and body.startswith(_JPEG_XT) and len(body) > 16:
        boxes[body[2:4]][int.from_bytes(body[4:8], "big")] = body[8:]
    elif 0xE0 <= marker <= 0xEF and body and not body.startswith(_BINARY):
        # Writers put bare XMP and labels here without the identifier that belongs before it.
        if b"<x:xmpmeta" in body or b"<rdf:RDF" in body:
            carried.block("xmp", where, body)
        else:
            _loose_text(body, where, carried)


def _loose_text(body: bytes, where: str, carried: Carried) -> None:
    """A text in a segment of nobody's: a label that stands alone, or whatever can be read as text."""
    label = _LABEL.search(body)
    if label is not None:
        carried.text(where, "AIGC", text_of(body[label.start() :]))
        return
    text = text_of(body.strip(b"\0 "))
    if text and text.replace("\n", " ").replace("\r", " ").replace("\t", " ").replace("\0", " ").isprintable():
        carried.text(where, "", text.replace("\0", " "))


def _put_together(
    label: str,
    carried: Carried,
    photoshop: list[bytes],
    extensions: dict[bytes, dict[int, bytes]],
    boxes: dict[bytes, dict[int, bytes]],
) -> None:
    """Blocks that are spread over several segments."""
    if photoshop:
        walk_resources(b"".join(photoshop), f"{label}APP13", None, carried.parts, carried)
    for head, pieces in extensions.items():
        whole = int.from_bytes(head[32:36], "big")
        if whole > _LARGEST_EXTENSION:
            carried.trouble("xmp", f"{label}extended XMP says that it has {whole:,} bytes; not read")
            continue
        joined = b"".join(pieces[k] for k in sorted(pieces))
        if len(joined) != whole:
            carried.trouble("xmp", f"{label}extended XMP: {len(joined):,} of {whole:,} bytes are there")
        carried.block("xmp", f"{label}APP1 extended XMP", joined)
    for packets in boxes.values():
        # Every further packet repeats the header of the box.
        joined = b"".join(packets[k][_header(packets[k]) if n else 0 :] for n, k in enumerate(sorted(packets)))
        carried.block("jumbf", f"{label}APP11", joined)


def _header(box: bytes) -> int:
    return 16 if box[:4] == b"\0\0\0\1" else 8


def _name(marker: int) -> str:
    if 0xE0 <= marker <= 0xEF:
        return f"APP{marker - 0xE0}"
    names = {_COM: "COM", _SOS: "SOS", 0xDB: "DQT", 0xC4: "DHT", 0xDD: "DRI"}
    if marker in names:
        return names[marker]
    return f"SOF{marker - 0xC0}" if 0xC0 <= marker <= 0xCF else f"FF{marker:02X}"


def _identifier(marker: int, body: bytes) -> str:
    if not 0xE0 <= marker <= 0xEF:
        return ""
    name = body[:48].split(b"\0", 1)[0]
    return name.decode("latin-1") if name.isascii() and name.decode("ascii").isprintable() else ""
