"""Graphs of ComfyUI and of others: what was asked for, what drew, and what is no graph of theirs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from carriers import A1111, GRAPH, WORKFLOW, XMP, exif_block, user_comment, with_chunk, with_exif, with_text
from carriers import whole_provenance_of as read


def test_settings_of_a_graph_are_those_of_its_sampler() -> None:
    declared = read(with_text({"prompt": json.dumps(GRAPH)}))["declared"]
    assert (declared["prompt"], declared["negative_prompt"]) == ("a lighthouse", "fog")
    assert (declared["model"], declared["size"], declared["sampler"]) == ("dreams.safetensors", "512x768", "euler")


def changed(**nodes: dict[str, Any] | None) -> dict[str, Any]:
    """The graph with other nodes: ``n6`` in the place of node 6, None for none."""
    found = {**GRAPH, **{name[1:]: node for name, node in nodes.items()}}
    return {name: node for name, node in found.items() if node is not None}


def linked(**inputs: Any) -> dict[str, Any]:
    """The sampler with other inputs."""
    return {"class_type": "KSampler", "inputs": {**GRAPH["3"]["inputs"], **inputs}}  # type: ignore[dict-item]


CONTROL = {
    "class_type": "ControlNetApplyAdvanced",
    "inputs": {"positive": ["6", 0], "negative": ["7", 0], "control_net": ["10", 0], "image": ["11", 0]},
}
LOADER = {
    "class_type": "Efficient Loader",
    "inputs": {"ckpt_name": "dreams.safetensors", "positive": "a lighthouse", "negative": "fog"},
}
GRAPHS: dict[str, tuple[dict[str, Any], str | None, str | None]] = {
    "a text in a node of its own, under another spelling": (
        changed(
            n6={"class_type": "CLIPTextEncode", "inputs": {"text": ["9", 0], "clip": ["4", 1]}},
            n9={"class_type": "Text box", "inputs": {"Text": "a lighthouse"}},
        ), "a lighthouse", "fog"),
    "nothing was asked for, so what was not is no prompt": (
        changed(n6={"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}}), None, "fog"),
    "both sides through one node": (
        changed(n3=linked(positive=["8", 0], negative=["8", 1]), n8=CONTROL), "a lighthouse", "fog"),
    "both sides in one loader": (
        changed(n3=linked(positive=["8", 1], negative=["8", 2], model=["8", 0]), n8=LOADER, n6=None, n7=None),
        "a lighthouse", "fog"),
    "both sides of one loader, one at the end of a link": (
        changed(n3=linked(positive=["8", 1], negative=["8", 2], model=["8", 0]), n7=None,
                n8={"class_type": "Efficient Loader", "inputs": {"positive": ["6", 0], "negative": "fog"}}),
        "a lighthouse", "fog"),
    "a condition of nothing": (
        changed(n3=linked(negative=["8", 0]), n7=None,
                n8={"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}}), "a lighthouse", None),
    "a second sampler behind the first one's picture": (
        changed(n3=linked(latent_image=["9", 0]), n9=linked(positive=["12", 0]),
                n12={"class_type": "CLIPTextEncode", "inputs": {"text": "a draft", "clip": ["4", 1]}}),
        "a lighthouse", "fog"),
    "guided by one condition": (
        changed(n3={"class_type": "SamplerCustomAdvanced", "inputs": {"guider": ["8", 0], "noise": ["9", 0]}},
                n8={"class_type": "BasicGuider", "inputs": {"conditioning": ["13", 0], "model": ["4", 0]}},
                n9={"class_type": "RandomNoise", "inputs": {"noise_seed": 42}},
                n13={"class_type": "FluxGuidance", "inputs": {"conditioning": ["6", 0], "guidance": 3.5}}, n7=None),
        "a lighthouse", None),
    "a node that asks somebody else's generator": (
        {"1": {"class_type": "OpenAIGPTImage1", "inputs": {"prompt": "a lighthouse", "seed": 42}}},
        "a lighthouse", None),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_what_was_asked_for_and_what_was_not_are_kept_apart(name: str) -> None:
    graph, prompt, negative = GRAPHS[name]
    found = read(with_text({"prompt": json.dumps(graph)}))
    assert found["claims"] == ["generated"]
    assert (found["declared"]["prompt"], found["declared"]["negative_prompt"]) == (prompt, negative)


def test_the_model_is_what_drew_and_not_what_changed() -> None:
    graph = changed(
        n3=linked(model=["20", 0]),
        n20={"class_type": "LoraLoader", "inputs": {"lora_name": "light.safetensors", "model": ["21", 0]}},
        n21={"class_type": "IPAdapterModelLoader", "inputs": {"model": ["4", 0], "model_name": "ip.bin"}},
        n30={"class_type": "UpscaleModelLoader", "inputs": {"model_name": "4x.pth"}},
        n31={"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "unused.safetensors"}},
    )
    assert read(with_text({"prompt": json.dumps(graph)}))["declared"]["model"] == "dreams.safetensors"


def test_a_large_graph_is_read_whole_and_what_is_none_is_no_prompt() -> None:
    graph = changed(n40={"class_type": "LoadImageBase64", "inputs": {"data": "A" * 5_000_000}})
    declared = read(with_text({"prompt": json.dumps(graph)}, compressed=True))["declared"]
    assert (declared["prompt"], declared["seed"]) == ("a lighthouse", "42")
    found = read(with_text({"prompt": json.dumps(GRAPH)[:-3]}))
    assert found["claims"] == ["generated"] and found["declared"]["prompt"] is None


def test_an_editors_graph_alone_is_no_proof() -> None:
    """A picture of the editor carries it, too."""
    subgraph = {"nodes": [{"id": 1, "type": "x"}], "last_node_id": 1, "definitions": {"subgraphs": [WORKFLOW]}}
    for graph in (WORKFLOW, subgraph):
        alone = read(with_text({"workflow": json.dumps(graph)}))
        assert alone["claims"] == ["possibly_generated"] and alone["declared"]["generator"] == "ComfyUI"
        assert any(f["where"] == "texts" and f["value"] == "a lighthouse" for f in alone["findings"])
    for ran in ({"prompt": json.dumps(GRAPH)}, {"parameters": A1111}):
        assert read(with_text({**ran, "workflow": json.dumps(WORKFLOW)}))["claims"] == ["generated"]


def test_other_programs_nodes_are_not_comfyuis() -> None:
    chart = {"nodes": [{"id": "a", "type": "input", "data": {}, "position": {"x": 0}}], "edges": []}
    assert read(with_text({"Description": json.dumps(chart)}))["claims"] == ["unknown"]
    inner = {"prompt": {"value": "a lighthouse"}, "model": {"value": {"name": "dreams"}}}
    invoke = {"nodes": [{"id": "1", "type": "invocation", "data": {"type": "l2i", "inputs": inner}}], "edges": []}
    found = read(with_text({"invokeai_workflow": json.dumps(invoke)}))
    assert (found["declared"]["generator"], found["declared"]["model"]) == ("InvokeAI", "dreams")


def test_a_graph_of_circles_ends() -> None:
    circle = {str(k): {"class_type": "KSampler", "inputs": {"positive": [str((k + 1) % 50), 0]}} for k in range(50)}
    assert read(with_text({"prompt": json.dumps(circle)}))["claims"] == ["generated"]


@pytest.mark.parametrize("cut_at", [40, 120, 300])
def test_a_graph_that_is_cut_off_is_still_one(cut_at: int) -> None:
    cut_off = json.dumps(GRAPH)[:cut_at]
    for data, form in (
        (with_text({"prompt": cut_off}), "PNG"),
        (with_exif("WEBP", exif_block({0x0110: "prompt:" + cut_off}, {})), "WEBP"),
        (with_exif("JPEG", user_comment(cut_off)), "JPEG"),
    ):
        found = read(data, form)
        assert found["claims"] == ["generated"] and cut_off[:30] in json.dumps(found).replace("\\", "")


@pytest.mark.parametrize(
    "node",
    [
        {"class_type": "GroundingDinoSAMSegment (segment anything)", "inputs": {"image": ["1", 0], "prompt": "dog"}},
        {"class_type": "FilmGrain", "inputs": {"image": ["1", 0], "seed": 7}},
    ],
)
def test_a_graph_that_looks_or_lays_grain_generates_nothing(node: dict[str, Any]) -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.jpg"}},
        "2": node,
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
    }
    found = read(with_text({"prompt": json.dumps(graph)}))
    assert found["claims"] == ["possibly_generated"] and found["declared"]["prompt"] is None


def test_an_editors_graph_beside_settings_leaves_what_else_the_packet_says() -> None:
    inner = json.dumps(WORKFLOW).replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    packet = XMP.format(
        attributes='xmp:CreatorTool="Adobe Photoshop 26.0" tiff:Make="Canon" tiff:Model="Canon EOS R5" '
        f'exif:UserComment="{inner}"',
        elements="",
    ).encode()
    data = with_chunk(with_text({"parameters": A1111}), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    found = read(data)
    assert {"generated", "captured", "edited"} <= set(found["claims"]) and found["contradictions"]
    assert found["declared"]["model"] != "Canon EOS R5"


def test_a_linked_seed_is_that_of_the_node_it_leads_to() -> None:
    wildcards = {"class_type": "ImpactWildcardProcessor", "inputs": {"seed": 5, "wildcard_text": "a __x__"}}
    seed = {"class_type": "PrimitiveInt", "inputs": {"value": 777}}
    graph = changed(n1=wildcards, n3=linked(seed=["9", 0]), n9=seed)
    assert read(with_text({"prompt": json.dumps(graph)}))["declared"]["seed"] == "777"
    graph = changed(n1=wildcards, n3=linked(seed=["99", 0]))  # which nobody can tell
    assert read(with_text({"prompt": json.dumps(graph)}))["declared"]["seed"] is None


def test_a_model_that_draws_nothing_is_not_declared() -> None:
    unused = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "unused.safetensors"}}
    loader = {"class_type": "NunchakuFluxDiTLoader", "inputs": {"model_path": "svdq-flux.1-dev"}}
    graph = changed(n3=linked(model=["20", 0]), n20=loader, n21=unused)
    assert read(with_text({"prompt": json.dumps(graph)}))["declared"]["model"] == "svdq-flux.1-dev"
    strange = {"class_type": "LoaderOfTomorrow", "inputs": {"weights": "w"}}
    graph = changed(n3=linked(model=["20", 0]), n20=strange, n21=unused)
    del graph["4"]
    assert read(with_text({"prompt": json.dumps(graph)}))["declared"]["model"] is None


def test_a_template_with_wildcards_is_what_became_of_it() -> None:
    wildcards = {
        "class_type": "ImpactWildcardEncode",
        "inputs": {"wildcard_text": "a __animal__", "populated_text": "a cat", "clip": ["4", 1]},
    }
    graph = changed(n6=wildcards)
    assert read(with_text({"prompt": json.dumps(graph)}))["declared"]["prompt"] == "a cat"


def test_whoever_draws_with_comfyui_is_named_first() -> None:
    swarm = json.dumps({"sui_image_params": {"prompt": "a lighthouse", "seed": 3, "steps": 20, "model": "dreams"}})
    found = read(with_text({"prompt": json.dumps(GRAPH), "parameters": swarm}))
    assert found["declared"]["generator"] == "SwarmUI"
    civitai = {**GRAPH, "extraMetadata": json.dumps({"prompt": "a lighthouse", "seed": 3, "steps": 20})}
    assert read(with_text({"prompt": json.dumps(civitai)}))["declared"]["generator"] == "Civitai"
