"""The whole chain of manifests in one file, from the active one through its ingredients, as findings.

What a manifest says counts for this picture as far as the picture comes from it: all of it for a parent, "in part" for
a component, nothing for what was only put into a generator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nsnet_cli.provenance.denials import denies_ai, says_nothing
from nsnet_cli.provenance.findings import Backing, Claim, Finding, cut
from nsnet_cli.provenance.programs import claim_of_software
from nsnet_cli.provenance.source_types import claim_of_source_type, source_type_name
from nsnet_cli.provenance.validation import Answers, answers_of, codes_in

SOURCE = "c2pa"
_MOST_MANIFESTS, _DEEPEST, _MOST_ACTIONS, _MOST_FOUND = 64, 24, 60, 200
_LONGEST_DESCRIPTION = 4_000
_PARENT, _COMPONENT = "parentOf", "componentOf"
# Actions that make a whole of nothing, or change nothing that is seen.
_WHOLE = frozenset({
    "c2pa.created", "c2pa.opened", "c2pa.published", "c2pa.converted", "c2pa.transcoded", "c2pa.repackaged",
    "c2pa.copied", "c2pa.saved", "c2pa.unknown", "c2pa.managed", "c2pa.produced",
})  # fmt: skip
_EDITS = frozenset({
    "c2pa.edited", "c2pa.color_adjustments", "c2pa.adjustedColor", "c2pa.cropped", "c2pa.filtered", "c2pa.drawing",
    "c2pa.changed_brightness", "c2pa.edited.metadata", "c2pa.removed", "c2pa.redrawn", "c2pa.deleted", "c2pa.enhanced",
})  # fmt: skip
# Descriptions are written by the program that signs, of what it did: phrases count there.
_BY_AI = re.compile(
    r"\bgenerative\b|\bsynthid\b|\bai[- ]?generat|\btext[- ]to[- ]image\b|"
    r"\b(?:created|generated|made|imagined|produced) (?:by|with|using) [^.]{0,40}"
    r"\b(?:ai|(?:image|generative|language|foundation)[ -]models?|diffusion|dall|gpt|imagen|gemini|firefly)\b",
    re.IGNORECASE,
)
_CHANGED_BY_AI = re.compile(
    r"\b(?:edited|removed|erased|filled|expanded|extended|retouched|modified|replaced|enhanced|moved)\b[^.]{0,60}"
    r"\b(?:ai|generative|firefly|gemini)\b|\bgenerative (?:fill|expand|remove|erase|edit)",
    re.IGNORECASE,
)
# Source types that say that somebody edited, whatever mark a program sets beside.
_BY_HAND = frozenset({"humanEdits", "minorHumanEdits", "algorithmicallyEnhanced"})
_WATERMARK = re.compile(r"\b(?:watermark|synthid)\b", re.IGNORECASE)
_SOURCE_TYPE_KEY = re.compile(r"(?:^|[.:])digitalSource(?:File)?Type$", re.IGNORECASE)
# Said of an ingredient, these say that it is not what was taken in.
_OF_ITS_OWN = frozenset({
    "ingredient.manifest.mismatch", "ingredient.manifest.missing", "ingredient.claimSignature.mismatch",
    "ingredient.claimSignature.missing", "ingredient.hashedURI.mismatch",
})  # fmt: skip
# IPTC's, which signed metadata may hold as XMP does.
_AI_FIELDS = frozenset({"AISystemUsed", "AISystemVersionUsed", "AIPromptInformation", "AIPromptWriterName"})
_AI_ASSERTIONS = ("c2pa.ai_generated_content", "c2pa.ai-generated", "com.adobe.generative-ai")


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
    manifests = _dict(store.get("manifests"))
    active = str(store.get("active_manifest", ""))
    chain = Chain([], [], [])
    todo, seen = [(active, _Place("self", answers.backing, "", 0))], {active}
    while todo:
        label, place = todo.pop(0)
        manifest = _dict(manifests.get(label))
        chain.findings.extend(_said_by(manifest, place))
        if place.scope == "self" and place.backing != Backing.BROKEN:
            chain.makers.extend(_makers(manifest))
        for ingredient in _list(manifest.get("ingredients")):
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
    for assertion in _list(manifest.get("assertions")):
        for action in actions_of(assertion):
            types = [value for _, value in source_types_in(action)]
            if _of_action(action, False)[1] in (Claim.GENERATED, Claim.PARTLY_GENERATED):
                yield Maker(generator_of(manifest), software_of(action), types[0] if types else None)


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
    recorded = _dict(_dict(ingredient.get("validation_results")).get("activeManifest"))
    failed = codes_in(recorded, "failure") + [str(s.get("code")) for s in _list(ingredient.get("validation_status"))]
    good = codes_in(recorded, "success")
    if not listed:  # trust that somebody else's list gave is not ours
        good = [code for code in good if code != "signingCredential.trusted"]
    for delta in _list(_dict(store.get("validation_results")).get("ingredientDeltas")):
        results = _dict(delta.get("validationDeltas"))
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

    parented = any(i.get("relationship") == _PARENT for i in _list(manifest.get("ingredients")))
    generator = generator_of(manifest)
    if generator:
        claim = claim_of_software(generator)
        # It says who signed.  What was done to a picture that was there before, actions say.
        silent = claim == Claim.GENERATED and (parented or _tells_its_source(manifest))
        yield finding("claim generator", generator, Claim.NONE if silent else claim)
    for assertion in _list(manifest.get("assertions"))[:_MOST_FOUND]:
        label, data = str(assertion.get("label", "")), assertion.get("data")
        if label.startswith("c2pa.actions"):
            for action in actions_of(assertion):
                words, claim = _of_action(action, parented)
                yield finding(f"action {action.get('action', '')}".strip(), words, claim)
                # What was made otherwise is there before, as a parent is.
                parented = parented or claim in (Claim.CAPTURED, Claim.MADE_DIGITALLY)
        elif label.startswith(_AI_ASSERTIONS):
            yield finding(label, str(data), Claim.GENERATED)
            for name in ("prompt", "model"):
                if isinstance(_dict(data).get(name), str):
                    yield finding(name, _dict(data)[name], Claim.GENERATED)
        elif not label.startswith(("c2pa.thumbnail", "c2pa.hash")):
            for key, value in source_types_in(data):
                yield finding(f"{label} {key}", value, claim_of_source_type(value))
            for key, value in _dict(data).items():
                system = key.rsplit(":", 1)[-1].removeprefix("Iptc4xmpExt.")
                if system in _AI_FIELDS and isinstance(value, str):
                    yield finding(system, value, Claim.NONE if says_nothing(value) else Claim.GENERATED)


def _tells_its_source(manifest: Mapping[str, Any]) -> bool:
    """Whether an action of a manifest says by a source type how the picture came to be."""
    assertions = _list(manifest.get("assertions"))[:_MOST_FOUND]
    actions = [action for assertion in assertions for action in actions_of(assertion)]
    return any(claim_of_source_type(value) != Claim.NONE for a in actions for _, value in source_types_in(a))


def actions_of(assertion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The actions of an assertion, none of one of another kind: each with what its template says of all of its name
    (C2PA 2.1, ``templates``), and with its program, which may stand in a list beside them."""
    if not str(assertion.get("label", "")).startswith("c2pa.actions"):
        return []
    data = _dict(assertion.get("data"))
    templates = {str(t.get("action", "")): t for t in _list(data.get("templates"))[:_MOST_ACTIONS]}
    every = templates.get("*", {})  # of actions of any name
    return [
        _with_agent({**every, **templates.get(str(action.get("action", "")), {}), **action}, assertion)
        for action in _list(data.get("actions"))[:_MOST_ACTIONS]
    ]


def _with_agent(action: dict[str, Any], assertion: Mapping[str, Any]) -> dict[str, Any]:
    """The action with its program, by ``softwareAgentIndex`` (C2PA 2.1)."""
    agents, index = _dict(assertion.get("data")).get("softwareAgents"), action.get("softwareAgentIndex")
    if "softwareAgent" in action or not isinstance(agents, list) or type(index) is not int:
        return action
    agent = agents[index] if 0 <= index < len(agents) else None
    return {**action, "softwareAgent": agent} if isinstance(agent, dict | str) else action


def _of_action(action: Mapping[str, Any], parented: bool) -> tuple[str, Claim]:
    """An action in words, and what it claims of the picture that came out of it."""
    name = str(action.get("action", ""))
    types = [value for _, value in source_types_in(action)]
    agent = software_of(action) or ""
    described = str(action.get("description") or _dict(action.get("parameters")).get("description") or "")
    description = " ".join(described[:_LONGEST_DESCRIPTION].split())
    # A change to what was there before makes a part of it.
    partly = name == "c2pa.placed" or (parented and name not in _WHOLE)
    claims = [claim_of_source_type(value) for value in types]
    if claim_of_software(agent) == Claim.GENERATED and not types:
        claims.append(Claim.GENERATED if name == "c2pa.created" else Claim.PARTLY_GENERATED)
    # A source type outranks words.
    if set(map(claim_of_source_type, types)) <= {Claim.NONE} and not denies_ai(description):
        if _CHANGED_BY_AI.search(description):
            claims.append(Claim.PARTLY_GENERATED)
        elif _BY_AI.search(description):
            claims.append(Claim.GENERATED)
    if partly:
        claims = [Claim.PARTLY_GENERATED if claim == Claim.GENERATED else claim for claim in claims]
    if _WATERMARK.search(description) and _BY_HAND.isdisjoint(map(source_type_name, types)):
        claims = [claim for claim in claims if claim not in (Claim.EDITED, Claim.POSSIBLY_GENERATED)]
    elif name in _EDITS:
        claims.append(Claim.EDITED)
    claim = next((kind for kind in _STRONGEST if kind in claims), Claim.NONE)
    words = [name, *(value.rsplit("/", 1)[-1] for value in dict.fromkeys(types)), agent, description]
    return ", ".join(filter(None, words)), claim


_STRONGEST = (
    Claim.GENERATED, Claim.PARTLY_GENERATED, Claim.POSSIBLY_GENERATED, Claim.CAPTURED, Claim.MADE_DIGITALLY,
    Claim.EDITED,
)  # fmt: skip


def _scoped(claim: Claim, scope: str) -> Claim:
    if scope == "self":
        return claim
    if scope == "part" and claim in (Claim.GENERATED, Claim.PARTLY_GENERATED):
        return Claim.PARTLY_GENERATED
    return claim if scope == "part" and claim == Claim.POSSIBLY_GENERATED else Claim.NONE


def source_types_in(data: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every source type at whatever depth, under whatever prefix: ``com.adobe.digitalSourceType`` is one."""
    if depth > 8:
        return
    if isinstance(data, dict):
        for key, value in list(data.items())[:_MOST_FOUND]:
            if _SOURCE_TYPE_KEY.search(str(key)) and (named := _term(value)):
                yield str(key), named
            elif isinstance(value, dict | list):
                yield from source_types_in(value, depth + 1)
    elif isinstance(data, list):
        for value in data[:_MOST_FOUND]:
            yield from source_types_in(value, depth + 1)


def _term(value: Any) -> str:
    """A source type that is given as it is, or as JSON-LD gives a resource or a value; "" for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        value = value.get("@id", value.get("@value"))
    return value if isinstance(value, str) else ""


def software_of(action: Mapping[str, Any]) -> str | None:
    """The program that acted: a name, or an object with name and version."""
    agent = action.get("softwareAgent")
    if isinstance(agent, dict):
        return " ".join(str(agent[k]) for k in ("name", "version") if agent.get(k)) or None
    return str(agent) if isinstance(agent, str) and agent else None


def generator_of(manifest: Mapping[str, Any]) -> str | None:
    """The program that made the claim, by the newer field or the older one."""
    info = manifest.get("claim_generator_info")
    listed = [info] if isinstance(info, dict) else _list(info)
    names = [" ".join(str(i[k]) for k in ("name", "version") if i.get(k)) for i in listed]
    text = ", ".join(filter(None, names)) or str(manifest.get("claim_generator") or "")
    return text[:200] or None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
