"""Where results go: nothing that is read is overwritten, no device is replaced, and nothing is left behind."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT, Call
from filelock import FileLock
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nsnet_cli.results.escaping import csv_writer
from nsnet_cli.tower.blas import ending_at_once

Picture = Callable[..., Path]


@pytest.fixture
def scan(call: Call, tiny_weights: Path) -> Callable[..., tuple[int, str]]:
    """``nsnet scan`` in this process: exit code, and what it said."""

    def run(*args: object) -> tuple[int, str]:
        code, out, err = call("scan", *map(str, args), "--weights", str(tiny_weights), "--workers", "0")
        return code, out + err

    return run


@pytest.mark.parametrize("suffix", ["json", "csv", "jsonl", "txt", "html"])
def test_an_input_is_never_overwritten(scan: Callable[..., tuple[int, str]], picture: Picture, suffix: str) -> None:
    path = picture("a.png").rename(picture("b.png").with_name(f"a.{suffix}"))
    before = path.read_bytes()
    code, said = scan(path, "-o", path, "--force")
    assert code == 2 and "would be overwritten" in " ".join(said.split())
    assert path.read_bytes() == before


def test_a_list_an_explained_picture_and_skipped_files_are_inputs_too(
    scan: Callable[..., tuple[int, str]], call: Call, picture: Picture, tmp_path: Path
) -> None:
    path, listed = picture("a.png"), tmp_path / "list.txt"
    listed.write_text(f"{path}\n")
    for args in (("--from-file", listed, "-o", listed), ("--from-file", listed, "--skipped", listed)):
        code, said = scan(*args, "--force")
        assert code == 2 and "would be overwritten" in " ".join(said.split())
    assert listed.read_text() == f"{path}\n"
    before = path.read_bytes()
    assert call("explain", str(path), "-o", str(path), "--force")[0] == 2
    assert path.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
@pytest.mark.parametrize("name", ["p.csv", "p.json", "p.jsonl", "p.txt"])
def test_what_is_no_file_is_not_replaced(
    scan: Callable[..., tuple[int, str]], picture: Picture, tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / name)
    code, said = scan(picture("a.png"), "-o", tmp_path / name, "--force")
    assert code == 2 and "no regular file" in said and "--force" not in said
    assert not (tmp_path / name).is_file()


@pytest.mark.parametrize("name", ["l.csv", "l.json", "l.jsonl", "l.txt"])
def test_a_link_is_written_through(
    scan: Callable[..., tuple[int, str]], picture: Picture, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "elsewhere" / f"real{Path(name).suffix}"
    target.parent.mkdir()
    target.write_text("old")
    (tmp_path / name).symlink_to(target)
    assert scan(picture("a.png"), "-o", tmp_path / name, "--force")[0] == 0
    assert (tmp_path / name).is_symlink() and "a.png" in target.read_text()
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_what_a_name_says_is_what_is_written(
    scan: Callable[..., tuple[int, str]], picture: Picture, tmp_path: Path
) -> None:
    code, said = scan(picture("a.png"), "--format", "csv", "-o", tmp_path / "x.json")
    assert code == 2 and "contradicts the name" in said
    code, said = scan(picture("a.png"), "--json", "-o", tmp_path / "x.csv")
    assert code == 2 and "contradicts the name" in said
    assert scan(picture("a.png"), "--format", "csv", "-o", tmp_path / "x.txt")[0] == 0
    assert (tmp_path / "x.txt").read_text().startswith("path,")


@pytest.mark.parametrize("options", [("two.txt",), ("two.jsonl", "--only", "real")], ids=str)
def test_a_second_scan_to_the_same_file_is_refused(
    scan: Callable[..., tuple[int, str]], picture: Picture, tmp_path: Path, options: tuple[str, ...]
) -> None:
    name, *more = options
    with FileLock(tmp_path / f".{name}.lock"):
        code, said = scan(picture("a.png"), "-o", tmp_path / name, *more)
    assert code == 2 and "another scan is writing to it" in " ".join(said.split())
    assert scan(picture("a.png"), "-o", tmp_path / name, *more)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.png", name])


def test_a_refused_resume_leaves_nothing_behind(
    scan: Callable[..., tuple[int, str]], picture: Picture, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    assert scan(picture("a.png"), "-o", rows)[0] == 0
    before = rows.read_bytes()
    assert scan(picture("a.png"), "-o", rows, "--resume", "--threshold", "0.4")[0] == 2
    assert rows.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "rows.jsonl"]


def test_what_cannot_be_written_is_refused_before_anything_is_scanned(
    scan: Callable[..., tuple[int, str]], picture: Picture, tmp_path: Path
) -> None:
    (tmp_path / "d.csv").mkdir()
    (tmp_path / "rows").write_text("a file")
    path = picture("a.png")
    for args, said in (
        (("-o", tmp_path / "d.csv", "--force"), "is a directory"),
        (("-o", tmp_path / ("long" * 80 + ".csv")), "name too long"),
        (("-o", tmp_path / "rows", "--format", "parquet", "--force"), "directory of parts"),
        (("-o", tmp_path / "x.txt", "--skipped", tmp_path / "d.csv" / ".." / "x.txt"), "file of the results"),
    ):
        code, found = scan(path, *args)
        assert code == 2 and said in found.lower() and "internal error" not in found, found


def test_results_with_a_byte_order_mark_are_read(
    scan: Callable[..., tuple[int, str]], call: Call, picture: Picture, tmp_path: Path
) -> None:
    results = tmp_path / "r.json"
    assert scan(picture("a.png"), "-o", results)[0] == 0
    results.write_bytes(codecs.BOM_UTF8 + results.read_bytes())
    assert call("report", str(results), "-o", str(tmp_path / "r.html"))[0] == 0
    assert call("convert", str(results), "-o", str(tmp_path / "r.csv"))[0] == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("",), "an input is empty"),
        (("--from-file", "."), "Is a directory"),
        (("a.png", "--timeout", "nan"), "--timeout must be a number"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_said(scan: Callable[..., tuple[int, str]], args: tuple[str, ...], said: str) -> None:
    code, output = scan(*args)
    assert code == 2 and said in output and "internal error" not in output


def test_paths_that_lead_nowhere_are_not_found(call: Call, tiny_weights: Path, picture: Picture) -> None:
    there = picture("a.png")
    circle = there.with_name("circle.png")
    circle.symlink_to(circle)
    names = [f"{there}/x.jpg", str(there.with_name("x" * 300)), str(circle)]
    code, out, _ = call("scan", *names, "--json", "--weights", str(tiny_weights), "--workers", "0")
    errors = [result["error"] for result in json.loads(out)["results"]]
    assert code == 3
    assert [error["code"] for error in errors] == ["not_found"] * 3
    assert not any("Errno" in error["message"] for error in errors)


def test_a_closed_standard_input_is_an_empty_picture(tiny_weights: Path) -> None:
    command = f"{sys.executable} -m nsnet_cli scan - --json --weights {tiny_weights} <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT, check=False, timeout=120)
    assert json.loads(done.stdout)["results"][0]["error"]["code"] == "empty"


def test_a_terminal_that_says_zero_columns_is_shown_the_results(tiny_weights: Path, picture: Picture) -> None:
    command = [sys.executable, "-m", "nsnet_cli", "scan", str(picture("a.png")), "--weights", str(tiny_weights)]
    done = subprocess.run(
        command, capture_output=True, cwd=ROOT, check=False, timeout=120, env={**os.environ, "COLUMNS": "0"}
    )
    assert b"verdict" in done.stdout


def test_what_a_file_says_is_shown_as_it_stands(
    picture: Picture, tmp_path: Path, call: Call, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "a [cat:dog:0.5] in [red] boots :smile: [/INST] [link=http://x]there[/link]"
    info = PngInfo()
    info.add_text(
        "parameters", f"{said}\nNegative prompt: [ugly], bad\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1"
    )
    path = tmp_path / "a [red] :smile: picture.png"
    Image.open(picture("a.png")).save(path, pnginfo=info)
    monkeypatch.chdir(tmp_path)
    code, out, err = call("scan", path.name, "--weights", str(tiny_weights), "--workers", "0")
    assert code == 0, err
    shown = "".join(line.strip("│ ") for line in out.splitlines() if line.startswith("│"))
    for text in ("[cat:dog:0.5]", "[red] boots :smile: [/INST]", "[link=http://x]there[/link]", "[ugly], bad"):
        assert text.replace(" ", "") in shown.replace(" ", "")
    assert path.name in out


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes")
def test_a_scan_whose_remarks_nobody_reads_goes_on(picture: Picture, tmp_path: Path, tiny_weights: Path) -> None:
    paths = [str(picture(f"{k}.png", seed=k)) for k in range(3)]
    out = tmp_path / "o.jsonl"
    command = [sys.executable, "-m", "nsnet_cli", "scan", "--weights", str(tiny_weights), "-o", str(out)]

    def unread(*more: str) -> int:
        reading, writing = os.pipe()
        os.close(reading)
        try:
            return subprocess.run([*command, *more], stderr=writing, cwd=ROOT, check=False, timeout=120).returncode
        finally:
            os.close(writing)

    assert unread(*paths[:1]) == 0
    assert unread(*paths, "--resume") == 0 and len(out.read_text("utf-8").splitlines()) == 3
    assert unread("no-such-file.png") == 2  # it is there


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("form", ["json", "table"])
@pytest.mark.parametrize("to_file", [False, True])
def test_what_is_done_is_written_when_a_scan_is_interrupted(
    form: str, to_file: bool, tiny_weights: Path, picture: Picture, tmp_path: Path
) -> None:
    first, second = picture("a.png"), picture("b.png", seed=1)
    out = tmp_path / ("out.txt" if form == "table" else "out.json")
    command = [sys.executable, "-m", "nsnet_cli", "scan", "--from-file", "-", "--format", form]
    command += ["--weights", str(tiny_weights), "--workers", "1", "--sidecar"]
    if to_file and form == "table":
        command += ["-o", str(out)]
    elif to_file:
        pytest.skip("JSON in a file goes through a journal; test_batch.py interrupts that")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as run:
        assert run.stdin is not None and run.stdout is not None and run.stderr is not None
        run.stdin.write(f"{first}\n{second}\n".encode())
        run.stdin.flush()
        # The list stays open: the scan cannot end by itself.  Sidecars say that both are done.
        for _ in range(600):
            if all(Path(f"{path}.nsnet.json").exists() for path in (first, second)):
                break
            time.sleep(0.1)
        run.send_signal(signal.SIGTERM)
        run.wait(timeout=60)
        said, told = run.stdout.read(), run.stderr.read().decode()
    assert run.returncode == 130 and "interrupted: 2 rows are written to" in " ".join(told.split())
    text = out.read_text() if to_file else said.decode()
    assert "a.png" in text and "b.png" in text
    if form == "json":
        assert json.loads(text)["summary"]["total"] == 2


def test_no_name_and_no_prompt_breaks_a_row_of_csv() -> None:
    rows = [["a\rb", "=1", "é"], ["c\r\nd", "e\nf", ""], ['"', ",", "\r=HYPERLINK(A1)"]]
    out = io.StringIO(newline="")
    csv_writer(out).writerows(rows)
    assert list(csv.reader(io.StringIO(out.getvalue(), newline=""))) == rows
    assert out.getvalue().endswith("\n") and not out.getvalue().endswith("\r\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_a_carriage_return_in_a_name_stays_in_its_cell(
    scan: Callable[..., tuple[int, str]], picture: Picture, tmp_path: Path
) -> None:
    path = picture("a.png").rename(tmp_path / "a\r=1+1\r.png")
    assert scan(path, "-o", tmp_path / "rows.csv")[0] == 0
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == str(path)


def test_a_dash_is_no_file(scan: Callable[..., tuple[int, str]], picture: Picture) -> None:
    code, said = scan(picture("a.png"), "-o", "-", "--format", "csv")
    assert code == 2 and "standard output" in said and not Path("-").exists()


def test_a_single_error_in_a_file_is_said(scan: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    code, said = scan(tmp_path / "nope.jpg", "-o", tmp_path / "rows.csv")
    assert code == 3 and "1 could not be read" in " ".join(said.split())


def test_ctrl_c_leaves_nothing_to_wait_for() -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt), ending_at_once(pool):
        for _ in range(100):
            pool.submit(time.sleep, 0.2)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 5.0
