"""What stands behind the end of a picture: Samsung's trailer, XMP that somebody has put there, anything else."""

from __future__ import annotations

import re

from nsnet_cli.provenance.containers.carried import Carried, Part, text_of

_XMP_START, _XMP_END = b"<x:xmpmeta", b"</x:xmpmeta>"
# Samsung's trailer (ExifTool's Samsung.pm): data blocks, SEFH with a directory of them, its length, SEFT.
_SEF_HEAD, _SEF_END = b"SEFH", b"SEFT"
_MOST_ENTRIES, _LARGEST_VALUE, _ALL_VALUES = 200, 65_536, 262_144
_LABEL = re.compile(rb'"?AIGC"?+\s*+[:=]?+\s*+\{')


def walk_trailer(data: bytes, at: int, carried: Carried) -> None:
    """Everything from ``at`` on, where the picture ends."""
    rest = len(data) - at
    if rest <= 0 or (not data[at : at + 65_536].strip(b"\0") and rest < 65_536):
        return
    part = carried.part(carried.parts, Part("behind the picture", at, rest))
    if data.endswith(_SEF_END):
        walk_samsung(data, at, len(data), part, carried)
        return
    start = data.find(_XMP_START, at)
    end = data.find(_XMP_END, start) if start >= 0 else -1
    if end >= 0:
        end += len(_XMP_END)
        carried.part(part.parts, Part("XMP", start, end - start))
        carried.block("xmp", "behind the picture", data[start:end], start)
        return
    label = _LABEL.search(data, at)
    if label is not None:
        carried.text("behind the picture", "AIGC", text_of(data[label.start() : label.start() + _LARGEST_VALUE]))


def walk_samsung(data: bytes, at: int, end: int, part: Part, carried: Carried) -> None:
    """Samsung's data between ``at`` and ``end``: a trailer, or what a box of HEIC holds."""
    size = int.from_bytes(data[end - 8 : end - 4], "little")
    head = end - 8 - size
    if size < 12 or head < at or data[head : head + 4] != _SEF_HEAD:
        carried.trouble("file", "Samsung's trailer has no directory where it says")
        return
    part.note = "Samsung"
    count = int.from_bytes(data[head + 8 : head + 12], "little")
    left = _ALL_VALUES
    for k in range(min(count, _MOST_ENTRIES, (size - 12) // 12)):
        entry = data[head + 12 + 12 * k : head + 24 + 12 * k]
        offset, length = int.from_bytes(entry[4:8], "little"), int.from_bytes(entry[8:12], "little")
        start = head - offset
        if not at <= start <= start + length <= head or length < 8:
            carried.trouble("file", "an entry of Samsung's trailer lies outside of it")
            continue
        name_size = int.from_bytes(data[start + 4 : start + 8], "little")
        name = data[start + 8 : start + 8 + min(name_size, 64)]
        value = data[start + 8 + name_size : start + length]
        label = name.decode("latin-1") if name.isascii() else "?"
        carried.part(part.parts, Part(f"Samsung {label}", start, length))
        if len(value) <= min(_LARGEST_VALUE, left) and not value.startswith((b"\xff\xd8", b"\0\0\0")):
            left -= len(value)  # entries may all name the same bytes
            carried.text("Samsung trailer", label, text_of(value))
