"""JUMBF (ISO/IEC 19566-5) as a tree: superboxes with their labels, and their content boxes."""

from __future__ import annotations

from nsnet_cli.provenance.containers.carried import DEEPEST, Block, Carried, Part, TooMuchError, text_of


def walk_jumbf(block: Block, into: list[Part], carried: Carried) -> None:
    """The boxes of a manifest store; what they mean is for a reader of content credentials."""
    _walk(block, 0, len(block.data), into, carried, 0)


def _walk(block: Block, at: int, end: int, into: list[Part], carried: Carried, depth: int, label: str = "") -> None:
    if depth > DEEPEST:
        raise TooMuchError(f"JUMBF nested deeper than {DEEPEST}: the rest was not looked at")
    data = block.data
    while at + 8 <= end:
        size, kind, body = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, body = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = end - at
        if size < body - at or at + size > end:
            carried.trouble("c2pa", f"{block.where}: a JUMBF box says another length than it can have")
            return
        name = text_of(kind) if kind.isalnum() else kind.hex()
        part = carried.part(into, Part(name, None if block.offset is None else block.offset + at, size))
        if kind == b"jumb":
            part.note = _label(data[body : min(body + 400, at + size)])
            _walk(block, body, at + size, part.parts, carried, depth + 1, part.note)
        elif kind == b"bidb" and "thumbnail" in label:
            carried.block("thumbnails", f"C2PA {label}", data[body : at + size], part.offset)
        at += size


def _label(description: bytes) -> str:
    """The label in a description box: length, ``jumd``, a UUID, toggles, then the label where a toggle says so."""
    if description[4:8] != b"jumd" or len(description) < 26 or not description[24] & 2:
        return ""
    size = int.from_bytes(description[:4], "big")
    return text_of(description[25:size].split(b"\0", 1)[0])[:200]


def holds_credentials(blocks: list[Block]) -> bool:
    """Whether any of ``blocks`` calls itself a C2PA manifest store."""
    return any(b"c2pa" in block.data[:4096] for block in blocks)
