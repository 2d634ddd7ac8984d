"""Every carrier of metadata is opened, in every container, and none can do harm."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import conftest
import pytest
from carriers import (
    A1111,
    XMP_AI,
    encoded,
    exif_block,
    raw_profile,
    stealthy,
    user_comment,
    with_chunk,
    with_exif,
    with_segment,
    with_text,
)
from carriers import provenance_of as read
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from nsnet_cli.provenance.containers.carried import Block, Carried
from nsnet_cli.provenance.containers.tiff import walk_exif
from nsnet_cli.provenance.containers.walk import walk
from nsnet_cli.provenance.exif import comment_of, read_exif
from nsnet_cli.provenance.parameters import parameters_of
from nsnet_cli.provenance.stealth import first_letters, hidden_text

FORMS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")


def settings(found: dict[str, Any]) -> dict[str, str]:
    return {f["where"]: f["value"] for f in found["findings"] if f["claim"] == "generated"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "code",
    ["ascii", "unicode-be", "unicode-le", "unicode-bom-be", "unicode-bom-le", "unicode-utf8", "undefined", "none"],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_user_comment_however_it_is_written(form: str, code: str, order: str) -> None:
    found = read(with_exif(form, user_comment(A1111, code, order)), form)
    assert found["claims"] == ["generated"] and found["errors"] == []
    assert settings(found)["prompt"] == "a lighthouse" and settings(found)["seed"] == "42"


@pytest.mark.parametrize("text", ["灯塔，黄昏", "маяк на закате", "夕暮れの灯台", "phare à l'aube", "등대", "λιμάνι"])
@pytest.mark.parametrize("code", ["unicode-be", "unicode-le", "unicode-bom-be", "unicode-utf8", "none"])
def test_user_comment_in_other_scripts(text: str, code: str) -> None:
    found = read(with_exif("JPEG", user_comment(text + A1111[12:], code)))
    assert settings(found)["prompt"] == text


def test_user_comment_in_jis() -> None:
    found = read(with_exif("JPEG", user_comment("夕暮れの灯台" + A1111[12:], "jis")))
    assert settings(found)["prompt"] == "夕暮れの灯台"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("international", [False, True])
def test_texts_of_png(compressed: bool, international: bool) -> None:
    found = read(with_text({"parameters": A1111}, compressed, international), "PNG")
    assert settings(found)["prompt"] == "a lighthouse"


def test_a_text_in_utf8_where_latin_is_meant() -> None:
    png = with_chunk(encoded("PNG"), b"tEXt", b"parameters\0" + ("灯塔" + A1111[12:]).encode())
    assert settings(read(png, "PNG"))["prompt"] == "灯塔"


@pytest.mark.parametrize("kind", ["exif", "APP1", "xmp", "iptc", "8bim"])
@pytest.mark.parametrize("compressed", [False, True])
def test_raw_profiles(kind: str, compressed: bool) -> None:
    iim = b"\x1c\x02\x6e" + struct.pack(">H", 19) + b"Made with Google AI"
    data = {
        "exif": b"Exif\0\0" + user_comment(A1111),
        "APP1": b"http://ns.adobe.com/xap/1.0/\0" + XMP_AI,
        "xmp": XMP_AI,
        "iptc": iim,
        "8bim": b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iim)) + iim,
    }[kind]
    found = read(with_text({f"Raw profile type {kind}": raw_profile(kind.casefold(), data)}, compressed), "PNG")
    assert found["claims"] == ["generated"] and found["errors"] == []


@pytest.mark.parametrize("named", ["iptc", "IPTC profile", "8bim", "", "of 2 words, or 3"])
def test_a_raw_profile_may_call_itself_anything(named: str) -> None:
    """Google's Imagen writes "IPTC profile", which is two words."""
    iim = b"\x1c\x02\x6e" + struct.pack(">H", 12) + b"AI Generated"
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iim)) + iim
    found = read(with_text({"Raw profile type iptc": raw_profile(named, block)}, True), "PNG")
    assert found["claims"] == ["generated"] and found["errors"] == []


@pytest.mark.parametrize("form", ["iptc", "exif", "8bim"])
def test_a_raw_profile_that_is_the_profile_itself(form: str) -> None:
    iim = b"\x1c\x02\x6e" + struct.pack(">H", 12) + b"AI Generated"
    data = {
        "iptc": iim,
        "exif": b"Exif\0\0" + user_comment(A1111),
        "8bim": b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iim)) + iim,
    }[form]
    chunk = f"Raw profile type {form}".encode() + b"\0\0" + zlib.compress(data)
    found = read(with_chunk(encoded("PNG"), b"zTXt", chunk), "PNG")
    assert found["claims"] == ["generated"] and found["errors"] == []


@pytest.mark.parametrize("text", ['{"AIGC":{"Label":"1"}}', 'AIGC={"Label":"1"}'])
def test_chinas_label_with_nothing_but_the_label(text: str) -> None:
    assert read(with_segment(encoded(), 0xFE, text.encode()))["claims"] == ["generated"]
    assert read(with_segment(encoded(), 0xFE, b'{"Label":"1"}'))["claims"] == ["unknown"]


def test_keywords_are_no_labels_and_a_word_is_no_generator_of_a_camera_maker() -> None:
    keywords = exif_block({0x9C9E: "AI generated".encode("utf-16-le") + b"\0\0"}, {})
    assert read(with_exif("JPEG", keywords))["claims"] == ["unknown"]
    camera = read(with_exif("JPEG", exif_block({0x010F: "Orbbec", 0x0110: "Gemini 2"}, {})))
    assert camera["claims"] == ["captured"] and camera["contradictions"] == []
    assert read(with_exif("JPEG", exif_block({0x0110: "Gemini 2.5 Flash Image"}, {})))["claims"] == ["generated"]


def test_garbage_behind_the_last_directory_loses_nothing() -> None:
    block = exif_block({0x0110: "Camera 5"}, {})
    entries = struct.unpack(">H", block[8:10])[0]
    at = 10 + 12 * entries
    for where in (0x00FFFFFF, 9):
        damaged = block[:at] + struct.pack(">I", where) + block[at + 4 :]
        found = read(with_exif("JPEG", damaged))
        assert "captured" in found["claims"]
        assert found["errors"] == [] or where == 9


def test_comments_and_segments_of_nobodys() -> None:
    label = '{"Label":"1","ContentProducer":"P","ProduceID":"7"}'
    for jpeg in (
        with_segment(encoded(), 0xFE, A1111.encode()),
        with_segment(encoded(), 0xE9, b"AIGC" + label.encode()),
        with_segment(encoded(), 0xE1, XMP_AI),
        encoded() + XMP_AI,
        encoded() + b'{"AIGC":' + label.encode() + b"}",
    ):
        assert read(jpeg)["claims"] == ["generated"]
    gif = encoded("GIF", comment=A1111.encode())
    assert read(gif, "GIF")["claims"] == ["generated"]
    extension = b"\x21\xff\x0bXMP DataXMP" + XMP_AI + bytes([1, *range(255, -1, -1), 0])
    assert read(gif[:-1] + extension + b";", "GIF")["claims"] == ["generated"]
    ppm = encoded("PPM")
    assert read(ppm[:3] + b"# Made with AI\n" + ppm[3:], "PPM")["claims"] == ["generated"]


def test_iptc_in_its_own_segment() -> None:
    text = b"Made with Google AI"
    iim = b"\x1c\x02\x6e" + struct.pack(">H", len(text)) + text
    resource = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iim)) + iim + b"\0" * (len(iim) % 2)
    assert read(with_segment(encoded(), 0xED, resource))["claims"] == ["generated"]


@pytest.mark.parametrize("form", ["stealth_pnginfo", "stealth_pngcomp", "stealth_rgbinfo", "stealth_rgbcomp"])
@pytest.mark.parametrize("size", [(240, 232), (300, 64)])
def test_texts_in_the_lowest_bits(form: str, size: tuple[int, int]) -> None:
    image = stealthy(A1111, form, size)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {}), ("TGA", {})):
        found = read(conftest.encoded(image, kind, **options), kind)
        assert settings(found)["prompt"] == "a lighthouse" and form in found["findings"][0]["carrier"]
    inner = json.dumps(
        {"Software": "NovelAI", "Description": "a lighthouse", "Comment": '{"prompt": "b", "uc": "fog"}'}
    )
    found = read(conftest.encoded(stealthy(inner, form, size), "PNG"), "PNG")
    assert found["claims"] == ["generated"] and "fog" in json.dumps(found)


def test_a_cut_text_in_the_lowest_bits_is_told() -> None:
    for form in ("stealth_pngcomp", "stealth_rgbcomp"):
        image = stealthy(A1111, form)
        image = image.copy()
        pixels = image.load()
        for y in range(125, 160):
            pixels[0, y] = tuple(value ^ 1 for value in pixels[0, y])
        for y in range(41, 60):
            pixels[0, y] = tuple(value ^ 1 for value in pixels[0, y]) if "rgb" in form else pixels[0, y]
        found = read(conftest.encoded(image, "PNG"), "PNG")
        assert found["claims"] == ["not_read"] and "stealth" in found["errors"][0]["message"]


@given(st.integers(0, 2**32), st.sampled_from(["RGB", "RGBA"]), st.integers(0, 9), st.integers(120, 180))
def test_first_letters_are_those_of_the_decoded_picture(seed: int, mode: str, level: int, height: int) -> None:
    import numpy as np

    rng = np.random.default_rng(seed)
    walked = np.cumsum(rng.integers(-3, 4, (height, 5, len(mode))), axis=0).astype(np.uint8)
    data = conftest.encoded(Image.fromarray(walked), "PNG", compress_level=level)
    seen = first_letters(data)
    assert seen is not None
    flat = walked[:, 0, :3].reshape(-1)[:120] & 1
    assert seen[1] == np.packbits(flat).tobytes()
    if mode == "RGBA":
        assert seen[0] == np.packbits(walked[:120, 0, 3] & 1).tobytes()
    assert hidden_text(data, "PNG", Carried()) is None


@given(st.binary(max_size=2_000))
def test_exif_blocks_of_any_bytes_do_no_harm(data: bytes) -> None:
    carried = Carried()
    walk_exif(Block("x", b"II*\0\x08\0\0\0" + data), [], carried)
    assert len(carried.tags) <= 2_000
    list(read_exif(carried.tags))


@given(st.text(max_size=200).filter(lambda t: "\0" not in t), st.sampled_from(["<", ">"]), st.booleans())
def test_a_mark_says_which_end_it_is(text: str, order: str, little: bool) -> None:
    code = "unicode-bom-le" if little else "unicode-bom-be"
    try:
        block = user_comment(text, code, order)
    except UnicodeEncodeError:
        return
    carried = Carried()
    walk_exif(Block("x", block), [], carried)
    (tag,) = [tag for tag in carried.tags if tag.number == 0x9286]
    assert comment_of(tag) == text.strip("\0 ")


_PLAIN = st.text(st.characters(whitelist_categories=("L", "N")), min_size=1, max_size=30)


@given(_PLAIN, _PLAIN, _PLAIN, st.integers(0, 2**63), st.integers(1, 150))
def test_parameters_come_back_as_they_were_written(a: str, b: str, model: str, seed: int, steps: int) -> None:
    text = (
        f"{a}\nNegative prompt: {b}\nSteps: {steps}, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: {seed}, "
        f'Model: "{model}, x",'
        ' Hashes: {"model": "00", "lora:x": "1,2"}, Version: v1.10.1'
    )
    found = parameters_of(text)
    assert found is not None and found.program == "Stable Diffusion web UI v1.10.1"
    told = found.values
    assert (told["prompt"], told["negative prompt"], told["seed"], told["steps"]) == (a, b, str(seed), str(steps))
    assert told["model"] == f"{model}, x" and json.loads(told["hashes"])["lora:x"] == "1,2"


@given(st.text(max_size=500))
def test_texts_of_any_kind_do_no_harm(text: str) -> None:
    from nsnet_cli.provenance.texts import read_text

    for key in ("parameters", "prompt", "workflow", "Comment", "AIGC", "Dream", "Software", ""):
        for finding in read_text("text", key, text, "x"):
            assert len(finding.value) <= 1_001


_HEADS = (
    b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\0\0\0WEBP", b"GIF89a", b"II*\0", b"MM\0+",
    b"\0\0\0\x20ftypheic", b"P6 ",
)  # fmt: skip


@given(st.binary(max_size=600), st.sampled_from(_HEADS))
def test_containers_of_any_bytes_do_no_harm(data: bytes, head: bytes) -> None:
    carried = walk(head + data)
    assert carried.counted <= 5_001


def test_what_is_larger_than_anybody_writes_is_named_and_left() -> None:
    bomb = zlib.compress(b"\0" * 64_000_000, 9)
    png = with_chunk(encoded("PNG"), b"zTXt", b"parameters\0\0" + bomb)
    found = read(png, "PNG")
    assert found["claims"] == ["not_read"] and "more compressed text" in found["errors"][0]["message"]
    info = PngImagePlugin.PngInfo()
    for k in range(6_000):
        info.add_text(f"k{k}", "v")
    found = read(encoded("PNG", pnginfo=info), "PNG")
    assert found["state"] == "not_read" and len(found["findings"]) <= 400
    loop = exif_block({0x0131: "x"}, {})[:-6] + struct.pack(">I", 8) + b"x\0"
    assert read(with_exif("JPEG", loop))["claims"] in (["unknown"], ["not_read"])


def test_tags_that_all_name_the_same_megabytes_do_not_multiply_them() -> None:
    count, size = 1_500, 3_000_000
    body = struct.pack("<H", count)
    for k in range(count):
        body += struct.pack("<HHII", 700 + 0 * k, 7, size, 20_000)
    block = b"II*\0\x08\0\0\0" + body + b"\0" * (20_000 - 8 - len(body)) + b"x" * size
    carried = Carried()
    walk_exif(Block("x", block), [], carried)
    assert carried.kept <= 70_000_000
