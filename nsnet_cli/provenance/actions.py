"""Actions in content credentials: what was done, by which program, from which source, and what that claims."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nsnet_cli.provenance.denials import asserts, clauses_that_stand
from nsnet_cli.provenance.findings import Claim
from nsnet_cli.provenance.programs import claim_of_software
from nsnet_cli.provenance.source_types import claim_of_source_type, source_type_name

MOST_FOUND, _MOST_ACTIONS = 200, 60
_LONGEST_DESCRIPTION = 4_000
# Actions that make a whole of nothing, or change nothing that is seen.
_WHOLE = frozenset({
    "c2pa.created", "c2pa.opened", "c2pa.published", "c2pa.converted", "c2pa.transcoded", "c2pa.repackaged",
    "c2pa.copied", "c2pa.saved", "c2pa.unknown", "c2pa.managed", "c2pa.produced",
})  # fmt: skip
EDITS = frozenset({
    "c2pa.edited", "c2pa.color_adjustments", "c2pa.adjustedColor", "c2pa.cropped", "c2pa.filtered", "c2pa.drawing",
    "c2pa.changed_brightness", "c2pa.edited.metadata", "c2pa.removed", "c2pa.redrawn", "c2pa.deleted", "c2pa.enhanced",
})  # fmt: skip
# Descriptions are written by the program that signs, of what it did: phrases count there.
_MADE_BY = re.compile(
    r"\b(?:created|generated|made|imagined|produced) (?:entirely )?(?:by|with|using|in) (?P<name>[^;,]{1,60})",
    re.IGNORECASE,
)
_BY_AI = re.compile(
    r"\bgenerative\b|\bsynthid\b|\bai[- ]?generat|\btext[- ]to[- ]image\b|"
    r"\b(?:created|generated|made|imagined|produced) (?:entirely )?(?:by|with|using) [^.]{0,40}"
    r"\b(?:ai|artificial intelligence|(?:image|generative|language|foundation)[ -]models?|diffusion|dall|gpt|imagen"
    r"|gemini|firefly)\b",
    re.IGNORECASE,
)
# Noise and masks that a model found, or a folder of that name, generate nothing.
_CHANGED_BY_AI = re.compile(
    r"\b(?:edited|removed|erased|filled|expanded|extended|retouched|modified|replaced|enhanced|moved)\b[^.]{0,60}"
    r"\b(?:by|with|using|through|via)\b[^.]{0,30}\b(?:ai|generative|firefly|gemini)\b"
    r"(?![- ](?:de-?nois|noise|sharpen|mask|select|subject|upscal|super))"
    r"|\bgenerative (?:fill|expand|remove|erase|edit)",
    re.IGNORECASE,
)
# What is taken away so generates nothing, whatever took it.
_TAKEN_AWAY = re.compile(
    r"\b(?:noise|grain|dust|haze|background)(?: (?:was|were|is|has been))? (?:removed|reduced|erased)\b"
    r"|\b(?:removed|reduced|erased) (?:the )?(?:noise|grain|dust|haze|background)\b",
    re.IGNORECASE,
)
# Actions in which a program that generates does so; it may convert, publish or crop what it did not make.
_AT_WORK = frozenset({
    "c2pa.created", "c2pa.edited", "c2pa.placed", "c2pa.drawing", "c2pa.produced", "c2pa.removed", "c2pa.redrawn",
    "c2pa.unknown",
})  # fmt: skip
# Source types that say that somebody edited, whatever mark a program sets beside.
_BY_HAND = frozenset({"humanEdits", "minorHumanEdits", "algorithmicallyEnhanced"})
_WATERMARK = re.compile(r"\b(?:watermark|synthid)\b", re.IGNORECASE)
_SOURCE_TYPE_KEY = re.compile(r"(?:^|[.:])digitalSource(?:File)?Type$", re.IGNORECASE)


def actions_of(assertion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The actions of an assertion, none of one of another kind: each with what its template says of all of its name
    (C2PA 2.1, ``templates``), and with its program, which may stand in a list beside them."""
    if not str(assertion.get("label", "")).startswith("c2pa.actions"):
        return []
    data = dict_of(assertion.get("data"))
    templates = {str(t.get("action", "")): t for t in objects_in(data.get("templates"))[:_MOST_ACTIONS]}
    every = templates.get("*", {})  # of actions of any name
    return [
        _with_agent({**every, **templates.get(str(action.get("action", "")), {}), **action}, data)
        for action in objects_in(data.get("actions"))[:_MOST_ACTIONS]
    ]


def _with_agent(action: dict[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The action with its program, by ``softwareAgentIndex`` (C2PA 2.1)."""
    agents, index = data.get("softwareAgents"), action.get("softwareAgentIndex")
    if "softwareAgent" in action or not isinstance(agents, list) or type(index) is not int:
        return action
    agent = agents[index] if 0 <= index < len(agents) else None
    return {**action, "softwareAgent": agent} if isinstance(agent, dict | str) else action


def of_action(action: Mapping[str, Any], parented: bool) -> tuple[str, Claim]:
    """An action in words, and what it claims of the picture that came out of it."""
    name = str(action.get("action", ""))
    types = [value for _, value in source_types_in(action)]
    agent = software_of(action) or ""
    description = _description(action)
    # A change to what was there before makes a part of it.
    partly = name == "c2pa.placed" or (parented and name not in _WHOLE)
    claims = [claim_of_source_type(value) for value in types]
    if claim_of_software(agent) == Claim.GENERATED and not types and name in _AT_WORK:
        claims.append(Claim.GENERATED if name == "c2pa.created" else Claim.PARTLY_GENERATED)
    # A source type outranks words.
    if not types or set(claims) == {Claim.NONE}:
        if asserts(_CHANGED_BY_AI, _TAKEN_AWAY.sub("", description)):
            claims.append(Claim.PARTLY_GENERATED)
        elif asserts(_BY_AI, description) or named_maker(action) is not None:
            claims.append(Claim.GENERATED)
    if partly:
        claims = [Claim.PARTLY_GENERATED if claim == Claim.GENERATED else claim for claim in claims]
    if _WATERMARK.search(description) and _BY_HAND.isdisjoint(map(source_type_name, types)):
        claims = [claim for claim in claims if claim not in (Claim.EDITED, Claim.POSSIBLY_GENERATED)]
    elif name in EDITS:
        claims.append(Claim.EDITED)
    claim = next((kind for kind in _STRONGEST if kind in claims), Claim.NONE)
    words = [name, *(value.rsplit("/", 1)[-1] for value in dict.fromkeys(types)), agent, description]
    return ", ".join(filter(None, words)), claim


def named_maker(action: Mapping[str, Any]) -> str | None:
    """The program that an action's description says to have made the picture, if its name is a generator's."""
    made = (_MADE_BY.search(clause) for clause in clauses_that_stand(_description(action)))
    names = (found["name"].strip(" .") for found in made if found is not None)
    return next((name for name in names if claim_of_software(name) == Claim.GENERATED), None)


def _description(action: Mapping[str, Any]) -> str:
    described = str(action.get("description") or dict_of(action.get("parameters")).get("description") or "")
    return " ".join(described[:_LONGEST_DESCRIPTION].split())


_STRONGEST = (
    Claim.GENERATED, Claim.PARTLY_GENERATED, Claim.POSSIBLY_GENERATED, Claim.CAPTURED, Claim.MADE_DIGITALLY,
    Claim.EDITED,
)  # fmt: skip


def source_types_in(data: Any) -> Iterator[tuple[str, str]]:
    """Every source type at whatever depth, under whatever prefix: ``com.adobe.digitalSourceType`` is one."""
    found = fields_in(data, lambda key, value: _SOURCE_TYPE_KEY.search(key) is not None and term_of(value) != "")
    return ((key, term_of(value)) for key, value in found)


def fields_in(data: Any, wanted: Callable[[str, Any], bool], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Key and value of every field of JSON ``data`` that is ``wanted``, at whatever depth, but not within another."""
    if depth > 8:
        return
    if isinstance(data, dict):
        for key, value in list(data.items())[:MOST_FOUND]:
            if wanted(str(key), value):
                yield str(key), value
            else:
                yield from fields_in(value, wanted, depth + 1)
    elif isinstance(data, list):
        for value in data[:MOST_FOUND]:
            yield from fields_in(value, wanted, depth + 1)


def term_of(value: Any) -> str:
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


def dict_of(value: Any) -> dict[str, Any]:
    """``value`` where it is an object, else an empty one: nothing in a manifest is sure to be what it should."""
    return value if isinstance(value, dict) else {}


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The objects in ``value`` where it is a list, else none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
