"""Whole files of unusual make are read, or named for what they are; none is called damaged."""

from __future__ import annotations

import io
import itertools
import random
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import encoded, textured
from PIL import Image
from unusual import BASE, GREY, cgbi, chunk, difference, dng, packed_tiff, read, tiff_of

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.decode import Picture, decode, pixel_count
from nsnet_cli.inputs.formats.jxl_header import read_header
from nsnet_cli.inputs.limits import DecodeLimits

NOISE = random.Random(0).randbytes(2_000_000)


def error_of(data: bytes, **limits: int) -> InputError:
    with pytest.raises(InputError) as caught:
        read(data, **limits)
    return caught.value


PNG = encoded(Image.fromarray(BASE), "PNG")
JPEG = encoded(Image.fromarray(BASE), "JPEG", quality=90)


@pytest.mark.parametrize(
    "metadata",
    [
        chunk(b"iCCP", b"x\0\0" + zlib.compress(NOISE)),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000))),
        chunk(b"tEXt", b"parameters\0" + b"a" * 70_000_000),
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(b"a" * 3_000_000)),
        b"".join(chunk(b"tEXt", b"k%d\0" % k + b"v" * 900_000) for k in range(80)),
        chunk(b"tEXt", b"Comment\0its checksum is wrong")[:-1] + b"!",
        chunk(b"iCCP", b"x\0\0no deflated data"),
        chunk(b"eXIf", b"no EXIF"),
        chunk(b"prVt", NOISE),
    ],
    ids=["profile", "ztxt-bomb", "long-text", "itxt", "many-texts", "checksum", "bad-profile", "bad-exif", "private"],
)
@pytest.mark.parametrize("behind", [False, True])
def test_metadata_of_a_png_never_costs_its_pixels(metadata: bytes, behind: bool) -> None:
    at = PNG.index(b"IEND") - 4 if behind else 33
    data = PNG[:at] + metadata + PNG[at:]
    assert difference(read(data)) == 0 and pixel_count(data) == 125 * 82
    code = error_of(data[: len(data) - 2000] if not behind else PNG[: len(PNG) // 2] + metadata).code
    assert code in ("truncated", "decode_failed")


@pytest.mark.parametrize(
    ("number", "body"),
    [
        (1, b"Exif\0\0II*\0\x08\0\0\0\xff\xffno directory"),
        (2, b"MPF\0II*\0\x08\0\0\0no directory"),
        (2, b"ICC_PROFILE\0\1\2cut"),
        (13, b"Photoshop 3.0\x008BIM\x04\x04"),
        (1, b"http://ns.adobe.com/xap/1.0/\0<x"),
    ],
)
def test_metadata_of_a_jpeg_never_costs_its_pixels(number: int, body: bytes) -> None:
    segment = bytes([0xFF, 0xE0 + number]) + struct.pack(">H", len(body) + 2) + body
    data = JPEG[:2] + segment + JPEG[2:]
    plain = read(JPEG).pixels
    assert plain is not None and difference(read(data), plain) == 0 and pixel_count(data) == 125 * 82


def test_png_for_ios_is_read() -> None:
    assert difference(read(cgbi(BASE))) == 0
    assert difference(read(cgbi(BASE, 255))) == 0
    assert difference(read(cgbi(BASE, 128)), (BASE * 128.0 + 255 * 127) / 255) <= 1
    assert error_of(cgbi(BASE)[:3000]).code == "truncated"
    assert error_of(cgbi(BASE), max_pixels=1000).code == "too_large" and pixel_count(cgbi(BASE)) == 125 * 82


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": True, "use_container": True}, {"quality": 99}])
def test_jpeg_xl_is_read(options: dict[str, object]) -> None:
    pytest.importorskip("pillow_jxl")
    smooth = Image.fromarray(BASE).resize((250, 164), Image.Resampling.BICUBIC)
    data = encoded(smooth, "JXL", **options)
    picture = read(data)
    assert picture.format == "JXL" and picture.size == (250, 164) and pixel_count(data) == 250 * 164
    assert picture.pixels is not None
    away = np.abs(picture.pixels.astype(int) - np.asarray(smooth))
    assert away.max() == 0 if "lossless" in options else away.mean() < 4
    assert error_of(data, max_pixels=1000).code == "too_large"
    assert {error_of(data[:end]).code for end in (15, len(data) // 2, len(data) - 9)} <= {"truncated", "decode_failed"}


def test_a_jpeg_packed_as_jpeg_xl_gives_the_pixels_of_the_jpeg(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    (tmp_path / "a.jpg").write_bytes(JPEG)
    with Image.open(tmp_path / "a.jpg") as image:
        data = encoded(image, "JXL", lossless_jpeg=True)
    plain = read(JPEG).pixels
    assert plain is not None and difference(read(data), plain) == 0 and read(data).format == "JXL"


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "I;16", "F"])
def test_modes_of_jpeg_xl(mode: str) -> None:
    pytest.importorskip("pillow_jxl")
    grey = np.asarray(Image.fromarray(BASE).convert("L"))
    wide = {"I;16": grey.astype(np.uint16) * 257, "F": grey.astype(np.float32) / 255}
    image = Image.fromarray(wide[mode]) if mode in wide else Image.fromarray(BASE).convert(mode)
    expected = BASE if mode == "RGBA" else grey[:, :, None]
    assert difference(read(encoded(image, "JXL", lossless=True)), expected) <= 1


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (256, 256), (1920, 1080), (333, 7), (7, 9000)])
def test_the_header_of_jpeg_xl_says_the_size(size: tuple[int, int]) -> None:
    pytest.importorskip("pillow_jxl")
    header = read_header(encoded(Image.new("RGB", size), "JXL", effort=1))
    assert header is not None and (header.width, header.height) == size and not header.animated


def test_colours_that_alpha_multiplied_and_linear_light_are_told_by_the_header() -> None:
    from nsnet_cli.inputs.formats.jxl import _is_linear

    pytest.importorskip("pillow_jxl")
    for mode, lossless in (("RGB", True), ("RGBA", True), ("RGB", False), ("LA", False)):
        header = read_header(encoded(Image.fromarray(BASE).convert(mode), "JXL", lossless=lossless))
        assert header is not None and (header.multiplied, header.xyb) == (False, not lossless)

    def profile(curve: bytes) -> bytes:
        tags = (1).to_bytes(4, "big") + b"rTRC" + (144).to_bytes(4, "big") + len(curve).to_bytes(4, "big")
        return bytes(128) + tags + curve

    one = b"\0\1\0\0"
    assert _is_linear(profile(b"curv" + bytes(8))) and _is_linear(profile(b"para" + bytes(8) + one))
    assert _is_linear(profile(b"para" + bytes(4) + b"\0\3\0\0" + one + one + bytes(4)))
    assert not _is_linear(profile(b"para" + bytes(8) + b"\0\2\x33\x33")) and not _is_linear(b"")


def with_linear_original(data: bytes) -> bytes:
    """A lossy JPEG XL of which the original is said to have been in linear light."""
    header = read_header(data)
    assert header is not None and header.colours_at is not None
    bits, at = int.from_bytes(data, "little"), header.colours_at
    assert (bits >> at) & 1  # sRGB, as usual
    # Not as usual, no profile, RGB, D65, sRGB's primaries, curve LINEAR (8), relative.
    parts = ((0, 1), (0, 1), (0, 2), (1, 2), (1, 2), (0, 1), (2, 2), (8 - 2, 4), (1, 2))
    rest = (bits >> (at + 1)) & ((1 << 3) - 1)
    value, length = bits & ((1 << at) - 1), at
    for part, count in (*parts, (rest, 3)):
        value |= part << length
        length += count
    behind = data[-(-(at + 4) // 8) :]
    return value.to_bytes(-(-length // 8), "little") + behind


def test_lossy_jpeg_xl_of_an_original_in_other_colours_is_decoded_to_srgb() -> None:
    pytest.importorskip("pillow_jxl")
    smooth = Image.fromarray(BASE).convert("RGBA").resize((250, 164), Image.Resampling.BICUBIC)
    data = encoded(smooth, "JXL", quality=95)
    header = read_header(data)
    if header is None or header.colours_at is None or not header.xyb or header.more:
        pytest.skip("this encoder writes another header")
    plain = read(data).pixels
    picture = read(with_linear_original(data))
    assert plain is not None and difference(picture, plain) <= 1 and picture.warnings == ()


TIFFS = [
    (order, dtype, packed, planes, tile)
    for order, dtype, packed, planes, tile in itertools.product(
        "<>", ("u2", "u4", "f2", "f4", "f8"), (False, True), ("contig", "separate"), (None, (64, 64))
    )
]


@pytest.mark.parametrize(("order", "dtype", "packed", "planes", "tile"), TIFFS)
def test_tiff_of_every_layout(order: str, dtype: str, packed: bool, planes: str, tile: tuple[int, int] | None) -> None:
    if dtype[0] == "f":
        values = (BASE / 255).astype(dtype)
    else:
        values = BASE.astype(dtype) * np.array({"u2": 257, "u4": 16843009}[dtype], dtype)
    data = tiff_of(
        np.moveaxis(values, -1, 0) if planes == "separate" else values, byteorder=order, photometric="rgb",
        planarconfig=planes, tile=tile, rowsperstrip=None if tile else 17, compression="zlib" if packed else None,
        predictor=2 if packed and dtype[0] == "u" else None,
    )  # fmt: skip
    picture = read(data)
    # Integers of 32 bits are scaled to the highest that is there.
    expected = np.rint(BASE * (255.0 / BASE.max())) if dtype == "u4" else BASE
    assert difference(picture, expected) <= 1 and picture.format == "TIFF"
    assert picture.warnings == (() if dtype == "u2" else ("sample_range",))
    assert error_of(data, max_pixels=1000).code == "too_large" and pixel_count(data) == 125 * 82


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("grey", [False, True])
def test_tiff_of_10_to_14_bits(bits: int, grey: bool) -> None:
    wide = (BASE.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
    data = packed_tiff(wide[:, :, :1] if grey else wide, bits)
    assert difference(read(data), BASE[:, :, :1] if grey else BASE) <= 1
    assert error_of(data[: len(data) // 2]).code == "truncated"


def test_which_floats_are_white() -> None:
    def scanned(values: np.ndarray) -> Picture:
        return read(tiff_of(values.astype(np.float32), photometric="rgb"))

    bright = BASE / 255.0
    bright[:8] *= 20  # lights beyond white are clipped
    assert difference(scanned(bright), (bright * 255).clip(0, 255)) <= 1
    assert difference(scanned(BASE.astype(float))) == 0  # [0, 255]
    assert difference(scanned(np.where(BASE > 200, np.nan, BASE / 255.0)), np.where(BASE > 200, 0, BASE)) <= 1


def test_transparent_and_cmyk_tiff_of_16_bits() -> None:
    ink = np.concatenate([65535 - BASE.astype(np.uint16) * 257, np.zeros((82, 125, 1), np.uint16)], axis=2)
    clear = np.concatenate([BASE / 255, np.zeros((82, 125, 1))], axis=2).astype(np.float32)
    for values, options, expected in (
        (ink, {"photometric": "separated"}, BASE),
        (clear, {"photometric": "rgb", "extrasamples": ["unassalpha"]}, np.full_like(BASE, 255)),
    ):
        assert difference(read(tiff_of(values, **options)), expected) <= 1


def test_lab_becomes_the_colour_that_it_means() -> None:
    lab = Image.merge("LAB", [Image.new("L", (64, 64), value) for value in (255, 128, 128)])
    white = read(encoded(lab, "TIFF")).pixels
    assert white is not None and white.min() >= 253


def test_a_gain_map_is_noted_and_the_first_picture_read() -> None:
    xmp = (
        b"http://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/' hdrgm:Version=\"1.0\"/>"
    )
    data = (
        JPEG[:2]
        + b"\xff\xe1"
        + struct.pack(">H", len(xmp) + 2)
        + xmp
        + JPEG[2:]
        + encoded(Image.new("L", (60, 40)), "JPEG")
    )
    plain = read(JPEG).pixels
    assert plain is not None and read(data).warnings == ("gain_map",) and difference(read(data), plain) == 0


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"8BPS\0\1" + bytes(40), "Photoshop"),
        (b"v/1\x01" + bytes(40), "OpenEXR"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4 +X 4\n", "Radiance"),
        (b"SDPX" + bytes(40), "DPX"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>", "SVG"),
        (b"gimp xcf v011" + bytes(40), "GIMP"),
        (b"\0\0\0\x18ftypqt  " + bytes(40), "video"),
        (b"\0\0\0\x18ftypdash" + bytes(40), "video"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_what_is_not_read_is_named_and_told_what_to_do(head: bytes, name: str) -> None:
    error = error_of(head)
    assert error.code == "unsupported_format" and name in str(error) and ": " in str(error)


@pytest.mark.parametrize(
    "masks", [(0xF00, 0xF0, 0xF, 0), (0x3FF00000, 0xFFC00, 0x3FF, 0), (0xFF, 0xFF00, 0xFF0000, 0xFF000000)]
)
@pytest.mark.parametrize("upright", [False, True])
def test_bitmaps_whose_colours_lie_where_masks_say(masks: tuple[int, int, int, int], upright: bool) -> None:
    depth = 16 if max(masks) < 0x10000 else 32
    values = np.zeros(BASE.shape[:2], np.uint32)
    for channel, mask in zip((*BASE.transpose(2, 0, 1), np.full(BASE.shape[:2], 255)), masks, strict=True):
        low = mask & -mask
        values |= (channel.astype(np.uint64) * (mask // max(1, low)) // 255).astype(np.uint32) * np.uint32(low)
    rows = values.astype(f"<u{depth // 8}")[:: 1 if upright else -1]
    padded = [row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in rows]
    header = struct.pack("<IiiHHIIiiII4I", 56, 125, -82 if upright else 82, 1, depth, 3, 0, 0, 0, 0, 0, *masks)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(header)) + header + b"".join(padded)
    assert difference(read(data)) <= 255 // 15 and pixel_count(data) == 125 * 82
    assert error_of(data[:5000]).code == "truncated"
    assert error_of(data, max_pixels=1000).code == "too_large"


def test_variants_that_no_decoder_reads_are_not_called_damaged() -> None:
    twelve = bytearray(JPEG)
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    bitmap = bytearray(encoded(Image.fromarray(BASE), "BMP"))
    bitmap[30:34] = (4).to_bytes(4, "little")
    for data, said in ((bytes(twelve), "12 bits"), (bytes(bitmap), "BMP compression")):
        error = error_of(data)
        assert error.code == "unsupported_format" and said in str(error) and "damaged" not in str(error)


def test_raw_is_developed_or_its_full_size_preview_is_taken() -> None:
    pytest.importorskip("rawpy")
    data = dng()
    picture = read(data)
    assert picture.format == "RAW" and picture.warnings == ("raw_developed",) and pixel_count(data) == 320 * 200
    assert error_of(data, max_pixels=1000).code == "too_large"
    assert error_of(data[: len(data) // 2]).code in ("truncated", "decode_failed")
    shown = encoded(Image.fromarray(textured(320, 200, seed=3)), "JPEG", quality=95)
    picture = read(dng(preview=shown))
    assert picture.warnings == ("raw_preview",) and picture.size == (320, 200)
    assert difference(picture, np.asarray(Image.open(io.BytesIO(shown)))) == 0
    small = encoded(Image.fromarray(textured(160, 100)), "JPEG")
    assert read(dng(preview=small)).warnings == ("raw_developed",)


def test_raw_without_the_extra_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for data in (dng(), b"\0\0\0\x18ftypcrx " + bytes(60), b"FUJIFILMCCD-RAW" + bytes(60)):
        error = error_of(data)
        assert error.code == "unsupported_format" and "nsnet-cli[raw]" in str(error) and "camera RAW" in str(error)


def test_the_cases_that_were_handed_in(shared: Path) -> None:
    folder = shared / "cases" / "formats"
    if not folder.is_dir():
        pytest.skip("needs the cases")
    for path in sorted(folder.iterdir()):
        assert read(path.read_bytes()).size == (192, 192), path.name


def test_a_text_chunk_of_an_unknown_compression_costs_a_png_nothing() -> None:
    buffer = io.BytesIO()
    Image.fromarray(textured(64, 64, seed=9)).save(buffer, "PNG")
    plain = buffer.getvalue()
    for kind, body in ((b"zTXt", b"parameters\0\x80abc"), (b"iTXt", b"parameters\0\1\x07en\0\0abc")):
        pixels = decode(plain[:33] + chunk(kind, body) + plain[33:], DecodeLimits()).pixels
        assert pixels is not None and np.array_equal(pixels, textured(64, 64, seed=9))


def test_what_pillow_says_of_damage_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    data = tiff_of(GREY, photometric="minisblack")
    error_of(data[:40])
    assert capfd.readouterr().err == ""
