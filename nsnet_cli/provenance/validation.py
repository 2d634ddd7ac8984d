"""A validator's codes as answers to three questions that are not one: is it whole, is the certificate good, who is it.

Codes: C2PA specification, "Validation", "Status codes"; those of CAWG's identity assertion.  A reader folds them all
into one "invalid"; to a court they are different things.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nsnet_cli.provenance.findings import Backing

# What of the file does not fit the signature, or is not there.
_BROKEN = frozenset({
    "claimSignature.mismatch", "claimSignature.missing", "claim.missing", "claim.multiple", "claim.malformed",
    "claim.cbor.invalid", "claim.hardBindings.missing", "assertion.hashedURI.mismatch", "assertion.missing",
    "assertion.undeclared", "assertion.multipleHardBindings", "assertion.dataHash.mismatch", "assertion.selfRedacted",
    "assertion.dataHash.malformed", "assertion.bmffHash.mismatch", "assertion.bmffHash.malformed",
    "assertion.boxesHash.mismatch", "assertion.boxesHash.malformed", "assertion.boxesHash.unknownBox",
    "assertion.collectionHash.mismatch", "assertion.collectionHash.malformed",
    "assertion.collectionHash.incorrectFileCount",
    "assertion.collectionHash.invalidURI", "assertion.multiAssetHash.mismatch", "assertion.multiAssetHash.missingPart",
    "assertion.multiAssetHash.malformed", "hashedURI.mismatch", "hashedURI.missing", "manifest.mismatch",
    "manifest.missing",
})  # fmt: skip
_CERTIFICATE = {
    "signingCredential.expired": "expired",
    "claimSignature.outsideValidity": "expired",
    "signingCredential.revoked": "revoked",
    "signingCredential.ocsp.revoked": "revoked",
    "signingCredential.invalid": "unsuited",
    "signingCredential.missing": "unsuited",
    "algorithm.unsupported": "unknown_algorithm",
    "algorithm.deprecated": "unsuited",
}
_WORST = ("revoked", "unknown_algorithm", "unsuited", "expired")
_UNTRUSTED, _TRUSTED = "signingCredential.untrusted", "signingCredential.trusted"
_HARD_BINDINGS = (
    "assertion.dataHash.match", "assertion.bmffHash.match", "assertion.boxesHash.match",
    "assertion.collectionHash.match", "assertion.multiAssetHash.match",
)  # fmt: skip
# Not looked for without a network, and so neither good nor bad.
_NOT_CHECKED = (
    "signingCredential.ocsp.skipped", "signingCredential.ocsp.unknown", "signingCredential.ocsp.inaccessible",
    "manifest.inaccessible", "assertion.inaccessible",
)  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """What codes say.

    ``integrity``: intact, broken, not_checked.  ``certificate``: valid, expired, revoked, unsuited, unknown_algorithm,
    not_checked.  ``trust``: trusted, not_listed, no_list.  ``time_stamp``: trusted, valid (it fits; nobody vouches here
    for who made it), invalid, none.  ``identity``: not_checked where an identity assertion is there, else none.
    ``rules``: the codes of rules of the standard that it breaks without being changed; ``broken``: those of what does
    not fit; ``codes``: all failures.
    """

    integrity: str
    certificate: str
    trust: str
    time_stamp: str
    identity: str = "none"
    rules: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """One word, for a column: the worst thing that is the matter."""
        if self.integrity == "broken":
            return "damaged"
        if self.integrity == "not_checked":
            return "unverified"
        if self.certificate in ("expired", "revoked"):
            return self.certificate
        if self.certificate in ("unsuited", "unknown_algorithm"):
            return "unsuited"
        if self.rules:
            return "breaks_rules"
        return "trusted" if self.trust == "trusted" else "untrusted_signer"

    @property
    def backing(self) -> Backing:
        if self.integrity == "broken":
            return Backing.BROKEN
        if self.integrity == "not_checked":
            return Backing.SIGNED_UNCHECKED
        if self.certificate not in ("valid", "not_checked") or self.rules:
            return Backing.SIGNED_DOUBTFUL
        return Backing.SIGNED_TRUSTED if self.trust == "trusted" else Backing.SIGNED_UNTRUSTED


def answers_of(
    failures: Iterable[str], successes: Iterable[str], listed: bool, bound_to_pixels: bool = True
) -> Answers:
    """Codes of one manifest as answers.

    ``listed``: a trust list was given.  ``bound_to_pixels``: the manifest is that of this file; an ingredient's pixels
    are not there to be compared.
    """
    failed, good = list(dict.fromkeys(failures)), set(successes)
    broken = [code for code in failed if code in _BROKEN or _says_mismatch(code)]
    faults = {_CERTIFICATE[code] for code in failed if code in _CERTIFICATE}
    stamps = [code for code in failed if code.casefold().startswith("timestamp.")]
    identity = [code for code in failed if _of_identity(code)]
    signed = "claimSignature.validated" in good
    bound = not bound_to_pixels or any(code in good for code in _HARD_BINDINGS)
    integrity = "broken" if broken else "intact" if signed and bound else "not_checked"
    certificate = next((fault for fault in _WORST if fault in faults), "valid" if signed else "not_checked")
    trust = "trusted" if _TRUSTED in good and _UNTRUSTED not in failed else "not_listed" if listed else "no_list"
    told = {code.casefold() for code in good}
    stamp = "trusted" if "timestamp.trusted" in told else "valid" if "timestamp.validated" in told else "none"
    known = {*broken, *_CERTIFICATE, _UNTRUSTED, *stamps, *identity, *_NOT_CHECKED}
    # What is the matter with an ingredient is told of the ingredient.
    inner = {code for code in failed if code.startswith("ingredient.")}
    return Answers(
        integrity=integrity,
        certificate=certificate,
        trust=trust,
        time_stamp="invalid" if stamps and stamp == "none" else stamp,
        identity="not_checked" if identity else "none",
        rules=tuple(code for code in failed if code not in known and code not in inner),
        broken=tuple(broken),
        codes=tuple(failed),
    )


def _says_mismatch(code: str) -> bool:
    """Hashes of kinds that are newer than this list."""
    return code.startswith(("assertion.", "claim")) and code.endswith(("Hash.mismatch", "URI.mismatch"))


def _of_identity(code: str) -> bool:
    return code.startswith(("cawg.", "identity.", "assertion.identity")) or ".cawg." in code


def codes_in(results: Mapping[str, Any] | None, kind: str, about: str | None = None) -> list[str]:
    """Codes of one kind (``success``, ``failure``, ``informational``); with ``about`` those about that manifest."""
    listed = (results or {}).get(kind) or []
    return [
        str(item.get("code"))
        for item in listed
        if isinstance(item, dict) and (about is None or about in str(item.get("url", "")))
    ]
