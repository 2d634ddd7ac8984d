"""Boxes, of which files of JPEG 2000 and of JPEG XL are made (ISO/IEC 15444-1, annex I.4)."""

from __future__ import annotations

from collections.abc import Iterator


def boxes(data: bytes, at: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start of the content and declared end of each box that lies one after the other from ``at`` on."""
    while at + 8 <= len(data):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        size = size or len(data) - at
        if size < head:
            return
        yield kind, at + head, at + size
        at += size
