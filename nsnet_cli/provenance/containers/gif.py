"""GIF 89a: comments, and XMP and other data in application extensions."""

from __future__ import annotations

from nsnet_cli.provenance.containers.carried import Carried, Part, text_of
from nsnet_cli.provenance.containers.trailer import walk_trailer

_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_COMMENT, _APPLICATION, _PLAIN_TEXT = 0xFE, 0xFF, 0x01
# XMP stands there as it is, not in sub-blocks; 258 bytes of a "magic trailer" lead a reader that does not know it out.
_XMP, _MAGIC = b"XMP DataXMP", 258


def walk_gif(data: bytes, carried: Carried) -> None:
    """Blocks up to the trailer."""
    at = 13 + _table(data[10] if len(data) > 10 else 0)
    while at < len(data):
        kind = data[at]
        if kind == _END:
            at += 1
            break
        if kind == _IMAGE and at + 10 <= len(data):
            start = at
            at = _sub_blocks(data, at + 10 + _table(data[at + 9]) + 1)[1]
            carried.part(carried.parts, Part("image", start, at - start))
        elif kind == _EXTENSION and at + 2 <= len(data):
            start, label = at, data[at + 1]
            body, at = _sub_blocks(data, at + 2)
            names = {_COMMENT: "comment", _PLAIN_TEXT: "plain text", 0xF9: "graphic control"}
            part = carried.part(carried.parts, Part(names.get(label, f"extension {label:02X}"), start, at - start))
            if label in (_COMMENT, _PLAIN_TEXT):
                carried.text("GIF comment", "comment", text_of(body[13:] if label == _PLAIN_TEXT else body))
            elif label == _APPLICATION:
                part.name, name = "application", body[:11]
                part.note = name.decode("latin-1") if name.isascii() else ""
                if name == _XMP:
                    carried.block("xmp", "GIF application XMP", data[start + 14 : max(start + 14, at - _MAGIC)])
                elif name.startswith(b"C2PA"):
                    carried.block("jumbf", "GIF application C2PA", body[11:])
        else:
            carried.trouble("file", f"what stands at {at:,} is no block of a GIF; the rest was not looked at")
            return
    walk_trailer(data, at, carried)


def _table(packed: int) -> int:
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0


def _sub_blocks(data: bytes, at: int) -> tuple[bytes, int]:
    """The data of sub-blocks from ``at`` on, and the place behind them."""
    pieces = []
    while at < len(data) and data[at]:
        pieces.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(pieces), min(at + 1, len(data))
