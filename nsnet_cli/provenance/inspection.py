"""Everything that a file carries, raw: its parts with places and sizes, tags, texts, packets, manifests, thumbnails."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from nsnet_cli.provenance.containers.carried import Block, Carried, Part, Tag, text_of
from nsnet_cli.provenance.containers.tiff import numbers_of
from nsnet_cli.provenance.containers.walk import add_jumbf, walk
from nsnet_cli.provenance.credentials import media_type, reader_settings
from nsnet_cli.provenance.exif import comment_of, text_in
from nsnet_cli.provenance.read import ProvenanceReader
from nsnet_cli.provenance.xmp import packet_of

SCHEMA = "nsnet.inspect/1"
_USER_COMMENT = 0x9286
# Characters of a text that are given; a packet of this length fills many screens.
_LONGEST = 65_536
_MOST_THUMBNAILS, _LARGEST_MANIFESTS = 64, 8 * 1024 * 1024
_XMP_THUMBNAIL = re.compile(rb"<xmpGImg:image>([^<]{1,4000000})</xmpGImg:image>")
_SUFFIXES = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"GIF8", ".gif"))


@dataclass(frozen=True)
class Inspection:
    """``document`` is JSON data; ``thumbnails`` are pictures within the picture, as they stand in the file."""

    document: dict[str, Any]
    thumbnails: list[Block]


def inspect(data: bytes, path: str, file_format: str | None, trust_list: str | None = None) -> Inspection:
    """All that ``data`` carries; never raises.  ``file_format`` is Pillow's name, None for what it does not open."""
    carried = walk(data)
    add_jumbf(carried)
    thumbnails = _thumbnails(carried)
    document = {
        "schema": SCHEMA,
        "path": path,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "format": file_format,
        "container": carried.container,
        "parts": [_part(part) for part in carried.parts],
        "tags": [_tag(tag) for tag in carried.tags],
        "texts": [{"where": t.where, "key": t.key, "value": t.value[:_LONGEST]} for t in carried.texts],
        "xmp": [
            {"where": b.where, "bytes": len(b.data), "packet": text_of(packet_of(b.data))[:_LONGEST]}
            for b in carried.xmp
        ],
        "iptc": [{"where": b.where, "datasets": _datasets(b.data)} for b in carried.iim],
        "manifests": _manifests(data, file_format) if carried.jumbf else None,
        "thumbnails": [{"where": t.where, "offset": t.offset, "bytes": len(t.data)} for t in thumbnails],
        "provenance": None if file_format is None else ProvenanceReader(trust_list)(data, file_format),
        "errors": [{"source": t.source, "message": t.message} for t in carried.troubles],
    }
    return Inspection(document, thumbnails)


def suffix_of(thumbnail: bytes) -> str:
    """A file name's end for a thumbnail, by its first bytes."""
    return next((suffix for head, suffix in _SUFFIXES if thumbnail.startswith(head)), ".bin")


def _part(part: Part) -> dict[str, Any]:
    found: dict[str, Any] = {"name": part.name, "offset": part.offset, "bytes": part.size}
    if part.tag is not None:
        name = tag_name(part.tag)
        found |= {"note": f"{name} = {_shown(part.tag)[:120]}" if name else _shown(part.tag)[:120]}
    elif part.note:
        found["note"] = part.note
    if part.parts:
        found["parts"] = [_part(inner) for inner in part.parts]
    return found


def tag_name(tag: Tag) -> str:
    """The name of a tag in its directory, "" for one that is not known."""
    from PIL import ExifTags

    names = ExifTags.GPSTAGS if tag.directory == "GPS" else ExifTags.TAGS
    return str(names.get(tag.number, ""))


def _tag(tag: Tag) -> dict[str, Any]:
    return {
        "where": tag.where,
        "directory": tag.directory,
        "number": tag.number,
        "name": tag_name(tag) or None,
        "count": tag.count,
        "value": _shown(tag)[:_LONGEST],
    }


def _shown(tag: Tag) -> str:
    if tag.number == _USER_COMMENT:
        return comment_of(tag)
    text = text_in(tag)
    if text and text.replace("\n", " ").replace("\r", " ").replace("\t", " ").isprintable():
        return text
    numbers = numbers_of(tag)
    if numbers and tag.kind != 1:
        return ", ".join(f"{number:g}" for number in numbers) + (", …" if tag.count > len(numbers) else "")
    return tag.data[:32].hex(" ") + (" …" if len(tag.data) > 32 else "")


def _datasets(data: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    at = 0
    while data[at : at + 1] == b"\x1c" and at + 5 <= len(data) and len(found) < 500:
        record, dataset, size = data[at + 1], data[at + 2], int.from_bytes(data[at + 3 : at + 5], "big")
        at += 5
        if size & 0x8000:  # the length of the length
            wide = size & 0x7FFF
            size = int.from_bytes(data[at : at + wide], "big")
            at += wide
        value = text_of(data[at : at + size])
        found.append({"record": record, "dataset": dataset, "value": value[:_LONGEST]})
        at += size
    return found


def _manifests(data: bytes, file_format: str | None) -> Any:
    """The reader's own detailed report, or in words why there is none."""
    kind = media_type(file_format)
    if kind is None:
        return f"no reader for {file_format} is known here"
    try:
        import c2pa

        with (
            c2pa.Context.from_dict(reader_settings(None)) as context,
            c2pa.Reader(kind, BytesIO(data), context=context) as reader,
        ):
            text = reader.detailed_json()
            return json.loads(text) if len(text) <= _LARGEST_MANIFESTS else "larger than anybody writes"
    except Exception as error:  # a missing package, or anything that the reader says of the file
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _thumbnails(carried: Carried) -> list[Block]:
    found = list(carried.thumbnails)
    for block in carried.xmp:
        for match in _XMP_THUMBNAIL.finditer(block.data):
            text = re.sub(rb"&#x[aAdD];|\s", b"", match.group(1))
            try:
                found.append(Block(f"XMP of {block.where}", base64.b64decode(text, validate=True)))
            except (binascii.Error, ValueError):
                carried.trouble("xmp", f"{block.where}: a thumbnail that is no base64")
            if len(found) >= _MOST_THUMBNAILS:
                return found
    return found[:_MOST_THUMBNAILS]
