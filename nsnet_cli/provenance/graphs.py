"""ComfyUI's two graphs: ``prompt``, the nodes that were run with their inputs, and ``workflow``, the editor's.

https://docs.comfy.org (workflow JSON) and ComfyUI's server.py and nodes.py, which write both into PNG texts, and
``comfy_extras``' animated WebP, which puts them into EXIF Make and Model.  The editor's graph alone says that somebody
had it open, not that it made this picture: a picture of the editor carries it, too.  InvokeAI's editor writes a graph
of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeGuard

from nsnet_cli.provenance.findings import Claim
from nsnet_cli.provenance.settings import Settings

COMFYUI = "ComfyUI"
_MOST_NODES, _MOST_INPUTS, _FARTHEST, _MOST_NAMES = 2_000, 200, 20, 60
# Links are followed from so many samplers, and to so many nodes: a graph can have each linked to each.
_MOST_FOLLOWED, _MOST_SEEN = 40, 200
_SAMPLER_INPUTS = {
    "seed": "seed", "noise_seed": "seed", "steps": "steps", "cfg": "cfg scale", "sampler_name": "sampler",
    "scheduler": "scheduler", "denoise": "denoising strength", "guidance": "guidance",
}  # fmt: skip
_SEEDS = frozenset({"seed", "noise_seed"})
# Where a node keeps the one number that it is there for.
_HOLDS = ("seed", "noise_seed", "value", "int", "float", "number", "string")
# By side: our name, inputs that link to it, and inputs that hold it themselves.
_SIDES = {
    "positive": ("prompt", ("positive", "conditioning"), ("positive", "text_positive", "positive_prompt", "prompt")),
    "negative": ("negative prompt", ("negative",), ("negative", "text_negative", "negative_prompt")),
}
_TEXT_INPUTS = (
    "text", "prompt", "text_g", "text_l", "clip_l", "t5xxl", "string", "value", "wildcard_text", "populated_text",
    "string_a", "string_b", "prompt_text",
)  # fmt: skip
# What flows through a graph beside conditions and texts: behind it lie other samplers, and their texts.
_NO_TEXT = frozenset({
    "model", "clip", "vae", "latent", "latent_image", "samples", "image", "images", "pixels", "control_net", "mask",
    "clip_vision", "clip_vision_output", "noise", "sigmas", "sampler", "guider", "style_model", "ipadapter",
})  # fmt: skip
_MODEL_INPUT = re.compile(r"(?:\w+_)?(?:ckpt|checkpoint|unet|gguf|model)(?:_name|_path)?", re.IGNORECASE)
# Models that change or look at a picture, and do not make one.
_OTHER_MODELS = re.compile(
    r"upscal|ip-?adapter|control-?net|\bsam|sam(?:model|loader)|animatediff|motion|clip ?vision|style ?model|detect|"
    r"ultralytics|\bvae|vaeloader|rife|interpolat|depth|face|insight|pulid|tagger|florence|llm|caption|lora|rembg|segment",
    re.IGNORECASE,
)
_NO_CONDITION = "ConditioningZeroOut"
# They write prompts: what they are asked is none, and their seed draws no picture.
_LANGUAGE = re.compile(
    r"gemini|gpt|llm|ollama|claude|chat|text_?gen|caption|florence|qwen_?vl|interrogat|tagger", re.IGNORECASE
)
_DRAWS = re.compile(r"image|banana|dall|paint|draw", re.IGNORECASE)
# Shows a text that came from elsewhere, and keeps what that was.
_SHOWS = "ShowText"


def graph_of(found: dict[str, Any]) -> Settings | None:
    """Settings in a graph of either form; None where ``found`` is no graph."""
    if isinstance(found.get("nodes"), list):
        return _workflow(found)
    nodes = {
        str(number): {"class_type": node["class_type"], "inputs": dict(islice(_inputs(node).items(), _MOST_INPUTS))}
        for number, node in list(found.items())[:_MOST_NODES]
        if isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
    }
    if not nodes:
        return None
    told = _prompt(nodes)
    # A graph that loads a picture, scales and saves it has run, and generated nothing that can be seen.
    # A seed alone may be that of grain laid over it.
    generates = {"prompt", "model", "sampler"} & told.keys() or any(map(_samples, nodes.values()))
    return Settings(COMFYUI, told, Claim.GENERATED if generates else Claim.POSSIBLY_GENERATED)


Nodes = dict[str, dict[str, Any]]


def _prompt(nodes: Nodes) -> dict[str, str]:
    values: dict[str, str] = {}
    loras: list[str] = []
    # What samplers say comes first, and a size of latents: pictures are scaled later.
    seeded = any(_samples(node) and _SEEDS & _inputs(node).keys() for node in nodes.values())
    for node in sorted(nodes.values(), key=lambda node: not _samples(node)):
        inputs = _inputs(node)
        if _writes(node):
            continue
        for theirs, ours in _SAMPLER_INPUTS.items():
            if ours == "seed" and seeded and not _samples(node):
                continue  # of a node that draws words, or grain
            value = _number_of(nodes, inputs.get(theirs), theirs, 0)
            if value is not None:
                values.setdefault(ours, value)
        loras += [value for key, value in inputs.items() if key.startswith("lora_name") and isinstance(value, str)]
    for node in sorted(nodes.values(), key=lambda node: "latent" not in node["class_type"].casefold()):
        inputs = _inputs(node)
        sides = [inputs.get(name) for name in ("width", "height")]
        if all(isinstance(side, int) and side > 0 for side in sides) and not _encodes(node):
            values.setdefault("size", f"{inputs['width']}x{inputs['height']}")
    told = values | _prompts(nodes)
    for name, found in (("model", _models(nodes)), ("loras", loras)):
        if found:
            told[name] = ", ".join(dict.fromkeys(found))
    told["nodes"] = _names(node["class_type"] for node in nodes.values())
    return told


def _number_of(nodes: Nodes, value: Any, name: str, depth: int) -> str | None:
    """A setting, here or at the end of a link to the node that holds it; None where that is not told."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    if not _is_link(value) or depth > _FARTHEST or str(value[0]) not in nodes:
        return None
    inputs = _inputs(nodes[str(value[0])])
    held = next((inputs[key] for key in (name, *_HOLDS) if key in inputs), None)
    return None if held is None else _number_of(nodes, held, name, depth + 1)


def _prompts(nodes: Nodes) -> dict[str, str]:
    """Both prompts: what samplers are linked to, else what stands where prompts stand."""
    told: dict[str, str] = {}
    linked: set[str] = set()
    samplers = [node for node in nodes.values() if _samples(node)] or list(nodes.values())
    for node in samplers[:_MOST_FOLLOWED]:
        for side, (ours, links, _) in _SIDES.items():
            link = next((link for name in links if _is_link(link := _inputs(node).get(name))), None)
            if link is None or ours in told:
                continue
            linked.add(ours)
            text = " | ".join(dict.fromkeys(_upstream_texts(nodes, link, side, set(), 0)))
            if text:
                told[ours] = text
    taken = set(told.get("negative prompt", "").split(" | "))
    for side, (ours, _, own) in _SIDES.items():
        if ours in linked:
            continue
        texts = [t for node in nodes.values() if not (_writes(node) or _looks(node)) for t in _strings(node, own)]
        if side == "positive" and not texts:
            texts = [t for n in nodes.values() if _encodes(n) for t in _strings(n, _TEXT_INPUTS) if t not in taken]
        if texts:
            told[ours] = " | ".join(dict.fromkeys(texts))
    return told


def _samples(node: dict[str, Any]) -> bool:
    """Whether a node draws a picture from conditions, or guides one that does."""
    kind = node["class_type"].casefold()
    return "sampler" in kind or "guider" in kind or ("positive" in _inputs(node) and "latent_image" in _inputs(node))


def _writes(node: dict[str, Any]) -> bool:
    """Whether a node asks a model of language, and not one that draws."""
    kind = node["class_type"]
    return _LANGUAGE.search(kind) is not None and _DRAWS.search(kind) is None and not _encodes(node)


def _looks(node: dict[str, Any]) -> bool:
    """Whether a node finds something in a picture by words, as segmentation does."""
    return not (_samples(node) or _encodes(node)) and _OTHER_MODELS.search(node["class_type"]) is not None


def _encodes(node: dict[str, Any]) -> bool:
    return "TextEncode" in node["class_type"] or "Prompt" in node["class_type"]


def _upstream_texts(nodes: Nodes, link: Any, side: str, seen: set[str], depth: int) -> Iterator[str]:
    """Texts at the far end of a link ``[node, output]`` that are a prompt of ``side``."""
    if not _is_link(link) or depth > _FARTHEST:
        return
    number = str(link[0])
    if number in seen or number not in nodes or len(seen) > _MOST_SEEN:
        return
    seen.add(number)
    node = nodes[number]
    inputs = {str(key).casefold(): value for key, value in _inputs(node).items()}
    if node["class_type"].startswith(_NO_CONDITION) or _writes(node):
        return
    if node["class_type"].startswith(_SHOWS) and isinstance(inputs.get("text_0"), str):
        yield inputs["text_0"]
        return
    if "Switch" in node["class_type"] and (taken := _taken(nodes, inputs)) is not None:
        yield from [taken] if isinstance(taken, str) else _upstream_texts(nodes, taken, side, seen, depth + 1)
        return
    _, links, own = _SIDES[side]
    if any(isinstance(inputs.get(name), str) for _, _, names in _SIDES.values() for name in names if name != "prompt"):
        # A node that holds both: each side has its own, here or at the end of a link.
        for value in [inputs[name] for name in dict.fromkeys((*links, *own)) if name in inputs]:
            if isinstance(value, str) and value.strip():
                yield value
            else:
                yield from _upstream_texts(nodes, value, side, seen, depth + 1)
        return
    if any(_is_link(inputs.get(name)) for name in ("positive", "negative")):
        yield from _upstream_texts(nodes, next((inputs[n] for n in links if n in inputs), None), side, seen, depth + 1)
        return
    yield from _strings(node, _TEXT_INPUTS)
    held = any(isinstance(inputs.get(name), str) for name in _TEXT_INPUTS)
    for name, value in list(inputs.items())[:_MOST_NAMES]:
        # A node that holds a text goes on only where another of its texts comes from elsewhere.
        if name not in _NO_TEXT and (not held or name in _TEXT_INPUTS):
            yield from _upstream_texts(nodes, value, side, seen, depth + 1)


def _taken(nodes: Nodes, inputs: dict[str, Any]) -> Any:
    """What a switch lets through; None where that is not told."""
    way = inputs.get("switch")
    if _is_link(way) and str(way[0]) in nodes:
        way = _inputs(nodes[str(way[0])]).get("value")
    return inputs.get("on_true" if way else "on_false") if isinstance(way, bool) else None


def _models(nodes: Nodes) -> list[str]:
    """What the samplers draw with; where they have no links, or such as lead nowhere, every model
    that draws."""
    found: list[str] = []
    linked = False
    for node in [node for node in nodes.values() if _samples(node)][:_MOST_FOLLOWED]:
        seen: set[str] = set()
        todo = [_inputs(node).get("model")]
        linked = linked or (_is_link(todo[0]) and str(todo[0][0]) in nodes)
        while todo and len(seen) < _MOST_SEEN:
            link = todo.pop()
            if not _is_link(link) or str(link[0]) in seen or str(link[0]) not in nodes:
                continue
            seen.add(str(link[0]))
            found += _model_names(nodes[str(link[0])])
            todo += [value for name, value in _inputs(nodes[str(link[0])]).items() if name not in _NO_TEXT - {"model"}]
    return found if found or linked else [name for node in nodes.values() for name in _model_names(node)]


def _model_names(node: dict[str, Any]) -> list[str]:
    if _OTHER_MODELS.search(node["class_type"]):
        return []
    inputs = _inputs(node)
    return [value for key, value in inputs.items() if isinstance(value, str) and value and _MODEL_INPUT.fullmatch(key)]


def _workflow(found: dict[str, Any]) -> Settings | None:
    """The editor's graph has values without names, so only what they are certain to be is taken."""
    listed = list(_listed(found))
    if any(node.get("type") == "invocation" for node in listed):
        return _invocations(listed)
    nodes = [node for node in listed if isinstance(node.get("type"), str)]
    # Flow charts and other programs' pipelines have nodes with types as well.
    if not nodes or not (
        "last_node_id" in found or any(isinstance(n.get("widgets_values"), list | dict) for n in nodes)
    ):
        return None
    texts = []
    for node in nodes:
        widgets = node.get("widgets_values")
        if "TextEncode" in node["type"] and isinstance(widgets, list):
            texts += [value for value in widgets if isinstance(value, str) and value.strip()]
    values = {"texts": " | ".join(dict.fromkeys(texts)), "nodes": _names(node["type"] for node in nodes)}
    return Settings(COMFYUI, values, Claim.POSSIBLY_GENERATED)


def _listed(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a graph, and of the graphs that stand in it as one node."""
    inner = found.get("definitions")
    graphs = inner.get("subgraphs") if isinstance(inner, dict) else None
    for graph in [found, *(graphs if isinstance(graphs, list) else [])][:_MOST_NAMES]:
        nodes = graph.get("nodes") if isinstance(graph, dict) else None
        yield from (node for node in (nodes if isinstance(nodes, list) else [])[:_MOST_NODES] if isinstance(node, dict))


def _invocations(listed: Iterable[dict[str, Any]]) -> Settings:
    """InvokeAI's own editor: https://github.com/invoke-ai/InvokeAI (features/nodes/types/workflow.ts)."""
    values: dict[str, str] = {}
    kinds = []
    for node in listed:
        data = node.get("data")
        if not isinstance(data, dict):
            continue
        kinds.append(str(data.get("type") or node.get("type")))
        inputs = data.get("inputs")
        for name, field in list((inputs if isinstance(inputs, dict) else {}).items())[:_MOST_NAMES]:
            value = field.get("value") if isinstance(field, dict) else None
            ours = {"prompt": "texts", "seed": "seed", "steps": "steps", "cfg_scale": "cfg scale"}.get(name)
            if ours and isinstance(value, str | int | float) and str(value).strip():
                values.setdefault(ours, str(value))
            if name == "model" and isinstance(value, dict) and isinstance(value.get("name"), str):
                values.setdefault("model", value["name"])
    return Settings("InvokeAI", {**values, "nodes": _names(iter(kinds))}, Claim.POSSIBLY_GENERATED)


def _is_link(value: Any) -> TypeGuard[list[Any]]:
    """``[node, output]``."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int)


def _strings(node: dict[str, Any], names: Iterable[str]) -> list[str]:
    """The texts among a node's inputs of these names, however they are spelt, in their order."""
    inputs = {str(key).casefold(): value for key, value in _inputs(node).items()}
    found = [inputs[name] for name in names if isinstance(inputs.get(name), str)]
    drawn = inputs.get("populated_text")  # what became of a template with wildcards
    if "populated_text" in names and isinstance(drawn, str) and drawn.strip():
        return [drawn]
    return [text for text in found if text.strip()]


def _inputs(node: dict[str, Any]) -> dict[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _names(names: Iterator[str]) -> str:
    return ", ".join(list(dict.fromkeys(names))[:_MOST_NAMES])
