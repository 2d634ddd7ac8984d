"""ComfyUI's two graphs: ``prompt``, the nodes that were run with their inputs, and ``workflow``, the editor's.

https://docs.comfy.org (workflow JSON) and ComfyUI's server.py and nodes.py, which write both into PNG texts, and
``comfy_extras``' animated WebP, which puts them into EXIF Make and Model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nsnet_cli.provenance.settings import Settings

_MOST_NODES, _FARTHEST, _MOST_NAMES = 2_000, 20, 60
# Links are followed from so many samplers, and to so many nodes: a graph can have each linked to each.
_MOST_FOLLOWED, _MOST_SEEN = 40, 200
_SAMPLER_INPUTS = {
    "seed": "seed", "noise_seed": "seed", "steps": "steps", "cfg": "cfg scale", "sampler_name": "sampler",
    "scheduler": "scheduler", "denoise": "denoising strength", "guidance": "guidance",
}  # fmt: skip
_MODEL_INPUTS = ("ckpt_name", "unet_name", "model_name", "gguf_name", "model", "base_ckpt_name")
_TEXT_INPUTS = (
    "text",
    "prompt",
    "text_g",
    "clip_l",
    "t5xxl",
    "string",
    "value",
    "positive",
    "wildcard_text",
    "populated_text",
)


def graph_of(found: dict[str, Any]) -> Settings | None:
    """Settings in a graph of either form; None where ``found`` is no graph."""
    if isinstance(found.get("nodes"), list):
        return _workflow(found["nodes"])
    nodes = {
        str(number): node
        for number, node in list(found.items())[:_MOST_NODES]
        if isinstance(node, dict) and isinstance(node.get("class_type"), str)
    }
    if not nodes:
        return None
    return Settings("ComfyUI", _prompt(nodes))


def _prompt(nodes: dict[str, dict[str, Any]]) -> dict[str, str]:
    values: dict[str, str] = {}
    models, loras, texts = [], [], []
    followed = 0
    for node in nodes.values():
        inputs = _inputs(node)
        if "KSampler" in node["class_type"] or "positive" in inputs:
            for side, name in (("positive", "prompt"), ("negative", "negative prompt")):
                if name in values or followed >= _MOST_FOLLOWED:
                    continue
                followed += 1
                text = " | ".join(dict.fromkeys(_upstream_texts(nodes, inputs.get(side), set(), 0)))
                if text:
                    values[name] = text
        for theirs, ours in _SAMPLER_INPUTS.items():
            if isinstance(inputs.get(theirs), str | int | float):
                values.setdefault(ours, str(inputs[theirs]))
        if isinstance(inputs.get("width"), int) and isinstance(inputs.get("height"), int):
            values.setdefault("size", f"{inputs['width']}x{inputs['height']}")
        models += [inputs[name] for name in _MODEL_INPUTS if isinstance(inputs.get(name), str)]
        loras += [value for key, value in inputs.items() if key.startswith("lora_name") and isinstance(value, str)]
        if "TextEncode" in node["class_type"] or "Prompt" in node["class_type"]:
            texts += [inputs[name] for name in _TEXT_INPUTS if isinstance(inputs.get(name), str)]
    if "prompt" not in values and texts:
        values["prompt"] = " | ".join(dict.fromkeys(filter(None, texts)))
    if models:
        values["model"] = ", ".join(dict.fromkeys(models))
    if loras:
        values["loras"] = ", ".join(dict.fromkeys(loras))
    values["nodes"] = _names(node["class_type"] for node in nodes.values())
    return values


def _upstream_texts(nodes: dict[str, dict[str, Any]], link: Any, seen: set[str], depth: int) -> Iterator[str]:
    """Texts at the far end of a link ``[node, output]``."""
    if not (isinstance(link, list) and len(link) == 2) or depth > _FARTHEST:
        return
    number = str(link[0])
    if number in seen or number not in nodes or len(seen) > _MOST_SEEN:
        return
    seen.add(number)
    inputs = _inputs(nodes[number])
    own = [inputs[name] for name in _TEXT_INPUTS if isinstance(inputs.get(name), str) and inputs[name].strip()]
    yield from own
    if not own:
        for value in list(inputs.values())[:_MOST_NAMES]:
            yield from _upstream_texts(nodes, value, seen, depth + 1)


def _workflow(listed: list[Any]) -> Settings | None:
    """The editor's graph has values without names, so only what they are certain to be is taken."""
    nodes = [node for node in listed[:_MOST_NODES] if isinstance(node, dict) and isinstance(node.get("type"), str)]
    if not nodes:
        return None
    texts = []
    for node in nodes:
        widgets = node.get("widgets_values")
        if "TextEncode" in node["type"] and isinstance(widgets, list):
            texts += [value for value in widgets if isinstance(value, str) and value.strip()]
    values = {"texts": " | ".join(dict.fromkeys(texts)), "nodes": _names(node["type"] for node in nodes)}
    return Settings("ComfyUI", values)


def _inputs(node: dict[str, Any]) -> dict[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _names(names: Iterator[str]) -> str:
    return ", ".join(list(dict.fromkeys(names))[:_MOST_NAMES])
