"""Reading all that a file says about itself, each source for itself: one that is hostile spoils no other.

What is said is a function of the file's bytes: nothing is kept from one file to the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nsnet_cli.errors import UsageError
from nsnet_cli.provenance.containers.carried import Carried, Text
from nsnet_cli.provenance.containers.walk import walk
from nsnet_cli.provenance.credentials import Credentials, read_credentials
from nsnet_cli.provenance.declared import contradictions, declared
from nsnet_cli.provenance.exif import read_exif
from nsnet_cli.provenance.findings import Backing, Claim, Finding, Trouble
from nsnet_cli.provenance.iim import read_iim
from nsnet_cli.provenance.settings import json_object
from nsnet_cli.provenance.stealth import hidden_text
from nsnet_cli.provenance.tables import read_tables
from nsnet_cli.provenance.texts import read_text, read_texts
from nsnet_cli.provenance.xmp import read_xmp

_MOST_FINDINGS, _MOST_TROUBLES, _MOST_PACKETS = 400, 50, 16
# Settings that stand where something was run with them.
_RUN = frozenset({"nodes", "prompt", "seed", "steps", "sampler", "cfg scale"})
_EDITED = frozenset({"nodes", "workflow"})
NOT_READ, UNKNOWN = "not_read", "unknown"


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
        carried = walk(data)
        reading = _Reading()
        for block in carried.xmp[:_MOST_PACKETS]:
            reading.take("xmp", read_xmp, block)
        if len(carried.xmp) > _MOST_PACKETS:
            carried.trouble("xmp", f"more than {_MOST_PACKETS} packets of XMP; the rest was not read")
        for block in carried.iim:
            reading.take("iptc", read_iim, block)
        reading.take("exif", read_exif, carried.tags)
        reading.take("text", read_texts, carried.texts)
        reading.take("text", _hidden, (data, file_format, carried))
        reading.take("jpeg", read_tables, data) if carried.container == "JPEG" else None
        credentials = self._credentials(data, file_format, carried, reading)
        return _document(reading, carried, credentials)

    def _credentials(self, data: bytes, file_format: str, carried: Carried, reading: _Reading) -> Credentials:
        remote = next((f.value for f in reading.findings if f.where == "provenance" and "://" in f.value), None)
        try:
            return read_credentials(data, file_format, carried, remote, self.trust_list)
        except Exception as error:
            return Credentials(None, [], [_trouble("c2pa", error)])


class _Reading:
    """Findings and troubles of one file, gathered source by source."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.troubles: list[Trouble] = []

    def take(self, source: str, read: Callable[[Any], Iterable[Finding]], what: Any) -> None:
        """Keep what ``read`` finds, up to where it fails."""
        try:
            for finding in read(what):
                if len(self.findings) >= _MOST_FINDINGS:
                    self.troubles.append(Trouble(source, f"more than {_MOST_FINDINGS} findings; the rest is left out"))
                    return
                self.findings.append(finding)
        except Exception as error:
            self.troubles.append(_trouble(source, error))


def _hidden(what: tuple[bytes, str, Carried]) -> Iterable[Finding]:
    """Parameters in the pixels themselves."""
    found = hidden_text(*what)
    if found is None:
        return []
    form, text = found
    carrier = f"lowest bits of the pixels ({form})"
    inner = json_object(text)
    if inner is not None and any(isinstance(inner.get(key), str) for key in ("Comment", "parameters", "Software")):
        texts = [Text(carrier, str(key), value) for key, value in inner.items() if isinstance(value, str)]
        return read_texts(texts)
    return read_text("text", "parameters", text, carrier)


def _document(reading: _Reading, carried: Carried, credentials: Credentials) -> dict[str, Any]:
    findings = list(dict.fromkeys([*credentials.findings, *_with_editors_graphs(reading.findings)]))
    troubles = list(dict.fromkeys([*credentials.troubles, *reading.troubles, *carried.troubles]))[:_MOST_TROUBLES]
    claims = sorted({str(f.claim) for f in findings if f.claim != Claim.NONE and f.backing != Backing.BROKEN})
    detail = credentials.detail
    return {
        "state": NOT_READ if troubles else "read",
        "claims": claims or [NOT_READ if troubles else UNKNOWN],
        "declared": declared(findings, detail, credentials.makers),
        "contradictions": contradictions(findings, detail),
        "findings": [asdict(finding) for finding in findings],
        "c2pa": detail,
        "errors": [asdict(trouble) for trouble in troubles],
    }


def _with_editors_graphs(findings: list[Finding]) -> list[Finding]:
    """An editor's graph alone says that somebody had it open; beside settings that were run it is theirs."""
    ran = any(f.claim == Claim.GENERATED and f.where in _RUN for f in findings)
    graphs = {f.carrier for f in findings if f.where in _EDITED and f.claim == Claim.POSSIBLY_GENERATED}
    return [
        replace(f, claim=Claim.GENERATED)
        if ran and f.carrier in graphs and f.claim == Claim.POSSIBLY_GENERATED and "SourceType" not in f.where
        else f
        for f in findings
    ]


def unread(message: str) -> dict[str, Any]:
    """``provenance`` of a file of which nothing could be read."""
    return _document(_Reading(), Carried(troubles=[Trouble("file", message)]), Credentials())


def unread_in(provenance: dict[str, Any] | None) -> list[str]:
    """What of a file could not be read, in words that its like can be counted by."""
    if provenance is None or provenance["state"] != NOT_READ:
        return []
    if (provenance["c2pa"] or {}).get("state") == NOT_READ:
        return ["content credentials that were not read (nsnet inspect FILE says why)"]
    return ["metadata that could not be read (provenance state not_read; nsnet inspect FILE says why)"]


def _trouble(source: str, error: Exception) -> Trouble:
    return Trouble(source, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
