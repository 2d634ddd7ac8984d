"""Texts made to take long: what is said of a file never costs more than two seconds, whatever stands in it.

Seconds of the processor: other tests run beside these.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable

import pytest
from carriers import encoded, with_chunk, with_segment

from nsnet_cli.provenance import ProvenanceReader
from nsnet_cli.provenance.programs import claim_of_credit, claim_of_label, claim_of_software

MEGABYTES = 3_000_000
WORST: dict[str, Callable[[], bytes]] = {
    "program": lambda: text("Software", b"flux " + b"1." * 40 + b"!"),
    "long program": lambda: text("Software", b"flux " + b"1" * MEGABYTES + b"!"),
    "braces": lambda: text("parameters", b"{" * MEGABYTES),
    "nested": lambda: text("prompt", b'{"a":' * 300_000 + b"1"),
    "keys": lambda: text("parameters", b"Steps: 1, Sampler: x, " + b"a: {, " * 150_000),
    "steps": lambda: text("parameters", b"\nSteps: 1," * 300_000),
    "quotes": lambda: text("Dream", b'"' * 100_000 + b" -x"),
    "labels": lambda: text("Comment", b'"AIGC":{' * 300_000),
    "profile": lambda: text("Raw profile type xmp", b"\n" * MEGABYTES + b"1" + b" " * MEGABYTES + b"!"),
    "graph": lambda: text("prompt", dense_graph()),
    "jobs": lambda: text("Description", b"Job ID: 0000" * 200_000),
    "behind a fault": lambda: xmp(b"<a></b>" + b"AIGC>" * 100_000),
    "dots behind a fault": lambda: xmp(b"<a></b>" + b"a." * 500_000),
    "a field of dashes": lambda: xmp(b'<a:AISystemUsed xmlns:a="a">' + b"-" * 1_000_000 + b"a</a:AISystemUsed>"),
    "negative prompts in a line": lambda: text("parameters", b" Negative prompt:" * 50_000 + b"\nSteps: 1, Seed: 1,"),
    "lines before a negative prompt": lambda: text("parameters", b"\n" * 500_000 + b"x\nSteps: 1, Seed: 1,"),
    "fields of Mochi": lambda: text("Comment", b"Include in Image: a;" + b" " * 1_000_000),
    "attributes": lambda: xmp(b"<a " + b" ".join(b'x%d="AIGC"' % k for k in range(200_000)) + b"/>"),
    "elements": lambda: xmp(b"<a>" + b"<b>AIGC Steps: 1</b>" * 150_000 + b"</a>"),
    "packets": lambda: encoded() + b"<x:xmpmeta" * 300_000,
    "blanks before a key": lambda: text("parameters", A1111_LINE + b" " * 60_000 + b"1"),
    "a label far from its brace": lambda: text("Comment", b"AIGC" + b" " * 60_000 + b"x"),
    "labels behind the picture": lambda: encoded() + b"AIGC" + b" " * 100_000 + b"x",
    "declarations": lambda: xmp(("\ufeff" + "<?xml" * 100_000 + ">").encode("utf-16-le")),
    "entries of Samsung": lambda: samsung(b"genAI" * 10_000),
    "boxes of Samsung": lambda: many_boxes(),
    "blanks before steps": lambda: text("parameters", b"a" + b" " * 300_000 + b"Steps: 1"),
    "a list of objects": lambda: text("prompt", b"[" + b"{}," * 1_000_000),
    "digits apart": lambda: text("Raw profile type exif", b"\nexif\n 9\n" + b"00 " * 1_000_000),
    "segments": lambda: many_segments(),
    "chunks": lambda: many_chunks(),
}


A1111_LINE = b"a\nSteps: 20, Sampler: Euler a, Seed: 1\n"


def samsung(value: bytes) -> bytes:
    """A picture and behind it what Samsung's editor leaves."""
    return encoded() + entries_of_samsung(value)


def entries_of_samsung(value: bytes) -> bytes:
    """Two hundred entries that all name the same bytes."""
    block = b"\0\0\1\0" + struct.pack("<I", 4) + b"Edit" + value
    entries = b"".join(struct.pack("<HHII", 0, 1, len(block), len(block)) for _ in range(200))
    head = b"SEFH" + struct.pack("<II", 1, 200) + entries
    return block + head + struct.pack("<I", len(head)) + b"SEFT"


def many_boxes() -> bytes:
    body = entries_of_samsung(b"genAI" * 260)
    return encoded("HEIF") + (struct.pack(">I", 8 + len(body)) + b"sefd" + body) * 300


def dense_graph() -> bytes:
    links = {f"i{k}": [str(k * 7 % 900), 0] for k in range(150)}
    return json.dumps(
        {str(k): {"class_type": "KSampler", "inputs": {**links, "positive": ["0", 0]}} for k in range(900)}
    ).encode()


def text(key: str, value: bytes) -> bytes:
    return with_chunk(encoded("PNG"), b"tEXt", key.encode() + b"\0" + value)


def xmp(packet: bytes) -> bytes:
    return with_chunk(encoded("PNG"), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)


def many_segments() -> bytes:
    jpeg = encoded()
    for _ in range(60):
        packet = b"<a>" + b"<b>AIGC</b>" * 5_000 + b"</a>"
        jpeg = with_segment(jpeg, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)
    return jpeg


def many_chunks() -> bytes:
    png = encoded("PNG")
    for k in range(150):
        png = with_chunk(png, b"tEXt", b"parameters\0" + b"a" * 1_000 + b"Steps: %d, Sampler: x" % k)
    return png


@pytest.mark.parametrize("name", WORST)
def test_no_text_takes_long(name: str) -> None:
    data = WORST[name]()
    began = time.process_time()
    ProvenanceReader()(data, {b"\xff\xd8": "JPEG", b"\x89P": "PNG"}.get(data[:2], "HEIF"))
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize("claim", [claim_of_software, claim_of_credit, claim_of_label])
@pytest.mark.parametrize("value", ["gemini " + "1 " * 90 + "!", "flux-" + "-." * 80, "made with " * 20, "image " * 33])
def test_no_name_takes_long(claim: Callable[[str], object], value: str) -> None:
    began = time.process_time()
    claim(value)
    assert time.process_time() - began < 0.1
