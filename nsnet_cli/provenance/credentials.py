"""C2PA content credentials, by c2pa-python: offline, with a trust list only where one is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from nsnet_cli.provenance.actions import actions_of, software_of, source_types_in
from nsnet_cli.provenance.chain import SOURCE, Maker, generator_of, walk_chain
from nsnet_cli.provenance.containers.carried import Carried
from nsnet_cli.provenance.containers.jumbf import holds_credentials
from nsnet_cli.provenance.detailed import with_dropped
from nsnet_cli.provenance.findings import Backing, Finding, Trouble, cut
from nsnet_cli.provenance.hardbinding import with_hash_checked
from nsnet_cli.provenance.validation import Answers, answers_of, codes_in
from nsnet_cli.provenance.words import certificate_words, integrity_words, state_words, time_stamp_words, trust_words

# What the boxes of a manifest store call themselves, for containers that are not walked here.
_MARK = b"jumdc2pa"
_TYPES = {
    "JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "TIFF": "image/tiff",
    "AVIF": "image/avif", "HEIF": "image/heic", "GIF": "image/gif", "JXL": "image/jxl",
}  # fmt: skip
_MOST_ACTIONS = 20
_LARGEST_STORE = 32 * 1024 * 1024
# Of these errors of the reader it is not the file's fault that nothing can be said.
_NOT_THE_FILES = ("NotSupported", "FileNotFound", "Io", "Encoding", "Other", "C2paError")
_IDENTITY = "cawg.identity"


@dataclass
class Credentials:
    """``detail`` is ``provenance.c2pa`` of the result document, None where the file has no credentials."""

    detail: dict[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    makers: list[Maker] = field(default_factory=list)


def read_credentials(
    data: bytes, file_format: str, carried: Carried, remote: str | None, trust_list: str | None
) -> Credentials:
    """All manifests of the file, what they claim, and what stands behind it.

    ``carried`` is what the file's container holds, ``remote`` the address that its XMP gives for credentials that are
    kept elsewhere, ``trust_list`` PEM text.  Nothing is fetched: no remote manifest, no revocation list.
    """
    there = holds_credentials(carried.jumbf) or _MARK in data
    if not there:
        return _remote(remote) if remote else Credentials()
    if file_format not in _TYPES:
        return _not_read(f"content credentials are in the file; no reader for {file_format} is known here")
    try:
        import c2pa
    except ImportError:
        return _not_read("content credentials are in the file; to read them: pip install c2pa-python")
    try:
        with (
            c2pa.Context.from_dict(reader_settings(trust_list)) as context,
            c2pa.Reader(_TYPES[file_format], BytesIO(data), context=context) as reader,
        ):
            text = reader.json()
            if len(text) > _LARGEST_STORE:
                return _not_read("the content credentials are larger than anybody writes")
            store, validity = with_dropped(json.loads(text), reader.detailed_json), _validity(reader)
            store = with_hash_checked(store, data, carried, reader.detailed_json)
    except c2pa.C2paError as error:
        return _failed(error, remote)
    return _described(store, validity, trust_list is not None, remote)


def reader_settings(trust_list: str | None) -> dict[str, Any]:
    """Of c2pa-python: nothing is fetched, and only whom ``trust_list`` vouches for is trusted."""
    settings: dict[str, Any] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
        # To check who is behind a signature would need a network, and a fault there spoils the manifest around it.
        "core": {"decode_identity_assertions": False},
        "builder": {"thumbnail": {"enabled": False}},
    }
    if trust_list is not None:
        settings["trust"] = {"user_anchors": trust_list}
    return settings


def media_type(file_format: str | None) -> str | None:
    """What the reader calls a format of Pillow's; None where it has no name for it."""
    return _TYPES.get(file_format or "")


def _failed(error: Exception, remote: str | None) -> Credentials:
    """What a reader's error says of the file."""
    kind, text = type(error).__name__, _short(error)
    if kind == "C2paError" and ":" in text:  # kinds that the binding has no class for stand in the text
        kind = text.split(":", 1)[0]
    if kind.startswith("Remote"):
        return _remote(remote or text.rsplit(" ", 1)[-1])
    if "ManifestNotFound" in kind or "no jumbf" in text.casefold():
        if remote:
            return _remote(remote)
        return _not_read("content credentials are in the file where the reader does not look for them")
    if kind.endswith(_NOT_THE_FILES):
        return _not_read(f"the content credentials could not be read: {text}")
    found = Credentials(_detail("damaged", {}, Answers("broken", "not_checked", "no_list", "none"), None))
    found.findings.append(Finding(SOURCE, "manifest", f"damaged: {text}", backing=Backing.BROKEN))
    return found


def _remote(address: str) -> Credentials:
    detail = _detail("remote", {}, Answers("not_checked", "not_checked", "no_list", "none"), None)
    detail["remote_url"] = address
    said = f"kept elsewhere, at {cut(address)}; nothing is fetched, so nothing is known of them"
    return Credentials(detail, [Finding(SOURCE, "manifest", said)])


def _not_read(message: str) -> Credentials:
    detail = _detail("not_read", {}, Answers("not_checked", "not_checked", "no_list", "none"), None)
    return Credentials(detail, [], [Trouble(SOURCE, message)])


def _described(store: Mapping[str, Any], validity: Mapping[str, Any], listed: bool, remote: str | None) -> Credentials:
    label = str(store.get("active_manifest", ""))
    active = (store.get("manifests") or {}).get(label) or {}
    results = (store.get("validation_results") or {}).get("activeManifest") or {}
    failures = codes_in(results, "failure")
    successes = codes_in(results, "success") + codes_in(results, "informational")
    answers = answers_of(failures, successes, listed)
    detail = _detail(answers.state, active, answers, validity.get(label))
    detail["remote_url"] = remote
    if any(str(a.get("label", "")).startswith(_IDENTITY) for a in active.get("assertions") or []):
        detail["identity"] = "not_checked"
    signer = detail["signer"] or detail["issuer"] or "somebody who is not named"
    said = f"{state_words(answers, detail['certificate']['valid_until'])}: {signer}"
    found = Credentials(detail)
    found.findings += [
        Finding(SOURCE, "signature", said, backing=answers.backing),
        Finding(SOURCE, "integrity", integrity_words(answers), backing=answers.backing),
    ]
    if answers.integrity != "broken":
        certificate = certificate_words(answers, detail["certificate"], detail["signed_at"])
        found.findings += [
            Finding(SOURCE, "certificate", certificate, backing=answers.backing),
            Finding(SOURCE, "trust", trust_words(answers), backing=answers.backing),
            Finding(SOURCE, "time stamp", time_stamp_words(answers, detail["signed_at"]), backing=answers.backing),
        ]
    if detail["identity"] == "not_checked":
        words = "who is behind it is named by an identity assertion that cannot be checked without a network"
        found.findings.append(Finding(SOURCE, "identity", words, backing=answers.backing))
    chain = walk_chain(store, answers, listed)
    found.findings += chain.findings
    detail["ingredients"] = chain.ingredients
    found.makers = chain.makers
    return found


def _validity(reader: Any) -> dict[str, dict[str, Any]]:
    """By manifest the time in which its signer's certificate is valid, where the reader tells it."""
    if not hasattr(reader, "crjson"):  # older versions do not
        return {}
    try:
        manifests = json.loads(reader.crjson()).get("manifests") or []
        return {
            str(m.get("label")): ((m.get("signature") or {}).get("certificateInfo") or {}).get("validity") or {}
            for m in manifests
        }
    except Exception:  # it is an extra; all that is claimed stands without
        return {}


def _detail(
    state: str, manifest: Mapping[str, Any], answers: Answers, validity: Mapping[str, Any] | None
) -> dict[str, Any]:
    signature = manifest.get("signature_info") or {}
    return {
        "state": state,
        "integrity": answers.integrity,
        "certificate": {
            "state": answers.certificate,
            "valid_from": (validity or {}).get("notBefore"),
            "valid_until": (validity or {}).get("notAfter"),
        },
        "trust": answers.trust,
        "time_stamp": answers.time_stamp,
        "identity": answers.identity,
        "signer": _text(signature.get("common_name")),
        "issuer": _text(signature.get("issuer")),
        "signed_at": _text(signature.get("time")),
        "claim_generator": generator_of(manifest),
        "actions": _actions(manifest),
        "failures": list(answers.codes),
        "rules_broken": list(answers.rules),
        "ingredients": [],
        "remote_url": None,
    }


def _actions(manifest: Mapping[str, Any]) -> list[dict[str, str | None]]:
    found = []
    for assertion in manifest.get("assertions") or []:
        for action in actions_of(assertion):
            types = [value for _, value in source_types_in(action)]
            found.append(
                {
                    "action": str(action.get("action", ""))[:200],
                    "source_type": _text(types[0] if types else None),
                    "software": _text(software_of(action)),
                    "when": _text(action.get("when")),
                    "description": _text(action.get("description")),
                }
            )
    return found[:_MOST_ACTIONS]


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:200]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
