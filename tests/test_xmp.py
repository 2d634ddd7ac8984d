"""XMP as it comes: with something before it, in pieces, in other encodings, and broken off."""

from __future__ import annotations

import struct

import pytest
from carriers import AI, XMP, XMP_AI, encoded, with_chunk, with_segment
from carriers import provenance_of as read

from nsnet_cli.report.statements import statements_of


@pytest.mark.parametrize("label", ["1", "2"])
@pytest.mark.parametrize("nested", [False, True])
def test_chinas_label_in_properties_of_its_own(label: str, nested: bool) -> None:
    fields = f"<TC260:Label>{label}</TC260:Label><TC260:ContentProducer>P</TC260:ContentProducer>"
    elements = f'<TC260:AIGC rdf:parseType="Resource">{fields}</TC260:AIGC>' if nested else fields
    found = read(encoded(xmp=XMP.format(attributes="", elements=elements).encode()))
    assert found["claims"] == ["generated" if label == "1" else "possibly_generated"] and found["errors"] == []


@pytest.mark.parametrize("part", ["xmpMM:Pantry", "xmpMM:DerivedFrom", "Iptc4xmpExt:ImageRegion"])
def test_the_label_of_what_went_into_it_is_not_that_of_the_picture(part: str) -> None:
    own = "<TC260:Label>1</TC260:Label><TC260:ContentProducer>MINE</TC260:ContentProducer>"
    other = "<TC260:Label>3</TC260:Label><TC260:ContentProducer>OTHER</TC260:ContentProducer>"
    inner = f'<{part} rdf:parseType="Resource">{other}</{part}>'
    for elements, claims in ((own + inner, ["generated", "possibly_generated"]), (inner, ["possibly_generated"])):
        found = read(encoded(xmp=XMP.format(attributes="", elements=elements).encode()))
        assert set(found["claims"]) <= {*claims, "partly_generated"} and ("generated" in found["claims"]) == (
            own in elements
        )
        told = {
            finding["where"]: finding["value"] for finding in found["findings"] if finding["where"].startswith("AIGC")
        }
        assert sum("OTHER" in value for value in told.values()) == 1
        assert all((" of " in where) == ("OTHER" in value) for where, value in told.items())


@pytest.mark.parametrize("fault", ["<dc:x>a & b</dc:x>", "<no:prefix/>", "<dc:x>\x01</dc:x>", "<dc:x>a</dc:y>"])
def test_what_stands_behind_a_fault_in_xmp_is_read_all_the_same(fault: str) -> None:
    packet = XMP.format(
        attributes="", elements=f"{fault}<Iptc4xmpExt:DigitalSourceType>{AI}</Iptc4xmpExt:DigitalSourceType>"
    )
    found = read(encoded(xmp=packet.encode()))
    assert found["claims"] == ["generated"] and found["declared"]["source_type"] == "trainedAlgorithmicMedia"
    assert found["state"] == "not_read" and found["errors"]


def test_chinas_label_before_a_fault_is_read() -> None:
    fields = "<TC260:Label>1</TC260:Label><TC260:ContentProducer>P</TC260:ContentProducer><b></c>"
    found = read(encoded(xmp=XMP.format(attributes="", elements=fields).encode()))
    assert found["claims"] == ["generated"] and found["errors"]


@pytest.mark.parametrize("before", ["é" * 200, "\r" * 20, "a\r\nb\r\n", ""])
@pytest.mark.parametrize("part", ["xmpMM:Pantry", "xmpMM:DerivedFrom"])
def test_what_is_said_of_another_picture_behind_a_fault_is_not_said_of_this_one(before: str, part: str) -> None:
    inner = f"<Iptc4xmpExt:DigitalSourceType>{AI}</Iptc4xmpExt:DigitalSourceType>"
    for elements in (
        f"<dc:x>{before}</dc:x><b></c><{part}>{inner}</{part}>",
        f'<{part} rdf:parseType="Resource"><dc:x>{before}</dc:x><b></c>{inner}</{part}>',
    ):
        assert "generated" not in read(encoded(xmp=XMP.format(attributes="", elements=elements).encode()))["claims"]
    behind = f"<{part}><dc:x>y</dc:x></{part}><dc:x>{before}</dc:x><b></c>{inner}"
    assert read(encoded(xmp=XMP.format(attributes="", elements=behind).encode()))["claims"] == ["generated"]


@pytest.mark.parametrize("said", ["None", "n/a", "No AI used", "not applicable", "-"])
def test_a_field_that_says_nothing_claims_nothing(said: str) -> None:
    packet = XMP.format(
        attributes=f'Iptc4xmpExt:AISystemUsed="{said}" Iptc4xmpExt:AIPromptInformation="{said}" '
        'Iptc4xmpExt:DigitalSourceType="nil"',
        elements="",
    )
    found = read(encoded(xmp=packet.encode()))
    assert found["claims"] == ["unknown"]
    assert (found["declared"]["generator"], found["declared"]["source_type"]) == (None, None)


def test_a_source_type_is_spelt_as_the_vocabulary_spells_it() -> None:
    for said in ("TrainedAlgorithmicMedia", "digsrctype:trained_algorithmic_media", f"{AI}/"):
        packet = XMP.format(attributes=f'Iptc4xmpExt:DigitalSourceType="{said}"', elements="").encode()
        found = read(with_chunk(encoded("PNG"), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet), "PNG")
        assert found["declared"]["source_type"] == "trainedAlgorithmicMedia"
        assert any("made by a generator (trainedAlgorithmicMedia)" in said.line for said in statements_of(found))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
@pytest.mark.parametrize("prefix", [b"", b"\0\0\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"\xef\xbb\xbf", b"  \n"])
def test_xmp_with_something_before_it(form: str, prefix: bytes) -> None:
    packet = prefix + XMP_AI
    if form == "PNG":
        data = with_chunk(encoded("PNG"), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    elif form == "TIFF":
        data = encoded("TIFF", tiffinfo={700: packet})
    else:
        data = encoded(form, xmp=packet)
    found = read(data, form)
    assert found["claims"] == ["generated"] and found["errors"] == [] and found["declared"]["source_type"]


def test_extended_xmp_in_pieces_and_out_of_order() -> None:
    filler = XMP.format(attributes=f'Iptc4xmpExt:DigitalSourceType="{AI}"', elements=f"<dc:x>{'x' * 90_000}</dc:x>")
    whole, guid = filler.encode(), b"0123456789ABCDEF0123456789ABCDEF"
    jpeg = encoded()
    for start in (0, 60_000):
        head = b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">II", len(whole), start)
        jpeg = with_segment(jpeg, 0xE1, head + whole[start : start + 60_000])
    assert read(jpeg)["claims"] == ["generated"]
    lost = read(with_segment(encoded(), 0xE1, head + whole[60_000:]))
    assert lost["claims"] == ["not_read"] and lost["state"] == "not_read" and lost["errors"]


def test_xmp_in_utf_16() -> None:
    packet = ('<?xml version="1.0" encoding="UTF-16"?>' + XMP_AI.decode()).encode("utf-16")
    assert read(encoded("WEBP", xmp=packet), "WEBP")["claims"] == ["generated"]
