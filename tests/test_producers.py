"""Files as programs of today write them: what each says of itself is read, in the carrier in which it says so."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from carriers import (
    A1111,
    AI,
    GRAPH,
    XMP,
    encoded,
    exif_block,
    user_comment,
    with_chunk,
    with_exif,
    with_segment,
    with_text,
)
from carriers import whole_provenance_of as read
from credentials import Signer

MAKE, MODEL, APERTURE = 0x010F, 0x0110, 0x829D
LABEL = json.dumps({"AIGC": {"Label": "1", "ContentProducer": "0011", "ProduceID": "1"}})
SECOND_PASSES = (
    "Hires upscale: 2, Hires steps: 15, Hires upscaler: Latent",
    "ADetailer model: face.pt, ADetailer steps: 28",
)


def declared(data: bytes, form: str = "PNG") -> dict[str, Any]:
    found = read(data, form)
    assert found["claims"] == ["generated"]
    return found["declared"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("more", SECOND_PASSES)
@pytest.mark.parametrize("negative", [True, False])
def test_steps_of_a_second_pass_begin_no_settings(more: str, negative: bool) -> None:
    text = f"{A1111}, {more}, Version: f2.0.1"
    text = text if negative else text.replace("Negative prompt: fog\n", "")
    for data, form in ((with_text({"parameters": text}), "PNG"), (with_exif("JPEG", user_comment(text)), "JPEG")):
        told = declared(data, form)
        assert (told["prompt"], told["steps"], told["seed"]) == ("a lighthouse", "20", "42")
        assert told["negative_prompt"] == ("fog" if negative else None)


@pytest.mark.parametrize("more", ["", SECOND_PASSES[0]])
def test_parameters_in_one_line(more: str) -> None:
    text = f"{A1111}, {more}".replace("\n", " ")
    told = declared(with_exif("JPEG", user_comment(text)), "JPEG")
    assert (told["prompt"], told["negative_prompt"], told["steps"]) == ("a lighthouse", "fog", "20")


@pytest.mark.parametrize("form", ["JPEG", "HEIF"])
def test_glasses_whose_maker_is_named_as_a_generator_is(form: str) -> None:
    glasses = {MAKE: "Meta AI", MODEL: "Ray-Ban Meta Smart Glasses"}
    found = read(with_exif(form, exif_block(glasses, {})), form)
    assert found["claims"] == ["captured"] and found["declared"]["generator"] is None
    attributes = " ".join(
        f'tiff:{name}="{value}"' for name, value in zip(("Make", "Model"), glasses.values(), strict=True)
    )
    assert read(encoded(xmp=XMP.format(attributes=attributes, elements="").encode()), "JPEG")["claims"] == ["captured"]
    for tags in ({MAKE: "Meta AI"}, {MAKE: "Meta AI", MODEL: "Imagine with Meta"}):
        assert read(with_exif("JPEG", exif_block(tags, {})), "JPEG")["claims"] == ["generated"]


def test_novelai_writes_its_texts_as_one_object_into_webp() -> None:
    settings = {"prompt": "a lighthouse", "uc": "fog", "steps": 28, "sampler": "k_euler", "seed": 42, "scale": 5.0}
    texts = {
        "Comment": json.dumps(settings), "Description": "a lighthouse", "Software": "NovelAI",
        "Source": "NovelAI Diffusion V4.5 4BDE2A90", "Title": "NovelAI generated image",
    }  # fmt: skip
    told = declared(with_exif("WEBP", user_comment(json.dumps(texts))), "WEBP")
    assert (told["generator"], told["model"]) == ("NovelAI", "NovelAI Diffusion V4.5 4BDE2A90")
    assert (told["prompt"], told["negative_prompt"], told["seed"]) == ("a lighthouse", "fog", "42")
    other = {**texts, "Software": "Notes", "Comment": json.dumps({"text": "a lighthouse"})}
    assert read(with_exif("WEBP", user_comment(json.dumps(other))), "WEBP")["claims"] == ["unknown"]


def test_comfyuis_animated_png_has_chunks_of_its_own() -> None:
    data = with_chunk(encoded("PNG"), b"comf", b"prompt\0" + json.dumps(GRAPH).encode())
    told = declared(data)
    assert (told["generator"], told["prompt"], told["seed"]) == ("ComfyUI", "a lighthouse", "42")
    assert read(with_chunk(encoded("PNG"), b"comf", b"a chunk of somebody else"))["claims"] == ["unknown"]


def test_chinas_label_in_a_chunk_of_its_own() -> None:
    assert read(with_chunk(encoded("PNG"), b"AIGC", LABEL.encode()))["claims"] == ["generated"]


def test_higgsfields_job() -> None:
    job = "00000000-1111-4222-8333-444444444444"
    assert declared(with_text({"hf-job-id": job}))["generator"] == "Higgsfield"
    assert read(with_text({"hf-job-id": "a note"}))["claims"] == ["unknown"]


def test_a_graph_beside_settings_is_read_for_itself() -> None:
    data = {
        "prompt": "a cat", "negativePrompt": "bad", "seed": "-1", "steps": 25, "cfgScale": 7,
        "models": [{"modelFileName": "base"}, {"modelFileName": "a lora"}], "baseModel": {"modelFileName": "base"},
    }  # fmt: skip
    told = declared(with_text({"generation_data": json.dumps(data), "prompt": json.dumps(GRAPH)}))
    assert (told["generator"], told["prompt"], told["model"]) == ("Tensor.Art", "a cat", "base")
    assert told["seed"] == "42"


def test_what_civitai_was_asked_for_beside_a_graph_that_only_scales() -> None:
    asked = {"prompt": "a lighthouse", "negativePrompt": "", "steps": 40, "sampler": "dpmpp_2m", "seed": 42}
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "width": 2048, "height": 2048}},
        "extraMetadata": json.dumps(asked),
    }
    told = declared(with_exif("JPEG", user_comment(json.dumps(graph))), "JPEG")
    assert (told["generator"], told["prompt"], told["seed"]) == ("Civitai", "a lighthouse", "42")


@pytest.mark.parametrize(
    ("texts", "generator", "model"),
    [
        ({"parameters": A1111 + ", Version: stable-diffusion.cpp"}, "stable-diffusion.cpp", "dreams"),
        ({"parameters": json.dumps({
            "Prompt": "a lighthouse", "steps": 30, "cfg": 8, "seed": 42, "base_model_name": "dreams",
            "base_model_hash": "00", "software": "RuinedFooocus"})}, "RuinedFooocus", "dreams"),
        ({"parameters": json.dumps({
            "prompt": "a lighthouse", "negative_prompt": "fog", "seed": 42, "sampler": "Euler a",
            "model": {"Model": "Animagine XL 4.0", "Model hash": "00"}})}, None, "Animagine XL 4.0"),
        ({"Source": "Luma AI", "Comment": "Generated by Luma AI's Uni-1 model"}, "Luma AI", None),
    ],
)  # fmt: skip
def test_programs_and_models_by_their_own_names(
    texts: dict[str, str], generator: str | None, model: str | None
) -> None:
    told = declared(with_text(texts))
    assert (told["generator"], told["model"]) == (generator, model)


@pytest.mark.parametrize("product", ["dreamina", "dreamina_oversea"])
def test_exports_of_bytedances_generator(product: str) -> None:
    text = json.dumps({"data": {"product": product, "exportType": "generation"}})
    assert read(with_exif("JPEG", user_comment(text)), "JPEG")["claims"] == ["generated"]


@pytest.mark.parametrize("inside", [False, True])
def test_samsungs_editor_in_heic(inside: bool) -> None:
    name, value = b"PhotoEditor_Re_Edit_Data", json.dumps({"isGenAI": "x", "genAIType": 3}).encode()
    block = b"\0\0\xa1\x0b" + struct.pack("<I", len(name)) + name + value
    head = b"SEFH" + struct.pack("<II", 106, 1) + struct.pack("<HHII", 0, 0xBA1, len(block), len(block))
    body = block + head + struct.pack("<I", len(head)) + b"SEFT"
    box = struct.pack(">I", 8 + len(body)) + b"sefd" + body
    if inside:
        box = struct.pack(">I", 40 + len(box)) + b"mpvd" + bytes(32) + box
    assert read(encoded("HEIF") + box, "HEIF")["claims"] == ["partly_generated"]
    assert read(encoded("HEIF") + box.replace(b'"genAIType": 3', b'"genAIType": 0'), "HEIF")["claims"] == ["unknown"]


@pytest.mark.parametrize("credit", ["Apple Photos Generative Edit: Clean Up", "Apple Photos Clean Up"])
def test_apples_credit(credit: str) -> None:
    line = b"\x1c\x02\x6e" + struct.pack(">H", len(credit)) + credit.encode()
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(line)) + line + bytes(len(line) % 2)
    photograph = with_exif("JPEG", exif_block({MAKE: "Apple", MODEL: "iPhone 17 Pro"}, {}))
    found = read(with_segment(photograph, 0xED, b"Photoshop 3.0\0" + resource), "JPEG")
    assert found["claims"] == ["captured", "edited"]


def changed(**nodes: dict[str, Any]) -> dict[str, Any]:
    """The graph with these nodes first."""
    return {
        **{name[1:]: node for name, node in nodes.items()},
        **{k: v for k, v in GRAPH.items() if f"n{k}" not in nodes},
    }


ENCODE = {"class_type": "CLIPTextEncode", "inputs": {"text": ["9", 0], "clip": ["4", 1]}}
ASKED = {"class_type": "GeminiNode", "inputs": {"prompt": "Describe this", "seed": 7, "model": "gemini-2.5-pro"}}
SWITCH = {"class_type": "ComfySwitchNode", "inputs": {"switch": ["10", 0], "on_false": ["11", 0], "on_true": ["12", 0]}}
GRAPHS: dict[str, tuple[dict[str, Any], str | None]] = {
    "written by a model of language, and not kept": (changed(n9=ASKED, n6=ENCODE), None),
    "written by a model of language, and shown": (
        changed(n8=ASKED, n6=ENCODE,
                n9={"class_type": "ShowText|pysssss", "inputs": {"text": ["8", 0], "text_0": "a lighthouse"}}),
        "a lighthouse"),
    "past a model of language": (
        changed(n9=SWITCH, n6=ENCODE, n10={"class_type": "PrimitiveBoolean", "inputs": {"value": False}},
                n11={"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a lighthouse"}},
                n12={"class_type": "TextGenerate", "inputs": {"prompt": "You are an expert"}}),
        "a lighthouse"),
    "out of a store of prompts": (
        changed(n6=ENCODE, n9={"class_type": "PromptStashSaver", "inputs": {"prompt_text": "a lighthouse"}}),
        "a lighthouse"),
    "scaled before it is saved": (
        changed(n9={"class_type": "ImageScale", "inputs": {"width": 2048, "height": 1024}}), "a lighthouse"),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_prompts_seeds_and_sizes_are_those_that_drew(name: str) -> None:
    graph, prompt = GRAPHS[name]
    told = declared(with_text({"prompt": json.dumps(graph)}))
    assert (told["prompt"], told["seed"], told["size"]) == (prompt, "42", "512x768")


@pytest.mark.parametrize("kind", ["GeminiImageNode", "OpenAIDalle3", "NanoBananaGemini"])
def test_a_node_that_asks_a_generator_is_no_model_of_language(kind: str) -> None:
    graph = {"1": {"class_type": kind, "inputs": {"prompt": "a lighthouse", "seed": 42}}}
    told = declared(with_text({"prompt": json.dumps(graph)}))
    assert (told["prompt"], told["seed"]) == ("a lighthouse", "42")


@pytest.mark.parametrize("source_type", [AI, None])
def test_a_disclosure_in_credentials(source_type: str | None) -> None:
    disclosure = {"label": "c2pa.ai-disclosure", "data": {"modelType": "c2pa.types.model", "modelName": "Lights 5"}}
    action = {"action": "c2pa.created"} | ({"digitalSourceType": source_type} if source_type else {})
    found = read(Signer().sign(encoded(quality=90), [action], generator="Studio", assertions=[disclosure]), "JPEG")
    assert found["claims"] == (["generated"] if source_type else ["possibly_generated"])
    assert found["declared"]["model"] == "Lights 5"
