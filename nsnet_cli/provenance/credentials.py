"""C2PA content credentials, by c2pa-python: offline, with a trust list only where one is given."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from nsnet_cli.provenance.findings import Backing, Finding, Trouble, claim_of_software, claim_of_source_type

SOURCE = "c2pa"
# Every manifest store names itself so, whatever the container.
_MARK = b"c2pa"
_TYPES = {
    "JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "TIFF": "image/tiff",
    "AVIF": "image/avif", "HEIF": "image/heic", "GIF": "image/gif",
}  # fmt: skip
_MOST_ACTIONS = 20


def read_credentials(
    data: bytes, file_format: str, trust_list: str | None
) -> tuple[dict[str, Any] | None, list[Finding], list[Trouble]]:
    """The active manifest in plain words, its claims, and what went wrong.

    ``trust_list`` is PEM text.  The state is ``trusted``, ``untrusted_signer`` (the signature fits the file; who
    signed is in no list given here), ``damaged`` (signature, hashes or the boxes themselves do not hold) or
    ``remote`` (the file only says where its credentials are kept).
    Nothing is fetched: no remote manifest, no revocation list.
    """
    if _MARK not in data or file_format not in _TYPES:
        return None, [], []
    try:
        import c2pa
    except ImportError:
        hint = "content credentials may be in the file; to read them: pip install 'nsnet-cli[c2pa]'"
        return None, [], [Trouble(SOURCE, hint)]
    settings: dict[str, Any] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
        "builder": {"thumbnail": {"enabled": False}},
    }
    if trust_list is not None:
        settings["trust"] = {"user_anchors": trust_list}
    try:
        with (
            c2pa.Context.from_dict(settings) as context,
            c2pa.Reader(_TYPES[file_format], BytesIO(data), context=context) as reader,
        ):
            state, store = reader.get_validation_state(), json.loads(reader.json())
    except c2pa.C2paError as error:
        if "ManifestNotFound" in type(error).__name__ or "no jumbf" in str(error).casefold():
            return None, [], []
        if "Remote" in type(error).__name__ or str(error).startswith("Remote"):
            where = Finding(SOURCE, "manifest", "kept elsewhere; nothing is fetched, so nothing is known of it")
            return _detail("remote", {}), [where], []
        detail = _detail("damaged", {})
        return detail, [Finding(SOURCE, "manifest", f"damaged: {_short(error)}", backing=Backing.BROKEN)], []
    return _described(str(state), store)


def _described(state: str, store: dict[str, Any]) -> tuple[dict[str, Any], list[Finding], list[Trouble]]:
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    failures = store.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    codes = [str(f.get("code")) for f in failures]
    said = {"Trusted": "trusted", "Valid": "untrusted_signer"}.get(state, "damaged")
    backing = {
        "trusted": Backing.SIGNED_TRUSTED,
        "untrusted_signer": Backing.SIGNED_UNTRUSTED,
        "damaged": Backing.BROKEN,
    }[said]
    detail = _detail(said, active)
    detail["failures"] = codes
    signer = detail["signer"] or detail["issuer"] or "somebody who is not named"
    findings = [Finding(SOURCE, "signature", f"{said.replace('_', ' ')}: {signer}", backing=backing)]
    if detail["claim_generator"]:
        generator = detail["claim_generator"]
        findings.append(Finding(SOURCE, "claim generator", generator, claim_of_software(generator), backing))
    for action in detail["actions"]:
        claim = claim_of_source_type(action["source_type"] or "")
        words = [action["action"], action["source_type"], action["software"]]
        text = ", ".join(word.rsplit("/", 1)[-1] for word in words if word)
        findings.append(Finding(SOURCE, "action", text, claim, backing))
    return detail, findings, []


def _detail(state: str, manifest: dict[str, Any]) -> dict[str, Any]:
    signature = manifest.get("signature_info") or {}
    info = manifest.get("claim_generator_info") or []
    names = [" ".join(str(part) for part in (i.get("name"), i.get("version")) if part) for i in info]
    generator = ", ".join(names) or manifest.get("claim_generator") or None
    return {
        "state": state,
        "signer": signature.get("common_name"),
        "issuer": signature.get("issuer"),
        "signed_at": signature.get("time"),
        "claim_generator": None if generator is None else str(generator)[:200],
        "actions": _actions(manifest),
        "failures": [],
    }


def _actions(manifest: dict[str, Any]) -> list[dict[str, str | None]]:
    found = []
    for assertion in manifest.get("assertions") or []:
        if not str(assertion.get("label", "")).startswith("c2pa.actions"):
            continue
        for action in (assertion.get("data") or {}).get("actions") or []:
            agent = action.get("softwareAgent")
            software = agent.get("name") if isinstance(agent, dict) else agent
            found.append(
                {
                    "action": str(action.get("action", ""))[:200],
                    "source_type": _text(action.get("digitalSourceType")),
                    "software": _text(software),
                    "when": _text(action.get("when")),
                }
            )
    return found[:_MOST_ACTIONS]


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:200]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
