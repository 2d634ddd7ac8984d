"""Provenance: read right, said as what it is, and never part of the score."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import conftest
import jsonschema
import pytest
from carriers import PICTURE, encoded
from credentials import AI, signed_jpeg
from PIL import Image, PngImagePlugin

from nsnet_cli import Detector
from nsnet_cli.errors import UsageError
from nsnet_cli.provenance import ProvenanceReader
from nsnet_cli.report.rows import flat_row
from nsnet_cli.results.document import RowContext, json_schema

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>'
)
A1111 = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model: dreams"


def read(data: bytes, form: str = "JPEG", **trust: Any) -> dict[str, Any]:
    found = ProvenanceReader(**trust)(data, form)
    schema = {"$ref": "#/$defs/provenance", "$defs": json_schema()["$defs"]}
    jsonschema.validate(found, schema)
    return found


def said(found: dict[str, Any], source: str) -> dict[str, tuple[str, str]]:
    return {f["where"]: (f["value"], f["claim"]) for f in found["findings"] if f["source"] == source}


@pytest.fixture(scope="module")
def signed() -> tuple[bytes, str]:
    """A JPEG with content credentials by a signer of our own, and the root certificate in PEM."""
    return signed_jpeg(encoded(quality=92))


def test_credentials_of_an_unknown_and_of_a_trusted_signer(signed: tuple[bytes, str]) -> None:
    data, root = signed
    for trust, state, backing in (
        (None, "untrusted_signer", "signed_untrusted"),
        (root, "trusted", "signed_trusted"),
    ):
        found = read(data, trust_list=trust)
        assert found["claims"] == ["generated"] and found["errors"] == []
        detail = found["c2pa"]
        assert (detail["state"], detail["signer"], detail["issuer"]) == (state, "Test Signer", "Tests")
        assert detail["claim_generator"].startswith("Imaginary Painter 3")
        assert [(a["action"], a["source_type"]) for a in detail["actions"]] == [("c2pa.created", AI)]
        assert {f["backing"] for f in found["findings"] if f["source"] == "c2pa"} == {backing}


def test_damaged_credentials_are_damaged_and_claim_nothing(signed: tuple[bytes, str]) -> None:
    data, root = signed
    pixels, box = bytearray(data), bytearray(data)
    pixels[-2000] ^= 0xFF  # a pixel is no longer what was signed
    at = data.find(b"c2pa.claim")
    box[at + 60] ^= 0xFF  # the claim itself
    for broken in (bytes(pixels), bytes(box)):
        found = read(broken, trust_list=root)
        assert found["c2pa"]["state"] == "damaged" and found["claims"] == ["unknown"]
        assert {f["backing"] for f in found["findings"] if f["source"] == "c2pa"} == {"broken"}


def test_hostile_credentials_spoil_provenance_alone(
    signed: tuple[bytes, str], tiny_weights: Path, tmp_path: Path
) -> None:
    data, _ = signed
    at = data.find(b"jumb")
    lengths = (b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\xff")
    hostile = [data[: at - 4] + length + data[at:] for length in lengths]
    inner = data.find(b"jumb", at + 4)
    hostile += [data[: inner - 4] + length + data[inner:] for length in lengths]
    hostile.append(data[:at] + data[at - 4 : at + 600] * 40 + data[at:])  # boxes in boxes
    detector = Detector.load(str(tiny_weights))
    path = tmp_path / "plain.jpg"
    path.write_bytes(data)
    plain, states = detector.scan(path), set()
    for k, content in enumerate(hostile):
        path = tmp_path / f"{k}.jpg"
        path.write_bytes(content)
        result = detector.scan(path)
        assert result.error is None and result.score == plain.score and result.provenance is not None
        found = read(content)
        assert found == result.provenance
        states.add(found["c2pa"]["state"])
        claims = {"damaged": ["unknown"], "not_read": ["not_read"]}.get(found["c2pa"]["state"], ["generated"])
        assert found["claims"] == claims
    assert "damaged" in states


@pytest.mark.parametrize(
    ("source_type", "claim"),
    [
        (AI, "generated"),
        ("compositeWithTrainedAlgorithmicMedia", "partly_generated"),
        ("http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture", "captured"),
        ("http://cv.iptc.org/newscodes/digitalsourcetype/humanEdits", "edited"),
        ("http://example.com/made-up", "unknown"),
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_source_types_in_xmp(form: str, source_type: str, claim: str) -> None:
    for attributes, elements in (
        (f'Iptc4xmpExt:DigitalSourceType="{source_type}"', ""),
        ("", f"<Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>"),
    ):
        packet = XMP.format(attributes=attributes, elements=elements)
        if form == "PNG":
            text = PngImagePlugin.PngInfo()
            text.add_itxt("XML:com.adobe.xmp", packet)
            data = encoded("PNG", pnginfo=text)
        elif form == "TIFF":
            data = encoded("TIFF", tiffinfo={700: packet.encode()})
        else:
            data = encoded(form, xmp=packet.encode())
        found = read(data, form)
        assert found["claims"] == [claim], found
        assert said(found, "xmp")["DigitalSourceType"][0] == source_type


def test_xmp_behind_the_pixels_and_as_a_resource() -> None:
    resource = XMP.format(attributes="", elements=f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{AI}"/>')
    assert read(encoded(xmp=resource.encode()))["claims"] == ["generated"]
    data = encoded("PNG")
    packet = XMP.format(attributes=f'Iptc4xmpExt:DigitalSourceType="{AI}"', elements="").encode()
    body = b"iTXt" + b"XML:com.adobe.xmp\0\0\0\0\0" + packet
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    end = data.rindex(b"IEND") - 4
    assert read(data[:end] + chunk + data[end:], "PNG")["claims"] == ["generated"]


def test_credentials_that_are_kept_elsewhere_are_not_damaged() -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dcterms="http://purl.org/dc/terms/" '
        'dcterms:provenance="https://manifests.example/urn-c2pa-1234"/></rdf:RDF></x:xmpmeta>'
    )
    found = read(encoded(xmp=packet.encode()))
    assert found["c2pa"] is not None and found["c2pa"]["state"] == "remote" and found["claims"] == ["unknown"]
    assert "broken" not in {f["backing"] for f in found["findings"]}


@pytest.mark.parametrize(
    ("field", "text", "claims"),
    [
        (0x010E, "a firefly on a leaf", ["captured"]),
        (0x010E, "Runway 27L at dusk, the Gemini constellation above", ["captured"]),
        (0x010E, "Made with Google AI", ["captured", "generated"]),
        (0x0131, "Imagenomic Portraiture", ["captured"]),
        (0x0131, "Adobe Firefly 3", ["captured", "generated"]),
        (0x0131, "Gemini", ["captured", "generated"]),
        (0x0131, "GIMP 2.10", ["captured", "edited"]),
    ],
)
def test_captions_claim_only_what_no_sentence_says_by_chance(field: int, text: str, claims: list[str]) -> None:
    exif = Image.Exif()
    exif[0x0110], exif[field] = "Camera 5", text
    assert read(encoded(exif=exif))["claims"] == claims


def test_other_fields_of_xmp_and_hostile_xmp() -> None:
    packet = XMP.format(attributes='xmp:CreatorTool="Adobe Photoshop 26.1"', elements="")
    assert read(encoded(xmp=packet.encode()))["claims"] == ["edited"]
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>'
    for hostile in (bomb, "<x>" * 5000, "<x", "\xff\xfe", "<a>" * 200 + "</a>" * 200):
        found = read(encoded("WEBP", xmp=hostile.encode("latin-1")), "WEBP")
        assert found["claims"] == ["not_read"] and [e["source"] for e in found["errors"]] == ["xmp"]


def test_generators_text_and_exif() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", A1111)
    found = read(encoded("PNG", pnginfo=text), "PNG")
    assert found["claims"] == ["generated"]
    assert said(found, "text")["prompt"][0] == "a cat" and said(found, "text")["model"][0] == "dreams"

    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "NovelAI")
    text.add_text("Description", "a cat on a roof")
    assert read(encoded("PNG", pnginfo=text), "PNG")["claims"] == ["generated"]

    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131] = "Maker", "Camera 5", "Adobe Lightroom 8.0"
    exif.get_ifd(0x8769)[0x829D] = 2.8
    found = read(encoded(exif=exif))
    assert found["claims"] == ["captured", "edited"]
    assert said(found, "exif")["Model"] == ("Camera 5", "captured")


def test_quantisation_tables_are_told_apart() -> None:
    assert "libjpeg's tables quality 83" in said(read(encoded(quality=83)), "jpeg")["quantisation"][0]
    grey = conftest.encoded(PICTURE.convert("L"), "JPEG", quality=60)
    assert "libjpeg's tables quality 60" in said(read(grey), "jpeg")["quantisation"][0]
    own = encoded(qtables=[[min(255, 3 + k // 2) for k in range(64)], [min(255, 5 + k) for k in range(64)]])
    assert "another encoder" in said(read(own), "jpeg")["quantisation"][0]


def test_nothing_is_unknown_and_never_real() -> None:
    for form in ("PNG", "WEBP", "BMP", "GIF"):
        found = read(encoded(form), form)
        assert (found["state"], found["claims"], found["findings"]) == ("read", ["unknown"], [])
        assert found["c2pa"] is None and found["errors"] == [] and not any(found["declared"].values())
    assert read(b"nonsense", "JPEG")["claims"] == ["unknown"]


def test_metadata_never_moves_the_score(signed: tuple[bytes, str], tiny_weights: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "Camera 5"
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", A1111)
    packet = XMP.format(attributes=f'Iptc4xmpExt:DigitalSourceType="{AI}"', elements="")
    variants = {
        "plain.jpg": encoded(quality=92),
        "signed.jpg": signed[0],
        "exif.jpg": encoded(quality=92, exif=exif),
        "xmp.jpg": encoded(quality=92, xmp=packet.encode()),
        "plain.png": encoded("PNG"),
        "text.png": encoded("PNG", pnginfo=text),
    }  # fmt: skip
    with_it, without = (Detector.load(str(tiny_weights), provenance=p) for p in (True, False))
    scores: dict[str, set[float | None]] = {"jpg": set(), "png": set()}
    for name, data in variants.items():
        (tmp_path / name).write_bytes(data)
        for detector in (with_it, without):
            result = detector.scan(tmp_path / name)
            scores[name[-3:]].add(result.score)
            assert (result.provenance is None) == (detector is without)
    assert all(len(found) == 1 for found in scores.values()), scores


def test_the_table_json_and_csv_show_it(
    run_nsnet: Callable[..., Any], signed: tuple[bytes, str], tiny_weights: Path, tmp_path: Path
) -> None:
    path, pem = tmp_path / "signed.jpg", tmp_path / "trust.pem"
    path.write_bytes(signed[0])
    pem.write_text(signed[1])
    options = ("--weights", str(tiny_weights))
    card = " ".join(run_nsnet("scan", str(path), *options).stdout.decode().replace("│", " ").split())
    assert "untrusted signer: Test Signer" in card and "signed by an unknown signer" in card
    document = json.loads(run_nsnet("scan", str(path), "--json", "--trust-list", str(pem), *options).stdout)
    jsonschema.validate(document, json_schema())
    (result,) = document["results"]
    assert result["provenance"]["c2pa"]["state"] == "trusted" and document["options"]["trust_list"]
    flat = flat_row({**result, "schema": "", **vars(RowContext("", 2, "fp32", ""))})
    assert (flat["provenance_claims"], flat["c2pa_state"]) == ("generated", "trusted")
    off = json.loads(run_nsnet("scan", str(path), "--json", "--no-provenance", *options).stdout)
    assert off["results"][0]["provenance"] is None
    pem.write_text("no certificate")
    with pytest.raises(UsageError, match="no certificates"):
        ProvenanceReader.with_trust(pem)
