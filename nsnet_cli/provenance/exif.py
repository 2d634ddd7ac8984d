"""EXIF (CIPA DC-008) as findings: cameras, programs, and what generators put into its tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from nsnet_cli.provenance.containers.carried import Tag, text_of
from nsnet_cli.provenance.containers.tiff import numbers_of
from nsnet_cli.provenance.findings import Claim, Finding, cut
from nsnet_cli.provenance.programs import (
    calls_itself_generated,
    claim_of_credit,
    claim_of_software,
    is_word,
    makes_cameras,
)
from nsnet_cli.provenance.settings import json_object
from nsnet_cli.provenance.texts import claim_of_text, read_text

_PROGRAMS = {
    0x0131: "Software", 0x000B: "ProcessingSoftware", 0xA438: "ImageEditor", 0xA439: "CameraFirmware",
    0xA43A: "RAWDevelopingSoftware", 0xA43B: "ImageEditingSoftware", 0xA43C: "MetadataEditingSoftware",
}  # fmt: skip
_CAPTIONS = {
    0x010E: "ImageDescription", 0x9286: "UserComment", 0x9C9B: "XPTitle", 0x9C9C: "XPComment",
    0x9C9F: "XPSubject", 0xA436: "ImageTitle", 0x010D: "DocumentName", 0x013C: "HostComputer",
}  # fmt: skip
_CREDITS = {0x013B: "Artist", 0x8298: "Copyright", 0x9C9D: "XPAuthor", 0xA437: "Photographer"}
_MAKE, _MODEL, _UNIQUE_ID, _USER_COMMENT = 0x010F, 0x0110, 0xA420, 0x9286
_SHOT = {
    0x829A: "ExposureTime", 0x829D: "FNumber", 0x8827: "ISOSpeedRatings", 0x920A: "FocalLength",
    0x9003: "DateTimeOriginal", 0xA434: "LensModel", 0x0132: "DateTime",
}  # fmt: skip
_LATITUDE, _LONGITUDE = 2, 4
# Written where nothing is known.
_NOBODY = frozenset(
    {"", "unknown", "none", "n/a", "na", "null", "undefined", "default", "0", "-", "camera", "model", "make"}
)
_LONGEST_NAME = 64
_OF_AI = re.compile(r"(?:\.|\b)ai\s*\Z", re.IGNORECASE)  # "fal.ai", "HiDream-ai"
# A tag that stands there again says something of its own; so often it is looked at.
_MOST_LAYERS = 8
# Grok's form: a signature that only xAI can check, and the picture's UUID.
_SIGNATURE = re.compile(r"Signature:\s*[A-Za-z0-9+/=]{40,}\s*\Z")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
_CODES = {b"ASCII\0\0\0": "ascii", b"UNICODE\0": "unicode", b"JIS\0\0\0\0\0": "jis", b"\0" * 8: "undefined"}


def read_exif(tags: Iterable[Tag]) -> Iterator[Finding]:
    """Findings of all EXIF blocks of a file, block by block."""
    blocks: dict[str, list[Tag]] = {}
    for tag in tags:
        blocks.setdefault(tag.where, []).append(tag)
    for where, listed in blocks.items():
        # The first directory speaks of the picture, the second of its thumbnail.
        own = [tag for tag in listed if tag.directory in ("IFD0", "EXIF") or not tag.directory.startswith("IFD")]
        for layer in _layers(own):
            yield from _block(layer, f"EXIF of {where}")


def _layers(tags: list[Tag]) -> list[list[Tag]]:
    """Tags so that none stands twice in a layer: a file may have two blocks, or a tag in two directories."""
    layers: list[list[Tag]] = []
    times: dict[tuple[str, int], set[bytes]] = {}
    for tag in tags:
        apart = tag.directory if tag.directory in ("GPS", "interoperability") else ""
        told = times.setdefault((apart, tag.number), set())
        if tag.data in told or len(told) >= _MOST_LAYERS:
            continue
        if len(told) == len(layers):
            layers.append([])
        layers[len(told)].append(tag)
        told.add(tag.data)
    return layers


def _block(tags: list[Tag], carrier: str) -> Iterator[Finding]:
    first: dict[int, Tag] = {}
    for tag in tags:
        if tag.directory not in ("GPS", "interoperability"):
            first.setdefault(tag.number, tag)
    texts = {number: comment_of(tag) if number == _USER_COMMENT else text_in(tag) for number, tag in first.items()}
    for number, name in _PROGRAMS.items():
        if texts.get(number):
            claim = claim_of_text("software", texts[number])
            yield from _program(name, texts[number], claim, carrier)
    yield from _camera(texts, carrier)
    grok = _SIGNATURE.match(texts.get(0x010E, "")) and _UUID.match(texts.get(0x013B, ""))
    for number, name in _CAPTIONS.items():
        text = texts.get(number, "")
        if not text:
            continue
        if grok and number == 0x010E:
            yield Finding(
                "exif", "generator", "Grok (xAI): a signature and the picture's UUID", Claim.GENERATED, carrier=carrier
            )
            yield Finding("exif", name, cut(text), Claim.GENERATED, carrier=carrier)
        else:
            yield from read_text("exif", name, text, f"{carrier}, {name}")
    for number, name in _CREDITS.items():
        if texts.get(number):
            claim = Claim.GENERATED if grok and number == 0x013B else claim_of_credit(texts[number])
            yield Finding("exif", name, cut(texts[number]), claim, carrier=carrier)
    yield from _shot(first, texts, carrier)
    if _has_position(tags):
        yield Finding("exif", "GPSInfo", "a position is given", carrier=carrier)
    told = {*_PROGRAMS, *_CAPTIONS, *_CREDITS, *_SHOT, _MAKE, _MODEL}
    others = {text: number for number, text in texts.items() if number not in told}  # tags may share one value
    for text, number in others.items():
        # Programs hide JSON and parameters in tags that are meant for something else.
        if len(text) > 20 and (json_object(text) or "Steps: " in text or "AIGC" in text):
            found = read_text("exif", f"tag {number:#06x}", text, carrier)
            yield from (finding for finding in found if finding.claim != Claim.NONE)


def _program(name: str, text: str, claim: Claim, carrier: str) -> Iterator[Finding]:
    if json_object(text) or len(text) > 200:
        yield from read_text("exif", name, text, f"{carrier}, {name}")
    else:
        yield Finding("exif", name, cut(text), claim, carrier=carrier)


def _camera(texts: dict[int, str], carrier: str) -> Iterator[Finding]:
    """Make and Model: a camera's, unless what stands there is a generator's name or its parameters."""
    names = {"Make": texts.get(_MAKE, ""), "Model": texts.get(_MODEL, "")}
    if calls_itself_generated(texts.get(0x0131, "")):
        for name, text in (("Make", names["Make"]), ("model", names["Model"])):
            if text:
                yield Finding("exif", name, cut(text), Claim.GENERATED, carrier=carrier)
        return
    generated = False
    for name, text in names.items():
        if not text:
            continue
        found = [f for f in read_text("exif", name, text, f"{carrier}, {name}") if f.claim != Claim.NONE]
        # Orbbec's depth camera "Gemini 2" has a maker: a name that is a word is no generator's there.
        camera = _is_camera_of(names, name) if is_word(text) else name == "Make" and _is_maker(names)
        if not found and claim_of_software(text) == Claim.GENERATED and not camera:
            found = [Finding("exif", name, cut(text), Claim.GENERATED, carrier=carrier)]
        generated = generated or bool(found)
        yield from found
    for name, text in names.items():
        if not text or (generated and not is_camera(text)):
            continue
        captured = name == "Model" and not generated and (is_camera(text) or is_word(text))
        if not generated:
            yield Finding("exif", name, cut(text), Claim.CAPTURED if captured else Claim.NONE, carrier=carrier)


def _is_camera_of(names: dict[str, str], name: str) -> bool:
    """Whether maker and model, one of which is a word that generators have for a name, can be a camera's."""
    make, model = names["Make"], names["Model"]
    if claim_of_software(f"{make} {model}") == Claim.GENERATED:
        return False
    return is_camera(model) if name == "Make" else is_camera(make) and not _OF_AI.search(make)


def _is_maker(names: dict[str, str]) -> bool:
    return makes_cameras(names["Make"]) and is_camera(names["Model"])


def is_camera(text: str) -> bool:
    """Whether ``text`` can be the name of a camera: short, in one line, with a letter or a digit, and no JSON."""
    plain = " ".join(text.split())
    if plain.startswith("<") and plain.endswith(">"):
        plain = plain[1:-1].strip()  # "<KENOX D5  / Digimax D5>", Samsung's cameras of 2004
    return (
        len(plain) <= _LONGEST_NAME
        and "\n" not in text.strip()
        and plain.casefold() not in _NOBODY
        and any(c.isalnum() for c in plain)
        and not any(c in '{}[]<>"' for c in plain)
        and not _is_program(plain)
    )


def _is_program(name: str) -> bool:
    """Whether a name is a generator's, or an editor's and nothing else: DxO made a camera, and Meitu telephones."""
    claim = claim_of_software(name)
    return claim == Claim.GENERATED or (claim == Claim.EDITED and len(name.split()) == 1)


def _shot(first: dict[int, Tag], texts: dict[int, str], carrier: str) -> Iterator[Finding]:
    told = []
    aperture = False
    for number, name in _SHOT.items():
        if number not in first:
            continue
        if number in (0x9003, 0xA434, 0x0132):
            text = texts.get(number, "")
            if text.strip(" 0:-") and name != "DateTime":
                told.append(f"{name} {cut(text)[:80]}")
            elif text.strip(" 0:-"):
                yield Finding("exif", name, cut(text)[:80], carrier=carrier)
            continue
        values = [value for value in numbers_of(first[number]) if value > 0]
        if values:
            told.append(f"{name} {values[0]:g}")
            aperture = aperture or name == "FNumber"
    if told:
        yield Finding("exif", "exposure", ", ".join(told), Claim.CAPTURED if aperture else Claim.NONE, carrier=carrier)


def _has_position(tags: Iterable[Tag]) -> bool:
    """Degrees, minutes and seconds that are not all zero: an empty block says nothing of a place."""
    position = [numbers_of(t) for t in tags if t.directory == "GPS" and t.number in (_LATITUDE, _LONGITUDE)]
    return any(any(value for value in values) for values in position)


def text_in(tag: Tag) -> str:
    """A tag's text: ASCII that is often UTF-8, Windows' UTF-16, bytes; "" where it holds numbers."""
    if tag.number in (0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F):
        return tag.data.decode("utf-16-le", "replace").split("\0", 1)[0].strip()
    if tag.kind not in (1, 2, 7, 129):
        return ""
    return text_of(tag.data.strip(b"\0 ")).strip() if b"\0" not in tag.data.strip(b"\0") else _pieces(tag.data)


def _pieces(data: bytes) -> str:
    """Texts with zeros between them, as in Copyright; bytes that are no text give none."""
    pieces = [text_of(piece).strip() for piece in data.split(b"\0") if piece.strip()]
    text = "; ".join(pieces)
    return text if text.isprintable() else ""


def comment_of(tag: Tag) -> str:
    """UserComment (EXIF 3.0, 4.6.6): eight bytes say how the rest is written, and many writers get them wrong."""
    data = tag.data
    code = _CODES.get(data[:8])
    if code is None:
        return text_of(data.strip(b"\0 "))
    body = data[8:]
    if code == "unicode":
        return _utf16(body, tag.order)
    if code == "jis":
        try:
            # The standard means JIS X 208, which is written as ISO 2022 or Shift JIS.
            return body.decode("iso2022_jp" if b"\x1b$" in body else "shift_jis").strip("\0 ")
        except UnicodeDecodeError:
            return text_of(body.strip(b"\0 "))
    if code == "undefined" and body.count(b"\0") * 3 > len(body):
        return _utf16(body, tag.order)
    return text_of(body.strip(b"\0 "))


def _utf16(data: bytes, order: str) -> str:
    """UTF-16 of the end that a mark says, else of that in which it reads as text; UTF-8 where it is that after all."""
    for mark, name in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8")):
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace").strip("\0 ")
    ends = ("utf-16-le", "utf-16-be") if order == "<" else ("utf-16-be", "utf-16-le")
    even = data[: len(data) // 2 * 2]
    candidates = [even.decode(end, "replace").strip("\0 ") for end in ends]
    if b"\0" not in data.rstrip(b"\0"):
        candidates.append(text_of(data.strip(b"\0 ")))
    return max(candidates, key=_legible)


def _legible(text: str) -> float:
    """How much of a text are characters that people write, ASCII first: the wrong end gives rare ones."""
    sample = text[:2_000]
    good = sum(2.0 if " " <= c <= "~" or c in "\n\t\r" else 1.0 if c.isalpha() and _common(c) else -2.0 for c in sample)
    return good / max(1, len(sample))


def _common(c: str) -> bool:
    return c < "\u0600" or "\u3040" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7a3"
