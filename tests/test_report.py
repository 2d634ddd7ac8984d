"""``nsnet report`` and sidecars: everything that was found, nothing that was smuggled in."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest
from conftest import textured
from PIL import Image

from nsnet_cli.results.document import json_schema

Run = Callable[..., subprocess.CompletedProcess[bytes]]
HOSTILE = "<img src=x onerror=alert(1)>.jpg"


class Page(HTMLParser):
    """What a browser would make of the page: elements with their attributes, and the text of each script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text.append(data)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures, one with a hostile name and hostile EXIF, and a torn one."""
    folder = tmp_path_factory.mktemp("report")
    exif = Image.Exif()
    exif[0x010E] = exif[0x0131] = "<script>alert(2)</script> Stable Diffusion"
    exif[0x0110] = '"><svg onload=alert(3)>\u202e\x1b[31m'
    Image.fromarray(textured(400, 300)).save(folder / HOSTILE, exif=exif)
    for k in range(3):
        Image.fromarray(textured(300, 500, seed=k)).save(folder / f"{k}.png")
    (folder / "torn.png").write_bytes((folder / "0.png").read_bytes()[:3000])
    return folder


@pytest.fixture(scope="module")
def html(run_nsnet: Run, pictures: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("out") / "report.html"
    run = run_nsnet("report", str(pictures), "-o", str(out), "--weights", str(tiny_weights))
    assert run.returncode == 3 and run.stdout == b"", run.stderr.decode()
    assert [p.name for p in out.parent.iterdir()] == ["report.html"]
    return out.read_text("utf-8")


def test_nothing_from_names_and_metadata_becomes_an_element(html: str) -> None:
    page = Page(html)
    assert len(page.scripts) == 1
    assert {tag for tag, _ in page.elements} <= {
        "html", "head", "meta", "title", "link", "style", "body", "h1", "h2", "table", "tr", "th", "td", "p", "div",
        "label", "select", "option", "input", "span", "main", "article", "figure", "img", "svg", "rect", "path",
        "figcaption", "section", "dl", "dt", "dd", "strong", "code", "script",
    }  # fmt: skip
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    text = "".join(page.text)
    assert HOSTILE in text and "<script>alert(2)</script> Stable Diffusion" in text  # shown as what it is
    assert "\u202e" not in html and "\x1b" not in html


def test_only_its_own_script_may_run_and_nothing_may_be_fetched(html: str) -> None:
    page = Page(html)
    (policy,) = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_every_picture_has_a_card_with_what_was_found(html: str) -> None:
    page = Page(html)
    cards = [a for tag, a in page.elements if tag == "article"]
    assert len(cards) == 5 and sum(a["data-verdict"] == "error" for a in cards) == 1
    text = " ".join("".join(page.text).split())
    for words in (
        "5 pictures scanned",
        "that did not know them score this high",
        "does not show that",
        "SHA-256",
        "truncated",
    ):
        assert words in text
    assert "generated: <script>alert(2)" in text and "anybody can write this" in text
    assert "nsnet report" in text and "weights sha256" in text
    # 49 patches outlined and the window, on each of the four that could be read; thumbnails are small.
    rects = [a for tag, a in page.elements if tag == "rect" and a.get("stroke") in ("#e69f00", "#56b4e9")]
    assert len(rects) == 4 * 49
    images = [a["src"] for tag, a in page.elements if tag == "img"]
    assert len(images) == 8 and max(len(src or "") for src in images) < 60_000
    # Without JavaScript everything is there: nothing is hidden but the controls.
    assert [tag for tag, a in page.elements if "hidden" in a] == ["div"]


def test_results_files_are_reported_without_scanning(
    run_nsnet: Run, pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "moved"
    folder.mkdir()
    for path in pictures.glob("*.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    for suffix in ("json", "jsonl"):
        out = tmp_path / f"rows.{suffix}"
        run_nsnet("scan", str(folder), "-o", str(out), "--patches", "--weights", str(tiny_weights))
    (folder / "1.png").unlink()
    Image.fromarray(textured(300, 500, seed=9)).save(folder / "2.png")
    for suffix in ("json", "jsonl"):
        page_file = tmp_path / f"{suffix}.html"
        run = run_nsnet("report", str(tmp_path / f"rows.{suffix}"), "-o", str(page_file))
        assert run.returncode == 3, run.stderr.decode()
        page = Page(page_file.read_text("utf-8"))
        text = " ".join("".join(page.text).split())
        assert len([1 for tag, _ in page.elements if tag == "article"]) == 4
        # One is gone and one is another picture by now; neither is shown as if it had been scanned.
        assert text.count("is no longer the one that was scanned") == 2
        assert ("that did not know them score this high" in text) == (suffix == "json")
    (tmp_path / "other.json").write_text('{"schema": "x", "results": []}')
    assert run_nsnet("report", str(tmp_path / "other.json"), "-o", str(tmp_path / "o.html")).returncode == 2
    assert run_nsnet("report", str(folder), "-o", str(tmp_path / "o.pdf")).returncode == 2


def test_sidecars_lie_beside_their_pictures_and_over_nothing_else(
    run_nsnet: Run, tiny_weights: Path, tmp_path: Path
) -> None:
    for k in range(2):
        Image.fromarray(textured(240, 240, seed=k)).save(tmp_path / f"{k}.png")
    foreign = tmp_path / "1.png.nsnet.json"
    foreign.write_text('{"mine": true}')
    command = ("scan", str(tmp_path), "--sidecar", "--json", "--weights", str(tiny_weights))
    run = run_nsnet(*command)
    document = json.loads(run.stdout)
    assert run.returncode == 0 and b"1 sidecar could not be written: there is a file of that name" in run.stderr
    sidecar = json.loads((tmp_path / "0.png.nsnet.json").read_text())
    jsonschema.validate(sidecar, json_schema())
    assert sidecar["results"] == document["results"][:1] and sidecar["summary"]["total"] == 1
    assert foreign.read_text() == '{"mine": true}'
    assert run_nsnet(*command).returncode == 0  # ours may be written again
    assert not re.search(r"partial", " ".join(p.name for p in tmp_path.iterdir()))


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes")
def test_whatever_lies_where_a_sidecar_would_ends_no_scan(run_nsnet: Run, tiny_weights: Path, tmp_path: Path) -> None:
    for k in range(3):
        Image.fromarray(textured(240, 240, seed=k)).save(tmp_path / f"{k}.png")
    os.mkfifo(tmp_path / "0.png.nsnet.json")
    (tmp_path / "1.png.nsnet.json").write_text("[" * 200_000)
    run = run_nsnet("scan", str(tmp_path), "--sidecar", "--format", "csv", "--weights", str(tiny_weights))
    assert run.returncode == 0 and run.stdout.count(b"\n") == 4, run.stderr
    assert b"2 sidecars could not be written" in run.stderr and (tmp_path / "2.png.nsnet.json").exists()


@pytest.mark.parametrize("text", ['{"schema": "nsnet.scan/1", "results": []}', '{"schema":' + "[" * 100_000, '{"a'])
def test_what_is_no_whole_document_is_said(text: str, run_nsnet: Run, tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    results.write_text(text)
    for command in ("report", "convert"):
        run = run_nsnet(command, str(results), "-o", str(tmp_path / ("page.html" if command == "report" else "r.csv")))
        assert run.returncode == 2 and b"internal error" not in run.stderr, run.stderr


def test_several_results_files_are_put_together_first(run_nsnet: Run, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text("{}\n")
    run = run_nsnet("report", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "-o", str(tmp_path / "page.html"))
    assert run.returncode == 2 and b"nsnet merge first" in b" ".join(run.stderr.split())
    assert not (tmp_path / "page.html").exists()
