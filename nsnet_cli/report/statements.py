"""What a file says about itself, in lines for people: what it claims first, then who made and who signed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from nsnet_cli.provenance.programs import PROGRAM_FIELDS
from nsnet_cli.provenance.source_types import source_type_name
from nsnet_cli.report.text import BACKINGS
from nsnet_cli.results.escaping import printable

CLAIMS = {
    "generated": "generated",
    "partly_generated": "partly generated",
    "possibly_generated": "possibly generated",
    "captured": "taken by a camera or scanner",
    "edited": "edited",
    "made_digitally": "made on a computer by people",
}
_SOURCES = {"c2pa": "content credentials", "xmp": "XMP", "iptc": "IPTC", "exif": "EXIF", "text": "text", "jpeg": "JPEG"}
# Of a generator's settings those that have a line of their own; the others share one.
_OWN_LINES = ("generator", "prompt", "negative prompt", "model")
_SETTINGS = frozenset({
    *_OWN_LINES, "seed", "steps", "sampler", "scheduler", "cfg scale", "size", "hashes", "model hash", "loras", "nodes",
    "lora hashes", "denoising strength", "vae", "clip skip", "job id", "texts", "guidance",
})  # fmt: skip
# Terms of the standards, for whoever has never read them; each stays beside its words.
_TERMS = {
    "trainedAlgorithmicMedia": "made by a generator (trainedAlgorithmicMedia)",
    "compositeWithTrainedAlgorithmicMedia": "partly made by a generator (compositeWithTrainedAlgorithmicMedia)",
    "compositeSynthetic": "put together, partly of what a generator made (compositeSynthetic)",
    "algorithmicMedia": "computed by a program without samples (algorithmicMedia)",
    "digitalCapture": "taken by a camera or scanner (digitalCapture)",
    "computationalCapture": "taken by a camera that computes (computationalCapture)",
    "c2pa.created": "created",
    "c2pa.opened": "opened an existing picture",
    "c2pa.converted": "converted to another format",
    "c2pa.transcoded": "encoded anew",
    "c2pa.edited": "edited",
    "c2pa.placed": "placed another picture in it",
    "c2pa.color_adjustments": "adjusted colours",
    "c2pa.cropped": "cropped",
    "c2pa.resized": "resized",
    "c2pa.published": "published",
}
_PLACES = {"claim generator": "the program that signed"}
_SIGNATURE = ("signature", "manifest", "integrity", "certificate", "trust", "time stamp", "identity")


@dataclass(frozen=True)
class Statement:
    """One line: what it claims ("" for nothing), what it says, where, and what backs it ("" where nothing can).

    ``telling``: it claims something, names a program, or belongs to a signature.
    """

    claim: str
    value: str
    where: str
    backing: str
    telling: bool

    @property
    def line(self) -> str:
        claim = f"{self.claim}: " if self.claim else ""
        place = ", ".join(filter(None, (self.where, self.backing)))
        return f"{claim}{self.value} ({place})"


def statements_of(provenance: Mapping[str, Any]) -> list[Statement]:
    """All that the file says, the most telling first; what one generator says of its settings is one line."""
    lines: list[Statement] = []
    for (rank, _), group in groupby(sorted(provenance["findings"], key=_rank), key=lambda f: (_rank(f)[0], _place(f))):
        findings = list(group)
        lines += [_settings(findings)] if rank == _SETTINGS_RANK else map(_statement, findings)
    return list(dict.fromkeys(lines))


def _statement(finding: Mapping[str, Any]) -> Statement:
    source, where, value = finding["source"], finding["where"], finding["value"]
    if source == "c2pa" and where in _SIGNATURE:
        return Statement("", printable(f"{where}: {value}"), _SOURCES["c2pa"], "", True)
    claim = CLAIMS.get(finding["claim"], "")
    if not claim and where in PROGRAM_FIELDS and source != "c2pa":
        claim = "made or saved by"
    if _is_setting(finding):
        value = f"{'program' if where == 'generator' else where}: {value}"
        where = finding.get("carrier") or where
    if source in ("c2pa", "xmp"):
        value = ", ".join(_TERMS.get(source_type_name(word), word) for word in value.split(", "))
    if finding["backing"] == "broken" and claim:
        claim, value = "", f"said {claim}, which does not count: {value}"
    if source == "c2pa":
        first, joined, rest = where.partition(" of ")
        where = _PLACES.get(first, first) + joined + rest
    backing = "" if source == "jpeg" else BACKINGS.get(finding["backing"], finding["backing"])
    name = _SOURCES.get(source, source)
    place = where if where.startswith(name) else f"{name}, {where}"
    return Statement(claim, printable(value), printable(place), backing, bool(claim) or source == "c2pa")


def _settings(findings: Sequence[Mapping[str, Any]]) -> Statement:
    told = ", ".join(f"{f['where']} {f['value']}" for f in findings)
    return replace(_statement(findings[0]), value=printable(f"settings: {told}"))


def _is_setting(finding: Mapping[str, Any]) -> bool:
    return finding["source"] != "c2pa" and finding["claim"] == "generated" and finding["where"] in _SETTINGS


_SETTINGS_RANK = 4


def _place(finding: Mapping[str, Any]) -> tuple[str, str]:
    return finding["source"], finding.get("carrier", "")


def _rank(finding: Mapping[str, Any]) -> tuple[int, int]:
    where, source = finding["where"], finding["source"]
    claims = finding["claim"] != "none"
    if source == "c2pa" and where in _SIGNATURE:
        return 0, _SIGNATURE.index(where)
    if _is_setting(finding) and where in _OWN_LINES:
        return 1, _OWN_LINES.index(where)
    if claims and source == "c2pa":
        return 2, 0
    if claims:
        return (_SETTINGS_RANK, 0) if _is_setting(finding) else (3, 0)
    if source == "c2pa":
        return 5, 0
    return 6 if where in PROGRAM_FIELDS else 8 if source == "jpeg" else 7, 0


_LEFT_OUT = frozenset({"unknown", "captured", "not_read"})
_CREDENTIALS = {
    "damaged": "credentials damaged",
    "remote": "credentials kept elsewhere",
    "not_read": "credentials not read",
}


def claims_in_words(provenance: Mapping[str, Any]) -> str:
    """The claims of one of many pictures; a camera's name is on nearly every photograph, and says little."""
    told = [CLAIMS[claim] for claim in provenance["claims"] if claim not in _LEFT_OUT]
    unread = "not all of the file could be read" if provenance["state"] == "not_read" else ""
    state = str((provenance["c2pa"] or {}).get("state"))
    said = f"file says {', '.join(told)}" if told else ""
    return "; ".join(filter(None, (said, _CREDENTIALS.get(state, unread))))
