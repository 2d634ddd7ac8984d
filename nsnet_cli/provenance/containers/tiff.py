"""TIFF 6.0, BigTIFF and EXIF blocks, which have the same form: directories of tags."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from nsnet_cli.provenance.containers.carried import LARGEST_BLOCK, MOST_KEPT, Block, Carried, Part, Tag
from nsnet_cli.provenance.containers.photoshop import walk_resources

# Bytes of a value by its type (TIFF 6.0, section 2; 13 IFD, 16 to 18 BigTIFF, 129 UTF-8 of EXIF 3.0).
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
_LETTERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_DIRECTORIES = {34665: "EXIF", 34853: "GPS", 40965: "interoperability", 330: "sub"}
_XMP, _IPTC, _PHOTOSHOP, _C2PA = 700, 33723, 34377, 52545
_THUMBNAIL, _THUMBNAIL_LENGTH = 513, 514
# Tags that say something of a picture's origin, and whose loss is told; half-written others are everywhere.
_TOLD = {270, 271, 272, 305, 315, _XMP, _IPTC, _PHOTOSHOP, 37510, 40092, _C2PA}
_HEADS = (b"Exif\0\0", b"Exif\0\xff")
_MOST_DIRECTORIES, _MOST_TAGS = 32, 2_000


def walk_exif(block: Block, into: list[Part], carried: Carried) -> None:
    """All tags of all directories of ``block``, and the blocks that stand in tags."""
    block = _without_head(block)
    data = block.data
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    magic = struct.unpack(order + "H", data[2:4])[0] if order is not None and len(data) >= 8 else 0
    if order is None or magic not in (42, 43):
        carried.trouble("exif", f"{block.where}: no EXIF or TIFF header")
        return
    big = magic == 43
    # Directories, and whether they are of the first picture: what stands in another's tags speaks of that one.
    todo, seen = [("IFD0", _number(data, 8 if big else 4, order, big), True)], {0}
    while todo:
        name, at, first = todo.pop(0)
        if at in seen:
            continue
        seen.add(at)
        if len(seen) > _MOST_DIRECTORIES:
            carried.trouble("exif", f"{block.where}: more than {_MOST_DIRECTORIES} directories; the rest was not read")
            return
        part = carried.part(into, Part(name, _place(block, at), 0))
        found: dict[int, Tag] = {}
        for tag, offset, end in _directory(block, at, name, order, big, carried):
            part.size = end - at
            if tag is None:
                # EXIF has the picture and its thumbnail: what a third one would be there is garbage, and loses nothing.
                if offset and name.startswith("IFD") and (block.where == "TIFF" or name == "IFD0"):
                    todo.append((f"IFD{int(name[3:]) + 1}", offset, False))
                break
            if len(carried.tags) >= _MOST_TAGS:
                carried.trouble("exif", f"{block.where}: more than {_MOST_TAGS:,} tags; the rest was not read")
                return
            carried.tags.append(tag)
            found.setdefault(tag.number, tag)
            inner = carried.part(
                part.parts, Part(f"tag {tag.number:#06x}", _place(block, offset), len(tag.data), tag=tag)
            )
            if first:
                _hand_over(tag, inner, carried)
            if tag.number in _DIRECTORIES:
                todo += [(_DIRECTORIES[tag.number], int(n), first) for n in numbers_of(tag)]
        if _THUMBNAIL in found and _THUMBNAIL_LENGTH in found:
            start, size = numbers_of(found[_THUMBNAIL]), numbers_of(found[_THUMBNAIL_LENGTH])
            thumbnail = data[int(start[0]) : int(start[0] + size[0])] if start and size else b""
            if thumbnail.startswith(b"\xff\xd8"):
                carried.block("thumbnails", f"{block.where} {name}", thumbnail, _place(block, int(start[0])))


def _without_head(block: Block) -> Block:
    """The block from its TIFF header on.  In JPEG a head stands before that; some put it there twice, or elsewhere."""
    start = 0
    while block.data.startswith(_HEADS, start):
        start += len(_HEADS[0])
    return Block(block.where, block.data[start:], _place(block, start)) if start else block


def walk_tiff(data: bytes, carried: Carried) -> None:
    """A TIFF file: an EXIF block that holds pixels, too."""
    walk_exif(Block("TIFF", data, 0), carried.parts, carried)


def numbers_of(tag: Tag) -> list[float]:
    """The value as numbers; a fraction with nothing below its line is 0, as nothing was measured."""
    size = _SIZES.get(tag.kind, 1)
    n = min(tag.count, len(tag.data) // size, 64)
    if tag.kind in (5, 10):
        pairs = struct.unpack(f"{tag.order}{2 * n}{'I' if tag.kind == 5 else 'i'}", tag.data[: 8 * n])
        return [a / b if b else 0.0 for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
    if tag.kind not in _LETTERS:
        return []
    return list(struct.unpack(f"{tag.order}{n}{_LETTERS[tag.kind]}", tag.data[: size * n]))


def _directory(
    block: Block, at: int, name: str, order: str, big: bool, carried: Carried
) -> Iterator[tuple[Tag | None, int, int]]:
    """Each tag, the place of its value, and the place behind its entry; at last None and the next directory's place."""
    data, where = block.data, block.where
    width, entry, wide = (8, 20, 8) if big else (2, 12, 4)
    if at + width > len(data):
        if name == "IFD1" and where != "TIFF":  # that of the thumbnail: nothing of the picture is lost
            return
        carried.trouble("exif", f"{where}: directory {name} lies outside of the block")
        return
    count = struct.unpack(order + ("Q" if big else "H"), data[at : at + width])[0]
    at += width
    for _ in range(min(count, _MOST_TAGS)):
        if at + entry > len(data):
            carried.trouble("exif", f"{where}: directory {name} is longer than the block")
            return
        number, kind = struct.unpack(order + "HH", data[at : at + 4])
        n, inline = _number(data, at + 4, order, big), at + 4 + wide
        at += entry
        if kind not in _SIZES:
            continue
        size = n * _SIZES[kind]
        offset = inline if size <= wide else _number(data, inline, order, big)
        there = min(size, max(0, len(data) - offset))
        if there > LARGEST_BLOCK or carried.kept + there > MOST_KEPT:
            if number in _TOLD:
                carried.trouble("exif", f"{where}: tag {number:#06x} has {size:,} bytes, too many to be read")
            continue
        value = data[offset : offset + size]
        carried.kept += len(value) if size > 1024 else 0
        if len(value) < size and number in _TOLD:
            carried.trouble("exif", f"{where}: tag {number:#06x} lies outside of the block")
        yield Tag(where, name, number, kind, n, value, order), offset, at
    if at + wide <= len(data):
        yield None, _number(data, at, order, big), at + wide


def _hand_over(tag: Tag, part: Part, carried: Carried) -> None:
    where = f"{tag.where} tag {tag.number}"
    if tag.number == _XMP:
        carried.block("xmp", where, tag.data, part.offset)
    elif tag.number == _IPTC:
        # Written as numbers of four bytes by some, and then in the order of the file.
        swap = tag.kind == 4 and not tag.data.startswith(b"\x1c")
        carried.block("iim", where, _swapped(tag.data) if swap else tag.data, part.offset)
    elif tag.number == _PHOTOSHOP:
        walk_resources(tag.data, where, part.offset, part.parts, carried)
    elif tag.number == _C2PA:
        carried.block("jumbf", where, tag.data, part.offset)


def _swapped(data: bytes) -> bytes:
    n = len(data) // 4
    return struct.pack(f"<{n}I", *struct.unpack(f">{n}I", data[: 4 * n]))


def _number(data: bytes, at: int, order: str, big: bool) -> int:
    size = 8 if big else 4
    piece = data[at : at + size]
    return int.from_bytes(piece, "little" if order == "<" else "big") if len(piece) == size else 0


def _place(block: Block, at: int) -> int | None:
    return None if block.offset is None else block.offset + at
