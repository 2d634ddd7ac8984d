"""What a file says about itself, in lines for people: what it claims first, then who made and who signed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nsnet_cli.provenance.programs import PROGRAM_FIELDS
from nsnet_cli.report.text import BACKINGS, printable

CLAIMS = {
    "generated": "generated",
    "partly_generated": "partly generated",
    "possibly_generated": "possibly generated",
    "captured": "taken by a camera or scanner",
    "edited": "edited",
    "made_digitally": "made on a computer by people",
    "not_read": "could not all be read",
}
# Settings come after what they are settings of.
_FIRST = ("generator", "prompt", "model")
_SIGNATURE = ("signature", "manifest", "integrity", "certificate", "trust", "time stamp", "identity")


@dataclass(frozen=True)
class Said:
    """One line: what it claims ("" for nothing), what it says, where, and what backs it ("" where nothing can)."""

    claim: str
    value: str
    where: str
    backing: str

    @property
    def line(self) -> str:
        claim = f"{self.claim}: " if self.claim else ""
        place = ", ".join(filter(None, (self.where, self.backing)))
        return f"{claim}{self.value} ({place})"


def said_by(provenance: Mapping[str, Any]) -> list[Said]:
    """All that the file says, the most telling first."""
    ordered = sorted(provenance["findings"], key=_rank)
    lines = []
    for finding in ordered:
        claim = CLAIMS.get(finding["claim"], "")
        if not claim and finding["where"] in PROGRAM_FIELDS and finding["source"] != "c2pa":
            claim = "made or saved by"
        backing = "" if finding["source"] == "jpeg" else BACKINGS.get(finding["backing"], finding["backing"])
        where = f"{finding['source']} {finding['where']}"
        lines.append(Said(claim, printable(finding["value"]), printable(where), backing))
    return lines


def _rank(finding: Mapping[str, Any]) -> tuple[int, int]:
    where, source = finding["where"], finding["source"]
    claims = finding["claim"] != "none"
    if source == "c2pa" and where in _SIGNATURE:
        return 0, _SIGNATURE.index(where)
    if claims and where in _FIRST:
        return 1, _FIRST.index(where)
    if claims and source == "c2pa":
        return 2, 0
    if claims:
        return 3, 0
    if source == "c2pa":
        return 4, 0
    return 5 if where in PROGRAM_FIELDS else 7 if source == "jpeg" else 6, 0


def claims_in_words(provenance: Mapping[str, Any]) -> str:
    """The claims of one of many pictures; a camera's name is on nearly every photograph, and says little."""
    told = (CLAIMS[claim] for claim in provenance["claims"] if claim not in ("unknown", "captured") and claim in CLAIMS)
    return ", ".join(told)
