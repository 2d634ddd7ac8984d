"""Whether a data hash fits, computed here where the validator did not get that far.

The standard's later versions want the part that a data hash leaves out to be the manifest and nothing else.  Cameras
that signed before that left out the header of the file, too, and a validator of today calls that a mismatch, though
hash and signature fit.  To a court that is another matter than changed pixels.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nsnet_cli.provenance.containers.carried import Carried

MISMATCH, LEFT_OUT = "assertion.dataHash.mismatch", "assertion.dataHash.exclusion"
_ALGORITHMS = ("sha256", "sha384", "sha512")
_MOST_EXCLUSIONS = 64


def with_hash_checked(
    store: dict[str, Any], data: bytes, carried: Carried, detailed: Callable[[], str]
) -> dict[str, Any]:
    """``store``, where the hash fits after all, with a failure of its own name in place of the mismatch."""
    results = (store.get("validation_results") or {}).get("activeManifest") or {}
    failures = results.get("failure") or []
    if not says_exclusion(failures):
        return store
    whole = json.loads(detailed()).get("manifests") or {}
    assertions = (whole.get(store.get("active_manifest")) or {}).get("assertion_store") or {}
    if not fits(data, carried, assertions):
        return store
    renamed = [{**f, "code": LEFT_OUT} if f.get("code") == MISMATCH else f for f in failures]
    good = [*(results.get("success") or []), {"code": "assertion.dataHash.match"}]
    checked = {**results, "failure": renamed, "success": good}
    return {**store, "validation_results": {**store["validation_results"], "activeManifest": checked}}


def says_exclusion(failures: Iterable[Mapping[str, Any]]) -> bool:
    """Whether all that the validator has against the hash is what the hash leaves out."""
    said = [str(f.get("explanation", "")) for f in failures if f.get("code") == MISMATCH]
    return bool(said) and all("exclusion" in text for text in said)


def fits(data: bytes, carried: Carried, assertions: Mapping[str, Any]) -> bool:
    """Whether a data hash among ``assertions`` fits, and leaves out nothing of the pixels of a JPEG."""
    if carried.container != "JPEG":
        return False
    pixels = next((part.offset for part in carried.parts if part.name == "SOS"), None)
    found = [value for label, value in assertions.items() if label.startswith("c2pa.hash.data")]
    if pixels is None or len(found) != 1 or not isinstance(found[0], dict):
        return False
    hashed = found[0]
    algorithm = str(hashed.get("alg", "sha256"))
    exclusions = sorted((int(e["start"]), int(e["length"])) for e in hashed.get("exclusions") or [])
    if algorithm not in _ALGORITHMS or len(exclusions) > _MOST_EXCLUSIONS:
        return False
    if any(start < 0 or length < 0 or start + length > pixels for start, length in exclusions):
        return False
    digest, at = hashlib.new(algorithm), 0
    for start, length in exclusions:
        digest.update(data[at:start])
        at = max(at, start + length)
    digest.update(data[at:])
    return base64.b64encode(digest.digest()).decode() == hashed.get("hash")
