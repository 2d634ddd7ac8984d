"""Sound files that decoders show otherwise than they are, or refuse; and small ones that cost far too much."""

from __future__ import annotations

import io
import struct
import time
import zlib

import conftest
import numpy as np
import pillow_heif
import pytest
from PIL import Image, PngImagePlugin
from unusual import BASE, GREY, chunk, difference, read, tiff_of

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.decode import decode
from nsnet_cli.inputs.formats.jp2 import in_full_range, misread
from nsnet_cli.inputs.formats.jxl_header import JXL_CONTAINER
from nsnet_cli.inputs.kinds import foreign_kind
from nsnet_cli.inputs.limits import DecodeLimits

pillow_heif.register_heif_opener()

GREYS = np.repeat(GREY[:, :, None], 3, axis=2)


def encoded(form: str, image: Image.Image | None = None, **options: object) -> bytes:
    return conftest.encoded(Image.fromarray(BASE) if image is None else image, form, **options)


def refused(data: bytes) -> InputError:
    with pytest.raises(InputError) as raised:
        decode(data, DecodeLimits())
    return raised.value


def jp2(bits: int = 8, across: int = 1, image: Image.Image | None = None) -> bytes:
    """JPEG 2000 whose codestream says that its components have so many bits, all but the first so coarse."""
    data = bytearray(encoded("JPEG2000", image))
    at = data.index(b"\xff\x4f\xff\x51") + 42
    for k in range(int.from_bytes(data[at - 2 : at], "big")):
        data[at + 3 * k] = bits - 1
        data[at + 3 * k + 1] = across if k else 1
    return bytes(data)


def test_jpeg_2000_that_would_be_shown_in_false_colours_is_refused() -> None:
    assert difference(read(jp2())) <= 1 and misread(jp2()) is None
    grey = Image.fromarray(GREY)
    for data in (jp2(12), jp2(16), jp2(9, image=grey), jp2(across=2)):
        error = refused(data)
        assert error.code == "unsupported_format" and "JPEG 2000" in str(error)
    assert misread(jp2(16, image=grey)) is None


@pytest.mark.parametrize(
    ("box", "body"),
    [
        (b"cdef", struct.pack(">H9H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1)),  # blue first
        (b"cdef", struct.pack(">H12H", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 2, 0)),  # multiplied in
        (b"pclr", b"\0\x02\1\7" + bytes(2)),
    ],
)
def test_headers_of_jpeg_2000_that_pillow_does_not_obey(box: bytes, body: bytes) -> None:
    data = jp2()
    at = data.index(b"jp2h") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    added = struct.pack(">I", len(body) + 8) + box + body
    grown = data[:at] + struct.pack(">I", size + len(added)) + data[at + 4 : at + size] + added + data[at + size :]
    assert refused(grown).code == "unsupported_format"
    usual = struct.pack(">H9H", 3, 0, 0, 1, 1, 0, 2, 2, 0, 3)
    if box == b"cdef" and len(body) == len(usual):
        assert difference(read(grown.replace(body, usual))) <= 1


def test_few_bits_of_jpeg_2000_reach_white() -> None:
    for bits, held in ((1, 128), (2, 192), (4, 240), (8, 255)):
        assert in_full_range(np.array([[[0, held, held]]], np.uint8), jp2(bits)).tolist() == [[[0, 255, 255]]]


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint32", "int16", "uint16", "int8"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "zlib", "tile": (16, 16)}], ids=str)
def test_grey_tiff_is_the_same_in_either_order_and_however_packed(dtype: str, options: dict[str, object]) -> None:
    kind = np.dtype(dtype)
    top = {"f": 1.0, "i": 2.0 ** (8 * kind.itemsize - 1) - 1, "u": 2.0 ** (8 * kind.itemsize) - 1}[kind.kind]
    values = (GREY / 255.0 * top).astype(kind)
    expected = GREYS if dtype not in ("int32", "uint32") else (GREYS * (255.0 / GREY.max())).round()
    for order in "<>":
        found = read(tiff_of(values, photometric="minisblack", byteorder=order, **options))
        assert difference(found, expected) <= 2


def test_negative_samples_are_black() -> None:
    found = read(tiff_of(-(GREY // 2).astype(np.int8), photometric="minisblack")).pixels
    assert found is not None and found.max() == 0


def test_alpha_of_floats_has_a_range_of_its_own() -> None:
    light = BASE / 255.0 * 20.0
    for alpha in (1.0, 255.0):
        data = np.concatenate([light, np.full((*light.shape[:2], 1), alpha)], axis=2).astype(np.float32)
        found = read(tiff_of(data, photometric="rgb", extrasamples=["unassalpha"]))
        plain = read(tiff_of(light.astype(np.float32), photometric="rgb"))
        assert plain.pixels is not None and difference(found, plain.pixels) <= 1


def test_infinite_light_is_white() -> None:
    values = (GREY / 255.0).astype(np.float32)
    values[0, 0], values[0, 1], values[0, 2] = np.inf, -np.inf, np.nan
    found = read(tiff_of(values, photometric="minisblack")).pixels
    assert found is not None and found[0, :3, 0].tolist() == [255, 0, 0]


def test_samples_beyond_colour_and_alpha_take_no_memory() -> None:
    many = np.repeat(BASE[:, :, :1], 20, axis=2)
    many[:, :, :3] = BASE
    assert difference(read(tiff_of(many, photometric="rgb", planarconfig="contig"))) == 0


def test_a_palette_of_8_bits_where_16_belong() -> None:
    colours = np.arange(256)
    palette = np.stack([colours, 255 - colours, colours // 2]).astype(np.uint16)
    expected = palette.T[GREY].astype(np.uint8)
    for scale in (1, 257):
        assert difference(read(tiff_of(GREY, photometric="palette", colormap=palette * scale)), expected) <= 1


def test_a_directory_that_is_cut_off_is_no_variant() -> None:
    data = encoded("TIFF", compression="tiff_lzw")
    assert refused(data[:-1]).code in ("truncated", "decode_failed")


@pytest.mark.parametrize("colour", [(1234, 22136, 39612), (65535, 0, 0)])
def test_the_clear_colour_of_16_bit_png(colour: tuple[int, int, int]) -> None:
    samples = np.full((40, 40, 3), (0x3434, 0x7878, 0xBCBC), np.uint16)
    samples[:, 20:] = colour
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", 40, 40, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"tRNS", struct.pack(">3H", *colour)) + chunk(b"IDAT", zlib.compress(rows))
    found = read(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")).pixels
    assert found is not None
    assert found[0, 0].tolist() == [0x34, 0x78, 0xBC] and found[0, 30].tolist() == [255, 255, 255]


def test_alpha_that_nobody_declared_is_none() -> None:
    clear = np.concatenate([BASE, np.zeros((*BASE.shape[:2], 1), np.uint8)], axis=2)
    half = np.concatenate([BASE, np.full((*BASE.shape[:2], 1), 128, np.uint8)], axis=2)
    tga = bytearray(encoded("TGA", Image.fromarray(half)))
    assert difference(read(bytes(tga))) > 50  # eight bits of alpha are declared
    tga[17] &= 0xF0
    for data in (bytes(tga), encoded("TGA", Image.fromarray(clear)), encoded("BMP", Image.fromarray(clear))):
        assert difference(read(data)) == 0


def test_a_dark_pgm_of_16_bits_is_dark() -> None:
    data = b"P5 125 82 65535\n" + GREY.astype(">u2").tobytes()
    found = read(data).pixels
    assert found is not None and found.max() <= 1


def test_heic_is_opened_at_its_primary_picture() -> None:
    file = pillow_heif.HeifFile()
    for pixels in (255 - BASE, BASE):
        file.add_from_pillow(Image.fromarray(pixels))
    out = io.BytesIO()
    file.save(out, quality=90, primary_index=1)
    assert difference(read(out.getvalue())) < 60


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
@pytest.mark.parametrize("brand", [b"miaf", b"1pic"])
def test_a_first_brand_that_nobody_knows_costs_nothing(form: str, brand: bytes) -> None:
    data = encoded(form, quality=90)
    own = data[8:12]
    assert own in data[16 : int.from_bytes(data[:4], "big")]
    assert difference(read(data[:8] + brand + data[12:]), read(data).pixels) == 0


@pytest.mark.parametrize("form", ["AVIF", "JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("beside", [False, True])
def test_xmp_does_not_turn_a_picture(form: str, beside: bool) -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    exif = Image.Exif()
    exif[0x0131] = "Studio"
    options: dict[str, object] = {"exif": exif} if beside else {}
    if form == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        options["pnginfo"] = info
    elif form == "TIFF":
        options = {"tiffinfo": {700: packet}}
    else:
        options["xmp"] = packet
    assert read(encoded(form, **options)).size == (125, 82)


def test_exif_turns_a_picture_whatever_xmp_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="1"/>'
    assert read(encoded("JPEG", exif=exif, xmp=xmp)).size == (82, 125)


@pytest.mark.parametrize("kind", [b"Exif", b"brob"])
def test_metadata_that_is_damaged_costs_jpeg_xl_nothing(kind: bytes) -> None:
    plain = encoded("JXL", lossless=True, use_container=False) if "JXL" in Image.SAVE else pytest.skip("no encoder")
    box = struct.pack(">I", 20) + kind + b"Exif" + bytes(8)
    packed = struct.pack(">I", len(plain) + 8) + b"jxlc" + plain
    assert (
        difference(read(JXL_CONTAINER + struct.pack(">I4s4sI4s", 20, b"ftyp", b"jxl ", 0, b"jxl ") + box + packed)) == 0
    )


def test_short_segments_cost_a_jpeg_nothing() -> None:
    data = encoded("JPEG", quality=95)
    assert data[2:4] == b"\xff\xe0"
    behind = data[4 + int.from_bytes(data[4:6], "big") :]
    expected = read(data).pixels
    assert expected is not None
    for marker, body in ((0xE0, b"JFIF\0"), (0xE0, b"JFIF\0\1\1"), (0xEE, b"Adobe\0")):
        short = data[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + behind
        assert difference(read(short), expected) == 0


@pytest.mark.parametrize("kind", [b"gAMA", b"sRGB", b"cHRM", b"pHYs"])
def test_short_chunks_cost_a_png_nothing(kind: bytes) -> None:
    data = encoded("PNG")
    assert difference(read(data[:33] + chunk(kind, b"") + data[33:])) == 0


def test_a_jpeg_of_thousands_of_scans_is_refused_at_once() -> None:
    data = encoded("JPEG", quality=90, progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:-2] + data[last:-2] * 3_000 + b"\xff\xd9"
    began = time.monotonic()
    assert refused(bomb).code == "too_large" and time.monotonic() - began < 2.0
    # What stands behind the picture is none of it.
    assert difference(read(data + b"\xff\xda" * 3_000), read(data).pixels) == 0


@pytest.mark.parametrize("first", [b"wide", b"free", b"skip"])
def test_quicktime_without_a_brand_is_a_video(first: bytes) -> None:
    kind = foreign_kind(struct.pack(">I", 8) + first + struct.pack(">I", 100) + b"mdat")
    assert kind is not None and "video" in kind.name
    assert foreign_kind(b"Set free at last") is None


def test_a_drawing_behind_a_long_comment() -> None:
    kind = foreign_kind(b'<?xml version="1.0"?><!-- ' + b"x" * 2_000 + b' --><svg width="1"/>')
    assert kind is not None and "SVG" in kind.name


def test_what_the_first_frame_of_a_gif_leaves_free_is_white() -> None:
    picture = Image.fromarray(GREY)
    width, height = picture.size
    data = bytearray(encoded("GIF", picture, optimize=False))
    data[6:10] = struct.pack("<HH", width + 20, height + 20)
    frame = data.index(b",", 13 + 3 * 256)
    data[frame + 1 : frame + 5] = struct.pack("<HH", 10, 5)
    pixels = read(bytes(data)).pixels
    assert pixels.shape == (height + 20, width + 20, 3)
    assert np.array_equal(pixels[5 : 5 + height, 10 : 10 + width, 0], GREY)
    pixels[5 : 5 + height, 10 : 10 + width] = 255
    assert (pixels == 255).all()


def test_a_page_with_a_drawing_in_it_is_no_drawing() -> None:
    page = b'<html xmlns="http://www.w3.org/1999/xhtml"><body><svg width="1"/></body></html>'
    for front in (b'<?xml version="1.0"?>\n', b"<!-- <svg> -->", b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "x">'):
        assert foreign_kind(front + page) is None
    began = time.process_time()
    assert foreign_kind(b"<??>" * 1_000 + b"<!---->" * 100 + b"<html>") is None
    assert time.process_time() - began < 0.5
    drawn = (
        b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "x" "y" [<!ENTITY a "b">]>\n<!-- by hand -->\n<svg:svg width="1">'
    )
    assert foreign_kind(drawn) is not None


@pytest.mark.parametrize("subsampling", [0, 2])
def test_half_a_jpeg_is_no_picture_though_it_ends_as_a_whole_one(subsampling: int) -> None:
    whole = encoded("JPEG", quality=90, subsampling=subsampling)
    grey = Image.new("RGB", (125, 82), (128, 128, 128))
    grey.paste(Image.fromarray(BASE).crop((0, 0, 125, 40)))
    sound = encoded("JPEG", grey, quality=90, subsampling=subsampling)
    assert read(sound).size == (125, 82)  # grey by itself, and all there
    for data in (whole, sound):
        at = data.rindex(b"\xff\xda") + 14
        assert refused(data[: at + (len(data) - at) // 3] + b"\xff\xd9").code == "truncated"


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
def test_half_of_every_jpeg_is_none(mode: str) -> None:
    whole = encoded("JPEG", Image.fromarray(BASE).convert(mode), quality=90)
    at = whole.rindex(b"\xff\xda") + 14
    third = whole[: at + (len(whole) - at) // 3]
    assert refused(third + b"\xff\xd9").code == "truncated"
    assert refused(third + bytes(60_000)).code == "truncated"  # as it was allotted, and never written


def test_half_of_the_first_picture_of_several_is_none() -> None:
    first = Image.fromarray(BASE)
    several = encoded("MPO", first, save_all=True, append_images=[first.rotate(180)], quality=90)
    assert read(several).size == (125, 82)
    at = several.index(b"\xff\xda") + 14
    cut = at + (several.index(b"\xff\xd9", at) - at) // 3
    end = several.index(b"\xff\xd9", at)
    assert refused(several[:cut] + b"\xff\xd9" + several[end + 2 :]).code == "truncated"


def test_a_jpeg_that_is_all_there_needs_no_end() -> None:
    whole = encoded("JPEG", quality=90)
    padded = read(whole[:-2] + bytes(4_000))
    assert difference(padded, read(whole).pixels) == 0


def test_a_png_whose_pixels_have_a_false_checksum_is_damaged() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    data = bytearray(encoded("PNG", Image.fromarray(noise)))
    data[-30:-16] = b"\xff" * 14  # of the last chunk of pixels
    assert refused(bytes(data)).code == "decode_failed"


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_grey_and_alpha_in_planes_of_their_own(compression: str) -> None:
    both = np.stack([BASE[:, :, 0], np.full(BASE.shape[:2], 255, np.uint8)])
    name = {"tiff_lzw": "lzw", "tiff_adobe_deflate": "zlib"}[compression]
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    try:
        tifffile.imwrite(
            out, both, photometric="minisblack", planarconfig="separate", extrasamples=["unassalpha"], compression=name
        )
    except (ValueError, KeyError, ImportError) as error:
        pytest.skip(f"cannot be written here: {error}")
    assert difference(read(out.getvalue()), np.repeat(BASE[:, :, :1], 3, axis=2)) == 0


def test_a_webp_and_a_tiff_that_say_that_they_are_longer_are_cut_short() -> None:
    webp = encoded("WEBP")
    assert refused(webp[: len(webp) // 2]).code == "truncated"
    for head in (b"II*\0" + struct.pack("<I", 5_000), b"MM\0*" + struct.pack(">I", 5_000)):
        assert refused(head + bytes(100)).code == "truncated"


def test_jpeg_ls_is_named_whatever_stands_first() -> None:
    body = b"\xff\xd8\xff\xe8\0\x04ab" + b"\xff\xf7\0\x0b\x08\0\x10\0\x10\x01\x01\x11\0" + bytes(64)
    error = refused(body)
    assert error.code == "unsupported_format" and "JPEG-LS" in str(error)


def test_pages_of_a_tiff_are_not_counted() -> None:
    pages = [Image.fromarray(BASE[:16, :16])] * 3000
    data = encoded("TIFF", pages[0], save_all=True, append_images=pages[1:])
    began = time.process_time()
    assert "animated" in read(data).warnings
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate", "group4"])
def test_the_first_page_of_a_tiff_that_was_cut_behind_it(compression: str) -> None:
    page = Image.fromarray(BASE).convert("1" if compression == "group4" else "RGB")
    alone = encoded("TIFF", page, compression=compression)
    data = encoded("TIFF", page, compression=compression, save_all=True, append_images=[page] * 2)
    assert np.array_equal(read(data[: len(alone) + 100]).pixels, read(alone).pixels)


def test_a_png_of_fewer_rows_than_it_says_is_no_picture() -> None:
    head = struct.pack(">IIBBBBB", 125, 82, 8, 2, 0, 0, 0)

    def png(rows: int, black: int) -> bytes:
        pixels = BASE.copy()
        pixels[82 - black :] = 0
        body = b"".join(b"\0" + row.tobytes() for row in pixels[:rows])
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")

    assert read(png(82, 30)).size == (125, 82)
    assert refused(png(40, 0)).code == "truncated"
