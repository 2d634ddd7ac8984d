"""Boxes: AVIF and HEIC (ISO/IEC 14496-12, 23008-12), JPEG 2000 (15444-1), JPEG XL (18181-2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from nsnet_cli.provenance.containers.carried import DEEPEST, LARGEST_BLOCK, Carried, Part, TooMuchError, text_of
from nsnet_cli.provenance.containers.trailer import walk_samsung

_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_IPTC_UUID = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_EXIF_UUID = b"JpgTiffExif->JP2"
# Boxes of boxes, and how many bytes of their own come before those.
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"jp2h": 0, b"moov": 0, b"udta": 0, b"trak": 0, b"iinf": None}
_XMP_TYPES = (b"application/rdf+xml", b"application/xmp+xml", b"text/xml")


@dataclass
class _Items:
    """Items of a meta box: by number their kind and content type, and the extents that they lie in."""

    kinds: dict[int, tuple[bytes, bytes, bytes]] = field(default_factory=dict)
    extents: dict[int, tuple[int, list[tuple[int, int]]]] = field(default_factory=dict)
    data: tuple[int, int] | None = None


def _tiff_header(body: bytes) -> int:
    """Where in an Exif item or box the TIFF header is: four bytes say how far off, or nobody says it."""
    skip = 4 + int.from_bytes(body[:4], "big")
    if body[skip : skip + 2] in (b"II", b"MM"):
        return skip
    return min((at for at in (body.find(b"II*\0"), body.find(b"MM\0*")) if at >= 0), default=skip)


def walk_boxes(data: bytes, carried: Carried) -> None:
    """All boxes, and the items of meta boxes that say something."""
    items = _Items()
    _walk(data, 0, len(data), carried.parts, carried, items, 0)
    for number, (kind, content, name) in items.kinds.items():
        if kind not in (b"Exif", b"mime", b"uri ", b"xml "):
            continue
        body, place = _item(data, number, items, carried)
        part = carried.part(carried.parts, Part(f"item {number} {text_of(kind).strip()}", place, len(body)))
        part.note = text_of(content or name)[:80]
        if kind == b"Exif":
            skip = _tiff_header(body)
            carried.block("exif", "Exif item", body[skip:], None if place is None else place + skip)
        elif content.split(b";")[0].strip() in _XMP_TYPES or b"<x:xmpmeta" in body[:4096]:
            carried.block("xmp", "XMP item", body, place)
        elif body:
            carried.text(f"item {number}", text_of(content), text_of(body[:LARGEST_BLOCK]))


def _walk(data: bytes, at: int, end: int, into: list[Part], carried: Carried, items: _Items, depth: int) -> None:
    if depth > DEEPEST:
        raise TooMuchError(f"boxes nested deeper than {DEEPEST}: the rest was not looked at")
    for kind, start, body, stop in _boxes(data, at, end, carried):
        part = carried.part(into, Part(_name(kind), start, stop - start))
        if kind in _CONTAINERS:
            skip = _CONTAINERS[kind]
            if skip is None:  # a count of two or four bytes, by the version
                skip = 4 + (2 if data[body : body + 1] == b"\0" else 4)
            _walk(data, body + skip, stop, part.parts, carried, items, depth + 1)
        elif kind == b"infe":
            _entry(data[body:stop], items)
        elif kind == b"iloc":
            _locations(data[body:stop], items)
        elif kind == b"idat":
            items.data = (body, stop)
        elif kind == b"uuid":
            _uuid(data, body, stop, part, carried)
        elif kind == b"jumb":
            carried.block("jumbf", "jumb box", data[start:stop], start)
        elif kind == b"Exif":  # JPEG XL
            carried.block("exif", "Exif box", data[body + _tiff_header(data[body:stop]) : stop])
        elif kind == b"xml ":
            carried.block("xmp", "xml box", data[body:stop], body)
        elif kind == b"sefd":
            walk_samsung(data, body, stop, part, carried)
        elif kind == b"mpvd":  # Samsung's motion: a film, and behind it the same
            inner = data.rfind(b"sefd", body, stop)
            if inner >= 0:
                walk_samsung(data, inner + 4, stop, part, carried)
        elif kind == b"brob":
            part.note = text_of(data[body : body + 4])
            carried.trouble("file", f"a box {part.note.strip()} at {start:,} is compressed with Brotli: not read")


def _boxes(data: bytes, at: int, end: int, carried: Carried) -> Iterator[tuple[bytes, int, int, int]]:
    """Kind, start, start of the content, and end of each box."""
    while at + 8 <= end:
        size, kind, body = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, body = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = end - at
        if size < body - at:
            carried.trouble("file", f"box {_name(kind)} at {at:,} says that it is shorter than its own header")
            return
        if at + size > end:
            carried.trouble("file", f"box {_name(kind)} at {at:,} says that it is longer than what holds it")
            size = end - at
        yield kind, at, body, at + size
        at += size


def _uuid(data: bytes, body: int, stop: int, part: Part, carried: Carried) -> None:
    uuid, content = data[body : body + 16], body + 16
    part.note = uuid.hex()
    if uuid == _XMP_UUID:
        carried.block("xmp", "XMP uuid box", data[content:stop], content)
    elif uuid == _IPTC_UUID:
        carried.block("iim", "IPTC uuid box", data[content:stop], content)
    elif uuid == _EXIF_UUID:
        carried.block("exif", "EXIF uuid box", data[content:stop])
    elif uuid == _C2PA_UUID:
        # A full box: version and flags, what it is for, a place, then the manifest store.
        part.note = "C2PA"
        at = data.find(b"jumb", content, min(stop, content + 200))
        carried.block("jumbf", "C2PA uuid box", data[at - 4 : stop] if at >= 4 else data[content:stop])


def _entry(body: bytes, items: _Items) -> None:
    """An item's information entry, versions 2 and 3."""
    version = body[0] if body else 0
    if version not in (2, 3):
        return
    wide = 2 if version == 2 else 4
    number, kind = int.from_bytes(body[4 : 4 + wide], "big"), body[6 + wide : 10 + wide]
    name, _, rest = body[10 + wide :].partition(b"\0")
    content = rest.partition(b"\0")[0] if kind in (b"mime", b"uri ") else b""
    if len(items.kinds) < 2_000:
        items.kinds[number] = (kind, content, name)


def _locations(body: bytes, items: _Items) -> None:
    """Where items lie: versions 0 to 2 of the item location box."""
    if len(body) < 8:
        return
    version = body[0]
    offset_size, length_size = body[4] >> 4, body[4] & 15
    base_size, index_size = body[5] >> 4, body[5] & 15 if version else 0
    wide = 4 if version == 2 else 2
    count, at = int.from_bytes(body[6 : 6 + wide], "big"), 6 + wide

    def number(size: int) -> int:
        nonlocal at
        found = int.from_bytes(body[at : at + size], "big")
        at += size
        return found

    for _ in range(min(count, 2_000)):
        if at >= len(body):
            return
        item = number(wide)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        extents = []
        for _ in range(min(number(2), 64)):
            number(index_size)
            offset = number(offset_size)
            extents.append((base + offset, number(length_size)))
        items.extents[item] = (method, extents)


def _item(data: bytes, number: int, items: _Items, carried: Carried) -> tuple[bytes, int | None]:
    """An item's bytes, and their place where they lie in one piece."""
    method, extents = items.extents.get(number, (0, []))
    if method > 1:
        carried.trouble("file", f"item {number} is made of other items: not read")
        return b"", None
    shift = items.data[0] if method == 1 and items.data is not None else 0
    end = items.data[1] if method == 1 and items.data is not None else len(data)
    pieces, total = [], 0
    for offset, length in extents:
        start = shift + offset
        piece = data[start : min(end, start + length) if length else end]
        total += len(piece)
        if total > LARGEST_BLOCK:
            carried.trouble("file", f"item {number} is larger than anybody writes; not read")
            return b"", None
        if len(piece) < length:
            carried.trouble("file", f"item {number} lies outside of the file")
        pieces.append(piece)
    return b"".join(pieces), shift + extents[0][0] if len(extents) == 1 else None


def _name(kind: bytes) -> str:
    return kind.decode("ascii") if kind.isascii() and kind.decode("ascii").isprintable() else kind.hex()
