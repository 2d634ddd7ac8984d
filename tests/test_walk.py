"""A walk accounts for every file: rows and skipped together are all that is there."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from conftest import SAMPLE, Call, encoded, textured
from PIL import Image

from nsnet_cli.inputs.discover import WalkCount, WalkOptions, find_pictures
from nsnet_cli.results.document import json_schema

Run = Callable[..., subprocess.CompletedProcess[bytes]]
PICTURE = Image.fromarray(textured(96, 72))


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("a.txt", "words")
    return buffer.getvalue()


# What becomes of each: "row", "unsupported_format", or how a list of what was skipped names it.
EVERYTHING: dict[str, tuple[bytes, str]] = {
    "a.jpg": (encoded(PICTURE, "JPEG"), "row"),
    "a.png": (encoded(PICTURE, "PNG"), "row"),
    "a.tga": (encoded(PICTURE, "TGA"), "row"),
    "a.pcx": (encoded(PICTURE, "PCX"), "row"),
    "a.sgi": (encoded(PICTURE, "SGI"), "row"),
    "a.ppm": (encoded(PICTURE, "PPM"), "row"),
    "a.qoi": (encoded(PICTURE, "QOI"), "row"),
    "a.bmp": (encoded(PICTURE, "BMP"), "row"),
    "sub/without-suffix": (encoded(PICTURE, "WEBP"), "row"),
    "layers.psd": (b"8BPS\0\1" + bytes(40), "unsupported_format"),
    "light.exr": (b"v/1\x01" + bytes(40), "unsupported_format"),
    "light.hdr": (b"#?RADIANCE\n" + bytes(40), "unsupported_format"),
    "film.dpx": (b"SDPX" + bytes(40), "unsupported_format"),
    "drawing.svg": (b"<?xml version='1.0'?><svg/>", "unsupported_format"),
    "favicon.ico": (encoded(PICTURE, "ICO"), "unsupported_format"),
    "camera.cr2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(60), "unsupported_format"),
    "camera.raf": (b"FUJIFILMCCD-RAW" + bytes(60), "unsupported_format"),
    "notes.txt": (b"words", "text"),
    "sound.wav": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(20), "sound"),
    "font.dfont": (b"\0\0\1\0" + bytes(range(1, 60)), "no picture"),
    "recording.mts": ((bytes(4) + b"\x47" + bytes(187)) * 3, "video"),
    "BM words": (b"BMW and other words", "text"),
    "list-utf16.txt": ("names".encode("utf-16"), "text"),
    "a.jpg.xmp": (b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", "text"),
    "IMG_1.AAE": (b"<?xml version='1.0'?><plist/>", "text"),
    "Thumbs.db": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "thumbnail cache"),
    "desktop.ini": (b"[.ShellClassInfo]", "text"),
    "paper.pdf": (b"%PDF-1.7", "PDF"),
    "office.docx": (archive(), "ZIP"),
    "clip.mp4": (b"\0\0\0\x18ftypisom" + bytes(60), "video"),
    "clip.mkv": (b"\x1a\x45\xdf\xa3" + bytes(60), "video"),
    "program.bin": (bytes(range(256)), "no picture"),
    "ab/cdef0123456789abcdef0123456789abcdef01": (zlib.compress(b"blob 5\0words"), "no picture"),
    "ab/0a0a0a": (b"\x0a\x05\x01\x08" + bytes(60), "no picture"),
    "empty": (b"", "empty"),
    "empty.jpg": (b"", "named like a picture"),
    "zeroed.jpg": (bytes(5000), "named like a picture"),
}


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    for name, (data, _) in EVERYTHING.items():
        path = tmp_path / "all" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "all" / ".hidden.jpg").write_bytes(EVERYTHING["a.jpg"][0])
    os.mkfifo(tmp_path / "all" / "pipe.jpg")
    return tmp_path / "all"


def test_every_file_is_a_row_or_has_a_name(everything: Path, tiny_weights: Path, call: Call) -> None:
    listed = everything.parent / "skipped.csv"
    code, out, err = call(
        "scan", str(everything), "--json", "--weights", str(tiny_weights), "--workers", "0", "--skipped", str(listed)
    )
    document = json.loads(out)
    jsonschema.validate(document, json_schema())
    rows = {os.path.relpath(row["path"], everything): row for row in document["results"]}
    skipped = {os.path.relpath(row["path"], everything): row["what"] for row in csv.DictReader(listed.open())}
    expected = {**{name: what for name, (_, what) in EVERYTHING.items()}, "pipe.jpg": "named pipe"}
    assert rows.keys() | skipped.keys() == expected.keys() and not rows.keys() & skipped.keys()
    assert len(document["results"]) + document["summary"]["skipped"] == len(expected)
    for name, what in expected.items():
        if what == "row":
            assert rows[name]["error"] is None, name
        elif what == "unsupported_format":
            assert rows[name]["error"]["code"] == what, name
        else:
            assert what in skipped[name], name
    assert code == 3 and "2 skipped files are named like a picture" in err and f"listed in {listed}" in err


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv"])
def test_the_list_of_what_was_skipped(suffix: str, everything: Path, tiny_weights: Path, call: Call) -> None:
    (everything / "tab\tand\nline.txt").write_text("words")
    listed = everything.parent / f"skipped{suffix}"
    arguments = (
        "scan",
        str(everything),
        "--include",
        "*.txt",
        "--weights",
        str(tiny_weights),
        "--skipped",
        str(listed),
    )
    assert call(*arguments)[0] == 0
    text = listed.read_text("utf-8")
    assert ("\\t" in text or '"' in text) and len(text.splitlines()) == {".txt": 3, ".jsonl": 3, ".csv": 5}[suffix]
    refused = call(*arguments)
    assert refused[0] == 2 and "--force" in refused[2]
    assert call(*arguments, "--force")[0] == 0


def test_shards_share_what_is_skipped(everything: Path) -> None:
    counts = [WalkCount(keep=True, takes=lambda path, k=k: len(path) % 3 == k) for k in range(3)]  # type: ignore[misc]
    for count in counts:
        list(find_pictures([str(everything)], WalkOptions(), count))
    whole = WalkCount()
    list(find_pictures([str(everything)], WalkOptions(), whole))
    assert sum(count.skipped for count in counts) == whole.skipped > 0
    assert [len(count.listed) for count in counts] == [count.skipped for count in counts] and not whole.listed


def test_without_the_list_nothing_quiet_is_said(tmp_path: Path, tiny_weights: Path, call: Call) -> None:
    (tmp_path / "a.jpg").write_bytes(SAMPLE.read_bytes())
    for name in ("Thumbs.db", "a.xmp", "desktop.ini"):
        (tmp_path / name).write_bytes(EVERYTHING.get(name, (b"words", ""))[0])
    code, out, err = call("scan", str(tmp_path), "--weights", str(tiny_weights), "--format", "jsonl")
    assert code == 0 and len(out.splitlines()) == 1 and "named like" not in err
