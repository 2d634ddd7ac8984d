"""The whole chain of manifests in one file, from the active one through its ingredients, as findings.

What a manifest says counts for this picture as far as the picture comes from it: all of it for a parent, "in part" for
a component, nothing for what was only put into a generator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nsnet_cli.provenance.actions import (
    EDITS,
    MOST_FOUND,
    actions_of,
    dict_of,
    fields_in,
    named_maker,
    objects_in,
    of_action,
    software_of,
    source_types_in,
    term_of,
)
from nsnet_cli.provenance.denials import says_nothing
from nsnet_cli.provenance.findings import OTHER_PICTURES, REGION, Backing, Claim, Finding, cut, of_a_part
from nsnet_cli.provenance.programs import claim_of_software
from nsnet_cli.provenance.source_types import claim_of_source_type
from nsnet_cli.provenance.validation import Answers, answers_of, codes_in

SOURCE = "c2pa"
_MOST_MANIFESTS, _DEEPEST = 64, 24
_PARENT, _COMPONENT = "parentOf", "componentOf"
# Said of an ingredient, these say that it is not what was taken in.
_OF_ITS_OWN = frozenset({
    "ingredient.manifest.mismatch", "ingredient.manifest.missing", "ingredient.claimSignature.mismatch",
    "ingredient.claimSignature.missing", "ingredient.hashedURI.mismatch",
})  # fmt: skip
# IPTC's, which signed metadata may hold as XMP does.
_AI_FIELDS = frozenset({"AISystemUsed", "AISystemVersionUsed", "AIPromptInformation", "AIPromptWriterName"})
_MOST_TEXTS = 20
_AI_ASSERTIONS = ("c2pa.ai_generated_content", "c2pa.ai-generated", "com.adobe.generative-ai")
# C2PA 2.4, 18.28: a model had a part in it; how great a one, actions and their source types say.
_AI_DISCLOSURE = "c2pa.ai-disclosure"


@dataclass(frozen=True)
class Maker:
    """Who says in a sound manifest that it generated this picture, or a part of it: program, model, source type."""

    program: str | None
    model: str | None
    source_type: str | None


@dataclass
class Chain:
    """Findings of all manifests in the order of their closeness, what is told of each ingredient in JSON, and who
    generated it.
    """

    findings: list[Finding]
    ingredients: list[dict[str, Any]]
    makers: list[Maker]


@dataclass(frozen=True)
class _Place:
    """Where in the chain a manifest stands: what counts of it, what backs it, and how it is called."""

    scope: str
    backing: Backing
    name: str
    depth: int


def walk_chain(store: Mapping[str, Any], answers: Answers, listed: bool) -> Chain:
    """Everything that the manifests of ``store`` say; ``answers`` are those of the active one."""
    manifests = dict_of(store.get("manifests"))
    active = str(store.get("active_manifest", ""))
    chain = Chain([], [], [])
    todo, seen = [(active, _Place("self", answers.backing, "", 0))], {active}
    while todo:
        label, place = todo.pop(0)
        manifest = dict_of(manifests.get(label))
        chain.findings.extend(_said_by(manifest, place))
        if place.scope == "self" and place.backing != Backing.BROKEN:
            chain.makers.extend(_makers(manifest))
        for ingredient in objects_in(manifest.get("ingredients")):
            child = _ingredient(ingredient, label, place, store, listed, chain)
            inner = str(ingredient.get("active_manifest") or "")
            if inner and inner in manifests and inner not in seen and child.depth <= _DEEPEST:
                if len(seen) >= _MOST_MANIFESTS:
                    text = f"more than {_MOST_MANIFESTS} manifests; the rest was not walked"
                    chain.findings.append(Finding(SOURCE, "chain", text, backing=place.backing))
                    return chain
                seen.add(inner)
                todo.append((inner, child))
    chain.findings = _whole(chain.findings)
    return chain


def _whole(findings: list[Finding]) -> list[Finding]:
    """What a generator made as a whole and then changed is no photograph with a generated part."""
    sound = {f.claim for f in findings if f.backing != Backing.BROKEN}
    if Claim.GENERATED not in sound or Claim.CAPTURED in sound:
        return findings
    return [replace(f, claim=Claim.GENERATED) if _of_the_whole(f) else f for f in findings]


def _of_the_whole(finding: Finding) -> bool:
    """Whether a finding is of a change by a generator to the picture itself."""
    changed = finding.where.startswith("action ") and "component" not in finding.where
    by_generator = ", trainedAlgorithmicMedia" in finding.value and not finding.value.startswith("c2pa.placed")
    return finding.claim == Claim.PARTLY_GENERATED and changed and by_generator


def _makers(manifest: Mapping[str, Any]) -> Iterator[Maker]:
    """Of the actions of one manifest those that generate."""
    for assertion in objects_in(manifest.get("assertions")):
        for action in actions_of(assertion):
            types = [value for _, value in source_types_in(action)]
            if of_action(action, False)[1] in (Claim.GENERATED, Claim.PARTLY_GENERATED):
                # A library may sign for a service that the action names in words.
                program = None if software_of(action) else named_maker(action)
                yield Maker(program or generator_of(manifest), software_of(action), types[0] if types else None)


def _ingredient(
    ingredient: Mapping[str, Any],
    holder: str,
    place: _Place,
    store: Mapping[str, Any],
    listed: bool,
    chain: Chain,
) -> _Place:
    """What is told of an ingredient of the manifest ``holder``, and where its own manifest stands."""
    relation = str(ingredient.get("relationship", ""))
    scope = {_PARENT: place.scope, _COMPONENT: "part" if place.scope != "input" else "input"}.get(relation, "input")
    label = str(ingredient.get("active_manifest") or "")
    title = cut(str(ingredient.get("title") or "without a name"))[:120]
    found = answers_of_ingredient(ingredient, holder, store, listed) if label else None
    own = Backing.UNSIGNED if found is None else found.backing
    backing = Backing.BROKEN if place.backing == Backing.BROKEN else own
    kind = {_PARENT: "parent", _COMPONENT: "component", "inputTo": "input"}.get(relation, relation or "ingredient")
    words = "no credentials of its own" if found is None else _words_of(found)
    whose = f"{kind} of {place.name}" if place.name else kind
    chain.findings.append(
        Finding(SOURCE, whose, f"{title}: {words}", backing=place.backing if found is None else backing)
    )
    chain.ingredients.append(
        {
            "title": title,
            "relationship": relation or None,
            "manifest": label or None,
            "integrity": None if found is None else found.integrity,
            "certificate": None if found is None else found.certificate,
            "failures": [] if found is None else list(found.codes),
            "depth": place.depth + 1,
        }
    )
    named = " of ".join(filter(None, (f"{kind} “{title}”", place.name)))
    return _Place(scope, backing, named, place.depth + 1)


def answers_of_ingredient(
    ingredient: Mapping[str, Any], holder: str, store: Mapping[str, Any], listed: bool
) -> Answers:
    """What was recorded of it when it was taken in, and what was found of it now."""
    label = str(ingredient.get("active_manifest") or "")
    recorded = dict_of(dict_of(ingredient.get("validation_results")).get("activeManifest"))
    failed = codes_in(recorded, "failure") + [
        str(s.get("code")) for s in objects_in(ingredient.get("validation_status"))
    ]
    good = codes_in(recorded, "success")
    if not listed:  # trust that somebody else's list gave is not ours
        good = [code for code in good if code != "signingCredential.trusted"]
    for delta in objects_in(dict_of(store.get("validation_results")).get("ingredientDeltas")):
        results = dict_of(delta.get("validationDeltas"))
        place = str(delta.get("ingredientAssertionURI", ""))
        own = holder in place and place.endswith(f"/{ingredient.get('label')}")
        failed += codes_in(results, "failure", None if own else label)
        now = codes_in(results, "success", None if own else label)
        # That its hash or its signature fits is enough: what it signed is then as it was when it was taken in.
        if {"ingredient.manifest.validated", "ingredient.claimSignature.validated"} & set(now):
            good.append("claimSignature.validated")
        good += now
    if not recorded and not failed and not good:
        # Written by the first version of the standard, which recorded failures alone.
        good.append("claimSignature.validated")
    failed = [code.removeprefix("ingredient.") if code in _OF_ITS_OWN else code for code in failed]
    return answers_of(failed, good, listed, bound_to_pixels=False)


def _words_of(answers: Answers) -> str:
    if answers.integrity == "broken":
        return f"its credentials are damaged ({', '.join(answers.broken[:4])})"
    if answers.integrity == "not_checked":
        return "its credentials could not be checked"
    faults = {"valid": "", "not_checked": ""}
    fault = faults.get(answers.certificate, f", its certificate {answers.certificate.replace('_', ' ')}")
    return f"its credentials are intact{fault}"


def _said_by(manifest: Mapping[str, Any], place: _Place) -> Iterator[Finding]:
    """Findings of one manifest: who made it, what was done, and what else speaks of origin in it."""

    def finding(where: str, value: str, claim: Claim) -> Finding:
        shown = f"{where} of {place.name}" if place.name else where
        return Finding(SOURCE, shown, cut(value), _scoped(claim, place.scope), place.backing)

    parented = any(i.get("relationship") == _PARENT for i in objects_in(manifest.get("ingredients")))
    generator = generator_of(manifest)
    if generator:
        claim = claim_of_software(generator)
        # It says who signed.  What was done to a picture that was there before, actions and its own manifest say.
        silent = claim == Claim.GENERATED and _tells_its_source(manifest)
        yield finding("claim generator", generator, Claim.NONE if silent else claim)
    for assertion in objects_in(manifest.get("assertions"))[:MOST_FOUND]:
        label, data = str(assertion.get("label", "")), assertion.get("data")
        if label.startswith("c2pa.actions"):
            for action in actions_of(assertion):
                words, claim = of_action(action, parented)
                yield finding(f"action {action.get('action', '')}".strip(), words, claim)
                # What was made otherwise is there before, as a parent is.
                parented = parented or claim in (Claim.CAPTURED, Claim.MADE_DIGITALLY)
        elif label.startswith(_AI_ASSERTIONS):
            yield finding(label, str(data), Claim.GENERATED)
            for name in ("prompt", "model"):
                if isinstance(dict_of(data).get(name), str):
                    yield finding(name, dict_of(data)[name], Claim.GENERATED)
        elif label.startswith(_AI_DISCLOSURE):
            generated = Claim.GENERATED in _claims_of_actions(manifest)
            claim = Claim.GENERATED if generated else Claim.POSSIBLY_GENERATED
            yield finding(label, str(data), claim)
            model = dict_of(data).get("modelName") or dict_of(data).get("modelIdentifier")
            if isinstance(model, str):
                yield finding("model", model, claim)
        elif not label.startswith(("c2pa.thumbnail", "c2pa.hash")):
            for whose, part in _parts(data):
                of = f" of {whose}" if whose else ""
                found = [(f"{label} {key}", text, claim_of_source_type(text)) for key, text in source_types_in(part)]
                for system, text in _systems_in(part):
                    found.append((system, text, Claim.NONE if says_nothing(text) else Claim.GENERATED))
                for where, text, claim in found:
                    yield finding(where + of, text, of_a_part(claim) if whose else claim)


def _parts(data: Any) -> list[tuple[str, Any]]:
    """What metadata say of the whole picture, under "", and what of its regions and of other pictures in it."""
    apart: list[tuple[str, Any]] = []

    def own(data: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            return data
        if isinstance(data, list):
            return [own(one, depth + 1) for one in data]
        if not isinstance(data, dict):
            return data
        kept = {}
        for key, value in data.items():
            name = _last_part(str(key))
            whose = "a region" if name == REGION else "an ingredient" if name in OTHER_PICTURES else ""
            if whose:
                apart.append((whose, value))
            else:
                kept[key] = own(value, depth + 1)
        return kept

    return [("", own(data, 0)), *apart]


def _systems_in(data: Any) -> Iterator[tuple[str, str]]:
    """IPTC's fields on systems and prompts in metadata as JSON-LD: by name, under any prefix or as an address."""
    for key, value in fields_in(data, lambda key, value: _last_part(key) in _AI_FIELDS):
        yield from ((_last_part(key), text) for text in _texts(value))


def _last_part(key: str) -> str:
    return re.split(r"[:./#]", key)[-1]


def _texts(value: Any) -> list[str]:
    """The texts of a value as JSON-LD gives it: plain, as an object, in several languages."""
    if isinstance(value, dict):
        value = [value["@value"]] if "@value" in value else list(value.values())
    values = value if isinstance(value, list) else [value]
    plain = [term_of(item) for item in values[:_MOST_TEXTS]]
    return list(dict.fromkeys(filter(None, plain)))


def _tells_its_source(manifest: Mapping[str, Any]) -> bool:
    """Whether a parent with a manifest, a source type, or edits of a parent say how the picture came to be."""
    parents = [i for i in objects_in(manifest.get("ingredients")) if i.get("relationship") == _PARENT]
    if any(parent.get("active_manifest") for parent in parents):
        return True
    if parents and any(str(action.get("action")) in EDITS for action in _actions_in(manifest)):
        return True
    return any(claim != Claim.NONE for claim in _claims_of_actions(manifest))


def _claims_of_actions(manifest: Mapping[str, Any]) -> list[Claim]:
    """What the source types of actions claim."""
    return [claim_of_source_type(value) for action in _actions_in(manifest) for _, value in source_types_in(action)]


def _actions_in(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    assertions = objects_in(manifest.get("assertions"))[:MOST_FOUND]
    return [action for assertion in assertions for action in actions_of(assertion)]


def _scoped(claim: Claim, scope: str) -> Claim:
    return {"self": claim, "part": of_a_part(claim)}.get(scope, Claim.NONE)


def generator_of(manifest: Mapping[str, Any]) -> str | None:
    """The program that made the claim, by the newer field or the older one."""
    info = manifest.get("claim_generator_info")
    listed = [info] if isinstance(info, dict) else objects_in(info)
    names = [" ".join(str(i[k]) for k in ("name", "version") if i.get(k)) for i in listed]
    text = ", ".join(filter(None, names)) or str(manifest.get("claim_generator") or "")
    return text[:200] or None
