"""What generators, cameras and platforms write, by form: each is read, and what is none of it claims nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from carriers import A1111, AI, GRAPH, WORKFLOW, XMP, encoded, exif_block, user_comment, with_exif, with_text
from carriers import whole_provenance_of as read

from nsnet_cli.provenance.programs import claim_of_label, claim_of_software
from nsnet_cli.provenance.source_types import claim_of_source_type

UUID = "00000000-1111-4222-8333-444444444444"
NOVELAI = {
    "prompt": "a lighthouse",
    "uc": "fog",
    "steps": 28,
    "sampler": "k_euler",
    "seed": 42,
    "scale": 5.0,
    "sm_dyn": False,
}


PNG_TEXTS: dict[str, dict[str, str]] = {
    "AUTOMATIC1111": {"parameters": A1111},
    "Forge": {"parameters": A1111 + ", Version: f2.0.1v1.10.1"},
    "SD.Next": {"parameters": A1111.replace(", Model: dreams", ", App: SD.Next, Version: abc, Model: dreams")},
    "Civitai": {"parameters": A1111 + ', Civitai resources: [{"modelName":"x"}], Civitai metadata: {}'},
    "ComfyUI": {"prompt": json.dumps(GRAPH), "workflow": json.dumps(WORKFLOW)},
    "ComfyUI with NaN": {"prompt": json.dumps(GRAPH).replace("7.0", "NaN"), "workflow": "{}"},
    "SwarmUI": {"parameters": json.dumps({"sui_image_params": {
        "prompt": "a lighthouse", "negativeprompt": "fog", "model": "dreams", "seed": 42, "steps": 20, "cfgscale": 7,
    }, "sui_extra_data": {"date": "2025"}})},
    "InvokeAI": {"invokeai_metadata": json.dumps({
        "app_version": "5.0", "positive_prompt": "a lighthouse", "negative_prompt": "fog", "seed": 42, "steps": 20,
        "model": {"name": "dreams", "hash": "blake3:0"}, "cfg_scale": 7, "scheduler": "euler",
    }), "invokeai_graph": "{}"},
    "InvokeAI 2": {"sd-metadata": json.dumps({
        "model_weights": "dreams", "app_id": "invoke-ai/InvokeAI",
        "image": {"prompt": [{"prompt": "a lighthouse", "weight": 1}], "seed": 42, "steps": 20, "sampler": "k_euler"},
    })},
    "InvokeAI 1": {"Dream": '"a lighthouse" -s 20 -S 42 -W 512 -H 512 -C 7.0 -A k_euler'},
    "Fooocus": {"fooocus_scheme": "fooocus", "parameters": json.dumps({
        "prompt": "a lighthouse", "negative_prompt": "fog", "base_model": "dreams", "base_model_hash": "00",
        "seed": "42", "steps": 30, "sampler": "dpmpp_2m_sde_gpu", "guidance_scale": 4, "version": "Fooocus v2.5.5",
    })},
    "Ruined Fooocus": {"parameters": json.dumps({
        "Prompt": "a lighthouse", "Negative": "fog", "steps": 30, "cfg": 8, "width": 1024, "height": 1024, "seed": 42,
        "sampler_name": "dpmpp_2m", "scheduler": "karras", "base_model_name": "dreams", "software": "RuinedFooocus",
    })},
    "NovelAI": {"Title": "NovelAI generated image", "Description": "a lighthouse", "Software": "NovelAI",
                "Source": "NovelAI Diffusion V4 37442FCA", "Comment": json.dumps(NOVELAI)},
    "Easy Diffusion": {"prompt": "a lighthouse", "seed": "42", "use_stable_diffusion_model": "dreams",
                       "sampler_name": "euler_a", "num_inference_steps": "25"},
    "Tensor.Art": {"generation_data": json.dumps({
        "prompt": "a lighthouse", "negativePrompt": "fog", "seed": "42", "steps": 20, "cfgScale": 7,
        "baseModel": {"modelFileName": "dreams"}, "samplerName": "Euler a",
    }) + "\0"},
    "Midjourney": {"Description": f"a lighthouse --ar 3:2 --v 6.0 Job ID: {UUID}", "Author": "someone"},
    "diffusers in JSON": {"Comment": json.dumps({
        "prompt": "a lighthouse", "num_inference_steps": 20, "guidance_scale": 7, "seed": 42, "model": "dreams"})},
    "a program of no list": {"ai_prompt": "a lighthouse"},
}  # fmt: skip


@pytest.mark.parametrize("name", PNG_TEXTS)
@pytest.mark.parametrize("compressed", [False, True])
def test_texts_of_generators(name: str, compressed: bool) -> None:
    found = read(with_text(PNG_TEXTS[name], compressed))
    assert found["claims"] == ["generated"]
    prompt = found["declared"]["prompt"] or ""
    assert "a lighthouse" in prompt
    if name != "Midjourney" and name != "a program of no list":
        assert found["declared"]["seed"] == "42", found["declared"]
        assert found["declared"]["generator"] or name == "diffusers in JSON"


@pytest.mark.parametrize(
    "texts",
    [
        {"Description": '{"prompt": "Describe your weekend", "model": "worksheet A", "steps": 3}'},
        {"Description": '{"sampler": "Van Veen grab", "steps": 3, "depth": 12}'},
        {"Description": '{"sampler": "Niskin bottle", "model": "A2"}'},
        {"Comment": "How to sow\nSteps: 3, Seed: basil, Size: L"},
        {"Author": "Kandinsky"},
        {"Artist": "Kandinsky 1923"},
        {"Title": "Google AI"},
    ],
    ids=str,
)
def test_words_of_other_trades_claim_nothing(texts: dict[str, str]) -> None:
    assert read(with_text(texts))["claims"] == ["unknown"]


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "a cat", "model": "flux-dev"},
        {"prompt": "a cat", "model": "midjourney"},
        {"prompt": "a cat", "seed": "random", "model": "gpt-image"},
        {"prompt": "a cat", "steps": 20, "width": 512, "height": 512},
        {"prompt": "a cat", "sampler": "sa_solver", "scheduler": "simple"},
        {"prompt": "a cat", "steps": 20, "guidance_scale": ".5"},
    ],
    ids=str,
)
def test_few_settings_are_enough_where_they_can_be_nothing_else(settings: dict[str, Any]) -> None:
    found = read(with_text({"Comment": json.dumps(settings)}))
    assert found["claims"] == ["generated"] and found["declared"]["prompt"] == "a cat"


MOCHI = "Include in Image: a lighthouse; Exclude from Image: fog; Model: dreams; Steps: 20; Guidance Scale: 7; Seed: 42"


@pytest.mark.parametrize(
    ("key", "text", "generator", "model"),
    [
        ("Description", f"{MOCHI}; Generator: Mochi Diffusion 4.0", "Mochi Diffusion 4.0", "dreams"),
        ("Description", MOCHI.replace("; ", "\n"), "Mochi Diffusion", "dreams"),
        ("Software", "stable-diffusion-xl-base-1.0", "stable-diffusion-xl-base-1.0", None),
        ("software", "ComfyUI", "ComfyUI", None),
        ("Comment", A1111.replace("\n", " "), None, "dreams"),
        ("Dream", '"a lighthouse" -s 20 -S 42 -W 512 -H 768', "InvokeAI", None),
    ],
)
def test_forms_that_are_seldom_met(key: str, text: str, generator: str | None, model: str | None) -> None:
    found = read(with_text({key: text}))
    declared = found["declared"]
    assert found["claims"] == ["generated"] and declared["model"] == model
    assert generator in (None, declared["generator"])
    if key not in ("Software", "software"):
        assert (declared["prompt"], declared["seed"], declared["steps"]) == ("a lighthouse", "42", "20")
    if key == "Dream":
        assert declared["size"] == "512x768"


def test_a_program_that_names_itself_is_known_better_than_one_that_is_guessed() -> None:
    assert read(with_text({"parameters": A1111, "Software": "Draw Things"}))["declared"]["generator"] == "Draw Things"


def test_midjourneys_version_and_novelais_source_are_the_model() -> None:
    text = "a lighthouse --ar 3:2 --v 5.2 Job ID: 1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    assert read(with_text({"Description": text}))["declared"]["model"] == "Midjourney 5.2"
    texts = {
        "Software": "NovelAI",
        "Source": "NovelAI Diffusion V4",
        "Comment": json.dumps(NOVELAI),
        "Description": "x",
    }
    assert read(with_text(texts))["declared"]["model"] == "NovelAI Diffusion V4"


def test_the_two_hundred_and_first_text_is_read() -> None:
    texts = {f"note {k}": "nothing" for k in range(300)}
    assert read(with_text({**texts, "parameters": A1111}))["claims"] == ["generated"]


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize(
    "tags",
    [
        {0x010F: "workflow:" + json.dumps(WORKFLOW), 0x0110: "prompt:" + json.dumps(GRAPH)},
        {0x010E: "Workflow: " + json.dumps(WORKFLOW), 0x010F: "Prompt: " + json.dumps(GRAPH)},
        {0x0110: json.dumps(GRAPH)},
        {0x010E: A1111},
        {0x0131: "Stable Diffusion XL"},
        {0x010F: "Ideogram AI"},
        {0x010E: "Signature: " + "QUJD" * 40, 0x013B: UUID},
        {0x0131: "Reve.com"},
        {0x010E: json.dumps({"AIGC": {"Label": "1", "ContentProducer": "P", "ProduceID": "7"}})},
        {0x010E: json.dumps({"AIGC": {"ServiceProvider": "腾讯云", "ServiceUser": "1", "Time": "2"}})},
        {0x010E: json.dumps({"data": {"product": "dreamina", "exportType": "generation", "pictureId": "0"}})},
    ],
)
def test_exif_of_generators(form: str, tags: dict[int, str]) -> None:
    found = read(with_exif(form, exif_block(tags, {})), form)
    assert found["claims"] == ["generated"], found["findings"]


@pytest.mark.parametrize(
    "comment",
    [
        json.dumps({"prompt": GRAPH, "workflow": WORKFLOW}),
        json.dumps({"sui_image_params": {"prompt": "x", "seed": 1}}),
        json.dumps({"AIGC": {"Label": 1, "ContentProducer": "P"}}),
        '{"AIGC":"{\\"Label\\":\\"1\\",\\"ContentProducer\\":\\"P\\"}"}',
        json.dumps({"aigc_info": {"aigc_label_type": 1, "source_info": "doubao"}}),
        json.dumps({"c": "x", "uc": "y", "steps": 8, "sampler": "Euler A", "seed": 1, "scale": 5, "model": "m"}),
        A1111,
    ],
)
def test_user_comments_of_generators(comment: str) -> None:
    assert read(with_exif("JPEG", user_comment(comment)), "JPEG")["claims"] == ["generated"]


@pytest.mark.parametrize(
    ("label", "claim"),
    [("1", "generated"), ("2", "possibly_generated"), ("3", "possibly_generated"), ("9", "possibly_generated")],
)
def test_labels_of_gb_45438_in_every_place(label: str, claim: str) -> None:
    text = json.dumps({"Label": label, "ContentProducer": "P0001", "ProduceID": "7", "ReservedCode1": ""})
    quoted = text.replace('"', "&quot;")
    for packet in (
        XMP.format(attributes=f'TC260:AIGC="{quoted}"', elements=""),
        XMP.format(attributes="", elements=f"<TC260:AIGC>{quoted}</TC260:AIGC>"),
        XMP.format(attributes="", elements=f"<TC260:AIGC><rdf:Alt><rdf:li>{quoted}</rdf:li></rdf:Alt></TC260:AIGC>"),
    ):
        found = read(encoded(xmp=packet.encode()), "JPEG")
        assert found["claims"] == [claim] and "P0001" in json.dumps(found)
    for data, form in (
        (with_text({"AIGC": text}), "PNG"),
        (with_text({"AIGC": json.dumps({"AIGC": json.loads(text)})}, True), "PNG"),
        (with_text({"Comment": json.dumps({"AIGC": json.loads(text)})}), "PNG"),
        (with_exif("JPEG", user_comment('{"AIGC":' + text + "}")), "JPEG"),
        (with_exif("WEBP", exif_block({0x010E: '{"AIGC":' + text + "}"}, {})), "WEBP"),
    ):
        found = read(data, form)
        assert found["claims"] == [claim] and "P0001" in json.dumps(found)


def test_something_else_of_that_name_is_no_label() -> None:
    found = read(with_text({"Comment": json.dumps({"AIGC": {"members": 3}})}))
    assert found["claims"] == ["unknown"]
    assert read(with_text({"Title": "AIGC {conference}"}))["claims"] == ["unknown"]


@pytest.mark.parametrize(
    ("attributes", "elements", "claims"),
    [
        ('photoshop:Credit="Made with Google AI"', "", ["generated"]),
        ('photoshop:Credit="Edited with Google AI"', "", ["edited"]),
        ('photoshop:Credit="Midjourney"', "", ["generated"]),
        ('photoshop:Credit="Leonardo Rossi/Getty"', "", ["unknown"]),
        ('xmp:CreatorTool="Adobe_Firefly"', "", ["generated"]),
        ('xmp:CreatorTool="Captura de Imagen"', "", ["unknown"]),
        ('xmp:CreatorTool="Draw Things"', "", ["generated"]),
        ('Iptc4xmpExt:DigitalSourcefileType="digsrctype:trainedAlgorithmicMedia"', "", ["generated"]),
        ("", "<Iptc4xmpExt:AISystemUsed>Some model</Iptc4xmpExt:AISystemUsed>", ["generated"]),
        ("", "<dc:description><rdf:Alt><rdf:li>Protest against AI-generated images</rdf:li></rdf:Alt></dc:description>",
         ["unknown"]),
        ("", "<dc:description><rdf:Alt><rdf:li>AI generated image</rdf:li></rdf:Alt></dc:description>", ["generated"]),
        ("", "<xmpMM:History><rdf:Seq><rdf:li stEvt:softwareAgent='Adobe Photoshop 26.0'/></rdf:Seq></xmpMM:History>",
         ["edited"]),
        ("", f"<xmpMM:Pantry><rdf:Bag><rdf:li Iptc4xmpExt:DigitalSourceType='{AI}'/></rdf:Bag></xmpMM:Pantry>",
         ["partly_generated"]),
        ('tiff:Model="Camera 5"', "", ["captured"]),
        ('tiff:Model="{&quot;3&quot;: 1}"', "", ["unknown"]),
        ("", '<exif:UserComment><rdf:Alt><rdf:li>{"c":"x","uc":"y","steps":8,"sampler":"E","seed":1}</rdf:li></rdf:Alt>'
         "</exif:UserComment>", ["generated"]),
    ],
)  # fmt: skip
def test_xmp_of_programs_and_captions(attributes: str, elements: str, claims: list[str]) -> None:
    packet = XMP.format(attributes=attributes, elements=elements)
    assert read(encoded(xmp=packet.encode()), "JPEG")["claims"] == claims


@pytest.mark.parametrize(
    ("tags", "inner", "claims"),
    [
        ({0x0110: "Canon EOS R5", 0x010E: "Protest against AI-generated images, Berlin"}, {}, ["captured"]),
        ({0x0110: "Canon EOS R5", 0x010E: "Midjourney, Utah, at the mine's entrance"}, {}, ["captured"]),
        ({0x0110: "iPhone 16 Pro", 0x0131: "18.2"}, {}, ["captured"]),
        ({0x0110: "SM-S938B", 0x0131: "S938BXXU1AYA1"}, {}, ["captured"]),
        ({0x0110: "Unknown"}, {}, ["unknown"]),
        ({0x0110: "{\"a\": 1}"}, {}, ["unknown"]),
        ({0x010F: "Canon", 0x0110: ""}, {}, ["unknown"]),
        ({0x013B: "Leonardo Rossi", 0x8298: "Gemini Photo Agency"}, {}, ["unknown"]),
        ({0x0131: "Captura de Imagen"}, {}, ["unknown"]),
        ({0x0131: "Runway Viewer for airports"}, {}, ["unknown"]),
        ({0x0131: "Google Imagen 3"}, {}, ["generated"]),
        ({0x0131: "gpt-image-1"}, {}, ["generated"]),
        ({0x010E: "Signature: of the artist, lower left", 0x013B: "somebody"}, {}, ["unknown"]),
        ({0x010E: "Steps: 12000, Size: L, Model: the red one"}, {}, ["unknown"]),
        ({0x010E: f"The minister in Paris. Job ID: {UUID}", 0x0110: "Canon EOS R5"}, {}, ["captured"]),
        ({0x0131: "https://huggingface.co/spaces/someone/something"}, {}, ["possibly_generated"]),
    ],
)  # fmt: skip
def test_what_is_said_and_no_more(tags: dict[int, str], inner: dict[int, str], claims: list[str]) -> None:
    assert read(with_exif("JPEG", exif_block(tags, inner)), "JPEG")["claims"] == claims


def test_a_position_of_zeros_is_none() -> None:
    from PIL import Image

    for degrees, given in (((0.0, 0.0, 0.0), False), ((51.0, 28.0, 38.0), True)):
        exif = Image.Exif()
        gps = exif.get_ifd(0x8825)
        gps[1], gps[2], gps[3], gps[4] = "N", degrees, "E", degrees
        found = read(encoded(exif=exif), "JPEG")
        assert any(f["where"] == "GPSInfo" for f in found["findings"]) == given


def test_lists_of_settings() -> None:
    one = {"prompt": "a lighthouse", "seed": 42, "sampler_name": "euler"}
    assert read(with_text({"Comment": json.dumps([one, one])}))["declared"]["prompt"] == "a lighthouse"


def test_what_is_not_understood_is_shown_and_cut() -> None:
    found = read(with_text({"parameters": "something that nobody knows " * 200}))
    assert found["claims"] == ["generated"]
    assert found["findings"][0]["value"].startswith("something") and len(found["findings"][0]["value"]) <= 1_001
    assert read(with_text({"hf-space-id": UUID}))["claims"] == ["possibly_generated"]
    found = read(with_text({"Comment": "a walk by the sea"}))
    assert found["claims"] == ["unknown"] and found["findings"][0]["value"] == "a walk by the sea"


def test_simulations_and_maps_are_no_generators() -> None:
    for texts in (
        {"model": "climate v3", "seed": "7", "steps": "1000"},
        {"scale": "1:50000", "size": "A4", "model": "DTM"},
        {"Comment": json.dumps({"model": "D5", "seed": 1, "scale": 2})},
    ):
        assert read(with_text(texts))["claims"] == ["unknown"]


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("Adobe_Firefly", "generated"), ("Adobe Firefly Image 3", "generated"),
        ("Microsoft_Responsible_AI/1.0", "generated"),
        ("OpenAI-API", "generated"), ("ChatGPT", "generated"), ("FLUX.1-dev", "generated"),
        ("Gemini 2.5 Flash Image", "generated"),
        ("Imagen 4", "generated"), ("Google Imagen", "generated"), ("Image Playground", "generated"),
        ("即梦AI", "generated"),
        ("Adobe Photoshop 26.1 (Windows)", "edited"), ("Google", "none"),
        ("Google C2PA Core Generator Library", "none"),
        ("Imagenomic Portraiture", "none"), ("Captura de Imagen", "none"), ("Leonardo da Vinci Scanner", "none"),
        ("HDR+ 1.0.345618096zd", "none"), ("Sora no Otoshimono viewer", "none"), ("Influx", "none"),
        ("Nikon Z 6_3 Ver.01.00", "none"),
    ],
)  # fmt: skip
def test_names_of_programs(name: str, claim: str) -> None:
    assert claim_of_software(name) == claim


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("Made with Google AI", "generated"), ("AI-generated", "generated"), ("Imagined with AI", "generated"),
        ("This image was generated with AI.", "generated"), ("Created by Adobe Firefly", "generated"),
        ("AI生成", "generated"),
        ("Edited with Galaxy AI", "edited"), ("Apple Photos Clean Up", "edited"), ("Modified with Clean Up", "edited"),
        ("Protest against AI-generated images, Berlin", "none"), ("Photo: made by Ai Weiwei", "none"),
        ("Made with love", "none"), ("A lecture: made with AI and sold as art", "none"), ("Not AI-generated", "none"),
    ],
)  # fmt: skip
def test_labels(text: str, claim: str) -> None:
    assert claim_of_label(text) == claim


def test_the_whole_vocabulary_of_source_types() -> None:
    names = (
        "trainedAlgorithmicMedia algorithmicMedia compositeWithTrainedAlgorithmicMedia compositeSynthetic print "
        "digitalCapture computationalCapture multiFrameComputationalCapture negativeFilm positiveFilm humanEdits "
        "minorHumanEdits algorithmicallyEnhanced composite compositeCapture digitalCreation digitalArt softwareImage "
        "dataDrivenMedia screenCapture virtualRecording"
    )
    for name in names.split(" "):
        address = f"http://cv.iptc.org/newscodes/digitalsourcetype/{name}"
        claims = {claim_of_source_type(value) for value in (name, address, address + "/", f"digsrctype:{name}")}
        assert len(claims) == 1 and claims != {"none"}, name
    assert claim_of_source_type("http://example.org/made-up") == "none"
