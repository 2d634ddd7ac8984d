"""Manifests that a reader's plain report leaves out, taken from its detailed one.

One assertion that it cannot read makes c2pa-python drop the manifest around it; the detailed report has the claim and
each assertion as they stand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def with_dropped(store: dict[str, Any], detailed: Callable[[], str]) -> dict[str, Any]:
    """``store`` with every manifest of the detailed report that it lacks; that report is asked for only then."""
    manifests = dict(store.get("manifests") or {})
    named = {str(store.get("active_manifest", ""))}
    named |= {str(i.get("active_manifest")) for m in manifests.values() for i in m.get("ingredients") or []}
    if not {label for label in named if label and label != "None"} - manifests.keys():
        return store
    whole = json.loads(detailed()).get("manifests") or {}
    return {**store, "manifests": {**{label: _plain(m) for label, m in whole.items()}, **manifests}}


def _plain(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest of the detailed report in the plain one's form."""
    claim, signature = manifest.get("claim") or {}, manifest.get("signature") or {}
    assertions = manifest.get("assertion_store") or {}
    info = claim.get("claim_generator_info")
    return {
        "claim_generator": claim.get("claim_generator"),
        "claim_generator_info": [info] if isinstance(info, dict) else info,
        "signature_info": {
            "common_name": signature.get("common_name"),
            "issuer": signature.get("issuer"),
            "time": signature.get("time"),
        },
        "assertions": [
            {"label": label, "data": data}
            for label, data in assertions.items()
            if not label.startswith(("c2pa.ingredient", "c2pa.thumbnail"))
        ],
        "ingredients": [
            _ingredient(data)
            for label, data in assertions.items()
            if label.startswith("c2pa.ingredient") and isinstance(data, dict)
        ],
    }


def _ingredient(data: dict[str, Any]) -> dict[str, Any]:
    reference = data.get("activeManifest") or data.get("c2pa_manifest") or {}
    url = str(reference.get("url", "")) if isinstance(reference, dict) else ""
    parts = url.split("/")
    return {
        "title": data.get("dc:title"),
        "relationship": data.get("relationship"),
        "active_manifest": parts[parts.index("c2pa") + 1] if "c2pa" in parts[:-1] else None,
        "validation_results": data.get("validationResults"),
        "validation_status": data.get("validationStatus"),
    }
