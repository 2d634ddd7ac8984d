"""IPTC-IIM 4.2: datasets of record 2 that speak of origin."""

from __future__ import annotations

from collections.abc import Iterator

from nsnet_cli.provenance.containers.carried import Block, text_of
from nsnet_cli.provenance.findings import Finding, cut
from nsnet_cli.provenance.programs import claim_of_credit, claim_of_software
from nsnet_cli.provenance.texts import read_text

_PROGRAM, _PROGRAM_VERSION = 65, 70
_CREDITS = {110: "credit", 115: "source", 80: "by-line", 116: "copyright notice"}
_CAPTIONS = {120: "caption", 105: "headline", 40: "special instructions", 5: "object name"}
_MOST = 2_000


def read_iim(block: Block) -> Iterator[Finding]:
    """Each dataset: a tag marker, record and number, a length of two bytes or an extended one, the data."""
    data, at = block.data, 0
    carrier = f"IPTC of {block.where}"
    for _ in range(_MOST):
        if data[at : at + 1] != b"\x1c" or at + 5 > len(data):
            return
        record, number, size = data[at + 1], data[at + 2], int.from_bytes(data[at + 3 : at + 5], "big")
        at += 5
        if size & 0x8000:  # the length of the length
            wide = size & 0x7FFF
            if wide > 4:
                raise ValueError("a dataset longer than anybody writes")
            size = int.from_bytes(data[at : at + wide], "big")
            at += wide
        text = text_of(data[at : at + size]).strip("\0 ")
        if at + size > len(data):
            raise ValueError("a dataset that says that it is longer than its block")
        at += size
        if record != 2 or not text:
            continue
        if number == _PROGRAM:
            yield Finding("iptc", "originating program", cut(text), claim_of_software(text), carrier=carrier)
        elif number in _CREDITS:
            yield Finding("iptc", _CREDITS[number], cut(text), claim_of_credit(text), carrier=carrier)
        elif number in _CAPTIONS:
            yield from read_text("iptc", _CAPTIONS[number], text, carrier)
