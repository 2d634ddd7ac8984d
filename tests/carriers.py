"""Files with metadata in every carrier, made on the spot: for tests and for fuzzing."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import conftest
import jsonschema
import numpy as np
import pillow_heif
from conftest import textured
from PIL import Image, PngImagePlugin

from nsnet_cli.provenance import ProvenanceReader
from nsnet_cli.results.document import json_schema

pillow_heif.register_heif_opener()
PICTURE = Image.fromarray(textured(240, 232))
AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
A1111 = (
    "a lighthouse\nNegative prompt: fog\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x512, Model: dreams"
)
GRAPH = {
    "3": {
        "class_type": "KSampler",
        "inputs": {"seed": 42, "steps": 20, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal",
                   "positive": ["6", 0], "negative": ["7", 0], "model": ["4", 0], "latent_image": ["5", 0]},
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dreams.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["4", 1]}},
}  # fmt: skip
WORKFLOW = {"nodes": [{"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a lighthouse"]}], "links": []}
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" '
    'xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#" '
    'xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/" {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>'
)
XMP_AI = XMP.format(attributes=f'Iptc4xmpExt:DigitalSourceType="{AI}"', elements="").encode()


def encoded(form: str = "JPEG", **options: Any) -> bytes:
    """The test picture in a format."""
    return conftest.encoded(PICTURE, form, **options)


def exif_block(tags: Mapping[int, bytes | str | int], inner: Mapping[int, bytes | str], order: str = ">") -> bytes:
    """A TIFF block with ``tags`` in its first directory and ``inner`` in its EXIF directory; bytes are UNDEFINED."""

    def directory(entries: Mapping[int, bytes | str | int], at: int) -> bytes:
        body, values = b"", b""
        start = at + 2 + 12 * len(entries) + 4
        for number in sorted(entries):
            value = entries[number]
            if isinstance(value, int):
                body += struct.pack(order + "HHII", number, 4, 1, value)
                continue
            data = value if isinstance(value, bytes) else value.encode() + b"\0"
            kind = 7 if isinstance(value, bytes) else 2
            if len(data) <= 4:
                body += struct.pack(order + "HHI", number, kind, len(data)) + data.ljust(4, b"\0")
            else:
                body += struct.pack(order + "HHII", number, kind, len(data), start + len(values))
                values += data + b"\0" * (len(data) % 2)
        return struct.pack(order + "H", len(entries)) + body + b"\0\0\0\0" + values

    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "I", 8)
    if not inner:
        return head + directory(tags, 8)
    first = directory({**tags, 0x8769: 0}, 8)
    return head + directory({**tags, 0x8769: 8 + len(first)}, 8) + directory(inner, 8 + len(first))


def user_comment(text: str, code: str = "unicode-be", order: str = ">") -> bytes:
    """UserComment in an EXIF block; ``code`` says how the eight bytes and the text are written."""
    body = {
        "ascii": lambda: b"ASCII\0\0\0" + text.encode(),
        "unicode-be": lambda: b"UNICODE\0" + text.encode("utf-16-be"),
        "unicode-le": lambda: b"UNICODE\0" + text.encode("utf-16-le"),
        "unicode-bom-be": lambda: b"UNICODE\0\xfe\xff" + text.encode("utf-16-be"),
        "unicode-bom-le": lambda: b"UNICODE\0\xff\xfe" + text.encode("utf-16-le"),
        "unicode-utf8": lambda: b"UNICODE\0" + text.encode(),
        "jis": lambda: b"JIS\0\0\0\0\0" + text.encode("iso2022_jp"),
        "undefined": lambda: b"\0" * 8 + text.encode(),
        "none": lambda: text.encode(),
    }[code]()
    return exif_block({}, {0x9286: body}, order)


def with_exif(form: str, block: bytes) -> bytes:
    """The test picture with an EXIF block, in the carrier of its format."""
    if form == "PNG":
        return with_chunk(encoded("PNG"), b"eXIf", block)
    if form == "TIFF":
        raise ValueError("a TIFF has tags of its own")
    return encoded(form, exif=b"Exif\0\0" + block)


def with_chunk(png: bytes, kind: bytes, body: bytes, last: bool = True) -> bytes:
    """A PNG with one chunk more, before its end or behind its header."""
    at = png.rindex(b"IEND") - 4 if last else 33
    return png[:at] + struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) + png[at:]


def with_text(texts: Mapping[str, str], compressed: bool = False, international: bool = False) -> bytes:
    """A PNG with texts."""
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        add = info.add_itxt if international else info.add_text
        add(key, value, zip=compressed)
    return encoded("PNG", pnginfo=info)


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one segment more, right behind its start."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def raw_profile(kind: str, data: bytes) -> str:
    """ImageMagick's form."""
    digits = data.hex()
    lines = "\n".join(digits[k : k + 72] for k in range(0, len(digits), 72))
    return f"\n{kind}\n{len(data):8d}\n{lines}\n"


def stealthy(text: str, form: str = "stealth_pngcomp", size: tuple[int, int] = (240, 232)) -> Image.Image:
    """A picture with ``text`` in its lowest bits."""
    body = gzip.compress(text.encode()) if form.endswith("comp") else text.encode()
    bits = np.unpackbits(np.frombuffer(form.encode() + struct.pack(">I", 8 * len(body)) + body, np.uint8))
    rgba = PICTURE.resize(size).convert("RGBA") if "png" in form else PICTURE.resize(size)
    pixels = np.array(rgba)
    channels = pixels[:, :, 3:] if "png" in form else pixels[:, :, :3]
    down = channels.transpose(1, 0, 2).reshape(-1).copy()
    down[: len(bits)] = (down[: len(bits)] & 0xFE) | bits
    height, width, n = channels.shape
    channels[:] = down.reshape(width, height, n).transpose(1, 0, 2)
    return Image.fromarray(pixels)


SCHEMA = {"$ref": "#/$defs/provenance", "$defs": json_schema()["$defs"]}


def provenance_of(data: bytes, form: str = "JPEG") -> dict[str, Any]:
    """What is read of a file, which keeps to the schema."""
    found = ProvenanceReader()(data, form)
    jsonschema.validate(found, SCHEMA)
    return found


def whole_provenance_of(data: bytes, form: str = "PNG") -> dict[str, Any]:
    """The same where nothing could not be read."""
    found = provenance_of(data, form)
    assert found["errors"] == []
    return found
