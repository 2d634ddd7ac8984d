"""`nsnet inspect`: every part with its place and size, and the pictures within the picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import conftest
import pytest
from carriers import A1111, PICTURE, XMP_AI, encoded, with_text
from credentials import Signer
from PIL import Image

from nsnet_cli.provenance.inspection import inspect


def thumbnailed() -> bytes:
    """A JPEG with a thumbnail in EXIF and content credentials with one of their own."""
    small = conftest.encoded(PICTURE.resize((60, 58)), "JPEG")
    exif = Image.Exif()
    exif[0x0110] = "Camera 5"
    block = exif.tobytes()[6:]
    at = len(block)
    # A second directory: where the thumbnail is, and how long.
    first = int.from_bytes(block[4:8], "little" if block[:2] == b"II" else "big")
    order = "little" if block[:2] == b"II" else "big"
    count = int.from_bytes(block[first : first + 2], order)
    link = first + 2 + 12 * count
    second = (2).to_bytes(2, order)
    for number, value in ((0x0201, at + 30), (0x0202, len(small))):
        second += number.to_bytes(2, order) + (4).to_bytes(2, order) + (1).to_bytes(4, order) + value.to_bytes(4, order)
    whole = block[:link] + at.to_bytes(4, order) + block[link + 4 :] + second + b"\0" * 4 + small
    return Signer().sign(encoded(exif=b"Exif\0\0" + whole))


def parts_in(parts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for part in parts:
        yield part
        yield from parts_in(part.get("parts", []))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "HEIF", "BMP"])
def test_parts_lie_within_the_file(form: str) -> None:
    data = encoded(form, **({} if form in ("TIFF", "GIF", "BMP") else {"xmp": XMP_AI} if form != "PNG" else {}))
    document = inspect(data, "x", form).document
    for part in parts_in(document["parts"]):
        if part["offset"] is not None:
            assert 0 <= part["offset"] <= part["offset"] + part["bytes"] <= len(data), part
    if form in ("JPEG", "PNG", "WEBP"):
        assert len(document["parts"]) >= 3
    assert document["bytes"] == len(data) and document["errors"] == []


def test_thumbnails_manifests_and_tags(run_nsnet: Callable[..., Any], tmp_path: Path) -> None:
    data = thumbnailed()
    path, folder = tmp_path / "a.jpg", tmp_path / "thumbnails"
    path.write_bytes(data)
    folder.mkdir()
    done = run_nsnet("inspect", str(path), "--json", "--thumbnails", str(folder))
    document = json.loads(done.stdout)
    assert done.returncode == 0 and document["schema"] == "nsnet.inspect/1"
    written = sorted(folder.iterdir())
    assert len(written) == 2
    sizes = []
    for thumbnail in written:
        with Image.open(thumbnail) as image:
            sizes.append(image.size)
    assert (60, 58) in sizes
    names = [part["name"] for part in parts_in(document["parts"])]
    assert {"APP1", "APP11", "jumb", "cbor", "IFD1"} <= set(names)
    assert any(tag["name"] == "Model" and tag["value"] == "Camera 5" for tag in document["tags"])
    (label,) = document["manifests"]["manifests"]
    assert document["manifests"]["manifests"][label]["claim"]["alg"] == "sha256"
    assert document["provenance"]["claims"] == ["captured", "generated"]
    again = run_nsnet("inspect", str(path), "--thumbnails", str(folder))
    assert again.returncode == 2 and b"exists" in again.stderr
    tree = run_nsnet("inspect", str(path)).stdout.decode()
    assert "APP11 at" in tree and "c2pa.signature" in tree and "Model = Camera 5" in tree
    # What goes on in another line is indented: no statement is taken for two.
    assert all(line.startswith(("says: ", "  ")) for line in tree[tree.index("\nsays: ") + 1 :].splitlines())


def test_what_cannot_be_scanned_can_be_looked_at(run_nsnet: Callable[..., Any], tmp_path: Path) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(with_text({"parameters": A1111})[:2_000])
    done = run_nsnet("inspect", str(torn), "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0 and document["texts"][0]["value"].startswith("a lighthouse") and document["errors"]
    other = tmp_path / "notes\x1b[31m.txt"
    other.write_text("no picture")
    done = run_nsnet("inspect", str(other))
    assert done.returncode == 0 and b"\x1b[31m" not in done.stdout
    assert run_nsnet("inspect", str(tmp_path / "nothing.jpg")).returncode == 3
    assert run_nsnet("inspect", "-").returncode == 2
