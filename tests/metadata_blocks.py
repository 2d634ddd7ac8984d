"""Fuzzed metadata around pixels that stay what they are: for a test, and for ``benchmarks/fuzz.py --metadata``."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache

from carriers import (
    A1111,
    AI,
    PICTURE,
    XMP,
    XMP_AI,
    encoded,
    exif_block,
    raw_profile,
    stealthy,
    user_comment,
    with_chunk,
    with_exif,
    with_segment,
)
from credentials import Signer

_LENGTHS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\xff\xff", b"\0\0\0\x08", b"\xff\xff\xff\x7f")
_LABEL = '{"AIGC":{"Label":"1","ContentProducer":"P","ProduceID":"7"}}'
_GRAPH = json.dumps({"3": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["4", 0]}},
                     "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "x", "clip": ["3", 0]}}})  # fmt: skip


@cache
def _blocks() -> list[tuple[str, bytes]]:
    """Blocks of metadata by kind, before anything is done to them."""
    iim = b"\x1c\x02\x6e" + struct.pack(">H", 19) + b"Made with Google AI"
    parent = Signer().sign(encoded(quality=70))
    child = Signer().sign(encoded(quality=90), [{"action": "c2pa.converted"}], parents=[("parentOf", parent)])
    return [
        ("exif", user_comment(A1111)),
        ("exif", exif_block({0x010F: "Ideogram AI", 0x0110: "prompt:" + _GRAPH}, {0x829D: b"\0\0\0\1"})),
        ("exif", exif_block({0x010E: _LABEL, 0x02BC: XMP_AI, 0x83BB: iim}, {}, "<")),
        ("xmp", XMP_AI),
        ("xmp", XMP.format(attributes="", elements=f"<TC260:AIGC>{_LABEL}</TC260:AIGC>").encode()),
        ("xmp", XMP.format(attributes="", elements=f"<xmpMM:Pantry>{AI}</xmpMM:Pantry>").encode("utf-16")),
        ("iim", iim * 3),
        ("text", b"parameters\0" + A1111.encode()),
        ("text", b"prompt\0" + _GRAPH.encode()),
        ("text", b"AIGC\0" + _LABEL.encode()),
        ("text", b"Raw profile type xmp\0" + raw_profile("xmp", XMP_AI).encode()),
        ("ztext", b"parameters\0\0" + zlib.compress(A1111.encode() * 50)),
        ("jumbf", child[4 + 16 :]),
    ]  # fmt: skip


@cache
def plain(form: str) -> bytes:
    """The picture of all mutants but those with hidden texts, without any metadata."""
    return encoded(form, quality=90) if form == "JPEG" else encoded(form)


def hides_text(k: int) -> bool:
    """Whether the ``k``-th mutant has a text in its alpha channel, so that its pixels are its own."""
    return k % 50 == 49


def _carriers() -> dict[str, list[Callable[[bytes], tuple[str, bytes]]]]:
    """By kind the ways to put a block into a file."""

    def jpeg(marker: int, head: bytes) -> Callable[[bytes], tuple[str, bytes]]:
        return lambda block: ("JPEG", with_segment(plain("JPEG"), marker, head + block[: 65_500 - len(head)]))

    def png(kind: bytes) -> Callable[[bytes], tuple[str, bytes]]:
        return lambda block: ("PNG", with_chunk(plain("PNG"), kind, block, last=len(block) % 2 == 0))

    resource = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0"
    return {
        "exif": [
            jpeg(0xE1, b"Exif\0\0"), png(b"eXIf"),
            *(lambda block, form=form: (form, with_exif(form, block)) for form in ("WEBP", "AVIF", "HEIF")),
        ],
        "xmp": [
            jpeg(0xE1, b"http://ns.adobe.com/xap/1.0/\0"), png(b"iTXt"), jpeg(0xE5, b""),
            *(lambda block, form=form: (form, encoded(form, xmp=block)) for form in ("WEBP", "AVIF", "HEIF")),
            lambda block: ("TIFF", encoded("TIFF", tiffinfo={700: block})),
        ],
        "iim": [jpeg(0xED, resource + struct.pack(">I", 60))],
        "text": [png(b"tEXt"), png(b"iTXt"), jpeg(0xFE, b""), lambda block: ("JPEG", plain("JPEG") + block)],
        "ztext": [png(b"zTXt")],
        "jumbf": [jpeg(0xEB, b"JP\2\x11\0\0\0\1"), png(b"caBX")],
    }  # fmt: skip


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """``count`` pictures, Pillow's name of the format and bytes, with fuzzed metadata and with pixels that are not."""
    rng = random.Random(seed)
    carriers = _carriers()
    for k in range(count):
        if hides_text(k):
            yield "PNG", _stealthy(rng)
            continue
        made = None
        while made is None:
            kind, block = rng.choice(_blocks())
            fuzzed = bytes(mutated(bytearray(block), rng))
            with contextlib.suppress(Exception), warnings.catch_warnings():  # an encoder that looks into EXIF
                warnings.simplefilter("ignore")
                made = rng.choice(carriers[kind])(fuzzed)
        yield made


def mutated(data: bytearray, rng: random.Random) -> bytearray:
    """One to eight mutations, anywhere."""
    for _ in range(rng.randint(1, 8)):
        if not data:
            break
        where, kind = rng.randrange(len(data)), rng.random()
        if kind < 0.3:
            data[where] ^= 1 << rng.randrange(8)
        elif kind < 0.5:
            data[where] = rng.choice((0, 1, 0x22, 0x3C, 0x7B, 0x7F, 0x80, 0xFF))
        elif kind < 0.7:
            data[where : where + 4] = rng.choice(_LENGTHS)
        elif kind < 0.8:
            del data[where:]
        elif kind < 0.9:
            length = rng.randint(1, 64)
            data[where:where] = data[where : where + length] * rng.randint(1, 400)
        else:
            other = rng.choice(_blocks())[1]
            at = rng.randrange(len(other))
            data[where : where + 256] = other[at : at + 256]
    return data


def _stealthy(rng: random.Random) -> bytes:
    """A picture with a text in its alpha channel of which bits are turned; laid over white it looks the same."""
    image = stealthy(A1111 * rng.randint(1, 20), rng.choice(("stealth_pnginfo", "stealth_pngcomp"))).copy()
    pixels = image.load()
    assert pixels is not None
    for _ in range(rng.randint(1, 30)):
        x, y = rng.randrange(3), rng.randrange(PICTURE.height)
        red, green, blue, alpha = pixels[x, y]  # type: ignore[misc]
        pixels[x, y] = red, green, blue, alpha ^ 1
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
