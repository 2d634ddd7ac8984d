"""What a file declares, gathered for columns: program, model, prompt, source type; and what in it does not agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nsnet_cli.provenance.chain import Maker
from nsnet_cli.provenance.findings import Backing, Claim, Finding
from nsnet_cli.provenance.graphs import COMFYUI
from nsnet_cli.provenance.parameters import UNKNOWN_WEB_UI
from nsnet_cli.provenance.programs import PROGRAM_FIELDS
from nsnet_cli.provenance.source_types import is_source_type, source_type_name

_GENERATED = (Claim.GENERATED, Claim.PARTLY_GENERATED, Claim.POSSIBLY_GENERATED)
# By our name the places in which it stands, best first.
_PLACES = {
    "generator": ("generator", "claim generator", "AISystemUsed", *PROGRAM_FIELDS, "Make", "Source"),
    "model": ("model", "AISystemVersionUsed"),
    "prompt": ("prompt", "AIPromptInformation"),
    "negative_prompt": ("negative prompt",),
    "seed": ("seed",),
    "sampler": ("sampler",),
    "steps": ("steps",),
    "cfg_scale": ("cfg scale",),
    "size": ("size",),
    "hashes": ("hashes", "model hash"),
}
_TOLD_BY_FORM = {COMFYUI: 1, UNKNOWN_WEB_UI: 2}
# The warning of a result, in `nsnet explain-warning`.
CONTRADICTION = "contradiction"
_NO_TYPE = ("", "nil", "null", "none", "undefined")
_SOURCE_TYPES = ("digitalsourcetype", "digitalsourcefiletype")
CAMERA_AND_GENERATOR = "a camera is named beside a declaration that the picture was generated"
BROKEN_CREDENTIALS = "the content credentials do not fit the file"
REAL_AND_GENERATED = "the verdict is real, and the file declares that it was generated"
GENERATED_AND_SIGNED_CAPTURE = "the verdict is generated, and a signature that fits the file says that a camera took it"


def declared(
    findings: Iterable[Finding], c2pa: Mapping[str, Any] | None, makers: Sequence[Maker] = ()
) -> dict[str, str | None]:
    """One value for each column, None where nothing is said; what a broken signature says is left out.

    ``makers`` are those who say in credentials that they generated the picture.
    """
    sound = [f for f in findings if f.backing != Backing.BROKEN]
    found: dict[str, str | None] = {}
    for name, places in _PLACES.items():
        said_there = [
            f.value
            for place in places
            for f in sound
            if f.where.casefold() == place.casefold() and f.claim in _GENERATED
        ]
        # A program that names itself is known better than one that is told by how it writes; behind both may stand
        # ComfyUI, which others work with.
        found[name] = min(said_there, key=lambda value: _TOLD_BY_FORM.get(value, 0), default=None)
    for maker in makers:
        found["generator"] = found["generator"] or maker.program
        found["model"] = found["model"] or (maker.model if maker.model != maker.program else None)
    types = [maker.source_type for maker in makers if maker.source_type]
    types += [f.value for f in sound if f.source == "xmp" and f.where.casefold() in _SOURCE_TYPES]
    if c2pa is not None and c2pa["integrity"] != "broken":
        types += [action["source_type"] for action in c2pa["actions"] if action["source_type"]]
        # Of the picture itself: what is said of an ingredient ends with whose it is.
        types += [f.value for f in sound if f.source == "c2pa" and f.where.casefold().endswith(_SOURCE_TYPES)]
    types = [value for value in types if value.strip().casefold() not in _NO_TYPE]
    said = next(filter(is_source_type, types), types[0] if types else None)
    found["source_type"] = None if said is None else source_type_name(said)
    return found


def contradictions(findings: Iterable[Finding], c2pa: Mapping[str, Any] | None) -> list[str]:
    """What a file says that cannot all be true; the same whatever the verdict."""
    sound = [f for f in findings if f.backing != Backing.BROKEN]
    found = []
    claims = {f.claim for f in sound}
    if Claim.CAPTURED in claims and Claim.GENERATED in claims:
        found.append(CAMERA_AND_GENERATOR)
    if c2pa is not None and c2pa["state"] == "damaged":
        found.append(BROKEN_CREDENTIALS)
    return found


def all_contradictions(verdict: str | None, provenance: Mapping[str, Any] | None) -> list[str]:
    """Those of the file, and those of the file with its verdict."""
    if provenance is None:
        return []
    return [*provenance.get("contradictions", ()), *(_contradicts_verdict(verdict, provenance) if verdict else ())]


def _contradicts_verdict(verdict: str, provenance: Mapping[str, Any]) -> list[str]:
    """What a verdict and the file's own words cannot both be right about."""
    claims = set(provenance["claims"])
    if verdict == "real" and Claim.GENERATED in claims:
        return [REAL_AND_GENERATED]
    signed = any(f["claim"] == Claim.CAPTURED and f["backing"].startswith("signed_") for f in provenance["findings"])
    if verdict == "generated" and signed and not claims & set(_GENERATED):
        return [GENERATED_AND_SIGNED_CAPTURE]
    return []
