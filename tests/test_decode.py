"""What becomes of every kind of file, good and bad."""

from __future__ import annotations

import gc
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLE, encoded, textured
from PIL import Image

from nsnet_cli.errors import InputError
from nsnet_cli.inputs import in_place
from nsnet_cli.inputs.decode import Picture, decode, read_file
from nsnet_cli.inputs.discover import WalkCount, WalkOptions, find_pictures
from nsnet_cli.inputs.formats.jpeg import jpeg_quality
from nsnet_cli.inputs.kinds import why_passed_over
from nsnet_cli.inputs.limits import DecodeLimits

LIMITS = DecodeLimits()


def pixels(picture: Picture) -> np.ndarray:
    assert picture.pixels is not None
    return picture.pixels.astype(int)


BASE = Image.fromarray(textured(96, 64))


@pytest.mark.parametrize(
    "format",
    ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG", "AVIF", "HEIF", "JPEG2000", "MPO", "PPM", "TGA", "PCX", "SGI", "QOI"],
)
def test_formats_give_the_picture(format: str) -> None:
    if format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    options = {"WEBP": {"lossless": True}} | {name: {"quality": 95} for name in ("JPEG", "AVIF", "MPO")}
    try:
        data = encoded(BASE, format, **options.get(format, {}))
    except (KeyError, OSError) as error:
        pytest.skip(f"this Pillow cannot write {format}: {error}")
    picture = decode(data, LIMITS)
    assert picture.size == (96, 64)
    tolerance = {"GIF": 60, "JPEG": 12, "MPO": 12, "AVIF": 16, "HEIF": 20}.get(format, 1)
    assert np.abs(pixels(picture) - np.asarray(BASE).astype(int)).mean() < tolerance


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "CMYK", "1"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_tall_pictures_are_made_rgb_as_short_ones_are(mode: str, orientation: int) -> None:
    """Large pictures are converted a strip at a time: neither the seams nor what lies between may show."""
    tall = Image.fromarray(textured(90, 1_100))
    if mode in ("RGBA", "LA"):
        tall.putalpha(Image.fromarray(textured(90, 1_100, seed=1)).convert("L"))
    tall = tall.convert(mode)
    over = Image.new("RGBA", tall.size, "white")
    over.alpha_composite(tall.convert("RGBA"))
    expected = np.array(over.convert("RGB") if mode in ("RGBA", "LA") else tall.convert("RGB"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(encoded(tall, "TIFF", exif=exif), LIMITS).pixels
    assert np.array_equal(found, np.rot90(expected, -1) if orientation == 6 else expected)


def test_transparency_is_laid_over_white() -> None:
    rgba = Image.new("RGBA", (40, 40), (10, 20, 30, 0))
    assert (pixels(decode(encoded(rgba, "PNG"), LIMITS)) == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK", "I;16", "F"])
def test_every_mode_becomes_8_bit_rgb(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray((np.asarray(BASE.convert("L")).astype(np.uint16)) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(BASE.convert("L")).astype(np.float32) / 255)
    else:
        image = BASE.convert(mode)
    picture = decode(encoded(image, "TIFF"), LIMITS)
    assert pixels(picture).shape == (64, 96, 3)
    if mode in ("L", "I;16", "F", "LA"):
        assert np.abs(pixels(picture)[:, :, 0] - np.asarray(BASE.convert("L")).astype(int)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(encoded(BASE, "PNG", exif=exif), LIMITS)
    assert picture.size == ((96, 64) if orientation < 5 else (64, 96))


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_large_pictures_stay_where_pillow_holds_them_and_are_the_same(
    orientation: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    data = encoded(BASE, "PNG", exif=exif)
    copied = decode(data, LIMITS)
    monkeypatch.setattr(in_place, "_LARGE", 1)
    there = decode(data, LIMITS)
    assert copied.pixels is not None and there.pixels is not None
    assert copied.pixels.flags.owndata and not there.pixels.flags.owndata and not there.pixels.flags.writeable
    assert there.size == copied.size
    gc.collect()
    decode(encoded(Image.new("RGB", BASE.size, "red"), "PNG"), LIMITS)  # whose memory would be what was let go
    assert np.array_equal(there.pixels, copied.pixels)


def test_a_large_picture_in_several_pieces_or_not_opaque_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_place, "_LARGE", 1)
    clear = encoded(BASE, "PNG", transparency=(1, 2, 3))
    core: Any = Image.core  # type: ignore[attr-defined]
    before = core.get_block_size()
    try:
        core.set_block_size(4096)
        with in_place.in_one_piece(BASE.size):
            assert in_place.shared(BASE.copy()) is not None
        assert in_place.shared(BASE.copy()) is None
        for data in (clear, encoded(BASE.convert("L"), "PNG"), encoded(BASE.convert("CMYK"), "TIFF")):
            found = decode(data, LIMITS).pixels
            assert found is not None and found.flags.writeable
    finally:
        core.set_block_size(before)


def test_an_animation_gives_its_first_frame_and_a_flag() -> None:
    data = encoded(BASE, "WEBP", save_all=True, append_images=[BASE.rotate(90)], lossless=True)
    picture = decode(data, LIMITS)
    assert picture.warnings == ("animated",)
    assert np.array_equal(pixels(picture), np.asarray(BASE).astype(int))


def test_what_to_trust_less_is_flagged() -> None:
    strip = Image.fromarray(textured(410, 100))
    assert decode(encoded(strip, "PNG"), LIMITS).warnings == ("extreme_aspect",)
    assert decode(encoded(strip.crop((0, 0, 400, 100)), "PNG"), LIMITS).warnings == ()
    assert decode(encoded(BASE, "JPEG", quality=49), LIMITS).warnings == ("low_quality_jpeg",)
    assert decode(encoded(BASE, "JPEG", quality=50), LIMITS).warnings == ()


@pytest.mark.parametrize("quality", [30, 50, 75, 90, 96])
def test_jpeg_quality_is_read_from_the_tables(quality: int) -> None:
    with Image.open(io.BytesIO(encoded(BASE, "JPEG", quality=quality))) as opened:
        found = jpeg_quality(opened.quantization)  # type: ignore[attr-defined]
    assert found == pytest.approx(quality, abs=2)
    assert jpeg_quality({}) is None


@pytest.mark.parametrize("format", ["HEIF", "AVIF", "WEBP", "JPEG"])
def test_lossy_files_stay_close_to_the_lossless_original(format: str) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    with Image.open(SAMPLE) as sample:
        photo = sample.convert("RGB").crop((0, 0, 320, 256))
    lossy = pixels(decode(encoded(photo, format, quality=95), LIMITS))
    assert np.abs(lossy - pixels(decode(encoded(photo, "PNG"), LIMITS))).mean() < 2


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encoded(BASE, "JPEG")[:1500], "truncated"),
        (encoded(BASE, "PNG")[:2000], "truncated"),
        (b"hello, world, this is text", "not_an_image"),
        (b"II*\x00\x08" + bytes(60), "decode_failed"),
        (b"%PDF-1.7 ...", "unsupported_format"),
        (b"<?xml version='1.0'?><svg xmlns='x'></svg>", "unsupported_format"),
        (b"\x00\x00\x00\x18ftypcrx ....", "unsupported_format"),
        (b"\x00\x00\x00\x18ftypisom....", "unsupported_format"),
        (b"8BPS\x00\x01" + bytes(40), "unsupported_format"),
        (encoded(BASE, "ICO"), "unsupported_format"),
        (encoded(BASE, "ICNS"), "unsupported_format"),
        (encoded(BASE, "DDS"), "unsupported_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported_format"),
    ],
)
def test_damaged_and_foreign_files_have_a_code(data: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        decode(data, LIMITS)
    assert caught.value.code == code


def test_too_many_pixels_are_refused_before_decoding() -> None:
    with pytest.raises(InputError) as caught:
        decode(encoded(BASE, "PNG"), DecodeLimits(max_pixels=1000))
    assert caught.value.code == "too_large" and "--max-pixels" in str(caught.value)


def test_a_text_chunk_that_unpacks_to_hundreds_of_megabytes_costs_nothing() -> None:
    packed = zlib.compress(bytes(300_000_000), 9)
    chunk = b"zTXt" + b"Comment\x00\x00" + packed
    bomb = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    png = encoded(BASE, "PNG")
    assert decode(png[:33] + bomb + png[33:], LIMITS).size == BASE.size


def test_reading_gives_a_code_for_what_is_no_file(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe.jpg"
    os.mkfifo(fifo)
    (tmp_path / "empty.jpg").touch()
    cases = {"none.jpg": "not_found", "pipe.jpg": "not_a_file", "empty.jpg": "empty", ".": "not_a_file"}
    for name, code in cases.items():
        with pytest.raises(InputError) as caught:
            read_file(tmp_path / name, LIMITS)
        assert caught.value.code == code, name


def test_a_folder_that_may_not_be_read_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, who may read everything
    with pytest.raises(InputError) as caught:
        read_file(tmp_path, LIMITS)
    assert caught.value.code == "permission"


def test_globs_choose_within_a_folder(picture: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "sub/c.png", "sub/d.png"):
        picture(name, width=64, height=64)

    def found(include: list[str], exclude: list[str]) -> list[str]:
        paths = find_pictures([str(tmp_path)], WalkOptions(include, exclude), WalkCount())
        return [str(Path(path).relative_to(tmp_path)) for path in paths]

    assert found([], []) == ["a.png", "b.jpg", "sub/c.png", "sub/d.png"]
    assert found(["*.png"], []) == ["a.png", "sub/c.png", "sub/d.png"]
    assert found(["sub/*"], ["d.*"]) == ["sub/c.png"]


def test_a_walk_goes_by_content(picture: Callable[..., Path], tmp_path: Path) -> None:
    wrong = picture("photo.png").rename(tmp_path / "photo.txt")
    text = tmp_path / "notes.jpg"
    text.write_text("P1 plan: II. buy milk")
    assert why_passed_over(wrong) is None
    assert why_passed_over(text) == "named like a picture, but none by its content"


def test_untouched_originals_are_read(shared: Path) -> None:
    import csv

    folder = shared / "corpus" / "native"
    for row in csv.DictReader((folder / "manifest.csv").open()):
        picture = decode(read_file(folder / row["path"], LIMITS), LIMITS)
        turned = int(row["exif_orientation"]) >= 5
        size = (int(row["width"]), int(row["height"]))
        assert picture.size == (size[::-1] if turned else size), row["path"]
