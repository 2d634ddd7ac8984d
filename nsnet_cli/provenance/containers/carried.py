"""What a walk through a container gives: a tree of its parts, and the blocks in them that say something."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from nsnet_cli.provenance.findings import Trouble

# No honest picture comes near these; whatever does is named as a trouble and left there.
MOST_PARTS = 5_000
LARGEST_BLOCK = 16 * 1024 * 1024
# All that is inflated of one file: a chunk of a few kilobytes can hold gigabytes.
MOST_INFLATED = 32 * 1024 * 1024
MOST_BLOCKS, MOST_TEXTS = 200, 2_000
# All blocks of one file together: tags of a few bytes can each name the same megabytes.
MOST_KEPT = 64 * 1024 * 1024
DEEPEST = 16


@dataclass
class Part:
    """A segment, chunk, box or tag: its name, where it begins in the file, and its size with its own header.

    ``offset`` is None for what lies inside something compressed or put together from several places.
    """

    name: str
    offset: int | None
    size: int
    note: str = ""
    parts: list[Part] = field(default_factory=list)
    tag: Tag | None = None


@dataclass(frozen=True)
class Block:
    """Bytes that say something, the part that they stand in, and their place in the file where they lie as they are."""

    where: str
    data: bytes
    offset: int | None = None


@dataclass(frozen=True)
class Text:
    """A text with the key that it stands under, "" where the form has none."""

    where: str
    key: str
    value: str


@dataclass(frozen=True)
class Tag:
    """A tag of TIFF or EXIF as it stands: ``data`` are the bytes of its value, in the byte ``order`` of its block."""

    where: str
    directory: str
    number: int
    kind: int
    count: int
    data: bytes
    order: str


@dataclass
class Carried:
    """All that one file carries.  A walk adds to it, so what was found before a fault is kept."""

    container: str = "unknown"
    parts: list[Part] = field(default_factory=list)
    exif: list[Block] = field(default_factory=list)
    xmp: list[Block] = field(default_factory=list)
    iim: list[Block] = field(default_factory=list)
    jumbf: list[Block] = field(default_factory=list)
    thumbnails: list[Block] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    inflated: int = 0
    kept: int = 0
    counted: int = 0

    def trouble(self, source: str, message: str) -> None:
        found = Trouble(source, message)
        if found not in self.troubles and len(self.troubles) < MOST_BLOCKS:
            self.troubles.append(found)

    def part(self, into: list[Part], part: Part) -> Part:
        """Add a part to the tree.  Raises `TooMuchError` where there are more than anybody writes."""
        self.counted += 1
        if self.counted > MOST_PARTS:
            raise TooMuchError(f"more than {MOST_PARTS:,} parts: the rest was not looked at")
        into.append(part)
        return part

    def block(self, kind: str, where: str, data: bytes, offset: int | None = None) -> None:
        """Keep a block of ``exif``, ``xmp``, ``iim``, ``jumbf`` or ``thumbnails``."""
        blocks: list[Block] = getattr(self, kind)
        if len(data) > LARGEST_BLOCK:
            self.trouble(_SOURCES[kind], f"{where}: {len(data):,} bytes, more than anybody writes; not read")
        elif len(blocks) >= MOST_BLOCKS or self.kept + len(data) > MOST_KEPT:
            self.trouble(_SOURCES[kind], f"{where}: more blocks than anybody writes; not read")
        else:
            self.kept += len(data)
            blocks.append(Block(where, data, offset))

    def text(self, where: str, key: str, value: str) -> None:
        if len(value) > LARGEST_BLOCK:
            self.trouble("text", f"{where}: {len(value):,} characters, more than anybody writes; not read")
        elif len(self.texts) >= MOST_TEXTS:
            self.trouble("text", f"more than {MOST_TEXTS:,} texts: the rest was not read")
        else:
            self.texts.append(Text(where, key, value))

    def inflate(self, data: bytes) -> bytes:
        """What zlib holds, up to where it is cut off, `MOST_INFLATED` at most of one file.  Raises `ValueError`."""
        room = MOST_INFLATED - self.inflated
        if room <= 0:
            raise ValueError("more compressed text than anybody writes")
        try:
            decompressor = zlib.decompressobj()
            found = decompressor.decompress(data, room)
        except zlib.error as error:
            raise ValueError(f"cannot be inflated ({error})") from error
        self.inflated += len(found)
        if decompressor.unconsumed_tail:
            raise ValueError("more compressed text than anybody writes")
        if not decompressor.eof:
            self.trouble("text", "compressed text that is cut off")
        return found


_SOURCES = {"exif": "exif", "xmp": "xmp", "iim": "iptc", "jumbf": "c2pa", "thumbnails": "file"}


class TooMuchError(ValueError):
    """A file of more parts, or deeper, than anybody writes."""


def text_of(data: bytes) -> str:
    """Bytes as text: UTF-8 where they are that, else Latin-1, which takes anything."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
