"""Which words in EXIF, XMP, IPTC and texts are claims, and which only look like some."""

from __future__ import annotations

import io
import json
import struct
import zlib

import pytest
from carriers import (
    A1111,
    AI,
    XMP,
    XMP_AI,
    encoded,
    exif_block,
    provenance_of,
    user_comment,
    with_chunk,
    with_exif,
    with_segment,
    with_text,
)
from carriers import whole_provenance_of as read
from PIL import Image, TiffImagePlugin

CAPTION, MAKE, MODEL, SOFTWARE, ARTIST, COMMENT = 0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x9286


def jpeg(tags: dict[int, str], comment: str = "") -> bytes:
    inner = {COMMENT: b"ASCII\0\0\0" + comment.encode()} if comment else {}
    return with_exif("JPEG", exif_block(tags, inner))


def packet(attributes: str = "", elements: str = "") -> bytes:
    return encoded(xmp=XMP.format(attributes=attributes, elements=elements).encode())


@pytest.mark.parametrize(("make", "model"), [("HiDream-ai", "full"), ("Black Forest Labs", "flux-dev"), ("", "")])
def test_a_program_that_says_generated_in_place_of_its_name(make: str, model: str) -> None:
    told = {SOFTWARE: "AI generated;txt2img;hidream", MAKE: make, MODEL: model}
    found = read(jpeg({number: text for number, text in told.items() if text}), "JPEG")
    assert found["claims"] == ["generated"] and found["declared"]["model"] == (model or None)


def test_exif_that_stands_there_twice_is_read_twice() -> None:
    camera = exif_block({MAKE: "Canon", MODEL: "EOS R5"}, {COMMENT: b"ASCII\0\0\0hello"})
    second = user_comment(A1111)
    for data, form in (
        (with_segment(with_exif("JPEG", second), 0xE1, b"Exif\0\0" + camera), "JPEG"),
        (with_chunk(with_exif("PNG", second), b"eXIf", camera), "PNG"),
    ):
        found = read(data, form)
        assert found["claims"] == ["captured", "generated"] and found["contradictions"]
    twice = exif_block({COMMENT: b"ASCII\0\0\0hello"}, {COMMENT: b"ASCII\0\0\0" + A1111.encode()})
    assert read(with_exif("JPEG", twice), "JPEG")["claims"] == ["generated"]


def test_many_tags_of_one_number_are_read_in_a_moment() -> None:
    block = bytearray(b"MM\0*\0\0\0\x08" + struct.pack(">H", 1_500))
    for k in range(1_500):
        block += struct.pack(">HHI", CAPTION, 2, 4) + f"{k:03d}".encode()[:3] + b"\0"
    found = provenance_of(with_exif("JPEG", bytes(block)))
    assert found["claims"] in (["unknown"], ["not_read"]) and len(found["findings"]) < 30


@pytest.mark.parametrize(
    "said",
    ["No AI system used", "AI was not used", "N.A.", "无", "No prompt was used", "None used", "Keine", "Aucun", "なし",
     "Not AI-generated", "None (photograph)", "Generative AI was never used.", "none - original photo", "AI-free",
     "No AI was used in the creation of this image", "Without AI", "Keine KI verwendet", "Aucune IA utilisée",
     "生成AI不使用", "Human", "No AI-generated content"],
)  # fmt: skip
def test_fields_that_must_be_filled_and_deny(said: str) -> None:
    data = packet(f'Iptc4xmpExt:AISystemUsed="{said}" Iptc4xmpExt:AIPromptInformation="{said}"')
    assert read(data, "JPEG")["claims"] == ["unknown"]
    assert read(with_text({"AI Prompt": said}, international=True))["claims"] == ["unknown"]


@pytest.mark.parametrize(
    "said",
    [
        "Midjourney",
        "No. 5 Diffusion",
        "a lighthouse, not used",
        "Nonesuch 2",
        "NovelAI",
        "No-Name Diffusion",
        "AI",
        "None of it is real: AI made it",
        "not a photo, AI generated",
        "Nothing Phone AI",
    ],
)
def test_fields_that_only_begin_like_a_denial_claim(said: str) -> None:
    assert read(packet(f'Iptc4xmpExt:AISystemUsed="{said}"'), "JPEG")["claims"] == ["generated"]


@pytest.mark.parametrize(
    "caption",
    [
        "Panel on GenAI: 3 experts discuss copyright, Berlin",
        'Prompt: "Blue hour" - photo challenge, week 12',
        "Parameters: [ISO 100, f/8, 1/250 s]",
        'Parameters: {"HV": "15 kV", "WD": "9.8 mm"}',
        "Workflow: [RAW > Lightroom > Photoshop]",
        '{"sampler_name": "J. Ortiz", "station": 12}',
        '{"prompt": "Describe the plot", "model": "gpt-4o", "temperature": 0}',
        '{"prompt": "Press the space bar", "seed": 7}',
        "Steps: 4, Sampler: Niskin bottle, Depth: 200 m",
        "Steps: 12, Sampler: automatic ISCO 6712",
        "Steps: 1000, Seed: 12345",
        '{"sampler": "K. Edmunds", "model": "6712", "steps": 4}',
        '{"sampler": "Euler-Maruyama sde", "steps": 1000, "seed": 3}',
        '{"cfg": 0.9, "steps": 1000, "model": "k-omega SST 2003"}',
        '{"prompt": "Press the space bar", "seed": 7, "size": "large"}',
        '{"prompt": "Write alt text", "model": "llava-1.5-7b", "response": "A dog"}',
        '{"class_type": "vehicle", "bbox": [1, 2, 3, 4]}',
    ],
)
def test_captions_and_objects_of_other_trades(caption: str) -> None:
    tags = {MAKE: "Canon", MODEL: "EOS R5"}
    for data in (jpeg({**tags, CAPTION: caption}), jpeg(tags, caption)):
        found = read(data, "JPEG")
        assert found["claims"] == ["captured"] and found["contradictions"] == []


@pytest.mark.parametrize(
    "text",
    [
        'a lighthouse\nSeed: 1, Size: 1024x1024, Civitai resources: [{"type": "checkpoint"}]',
        "a lighthouse\nNegative prompt: fog\nSampler: Euler a, CFG scale: 7, Seed: 1",
    ],
)
def test_settings_without_steps(text: str) -> None:
    found = read(jpeg({}, text), "JPEG")
    assert found["claims"] == ["generated"] and found["declared"]["prompt"] == "a lighthouse"
    assert found["declared"]["seed"] == "1"


@pytest.mark.parametrize(
    "line",
    [
        "Steps: 20, Sampler: Kohaku_LoNyu_Yog, Size: 512x512, Model: x",
        "Steps: 20, Sampler: [Forge] Flux Realistic, Size: 896x1152, Model: flux",
        "Steps: 8, Sampler: Ralston, Clip skip: 2",
        'Steps: 8, Sampler: ttm, Lora hashes: "a: 1234"',
        "Negative prompt: fog\nSteps: 8, Sampler: Midpoint",
    ],
)
def test_settings_of_samplers_that_are_seldom_met(line: str) -> None:
    found = read(jpeg({}, f"a lighthouse\n{line}"), "JPEG")
    assert found["claims"] == ["generated"] and found["declared"]["prompt"] == "a lighthouse"


@pytest.mark.parametrize(
    "told",
    [
        {"model": "gemini-2.5-flash-image", "temperature": 1},
        {"model": "gpt-image-1", "messages": []},
        {"seed": 1, "image_size": "square_hd"},
        {"seed": 1, "aspect_ratio": "16:9", "style_preset": "anime"},
        {"num_inference_steps": 4},
        {"steps": 4, "seed": 7},
        {"mflux_version": "0.9.0", "model": "dev", "seed": 1, "steps": 20, "guidance": 3.5},
        {"model": "V_2", "magic_prompt_option": "AUTO"},
        {"seed": 1, "width": 512, "height": 512},
    ],
)
def test_what_services_are_asked(told: dict[str, object]) -> None:
    found = read(jpeg({}, json.dumps({"prompt": "a lighthouse", **told})), "JPEG")
    assert found["claims"] == ["generated"] and found["declared"]["prompt"] == "a lighthouse"


@pytest.mark.parametrize("text", ["Size: L\nSeed: of a maple", "Sampler: Niskin bottle", "Size: 12x9, Seed: wheat"])
def test_lines_of_other_things_are_no_settings(text: str) -> None:
    assert read(jpeg({}, f"found on a walk\n{text}"), "JPEG")["claims"] == ["unknown"]


@pytest.mark.parametrize(
    ("tags", "claims"),
    [
        ({MAKE: "DxO", MODEL: "DxO ONE"}, ["captured"]),
        ({MODEL: "<KENOX D5  / Digimax D5>"}, ["captured"]),
        ({MODEL: "<unknown>"}, ["unknown"]),
        ({MODEL: "Photoshop"}, ["unknown"]),
        ({MAKE: "Firefly", MODEL: "DE400"}, ["captured"]),
        ({MAKE: "Google", MODEL: "Gemini 2.5 Flash Image"}, ["generated"]),
        ({MAKE: "fal.ai", MODEL: "flux-pro"}, ["generated"]),
        ({MAKE: "Runway", MODEL: "Gen-4"}, ["generated"]),
    ],
)
def test_names_of_cameras(tags: dict[int, str], claims: list[str]) -> None:
    assert read(jpeg(tags), "JPEG")["claims"] == claims


@pytest.mark.parametrize(
    ("elements", "claims"),
    [
        ("<tiff:Model>EOS R5</tiff:Model>", ["captured"]),
        ("<tiff:Model>Gemini Pro</tiff:Model>", ["unknown"]),
        ("<tiff:Make>Midjourney</tiff:Make>", ["generated"]),
        ("<tiff:Make>Leonardo</tiff:Make><tiff:Model>DRS 4</tiff:Model>", ["captured"]),
        ('<ai:model xmlns:ai="http://ai.example/">Midjourney v6</ai:model>', ["generated"]),
        ('<shop:Model xmlns:shop="http://shop.example/">Billy bookcase 80x202</shop:Model>', ["unknown"]),
    ],
)
def test_only_the_namespaces_of_cameras_name_one(elements: str, claims: list[str]) -> None:
    assert read(packet(elements=elements), "JPEG")["claims"] == claims


def test_a_region_with_a_source_type_of_its_own_is_a_part() -> None:
    region = (
        "<Iptc4xmpExt:ImageRegion><rdf:Bag><rdf:li rdf:parseType='Resource'>"
        f"<Iptc4xmpExt:DigitalSourceType>{AI}</Iptc4xmpExt:DigitalSourceType></rdf:li></rdf:Bag></Iptc4xmpExt:ImageRegion>"
    )
    whole = AI.replace("trainedAlgorithmicMedia", "digitalCapture")
    found = read(packet(f'Iptc4xmpExt:DigitalSourceType="{whole}"', region), "JPEG")
    assert found["claims"] == ["captured", "partly_generated"] and found["contradictions"] == []
    assert found["declared"]["source_type"] == "digitalCapture"


@pytest.mark.parametrize(
    ("said", "remote"),
    [
        ("https://credentials.example/a.c2pa", True),
        ("Bought 1923 from Galerie Thannhauser; see https://museum.example/prov/12", False),
    ],
)
def test_a_paintings_provenance_is_no_address_of_credentials(said: str, remote: bool) -> None:
    data = packet(elements=f'<t:provenance xmlns:t="http://purl.org/dc/terms/">{said}</t:provenance>')
    assert (provenance_of(data)["c2pa"] is not None) == remote
    other = packet(elements=f'<t:provenance xmlns:t="http://museum.example/">{said}</t:provenance>')
    assert provenance_of(other)["c2pa"] is None


@pytest.mark.parametrize(
    ("credit", "generated"),
    [("Google AI", False), ("Stability AI", False), ("Midjourney", True), ("Google Gemini", True)],
)
def test_a_company_has_photographers_too(credit: str, generated: bool) -> None:
    found = read(jpeg({MAKE: "Canon", MODEL: "EOS R5", ARTIST: credit}), "JPEG")
    assert ("generated" in found["claims"]) == generated


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_what_stands_before_the_end_of_a_text_that_is_cut_off(kind: bytes) -> None:
    body = zlib.compress(A1111.encode())[:-6]
    head = b"parameters\0\0" if kind == b"zTXt" else b"parameters\0\1\0\0\0"
    found = provenance_of(with_chunk(encoded("PNG"), kind, head + body), "PNG")
    assert found["claims"] == ["generated"] and found["declared"]["prompt"] == "a lighthouse"
    assert found["state"] == "not_read" and "cut off" in found["errors"][0]["message"]


def test_a_comment_that_says_that_it_is_longer_than_its_block() -> None:
    block = user_comment(A1111, "ascii")
    at = block.rindex(struct.pack(">HH", COMMENT, 7)) + 4
    found = provenance_of(with_exif("JPEG", block[:at] + b"\xff\xff\xff\xff" + block[at + 4 :]))
    assert found["claims"] == ["generated"] and found["state"] == "not_read"


def test_the_head_of_exif_twice() -> None:
    block = b"Exif\0\0" + user_comment(A1111)
    for data, form in ((with_exif("JPEG", block), "JPEG"), (with_exif("PNG", block), "PNG")):
        assert read(data, form)["claims"] == ["generated"]


def test_a_chunk_behind_the_length_that_a_webp_gives() -> None:
    whole = with_exif("WEBP", user_comment(A1111))
    short = whole[:4] + struct.pack("<I", whole.rindex(b"EXIF") - 8) + whole[8:]
    assert read(short, "WEBP")["claims"] == ["generated"]


@pytest.mark.parametrize(
    ("behind", "claims"),
    [
        (" --ar 3:2 --v 6.1", ["generated"]),
        (" --Version 6", ["generated"]),
        (" --tile", ["generated"]),
        (".", ["unknown"]),
        (" -- he left", ["unknown"]),
    ],
)
def test_a_job_needs_midjourneys_options(behind: str, claims: list[str]) -> None:
    text = f"The minister in Paris{behind} Job ID: 12345678-1234-1234-1234-123456789012"
    assert read(with_text({"Description": text}))["claims"] == claims


def test_a_users_prompt_goes_before_what_a_program_made_of_it() -> None:
    told = {
        "full_prompt": ["a lighthouse, x"],
        "prompt": "a lighthouse",
        "seed": "1",
        "steps": 30,
        "version": "Fooocus v2",
    }
    assert read(with_text({"parameters": json.dumps(told)}))["declared"]["prompt"] == "a lighthouse"


def test_a_graph_that_generates_nothing_is_no_more_than_a_possibility() -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 0], "scale_by": 2.0}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
    }
    assert read(with_text({"prompt": json.dumps(graph)}))["claims"] == ["possibly_generated"]


@pytest.mark.parametrize(
    ("text", "claims"),
    [("{'AIGC': {'Label': '1', 'ContentProducer': 'P'}}", ["generated"]), ("0", ["unknown"]), ("false", ["unknown"])],
)
def test_chinas_label_as_python_writes_it_and_as_nothing(text: str, claims: list[str]) -> None:
    assert read(with_text({"AIGC": text}))["claims"] == claims


CAMERA = {MAKE: "Canon", MODEL: "Canon EOS R5"}


@pytest.mark.parametrize(
    "caption",
    [
        '{"serviceProvider":"ScanCafe","order":"1234"}',
        '{"ContentProducer":"Reuters","id":4}',
        '{"produceId":4711,"label":"Roma"}',
        '{"AIGC":{"Label":"0"}}',
        '{"AIGC":{"Label":"no","ContentProducer":"P"}}',
        '{"model":"gemini-1.5-pro","prompt":"Describe the photo","response":"A dog on grass"}',
        '{"model":"moondream2","prompt":"Caption this","answer":"A dog","seed":3}',
        '{"model":"gpt-4o","prompt":"Describe","response":"A dog","seed":7}',
        '{"model":"inhouse","prompt":"Describe","response":"A dog","seed":7}',
    ],
)
def test_objects_in_a_photographs_caption_that_are_no_label_and_no_settings(caption: str) -> None:
    assert read(jpeg({**CAMERA, CAPTION: caption}), "JPEG")["claims"] == ["captured"]


@pytest.mark.parametrize(
    ("caption", "claim"),
    [
        ('{"ContentProducer":"001191","ProduceID":"77"}', "generated"),
        ('{"ServiceProvider":"T","ServiceUser":"U"}', "generated"),
        ('{"Label":"2","ContentProducer":"P"}', "possibly_generated"),
        ('{"model":"flux-dev","prompt":"a dog","response":"ok","seed":7}', "generated"),
        ('{"model":"dreamshaper_8.safetensors","prompt":"a dog","caption":"a dog"}', "generated"),
        ('{"model":"gemini-2.5-flash-image","prompt":"a dog","response":"here it is"}', "generated"),
        ('{"prompt":"a dog","sampler":"Euler","seed":7,"model":"m","caption":"a dog"}', "generated"),
    ],
)
def test_objects_in_a_caption_that_are(caption: str, claim: str) -> None:
    assert claim in read(jpeg({CAPTION: caption}), "JPEG")["claims"]


@pytest.mark.parametrize("said", ["AI generated: no", "AI-generated: false", "AI generated; none"])
def test_a_program_that_denies_leaves_the_camera_its_picture(said: str) -> None:
    found = read(jpeg({**CAMERA, SOFTWARE: said}), "JPEG")
    assert found["claims"] == ["captured"] and not found["contradictions"]
    assert found["declared"]["generator"] is None


@pytest.mark.parametrize(
    "said",
    [
        "This photo was not made with AI.", "Did not use AI", "无AI", "Kein KI-System verwendet", "Pas d'IA",
        "no se ha utilizado IA", "Nenhuma IA foi usada", "Not created with generative AI",
    ],
)  # fmt: skip
def test_a_field_of_systems_that_denies_in_a_sentence(said: str) -> None:
    assert read(packet(f'Iptc4xmpExt:AISystemUsed="{said}"'), "JPEG")["claims"] == ["unknown"]


def test_settings_quoted_in_another_setting_are_not_its_own() -> None:
    text = "a dog\nNegative prompt: fog\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Model: foo, "
    declared = read(with_text({"parameters": text + 'Hires prompt: "b, Steps: 3, y"'}))["declared"]
    assert (declared["seed"], declared["model"], declared["negative_prompt"]) == ("1", "foo", "fog")


def test_the_second_page_of_a_tiff_speaks_for_itself_alone() -> None:
    page = Image.new("RGB", (64, 64), "teal")
    first, second = page.copy(), page.copy()
    told: list[TiffImagePlugin.ImageFileDirectory_v2] = []
    for tags in ({MAKE: "Canon", MODEL: "Canon EOS R5"}, {700: XMP_AI}):
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        for number, value in tags.items():
            directory.tagtype[number] = 2 if isinstance(value, str) else 1
            directory[number] = value
        told.append(directory)
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file, True) as writer:
        for one, directory in zip((first, second), told, strict=True):
            one.save(writer, "TIFF", tiffinfo=directory)
            writer.newFrame()
    assert read(file.getvalue(), "TIFF")["claims"] == ["captured"]
    alone = io.BytesIO()
    second.save(alone, "TIFF", tiffinfo=told[1])
    assert read(alone.getvalue(), "TIFF")["claims"] == ["generated"]


def test_civitais_model_stands_among_its_resources() -> None:
    resources = '[{"type":"lora","modelName":"L"},{"type":"checkpoint","modelName":"WAI","modelVersionName":"v16"}]'
    text = f"a dog\nNegative prompt: fog\nSteps: 25, Sampler: Euler a, Seed: 1, Civitai resources: {resources}"
    declared = read(with_text({"parameters": text}))["declared"]
    assert (declared["generator"], declared["model"]) == ("Civitai", "WAI v16")


def test_novelais_characters_have_prompts_of_their_own() -> None:
    asked = {
        "prompt": "two girls", "uc": "fog", "seed": 1, "steps": 28, "sampler": "k_euler",
        "v4_prompt": {"caption": {"char_captions": [{"char_caption": "miku"}, {"char_caption": ""}]}},
        "v4_negative_prompt": {"caption": {"base_caption": "fog", "char_captions": [{"char_caption": "hat"}]}},
    }  # fmt: skip
    texts = {"Software": "NovelAI", "Description": "two girls", "Source": "V4", "Comment": json.dumps(asked)}
    declared = read(with_text(texts))["declared"]
    assert (declared["prompt"], declared["negative_prompt"]) == ("two girls | miku", "fog | hat")


@pytest.mark.parametrize("said", ["Edited with Google AI", "Edited with Adobe Firefly", "Enhanced with ChatGPT"])
def test_who_edited_with_a_generator_has_not_generated_the_whole(said: str) -> None:
    assert read(jpeg({**CAMERA, SOFTWARE: said}), "JPEG")["claims"] == ["captured", "edited"]
