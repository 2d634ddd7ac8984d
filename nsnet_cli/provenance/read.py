"""Reading all that a file says about itself, each source for itself: one that is hostile spoils no other."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, IptcImagePlugin, JpegImagePlugin, TiffImagePlugin

from nsnet_cli.decode import FORMATS, jpeg_quality
from nsnet_cli.errors import UsageError
from nsnet_cli.provenance.credentials import read_credentials
from nsnet_cli.provenance.findings import (
    PROGRAM_KEYS,
    Claim,
    Finding,
    Trouble,
    claim_of_software,
    claim_of_source_type,
    claim_of_text,
)

_LONGEST = 1000
_TIFF_XMP = 700
_RDF_RESOURCE = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"
_TEXT_BEHIND_PIXELS = re.compile(rb"iTXt|tEXt|zTXt|eXIf")
_LARGEST_XMP = 4 * 1024 * 1024
_DEEPEST_XMP = 100
_CAMERA_TAGS = ("Make", "Model", "DateTime", "Artist", "Copyright", "HostComputer")
_SHOT_TAGS = ("DateTimeOriginal", "LensModel", "ExposureTime", "FNumber", "ISOSpeedRatings", "FocalLength")
# XMP properties that speak of origin, by local name; those of IPTC's Photo Metadata Standard 2025.1 among them.
_XMP_FIELDS = {
    "DigitalSourceType": claim_of_source_type,
    "DigitalSourcetype": claim_of_source_type,
    "CreatorTool": claim_of_software,
    "Credit": claim_of_text,
    "AISystemUsed": lambda value: Claim.GENERATED,
    "AISystemVersionUsed": lambda value: Claim.GENERATED,
    "AIPromptInformation": lambda value: Claim.GENERATED,
}
_IPTC_FIELDS = {(2, 65): "originating program", (2, 110): "credit", (2, 115): "source"}
# Keys of text chunks that generators write, beyond what sd-parsers understands.
_TEXT_KEYS = (*PROGRAM_KEYS, "Source", "Title", "Comment", "Description", "Author")


@dataclass(frozen=True)
class ProvenanceReader:
    """Reads provenance.  ``trust_list`` is PEM text of certificates whose signatures are to be trusted."""

    trust_list: str | None = None

    @classmethod
    def with_trust(cls, path: Path | None) -> ProvenanceReader:
        """A reader that trusts the certificates in a PEM file.  Raises `UsageError`."""
        if path is None:
            return cls()
        try:
            text = path.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: cannot be read as PEM text ({error})") from error
        if "-----BEGIN CERTIFICATE-----" not in text:
            raise UsageError(f"{path}: no certificates in PEM form")
        return cls(text)

    @property
    def trust_list_sha256(self) -> str | None:
        return None if self.trust_list is None else hashlib.sha256(self.trust_list.encode()).hexdigest()

    def __call__(self, data: bytes, file_format: str) -> dict[str, Any]:
        """``provenance`` of the result document, from the bytes of a file that Pillow calls ``file_format``.

        Never raises: a source that cannot be read is named in ``errors``.
        """
        findings: list[Finding] = []
        troubles: list[Trouble] = []
        detail = None
        try:
            detail, found, wrong = read_credentials(data, file_format, self.trust_list)
            findings += found
            troubles += wrong
        except Exception as error:
            troubles.append(_trouble("c2pa", error))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(BytesIO(data), formats=FORMATS) as image:
                    if _TEXT_BEHIND_PIXELS.search(data, max(0, data.find(b"IDAT"))) and image.format == "PNG":
                        image.load()  # Pillow meets those chunks only then
                    for source, read in _SOURCES.items():
                        try:
                            findings += read(image)
                        except Exception as error:
                            troubles.append(_trouble(source, error))
        except Exception as error:
            troubles.append(_trouble("file", error))
        findings = list(dict.fromkeys(findings))
        claims = sorted({str(f.claim) for f in findings if f.claim != Claim.NONE and f.backing != "broken"})
        return {
            "claims": claims or ["unknown"],
            "findings": [asdict(finding) for finding in findings],
            "c2pa": detail,
            "errors": [asdict(trouble) for trouble in troubles],
        }


def unread(message: str) -> dict[str, Any]:
    """``provenance`` of a file of which nothing could be read."""
    trouble = Trouble("file", message)
    return {"claims": ["unknown"], "findings": [], "c2pa": None, "errors": [asdict(trouble)]}


def _trouble(source: str, error: Exception) -> Trouble:
    return Trouble(source, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _cut(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = text.replace("\0", "").strip()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _xmp(image: Image.Image) -> Iterator[Finding]:
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or tags.get(_TIFF_XMP)
    if not packet:
        return
    raw = packet.encode() if isinstance(packet, str) else bytes(packet)
    if len(raw) > _LARGEST_XMP:
        raise ValueError(f"{len(raw):,} bytes of XMP, more than anybody writes")
    from defusedxml.ElementTree import iterparse

    depth = 0
    for event, element in iterparse(BytesIO(raw.strip().rstrip(b"\0")), events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > _DEEPEST_XMP:
            raise ValueError("XMP nested deeper than anybody writes")
        if event == "start":
            for name, value in element.attrib.items():
                yield from _xmp_field(element.tag if name == _RDF_RESOURCE else name, value)
        elif element.text and element.text.strip():
            yield from _xmp_field(element.tag, element.text)


def _xmp_field(name: str, value: str) -> Iterator[Finding]:
    local = name.rsplit("}", 1)[-1]
    if local in _XMP_FIELDS and value.strip():
        yield Finding("xmp", local, _cut(value), _XMP_FIELDS[local](value))


def _iptc(image: Image.Image) -> Iterator[Finding]:
    if not isinstance(image, JpegImagePlugin.JpegImageFile | TiffImagePlugin.TiffImageFile):
        return
    found = IptcImagePlugin.getiptcinfo(image)
    for key, name in _IPTC_FIELDS.items():
        values = (found or {}).get(key, [])
        for value in values if isinstance(values, list) else [values]:
            text = _cut(value)
            if text:
                yield Finding("iptc", name, text, claim_of_software(text) if key == (2, 65) else claim_of_text(text))


def _exif(image: Image.Image) -> Iterator[Finding]:
    exif = image.getexif()
    by_name = {ExifTags.TAGS.get(tag, ""): value for tag, value in exif.items()}
    shot = {ExifTags.TAGS.get(tag, ""): value for tag, value in exif.get_ifd(ExifTags.IFD.Exif).items()}
    software = _cut(by_name.get("Software", ""))
    if software:
        yield Finding("exif", "Software", software, claim_of_software(software))
    for name in _CAMERA_TAGS:
        text = _cut(by_name.get(name, ""))
        if text:
            yield Finding("exif", name, text, Claim.CAPTURED if name == "Model" else Claim.NONE)
    told = [f"{name} {_cut(shot[name])}" for name in _SHOT_TAGS if name in shot]
    if told:
        yield Finding("exif", "exposure", ", ".join(told), Claim.CAPTURED if "FNumber" in shot else Claim.NONE)
    for name in ("ImageDescription", "UserComment"):
        text = _cut(by_name.get(name) or shot.get(name) or "")
        if text and claim_of_text(text) == Claim.GENERATED:
            yield Finding("exif", name, text, Claim.GENERATED)
    if exif.get_ifd(ExifTags.IFD.GPSInfo):
        yield Finding("exif", "GPSInfo", "a position is given")


def _generator(image: Image.Image) -> Iterator[Finding]:
    """Parameters that generators leave in text chunks and comments, as far as sd-parsers knows them."""
    from sd_parsers import Eagerness, ParserManager

    found = ParserManager(eagerness=Eagerness.DEFAULT).parse(image)
    if found is not None:
        name = str(found.generator.value)
        yield Finding("text", "generator", _cut(name), Claim.GENERATED)
        for prompt in found.prompts[:1]:
            yield Finding("text", "prompt", _cut(prompt.value), Claim.GENERATED)
        models = ", ".join(str(model.name) for model in found.models if model.name)
        if models:
            yield Finding("text", "model", _cut(models), Claim.GENERATED)
        return
    for key in _TEXT_KEYS:
        value = image.info.get(key)
        if isinstance(value, str) and value.strip():
            claim = claim_of_software(value) if key in PROGRAM_KEYS else claim_of_text(value)
            if claim != Claim.NONE or key == "Software":
                yield Finding("text", key, _cut(value), claim)


def _jpeg(image: Image.Image) -> Iterator[Finding]:
    tables: Mapping[int, Any] = getattr(image, "quantization", None) or {}
    quality = jpeg_quality(tables)
    if image.format not in ("JPEG", "MPO") or quality is None:
        return
    own = "libjpeg's tables" if _is_ijg(tables, quality) else "tables of another encoder, closest to"
    progressive = ", progressive" if image.info.get("progressive") else ""
    yield Finding("jpeg", "quantisation", f"{own} quality {quality}{progressive}")


def _is_ijg(tables: Mapping[int, Any], quality: int) -> bool:
    """Whether the tables are those that libjpeg makes for a quality near ``quality``."""
    mine = {k: list(v) for k, v in tables.items()}
    near = range(max(1, quality - 2), min(100, quality + 2) + 1)
    return any(mine == {k: table for k, table in _ijg_tables(q).items() if k in mine} for q in near)


def _ijg_tables(quality: int) -> dict[int, list[int]]:
    out = BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", quality=quality)
    with Image.open(out) as image:
        tables: Mapping[int, Any] = image.quantization  # type: ignore[attr-defined]
        return {k: list(v) for k, v in tables.items()}


_SOURCES: dict[str, Callable[[Image.Image], Iterator[Finding]]] = {
    "xmp": _xmp,
    "iptc": _iptc,
    "exif": _exif,
    "text": _generator,
    "jpeg": _jpeg,
}
