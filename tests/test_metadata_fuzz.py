"""Fuzzed metadata: nothing crashes, nothing takes long, and no pixel that the network sees changes."""

from __future__ import annotations

import hashlib
import time

import jsonschema
from metadata_blocks import mutants

from nsnet_cli.provenance import ProvenanceReader
from nsnet_cli.provenance.inspection import inspect
from nsnet_cli.results.document import json_schema

_COUNT = 400


def test_fuzzed_metadata_does_no_harm() -> None:
    validator = jsonschema.Draft202012Validator({"$ref": "#/$defs/provenance", "$defs": json_schema()["$defs"]})
    reader, slowest = ProvenanceReader(), 0.0
    digest = hashlib.sha256()
    for k, (form, data) in enumerate(mutants(_COUNT, seed=1)):
        began = time.process_time()
        found = reader(data, form)
        slowest = max(slowest, time.process_time() - began)
        validator.validate(found)
        assert "Error" not in " ".join(e["message"] for e in found["errors"] if _ours(e["message"])), found["errors"]
        if k % 10 == 0:
            assert reader(data, form) == found
            inspect(data, "x", form)
        digest.update(data)
    assert slowest < 2.0


def _ours(message: str) -> bool:
    """Mistakes of our own, which a hostile file must not be able to bring about."""
    return message.startswith(("TypeError", "AttributeError", "KeyError", "IndexError", "NameError", "AssertionError"))
