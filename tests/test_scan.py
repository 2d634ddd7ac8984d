"""``nsnet scan`` as a user and a script meet it, with the shipped weights."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from conftest import ROOT, SAMPLE, encoded, textured
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nsnet_cli import Detector
from nsnet_cli.results.document import json_schema

Run = Callable[..., subprocess.CompletedProcess[bytes]]
ROW = {"$ref": "#/$defs/result", **{k: v for k, v in json_schema().items() if k == "$defs"}}


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load()


def test_json_document_is_valid_and_complete(run_nsnet: Run) -> None:
    done = run_nsnet("scan", str(SAMPLE), "--json")
    assert done.returncode == 0 and done.stderr == b""
    document = json.loads(done.stdout)
    jsonschema.validate(document, json_schema())
    result = document["results"][0]
    assert result["path"] == str(SAMPLE) and (result["width"], result["height"]) == (640, 427)
    assert len(result["patches"]) == 49 and result["windows"] == [
        # Both ends: the picture is smaller than 640 pixels, and so is looked at as it is.
        {"x": 0, "y": 21, "width": 384, "height": 384, "view": 1},
        {"x": 256, "y": 21, "width": 384, "height": 384, "view": 2},
    ]
    assert document["summary"]["total"] == 1


def test_api_and_command_say_the_same(run_nsnet: Run, detector: Detector) -> None:
    by_command = json.loads(run_nsnet("scan", str(SAMPLE), "--json").stdout)["results"][0]
    by_api = detector.scan(SAMPLE).to_dict()
    for key in ("verdict", "sha256", "warnings", "patches", "width", "height", "format"):
        assert by_command[key] == by_api[key], key
    assert by_command["score"] == pytest.approx(by_api["score"], abs=1e-3)


def test_a_folder_gives_one_row_for_each_picture_and_counts_the_rest(
    run_nsnet: Run, picture: Callable[..., Path], tmp_path: Path
) -> None:
    picture("b/two.webp", seed=2)
    picture("a.jpg", seed=1)
    picture(".hidden.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "b" / "cut.jpg").write_bytes((picture("x.jpg").read_bytes())[:2000])
    (tmp_path / "x.jpg").unlink()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    done = run_nsnet("scan", str(tmp_path), "--json")
    document = json.loads(done.stdout)
    jsonschema.validate(document, json_schema())
    names = [Path(r["path"]).name for r in document["results"]]
    assert names == ["a.jpg", "cut.jpg", "two.webp"]
    assert document["results"][1]["error"]["code"] == "truncated"
    assert document["summary"]["skipped"] == 1 and document["summary"]["errors"] == 1
    assert done.returncode == 3


def test_jsonl_and_csv_rows_carry_what_merging_needs(run_nsnet: Run, picture: Callable[..., Path]) -> None:
    path = picture("=cmd.png")
    lines = run_nsnet("scan", str(path), "nosuch.jpg", "--format", "jsonl")
    rows = [json.loads(line) for line in lines.stdout.splitlines()]
    for row in rows:
        jsonschema.validate(row, ROW)
        assert row["schema"] == "nsnet.scan/1" and len(row["weights_sha256"]) == 64 and row["options_hash"]
    assert rows[1]["error"]["code"] == "not_found" and lines.returncode == 3
    table = run_nsnet("scan", "=cmd.png", "--format", "csv", cwd=path.parent).stdout.decode()
    (row,) = csv.DictReader(io.StringIO(table))
    assert row["path"] == "'=cmd.png"
    assert float(row["score"]) == pytest.approx(rows[0]["score"], abs=1e-3)


def test_batches_of_any_size_give_the_same_scores(detector: Detector, picture: Callable[..., Path]) -> None:
    paths = [str(picture(f"{k}.png", 230 + 40 * k, 300, seed=k)) for k in range(5)]
    alone = [detector.scan(path) for path in paths]
    for size in (1, 2, 5):
        together = list(detector.scan_many(paths, batch_size=size))
        assert [r.verdict for r in together] == [r.verdict for r in alone]
        assert [r.score for r in together] == pytest.approx([r.score for r in alone], abs=1e-3)


def test_too_little_picture_is_at_most_uncertain(detector: Detector, picture: Callable[..., Path]) -> None:
    for width, height, expected in ((200, 200, "few_patches"), (640, 40, "too_small"), (1, 1, "too_small")):
        result = detector.scan(picture(f"{width}x{height}.png", width, height))
        assert expected in result.warnings and result.verdict == "uncertain"


def test_suffix_and_container_do_not_matter(detector: Detector, picture: Callable[..., Path], tmp_path: Path) -> None:
    png = picture("a.png")
    wrong = tmp_path / "photo.final.JPG"
    wrong.write_bytes(png.read_bytes())
    lossless = tmp_path / "a.webp"
    Image.open(png).save(lossless, lossless=True)
    scores = {detector.scan(path).score for path in (png, wrong, lossless)}
    assert len(scores) == 1


def test_standard_input_lists_and_thresholds(run_nsnet: Run, picture: Callable[..., Path]) -> None:
    one, two = picture("one.png", seed=1), picture("two.png", seed=2)
    done = run_nsnet("scan", "-", "--json", "--threshold", "0", stdin=one.read_bytes())
    assert json.loads(done.stdout)["results"][0]["verdict"] == "generated"
    listing = f"{one}\0{two}\0".encode()
    done = run_nsnet(
        "scan", "--from-file", "-", "--null", "--format", "jsonl", "--threshold", "1", "--fail-on", "generated",
        stdin=listing,
    )  # fmt: skip
    assert [json.loads(line)["verdict"] for line in done.stdout.splitlines()] == ["real", "real"]
    assert done.returncode == 0
    assert run_nsnet("scan", str(one), "--threshold", "0", "--fail-on", "generated").returncode == 10


def test_the_card_and_the_table_say_what_they_must(run_nsnet: Run, picture: Callable[..., Path]) -> None:
    card = run_nsnet("scan", str(SAMPLE), "--threshold", "1").stdout.decode()
    assert "this does not show that the picture is authentic" in " ".join(card.replace("│", " ").split())
    assert "probability" in card and "low entropy" in card
    assert max(map(len, card.splitlines())) <= 80
    evil = picture("evil\x1b[31m\n.png")
    table = run_nsnet("scan", str(evil), str(SAMPLE)).stdout
    assert b"\x1b" not in table and b"2 pictures" in table


def test_the_table_says_what_files_claim_and_the_card_names_unknown_programs(
    run_nsnet: Run, picture: Callable[..., Path]
) -> None:
    known, unknown = PngInfo(), PngInfo()
    known.add_text("Software", "Midjourney 9")
    unknown.add_text("Software", "Patent Picture Mill")
    one, other = picture("one.png", pnginfo=known), picture("other.png", pnginfo=unknown)
    table = run_nsnet("scan", one.name, other.name, "--stability", cwd=one.parent).stdout.decode()
    assert re.search(r"file says generated; 0\.\d+–0\.\d+", table)
    assert "file says generated" in table and table.count("file says") == 1
    assert "made or saved by: Patent Picture Mill" in run_nsnet("scan", str(other)).stdout.decode()


def test_a_picture_of_which_little_is_looked_at_says_so(detector: Detector, picture: Callable[..., Path]) -> None:
    assert "mostly_unseen" in detector.scan(picture("strip.jpg", 14_000, 200)).warnings
    # Windows grow with a picture: of an ordinary one, however large, enough is seen.
    assert "mostly_unseen" not in detector.scan(picture("large.jpg", 2400, 1800)).warnings
    assert "mostly_unseen" not in detector.scan(picture("usual.jpg", 1600, 1200)).warnings


def test_counts_go_to_stderr_where_rows_go_elsewhere(
    run_nsnet: Run, picture: Callable[..., Path], tmp_path: Path
) -> None:
    names = [str(picture("a.png")), "nosuch.jpg"]
    for more in (["--format", "jsonl"], ["-o", str(tmp_path / "out.csv")]):
        done = run_nsnet("scan", *names, *more)
        assert (
            b"2 pictures: " in done.stderr and b"1 could not be read" in done.stderr and b" pictures" not in done.stdout
        )
    nothing = run_nsnet("scan", *names, "--only", "generated")
    assert nothing.stdout == b"" and b"2 pictures: 0 generated" in nothing.stderr
    assert b"pictures" not in run_nsnet("-q", "scan", *names, "--format", "csv").stderr
    refused = run_nsnet("report", str(tmp_path / "out.csv"), "-o", str(tmp_path / "page.html"))
    assert refused.returncode == 2 and b".jsonl" in refused.stderr
    assert run_nsnet("scan", "-h").stdout == run_nsnet("scan", "--help").stdout


def test_output_files_are_not_overwritten_unasked(run_nsnet: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert run_nsnet("scan", str(SAMPLE), "-o", str(out)).returncode == 0
    before = out.read_bytes()
    refused = run_nsnet("scan", str(SAMPLE), "-o", str(out))
    assert refused.returncode == 2 and b"--force" in refused.stderr and out.read_bytes() == before
    assert run_nsnet("scan", str(SAMPLE), "-o", str(tmp_path / "out.docx")).returncode == 2


@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        (("scan",), 2, b"nothing to scan"),
        (("scan", "x.jpg", "--weights", "nosuch"), 4, b"looked in"),
        (("scan", "x.jpg", "--views", "0"), 2, b"views"),
        (("scan", "x.jpg", "--views", "1"), 2, b"calibrated on mosaic and window"),
        (("scan", "x.jpg", "--device", "tpu"), 2, b"device must be"),
        (("frobnicate",), 2, b"No such command"),
    ],
)
def test_wrong_usage_has_its_own_exit_codes(run_nsnet: Run, args: tuple[str, ...], code: int, word: bytes) -> None:
    done = run_nsnet(*args)
    assert done.returncode == code and word in done.stderr and b"Traceback" not in done.stderr
    assert done.stdout == b""


def test_an_empty_folder_is_no_error(run_nsnet: Run, tmp_path: Path) -> None:
    done = run_nsnet("scan", str(tmp_path), "--json")
    assert done.returncode == 0 and b"no pictures found" in done.stderr
    assert json.loads(done.stdout)["results"] == []


def test_a_closed_pipe_ends_quietly(picture: Callable[..., Path]) -> None:
    paths = [str(picture(f"{k}.png", seed=k)) for k in range(3)]
    command = [sys.executable, "-m", "nsnet_cli", "scan", *paths, "--format", "jsonl", "--batch-size", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith(b"{")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=120) == 0


def test_help_and_version_load_no_network_library(run_nsnet: Run) -> None:
    code = "import sys; sys.argv=['nsnet','--help']\ntry:\n import nsnet_cli.cli as c; c.main()\nfinally:\n"
    code += " print([m for m in ('torch','open_clip','PIL','numpy') if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=ROOT)
    assert done.stderr.strip() == b"[]" and b"scan" in done.stdout
    assert run_nsnet("--version").stdout.startswith(b"nsnet ")


def test_a_scan_on_a_cpu_loads_no_network_library() -> None:
    """Importing PyTorch takes longer than the scan itself."""
    code = f"import sys; sys.argv=['nsnet','scan',{str(SAMPLE)!r},'--device','cpu','--json']\n"
    code += "NOT_NEEDED = ('torch','open_clip','scipy','sklearn','filelock','nsnet_cli.views.deliveries')\n"
    code += "try:\n import nsnet_cli.cli as c; c.main()\nfinally:\n"
    code += " print([m for m in NOT_NEEDED if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=ROOT)
    assert done.stderr.strip() == b"[]" and json.loads(done.stdout)["results"][0]["verdict"] == "real"


def test_schema_is_shown(run_nsnet: Run) -> None:
    assert json.loads(run_nsnet("schema").stdout) == json_schema()


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_what_phones_write_gives_the_verdict_of_the_lossless_picture(
    detector: Detector, tmp_path: Path, format: str
) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    with Image.open(SAMPLE) as sample:
        photo = sample.convert("RGB")
    photo.save(tmp_path / "a.png")
    full_colour = {"chroma": 444} if format == "HEIF" else {"subsampling": "4:4:4"}
    photo.save(tmp_path / f"a.{format.lower()}", format=format, quality=100, **full_colour)
    lossless, lossy = (detector.scan(tmp_path / name) for name in ("a.png", f"a.{format.lower()}"))
    assert lossy.format == format
    # The sample lies close to t_low: compression may carry it over that line, never across the band.
    assert {lossy.verdict, lossless.verdict} <= {"real", "uncertain"}
    assert lossy.probability == pytest.approx(lossless.probability, abs=0.1)


def test_a_folder_of_every_damage_gives_the_documented_rows(run_nsnet: Run, tmp_path: Path) -> None:
    good = SAMPLE.read_bytes()
    bomb = bytearray(encoded(Image.fromarray(textured(64, 64)), "PNG"))
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    files = {
        "bomb.png": (bytes(bomb), "too_large"),
        "cut.jpg": (good[: len(good) // 2], "truncated"),
        "document.pdf": (b"%PDF-1.7\n", "unsupported_format"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        "empty.jpg": (b"", "empty"),
        "layers.psd": (b"8BPS\x00\x01" + bytes(40), "unsupported_format"),
        "line\nbreak\x1b[31m.jpg": (good[:3000], "truncated"),
        "raw.cr2": (b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(60), "unsupported_format"),
        "text.jpg": (b"just words", "not_an_image"),
        "wrong.suffix": (good, None),
    }
    for name, (data, _) in files.items():
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "pipe.jpg")
    named = [*files, "pipe.jpg", "gone.jpg"]
    run = run_nsnet("scan", "--format", "jsonl", "--views", "2", *named, cwd=tmp_path)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    expected = [code for _, code in files.values()] + ["not_a_file", "not_found"]
    assert [(r["error"] or {}).get("code") for r in rows] == expected
    assert [r["path"] for r in rows] == named
    assert run.returncode == 3 and b"Traceback" not in run.stderr
    table = run_nsnet("scan", "--views", "2", *named, cwd=tmp_path)
    assert b"\x1b[31m" not in table.stdout and table.returncode == 3


def test_names_that_are_no_utf8_keep_their_bytes(run_nsnet: Run, tmp_path: Path) -> None:
    raw = b"caf\xe9.jpg"
    (tmp_path / os.fsdecode(raw)).write_bytes(b"no picture")
    run = run_nsnet("scan", os.fsdecode(raw), "--json", cwd=tmp_path)
    row = json.loads(run.stdout)["results"][0]
    assert base64.b64decode(row["path_bytes"]) == raw and os.fsencode(row["path"]) == raw
    assert run_nsnet("scan", os.fsdecode(raw), cwd=tmp_path).returncode == 3


@pytest.mark.parametrize("size", [(1, 1), (1, 50_000), (50_000, 1), (63, 4000)])
def test_odd_shapes_are_at_most_uncertain(detector: Detector, tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "odd.png"
    Image.effect_noise(size, 80).convert("RGB").save(path)
    result = detector.scan(path)
    assert result.error is None and (result.width, result.height) == size
    assert result.verdict == "uncertain" and "too_small" in result.warnings


def test_every_warning_is_explained(run_nsnet: Run) -> None:
    listed = run_nsnet("explain-warning").stdout.decode().splitlines()
    documented = (ROOT / "docs" / "inputs.md").read_text("utf-8")
    for line in listed:
        code = line.split("\t")[0]
        assert f"| `{code}` |" in documented
        assert len(run_nsnet("explain-warning", code).stdout) > 80
    assert len(listed) == 15
    unknown = run_nsnet("explain-warning", "nonsense")
    assert unknown.returncode == 2 and b"few_patches" in unknown.stderr
