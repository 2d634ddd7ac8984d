"""Content credentials: integrity, certificate and trust answered apart, and the whole chain walked."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from typing import Any

import jsonschema
import pytest
from carriers import encoded
from credentials import AI, CREATED, EMAIL_PROTECTION, SERVERS, Signer

from nsnet_cli.provenance import ProvenanceReader
from nsnet_cli.provenance.chain import walk_chain
from nsnet_cli.provenance.containers.walk import walk
from nsnet_cli.provenance.hardbinding import LEFT_OUT, MISMATCH, with_hash_checked
from nsnet_cli.provenance.validation import answers_of
from nsnet_cli.results.document import json_schema

JPEG = encoded(quality=90)
SCHEMA = {"$ref": "#/$defs/provenance", "$defs": json_schema()["$defs"]}
VALID = ["claimSignature.validated", "assertion.dataHash.match"]


CAPTURE = AI.replace("trainedAlgorithmicMedia", "digitalCapture")


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def read(data: bytes, trust_list: str | None = None) -> dict[str, Any]:
    found = ProvenanceReader(trust_list)(data, "JPEG")
    jsonschema.validate(found, SCHEMA)
    return found


def answers(found: dict[str, Any]) -> tuple[str, str, str, str]:
    c2pa = found["c2pa"]
    return c2pa["state"], c2pa["integrity"], c2pa["certificate"]["state"], c2pa["trust"]


def test_a_certificate_that_ran_out_or_is_for_something_else_damages_nothing(signer: Signer) -> None:
    signed = signer.sign(JPEG)
    assert answers(read(signed)) == ("untrusted_signer", "intact", "valid", "no_list")
    assert answers(read(signed, signer.root)) == ("trusted", "intact", "valid", "trusted")
    assert answers(read(signed, Signer().root)) == ("untrusted_signer", "intact", "valid", "not_listed")
    expired = read(signer.with_certificate(signed, signer.until, b"201101000000Z"))
    assert answers(expired) == ("expired", "intact", "expired", "no_list") and expired["claims"] == ["generated"]
    assert expired["c2pa"]["certificate"]["valid_until"].startswith("2020-11-01")
    assert any("expired on 2020-11-01" in f["value"] for f in expired["findings"])
    unsuited = read(signer.with_certificate(signed, EMAIL_PROTECTION, SERVERS))
    assert answers(unsuited) == ("unsuited", "intact", "unsuited", "no_list") and unsuited["claims"] == ["generated"]
    for found in (expired, unsuited):
        assert {f["backing"] for f in found["findings"] if f["source"] == "c2pa"} == {"signed_doubtful"}
        assert found["contradictions"] == [] and found["errors"] == []


def test_changed_pixels_are_damage_whatever_the_certificate(signer: Signer) -> None:
    signed = bytearray(signer.with_certificate(signer.sign(JPEG), signer.until, b"201101000000Z"))
    signed[-2000] ^= 0xFF
    found = read(bytes(signed))
    assert answers(found)[:2] == ("damaged", "broken") and found["claims"] == ["unknown"]
    assert found["contradictions"] == ["the content credentials do not fit the file"]


@pytest.mark.parametrize(
    ("failures", "successes", "state"),
    [
        ([], VALID, "untrusted_signer"),
        (["signingCredential.untrusted", "timeStamp.untrusted"], VALID, "untrusted_signer"),
        (["signingCredential.expired", "signingCredential.invalid"], VALID, "unsuited"),
        (["signingCredential.ocsp.revoked"], VALID, "revoked"),
        (["algorithm.unsupported"], [], "unverified"),
        (["signingCredential.expired", "assertion.bmffHash.mismatch"], VALID, "damaged"),
        (["assertion.newKindOfHash.mismatch"], VALID, "damaged"),
        (["assertion.action.malformed"], VALID, "breaks_rules"),
        (["cawg.ica.untrusted_issuer", "cawg.identity.sig_type.unknown"], VALID, "untrusted_signer"),
        ([], [], "unverified"),
    ],
)
def test_codes_answer_the_question_that_they_belong_to(failures: list[str], successes: list[str], state: str) -> None:
    assert answers_of(failures, successes, listed=False).state == state


def test_what_time_stamps_prove() -> None:
    assert answers_of(["timeStamp.mismatch"], VALID, False).time_stamp == "invalid"
    assert answers_of([], [*VALID, "timeStamp.validated"], False).time_stamp == "valid"
    assert answers_of([], VALID, False).time_stamp == "none"


def test_a_hash_that_leaves_out_the_header_is_computed_here() -> None:
    """As Truepic's cameras signed: a validator of today says mismatch, though nothing was changed."""
    carried = walk(JPEG)
    pixels = next(part.offset for part in carried.parts if part.name == "SOS")
    assert pixels is not None
    header = {"exclusions": [{"start": 0, "length": pixels - 20}], "alg": "sha256"}
    digest = base64.b64encode(hashlib.sha256(JPEG[pixels - 20 :]).digest()).decode()
    whole = {"m": {"assertion_store": {"c2pa.hash.data": {**header, "hash": digest}}}}
    said = "data hash exclusion does not match the manifest location in the asset"
    failure = [{"code": MISMATCH, "explanation": said}]
    store = {"active_manifest": "m", "validation_results": {"activeManifest": {"failure": failure, "success": []}}}

    def checked(data: bytes, manifests: dict[str, Any]) -> list[str]:
        found = with_hash_checked(store, data, walk(data), lambda: json.dumps({"manifests": manifests}))
        return [f["code"] for f in found["validation_results"]["activeManifest"]["failure"]]

    assert checked(JPEG, whole) == [LEFT_OUT]
    assert checked(JPEG[:-10] + b"x" + JPEG[-9:], whole) == [MISMATCH]
    everything = {"m": {"assertion_store": {"c2pa.hash.data": {
        "exclusions": [{"start": 0, "length": len(JPEG)}], "alg": "sha256",
        "hash": base64.b64encode(hashlib.sha256(b"").digest()).decode(),
    }}}}  # fmt: skip
    assert checked(JPEG, everything) == [MISMATCH]
    assert answers_of([LEFT_OUT], VALID, False).state == "breaks_rules"


def test_what_a_generator_made_and_changed_is_generated(signer: Signer) -> None:
    """As Gemini writes it: created, then opened and changed by the same generator."""
    made = signer.sign(JPEG, [CREATED | {"description": "Created by Google Generative AI."}])
    change = [{"action": "c2pa.resized", "digitalSourceType": AI, "description": "Resized by Google Generative AI."}]
    found = read(
        signer.sign(JPEG, change, parents=[("parentOf", made)], generator="Google C2PA Core Generator Library")
    )
    assert found["claims"] == ["generated"]
    declared = found["declared"]
    assert (declared["model"], declared["source_type"]) == ("Imaginary Painter", "trainedAlgorithmicMedia")


def test_an_identity_that_cannot_be_checked_spoils_nothing(signer: Signer) -> None:
    identity = {"label": "cawg.identity", "data": {"signer_payload": {"x": 1}, "signature": "AAAA"}}
    signed = signer.sign(JPEG, assertions=[identity])
    found = read(signed)
    assert answers(found)[0] == "untrusted_signer" and found["c2pa"]["identity"] == "not_checked"
    assert found["claims"] == ["generated"] and found["c2pa"]["signer"] == "Test Signer"
    child = read(signer.sign(JPEG, [{"action": "c2pa.converted"}], parents=[("parentOf", signed)]))
    assert "generated" in child["claims"]


def test_ingredients_count_as_far_as_the_picture_comes_from_them(signer: Signer) -> None:
    parent = signer.sign(JPEG)
    other = [{"action": "c2pa.created", "digitalSourceType": AI.replace("trainedAlgorithmicMedia", "digitalCreation")}]
    claims = {
        relation: read(signer.sign(JPEG, other, parents=[(relation, parent)]))["claims"]
        for relation in ("parentOf", "componentOf", "inputTo")
    }
    assert claims == {
        "parentOf": ["generated", "made_digitally"],
        "componentOf": ["made_digitally", "partly_generated"],
        "inputTo": ["made_digitally"],
    }
    # Through several generations, whoever converted it in between.
    grown = parent
    for _ in range(4):
        grown = signer.sign(JPEG, [{"action": "c2pa.converted"}], parents=[("parentOf", grown)], generator="Converter")
    found = read(grown)
    assert "generated" in found["claims"] and len(found["c2pa"]["ingredients"]) == 4


def test_a_parent_that_fails_is_shown_and_claims_nothing(signer: Signer) -> None:
    broken = bytearray(signer.sign(JPEG))
    broken[-2000] ^= 0xFF
    found = read(signer.sign(JPEG, [{"action": "c2pa.edited"}], parents=[("parentOf", bytes(broken))]))
    assert found["claims"] == ["edited"]
    (ingredient,) = found["c2pa"]["ingredients"]
    assert ingredient["integrity"] == "broken"
    assert any(f["where"] == "parent" and "damaged" in f["value"] for f in found["findings"])


@pytest.mark.parametrize(
    ("action", "claim"),
    [
        ({"action": "c2pa.opened", "parameters": {"com.adobe.digitalSourceType": AI}}, "generated"),
        ({"action": "c2pa.created", "description": "Created by Google Generative AI."}, "generated"),
        ({"action": "c2pa.edited", "description": "Applied imperceptible SynthID watermark."}, "generated"),
        ({"action": "c2pa.edited", "description": "Edited with Generative Fill"}, "partly_generated"),
        ({"action": "c2pa.placed", "digitalSourceType": AI}, "partly_generated"),
        ({"action": "c2pa.created", "softwareAgent": {"name": "Adobe_Firefly"}}, "generated"),
        ({"action": "c2pa.cropped", "description": "Cropped to 4:5"}, "edited"),
        ({"action": "c2pa.published", "description": "Posted beside an article on AI"}, "unknown"),
        ({"action": "c2pa.created", "digitalSourceType": AI.replace("trained", "unheardOf")}, "unknown"),
        # What is denied is not said, and a source type outranks words.
        (
            {"action": "c2pa.created", "digitalSourceType": CAPTURE, "description": "Camera, no generative AI used"},
            "captured",
        ),
        ({"action": "c2pa.created", "digitalSourceType": CAPTURE, "description": "Not made with AI"}, "captured"),
        ({"action": "c2pa.edited", "description": "Edited with non-AI tools"}, "edited"),
        ({"action": "c2pa.color_adjustments", "description": "Adjusted colours without generative AI"}, "edited"),
        ({"action": "c2pa.edited", "description": "AI-free retouching, edited by hand"}, "edited"),
        ({"action": "c2pa.created", "description": "This is not a real photo but AI generated"}, "generated"),
        ({"action": "c2pa.edited", "description": "Non-destructive edits with generative AI"}, "generated"),
        ({"action": "c2pa.created", "description": "Created with no camera by generative AI"}, "generated"),
        (
            {
                "action": "c2pa.edited",
                "digitalSourceType": CAPTURE.replace("digitalCapture", "humanEdits"),
                "description": "Added a copyright watermark and cropped",
            },
            "edited",
        ),
        # A generator's own mark is no edit.
        (
            {
                "action": "c2pa.edited",
                "digitalSourceType": CAPTURE.replace("digitalCapture", "composite"),
                "description": "Added visible watermark to image",
            },
            "unknown",
        ),
    ],
)
def test_actions_in_all_their_fields(signer: Signer, action: dict[str, Any], claim: str) -> None:
    found = read(signer.sign(JPEG, [action], generator="Something"))
    assert found["claims"] == [claim] and found["c2pa"]["integrity"] == "intact"


def test_a_program_in_the_list_beside_the_actions(signer: Signer) -> None:
    data: dict[str, Any] = {
        "softwareAgents": [{"name": "Another"}, {"name": "Adobe Firefly", "version": "4"}],
        "actions": [
            {"action": "c2pa.created", "softwareAgentIndex": 1},
            {"action": "c2pa.edited", "softwareAgentIndex": 9},
        ],
    }
    manifest = {"assertions": [{"label": "c2pa.actions.v2", "data": data}], "claim_generator": "Studio"}
    chain = walk_chain({"manifests": {"a": manifest}, "active_manifest": "a"}, answers_of([], [], False), False)
    data["softwareAgents"] = ["Adobe Firefly", {"name": "Another"}]
    data["actions"] = [{"action": "c2pa.created", "softwareAgentIndex": index} for index in (0, True)]
    names = walk_chain({"manifests": {"a": manifest}, "active_manifest": "a"}, answers_of([], [], False), False)
    assert [f.value for f in names.findings if f.where.startswith("action")] == [
        "c2pa.created, Adobe Firefly",
        "c2pa.created",
    ]
    created, edited = (f for f in chain.findings if f.where.startswith("action"))
    assert "Adobe Firefly 4" in created.value and created.claim == "generated"
    assert edited.value == "c2pa.edited"
    assert [maker.model for maker in chain.makers] == ["Adobe Firefly 4"]


def test_a_parent_is_shown_as_whose_it_is(signer: Signer) -> None:
    inner = signer.sign(JPEG, parents=[("parentOf", JPEG)], generator="Inner")
    found = read(signer.sign(JPEG, parents=[("componentOf", inner)], generator="Outer"))
    parents = [f["where"] for f in found["findings"] if f["where"].startswith("parent")]
    assert len(parents) == 1 and parents[0].startswith("parent of component")


def test_a_change_to_a_photograph_makes_a_part_of_it(signer: Signer) -> None:
    capture = [{"action": "c2pa.created", "digitalSourceType": AI.replace("trainedAlgorithmicMedia", "digitalCapture")}]
    photograph = signer.sign(JPEG, capture, generator="Camera")
    change = [{"action": "c2pa.edited", "digitalSourceType": AI}]
    found = read(signer.sign(JPEG, change, parents=[("parentOf", photograph)], generator="Editor"))
    assert found["claims"] == ["captured", "partly_generated"] and found["contradictions"] == []


def test_credentials_kept_elsewhere_are_named_and_not_fetched(signer: Signer) -> None:
    found = read(signer.sign(JPEG, remote="https://manifests.invalid/1"))
    assert found["c2pa"]["state"] == "remote" and found["c2pa"]["remote_url"] == "https://manifests.invalid/1"
    assert found["state"] == "read" and found["claims"] == ["unknown"]


def test_without_a_reader_credentials_are_not_read_and_never_unknown(
    signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = signer.sign(JPEG)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = read(signed)
    assert found["c2pa"]["state"] == "not_read" and found["claims"] == ["not_read"] and found["state"] == "not_read"
    assert read(JPEG)["claims"] == ["unknown"]


@pytest.mark.parametrize(("form", "kind"), [("PNG", "image/png"), ("WEBP", "image/webp"), ("TIFF", "image/tiff")])
def test_other_containers(signer: Signer, form: str, kind: str) -> None:
    found = ProvenanceReader()(signer.sign(encoded(form), form=kind), form)
    assert found["c2pa"]["state"] == "untrusted_signer" and found["claims"] == ["generated"]
    assert found["errors"] == []


def test_avif_and_heic(signer: Signer) -> None:
    for form, kind in (("AVIF", "image/avif"), ("HEIF", "image/heic")):
        found = ProvenanceReader()(signer.sign(encoded(form), form=kind), form)
        assert found["c2pa"]["state"] == "untrusted_signer" and found["errors"] == []
