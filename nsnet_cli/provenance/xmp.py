"""XMP (ISO 16684-1): properties that speak of origin, of whatever prefix, as attributes, elements or resources."""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any
from xml.etree.ElementTree import ParseError

from nsnet_cli.provenance.aigc import label_in
from nsnet_cli.provenance.containers.carried import Block
from nsnet_cli.provenance.denials import says_nothing
from nsnet_cli.provenance.exif import is_camera
from nsnet_cli.provenance.findings import OTHER_PICTURES, REGION, Claim, Finding, cut, of_a_part
from nsnet_cli.provenance.programs import claim_of_credit, claim_of_software, is_word, makes_cameras
from nsnet_cli.provenance.source_types import claim_of_source_type
from nsnet_cli.provenance.texts import read_text

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_RESOURCE = f"{_RDF}resource"
_STRUCTURE = frozenset({"li", "Bag", "Seq", "Alt", "Description", "value", "RDF"})
_EVENT = "{http://ns.adobe.com/xap/1.0/sType/ResourceEvent#}"
# Elements and attributes of one packet; depth maps and histories are long, and not as long as this.
_DEEPEST, _MOST, _MOST_FINDINGS = 100, 40_000, 300


def _generated(value: str) -> Claim:
    return Claim.NONE if says_nothing(value) else Claim.GENERATED


def _nothing(value: str) -> Claim:
    return Claim.NONE


def _camera(value: str) -> Claim:
    if is_camera(value):
        return Claim.CAPTURED
    # "Gemini Pro" is a telephone, too; here nobody knows who made it.
    return Claim.NONE if is_word(value) else claim_of_software(value)


def _maker(value: str) -> Claim:
    a_word = is_word(value) or makes_cameras(value)
    return Claim.GENERATED if claim_of_software(value) == Claim.GENERATED and not a_word else Claim.NONE


# By local name in lower case; those of IPTC's Photo Metadata Standard 2025.1 among them.
_FIELDS: dict[str, Callable[[str], Claim]] = {
    "digitalsourcetype": claim_of_source_type,
    # What it was called before IPTC Extension 1.2; Google writes it still.
    "digitalsourcefiletype": claim_of_source_type,
    "creatortool": claim_of_software,
    "softwareagent": claim_of_software,
    "software": claim_of_software,
    "credit": claim_of_credit,
    "source": claim_of_credit,
    "creditline": claim_of_credit,
    "aisystemused": _generated,
    "aisystemversionused": _generated,
    "aipromptinformation": _generated,
    "aipromptwritername": _generated,
    "digimageguid": _nothing,
}
# In the namespaces of cameras alone: a shop has models, too, and a prompt has one.
_OF_CAMERAS: dict[str, Callable[[str], Claim]] = {
    "make": _maker,
    "model": _camera,
}
_CAMERAS = re.compile(r"\{http://(?:ns\.adobe\.com/(?:tiff|exif)|cipa\.jp/exif)/")
# Where credentials are that are not in the file (C2PA, "External manifests"); museums say there whose a painting was.
_PROVENANCE = "{http://purl.org/dc/terms/}provenance"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{1,20}:/{1,3}\S+", re.IGNORECASE)
_CAPTIONS = frozenset({
    "description", "title", "headline", "imagedescription", "usercomment", "instructions", "caption", "comment",
    "label", "rights", "usageterms", "alttextaccessibility", "extdescraccessibility",
})  # fmt: skip
_LOOSE = re.compile(
    r"(?<![A-Za-z])(DigitalSource(?:File)?Type|AIGC|CreatorTool|Credit|Software|AISystem(?:Version)?Used"
    r"|AIPromptInformation)\s{0,9}(?:=\s{0,9}(?:\"([^\"<]{0,4000})\"|'([^'<]{0,4000})')|>([^<>]{0,4000})<)"
)
_MOST_LOOSE = 50
# Where what is said of others begins, and, with the stroke, where it ends.
_ANOTHER = re.compile(rf"<(/?)(?:[\w.-]{{1,40}}:)?(?:{'|'.join(sorted(OTHER_PICTURES))})\b")
_PROMPT = re.compile(r"(?:^|_|[a-z](?=P))[Pp]rompts?(?![a-z])")
_HIDDEN = re.compile(r"AIGC|Steps: ?\d|\"class_type\"|\"(?:negative_?)?prompt\"", re.IGNORECASE)


# China's label, whose fields may be properties of their own: by whose it is, then by name.
Labels = dict[str, dict[str, str]]


def read_xmp(block: Block) -> Iterator[Finding]:
    """Findings of one packet, in their order; raises what a parser raises on what is no XML."""
    from defusedxml.ElementTree import iterparse

    carrier, packet = f"XMP of {block.where}", packet_of(block.data)
    label: Labels = {}
    try:
        yield from _parsed(iterparse(BytesIO(packet), events=("start", "end")), carrier, label)
    except Exception as error:
        if isinstance(error, ParseError):
            yield from _behind(packet, error.position, carrier, label)
        yield from _labelled(label, carrier)
        raise
    yield from _labelled(label, carrier)


def _labelled(labels: Labels, carrier: str) -> list[Finding]:
    return [
        _in_part(finding, whose) if whose else finding
        for whose, fields in labels.items()
        for finding in label_in("xmp", json.dumps(fields), carrier, known=True)
    ]


def _parsed(events: Iterator[Any], carrier: str, label: Labels) -> Iterator[Finding]:
    stack: list[str] = []
    told = seen = 0
    for event, element in events:
        seen += 1 + len(element.attrib)
        if seen > _MOST:
            raise ValueError("XMP of more elements than anybody writes")
        if event == "end":
            found = list(_property(stack, element.text or "", carrier, label))
            stack.pop()
            element.clear()
        else:
            stack.append(element.tag)
            if len(stack) > _DEEPEST:
                raise ValueError("XMP nested deeper than anybody writes")
            found = []
            for name, value in element.attrib.items():
                path = stack if name == _RESOURCE else [*stack, name]
                found += _property(path, value, carrier, label)
        told += len(found)
        if told > _MOST_FINDINGS:
            raise ValueError("XMP that says more than anybody writes")
        yield from found


def _behind(packet: bytes, position: tuple[int, int], carrier: str, label: Labels) -> Iterator[Finding]:
    """What speaks of origin behind the place where a packet stops being XML, by its names alone."""
    line, column = position
    # As the parser counts: characters, and a line ends as it may.
    whole = re.sub(r"\r\n?", "\n", packet.decode("utf-8", "replace"))
    start = sum(len(one) + 1 for one in whole.split("\n")[: line - 1]) + column
    before = whole[:start]
    marks = _ANOTHER.findall(before)
    if marks and not marks[-1]:
        return  # what follows may be said of another picture
    # From the last bracket before it: the fault may lie in the very property.
    text = whole[max(0, before.rfind("<")) :]
    text = text[: min((at for name in OTHER_PICTURES if (at := text.find(name)) >= 0), default=len(text))]
    for found in itertools.islice(_LOOSE.finditer(text), _MOST_LOOSE):
        name, value = found.group(1), next(filter(None, found.groups()[1:]), "")
        yield from _property([name], html.unescape(value), carrier, label)


def packet_of(data: bytes) -> bytes:
    """The XML alone, as UTF-8: writers put headers before it and rests of older packets behind it."""
    for mark, name in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark) and len(data) > 8:
            return _trimmed(data.decode(name, "replace"))
    for letters, name in ((rb"<\0[?x\w]\0", "utf-16-le"), (rb"\0<\0[?x\w]", "utf-16-be")):
        found = re.search(letters, data[:200])
        if found is not None:
            return _trimmed(data[found.start() :].decode(name, "replace"))
    start, end_at = data.find(b"<"), data.rfind(b">")
    return data[start : end_at + 1] if 0 <= start < end_at else data.strip(b"\0 ")


def _trimmed(text: str) -> bytes:
    text = re.sub(r"<\?xml[^<>?]*+\?>", "", text[max(0, text.find("<")) : text.rfind(">") + 1], count=1)
    return text.encode("utf-8", "replace")


def _property(path: list[str], value: str, carrier: str, label: Labels) -> Iterator[Finding]:
    """What the value of the innermost property of ``path`` says; a field of China's label goes to the ``label``."""
    text = value.strip()
    if not text:
        return
    names = [name.rsplit("}", 1)[-1] for name in path]
    local = next((name for name in reversed(names) if name not in _STRUCTURE), "")
    tag = next((name for name in reversed(path) if name.rsplit("}", 1)[-1] not in _STRUCTURE), "")
    key = local.casefold()
    found: list[Finding] = []
    if key == "aigc":
        found = label_in("xmp", text, carrier, known=True)
    elif "tc260.org.cn" in tag:
        label.setdefault(_whose(names), {})[local] = text
    elif tag == _PROVENANCE and _ADDRESS.fullmatch(text):
        found = [Finding("xmp", local, cut(text), carrier=carrier)]
    elif tag.startswith("{http://purl.org/dc/terms/}"):
        pass
    elif key in _OF_CAMERAS:
        camera = _CAMERAS.match(tag) is not None
        claim = (_OF_CAMERAS[key] if camera else claim_of_software)(text)
        if camera or claim == Claim.GENERATED:
            found = [Finding("xmp", local, cut(text), claim, carrier=carrier)]
    elif key in _FIELDS:
        found = [Finding("xmp", local, cut(text), _FIELDS[key](text), carrier=carrier)]
    elif key in _CAPTIONS:
        found = read_text("xmp", local, text, carrier)
    elif _PROMPT.search(local) and not tag.startswith(_EVENT):
        found = [Finding("xmp", local, cut(text), _generated(text), carrier=carrier)]
    elif len(text) > 20 and _HIDDEN.search(text):
        found = [f for f in read_text("xmp", local, text, carrier) if f.claim != Claim.NONE]
    whose = _whose(names)
    for finding in found:
        yield _in_part(finding, whose) if whose else finding


def _whose(names: list[str]) -> str:
    """Of which picture, or of which part of this one, the innermost property of a path speaks; "" for this one."""
    return "an ingredient" if OTHER_PICTURES & set(names) else "a region" if REGION in names else ""


def _in_part(finding: Finding, whose: str) -> Finding:
    """What is said of a picture that went into this one, or of a part of it."""
    return replace(finding, where=f"{finding.where} of {whose}", claim=of_a_part(finding.claim))
