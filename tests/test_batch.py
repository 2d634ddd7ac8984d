"""Batches: every input gets exactly one row, whatever becomes of files, workers, disks and the scan itself."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Call, jsonl_rows, textured
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nsnet_cli.inputs.discover import Discovery, Shard


def _same(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows without what differs from scan to scan."""
    return [{k: v for k, v in row.items() if k not in ("scanned_at", "elapsed_ms")} for row in rows]


def test_resume_scans_what_changed_and_nothing_else(
    call: Call, many_pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.jsonl"
    folder.mkdir()
    for k in range(5):
        Image.fromarray(textured(230, 230, seed=k)).save(folder / f"{k}.png")
    command = ("scan", str(folder), "--weights", str(tiny_weights), "-o", str(out), "--workers", "0")
    assert call(*command)[0] == 0
    assert call(*command)[0] == 2  # not overwritten unasked
    first = {row["path"]: row for row in jsonl_rows(out)}
    # One changes, one is only touched, one comes in front of all others, one goes.
    Image.fromarray(textured(240, 230, seed=9)).save(folder / "1.png")
    os.utime(folder / "2.png", ns=(1, 1))
    Image.fromarray(textured(230, 230, seed=7)).save(folder / "+.png")
    (folder / "4.png").unlink()
    assert call(*command, "--resume", "--resume-by", "hash")[0] == 0
    rows = {Path(str(row["path"])).name: row for row in jsonl_rows(out)}
    # In the order of the inputs as they are now; the row of what is gone stays, behind the others.
    assert list(rows) == ["+.png", "0.png", "1.png", "2.png", "3.png", "4.png"] and len(jsonl_rows(out)) == 6
    assert [row["input_index"] for row in jsonl_rows(out)] == list(range(6))
    again = {n for n, row in rows.items() if row["scanned_at"] != first.get(str(folder / n), {}).get("scanned_at")}
    assert again == {"1.png", "+.png"} and rows["1.png"]["width"] == 240
    assert call(*command, "--resume")[0] == 0  # by size and time 2.png has changed
    by_stat = {Path(str(row["path"])).name: row for row in jsonl_rows(out)}
    assert {n for n, row in by_stat.items() if row["scanned_at"] != rows[n]["scanned_at"]} == {"2.png"}
    assert call(*command, "--resume", "--threshold", "0.5")[0] == 2


def test_csv_json_and_parquet_come_from_the_samejsonl_rows(
    call: Call, many_pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    from pyarrow import parquet

    out = {suffix: tmp_path / f"out.{suffix}" for suffix in ("jsonl", "csv", "json", "parquet")}
    for path in out.values():
        assert call("scan", str(many_pictures), "--weights", str(tiny_weights), "-o", str(path))[0] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in out.values())  # no journal is left
    rows = jsonl_rows(out["jsonl"])
    table, columns = list(csv.DictReader(out["csv"].open())), parquet.read_table(out["parquet"]).to_pylist()
    document = json.loads(out["json"].read_text())
    assert document["summary"] == {"total": 41, "errors": 1, "skipped": 1} | {
        v: sum(row["verdict"] == v for row in rows) for v in ("generated", "real", "uncertain")
    }
    for row, cells, record, result in zip(rows, table, columns, document["results"], strict=True):
        assert row["path"] == cells["path"] == record["path"] == result["path"]
        assert str(row["input_index"]) == cells["input_index"] and "input_index" not in result
        assert record["probability"] == pytest.approx(row["probability"], abs=1e-3)
    converted = tmp_path / "again.csv"
    assert call("convert", str(out["jsonl"]), "-o", str(converted))[0] == 0
    assert [r["sha256"] for r in csv.DictReader(converted.open())] == [r["sha256"] for r in table]


def test_a_directory_of_parquet_parts_is_one_table(
    call: Call, many_pictures: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import dataset, parquet

    monkeypatch.setattr("nsnet_cli.report.convert._PART", 4)
    out, alone = tmp_path / "rows", tmp_path / "rows.parquet"
    common = ("scan", str(many_pictures / "a"), "--weights", str(tiny_weights), "--workers", "0")
    assert call(*common, "-o", str(alone))[0] == 0
    command = (*common, "--format", "parquet", "-o", f"{out}{os.sep}")
    out.mkdir()
    (out / "notes.txt").write_text("somebody else's")
    assert call(*command)[0] == 0
    rows = parquet.read_table(alone, columns=["path", "sha256", "input_index"]).to_pylist()
    parts = sorted(out.glob("*.parquet"))
    assert [p.name for p in parts] == [f"part-{k:05d}.parquet" for k in range(-(-len(rows) // 4))]
    assert dataset.dataset(parts).to_table(columns=["path", "sha256", "input_index"]).to_pylist() == rows
    assert call(*command)[0] == 2 and "is finished" in call(*command, "--resume")[2].replace("\n", " ")
    # What an earlier, longer scan left goes; what is not ours stays.
    assert call(*command, "--force", "--include", "000.png")[0] == 0
    assert sorted(p.name for p in out.iterdir()) == ["notes.txt", "part-00000.parquet"]
    # A scan that was stopped has its rows in the journal beside the directory.
    shutil.rmtree(out)
    jsonl = tmp_path / "rows.journal.jsonl"
    assert call(*common, "--include", "00*.png", "-o", str(jsonl))[0] == 0
    assert call(*command)[0] == 2 and call(*command, "--resume")[0] == 0
    assert parquet.read_table(out, columns=["path", "sha256", "input_index"]).to_pylist() == rows and not jsonl.exists()


def test_kills_with_workers_lose_and_double_nothing(many_pictures: Path, tiny_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    args = ["scan", str(many_pictures), "--weights", str(tiny_weights), "-o", str(out), "--batch-size", "1", "--resume"]
    command = [sys.executable, "-m", "nsnet_cli", *args, "--workers", "2"]
    for _ in range(3):
        before = out.stat().st_size if out.exists() else 0
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not out.exists() or out.stat().st_size <= before:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        process.wait()
    assert subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL, check=False).returncode == 3
    assert [row["input_index"] for row in jsonl_rows(out)] == list(range(41))
    assert len({row["path"] for row in jsonl_rows(out)}) == 41


def test_an_early_end_with_an_open_list_keeps_its_exit_code(tiny_weights: Path) -> None:
    command = [sys.executable, "-m", "nsnet_cli", "scan", "--from-file", "-", "--weights", "nosuch"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.wait(timeout=60) == 4
    assert process.stdin is not None
    process.stdin.close()


def test_a_link_in_a_circle_is_a_row(call: Call, tiny_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    Image.fromarray(textured(230, 230)).save(tmp_path / "c.png")
    code, out, _ = call("scan", str(tmp_path), "--weights", str(tiny_weights), "--json")
    results = json.loads(out)["results"]
    assert code == 3 and [r["error"] is None for r in results] == [False, False, True]


def test_ctrl_c_writes_what_is_done_and_says_how_to_go_on(
    call: Call, many_pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    options = ["--weights", str(tiny_weights), "-o", str(out), "--batch-size", "1"]
    args = ["scan", str(many_pictures), *options]
    # The list stays open, so that the scan cannot end before it is interrupted.
    listed = [sys.executable, "-m", "nsnet_cli", "scan", "--from-file", "-", *options]
    # Tests may themselves run where SIGINT is ignored (in the background of a shell), and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(listed, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdin is not None
    process.stdin.write(b"".join(os.fsencode(path) + b"\n" for path in sorted(many_pictures.glob("a/*.png"))))
    process.stdin.flush()
    journal = tmp_path / "out.csv.journal.jsonl"
    deadline = time.monotonic() + 60
    while not journal.exists() or not journal.read_bytes():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"--resume" in said and b"Traceback" not in said, said.decode()
    rows = jsonl_rows(journal)
    assert 0 < len(rows) < 41 and len(list(csv.DictReader(out.open()))) == len(rows)
    assert call(*args)[0] == 2
    assert call(*args, "--resume")[0] == 3
    assert not journal.exists() and len(list(csv.DictReader(out.open()))) == 41


def test_shards_scanned_apart_make_the_whole(
    call: Call, many_pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    whole, merged = tmp_path / "whole.jsonl", tmp_path / "merged.jsonl"
    common = ("scan", str(many_pictures), "--weights", str(tiny_weights), "--workers", "0")
    assert call(*common, "-o", str(whole))[0] == 3
    parts = [tmp_path / f"part{k}.jsonl" for k in (1, 2, 3)]
    for k, part in enumerate(parts, start=1):
        call(*common, "--shard", f"{k}/3", "-o", str(part))
    names = [str(p) for p in parts]
    assert call("merge", *names, "-o", str(merged), "--expect", str(many_pictures))[0] == 0
    without_shard = [{**row, "shard": None} for row in _same(jsonl_rows(merged))]
    assert [{**row, "score": None, "probability": None} for row in without_shard] == [
        {**row, "score": None, "probability": None} for row in _same(jsonl_rows(whole))
    ]

    def refused(*args: str) -> str:
        code, _, said = call("merge", *args, "-o", str(tmp_path / "refused.csv"))
        assert code == 2 and not (tmp_path / "refused.csv").exists()
        return said

    assert "no rows of shards 2/3" in refused(names[0], names[2])
    assert "have more than one row" in refused(names[0], *names)
    assert "of another scan" in refused(*names, str(whole))
    lines = parts[1].read_bytes().splitlines(keepends=True)
    parts[1].write_bytes(b"".join(lines[:2] + lines[3:])[:-5])  # one row lost, the last one torn
    assert re.search("before the last one ha(ve|s) no row: numbers", refused(*names))
    assert "2 expected pictures have no row" in refused(*names, "--expect", str(many_pictures))
    assert call("merge", *names, "-o", str(tmp_path / "some.csv"), "--partial")[0] == 0
    assert len(list(csv.DictReader((tmp_path / "some.csv").open()))) == 39


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1)


@given(st.lists(NAMES), st.integers(1, 9))
def test_every_path_is_in_exactly_one_shard(paths: list[str], count: int) -> None:
    for path in paths:
        assert sum(Shard(k, count).takes(path) for k in range(1, count + 1)) == 1


def test_discovery_gives_paths_before_it_has_found_all() -> None:
    first_was_seen = threading.Event()

    def found() -> Iterator[str]:
        yield "a"
        assert first_was_seen.wait(30)
        yield from "bc"

    discovery = Discovery(found(), keep=lambda path: path != "b")
    paths = iter(discovery)
    assert next(paths) == (0, "a") and discovery.total is None
    first_was_seen.set()
    assert list(paths) == [(2, "c")] and discovery.total == 2


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--resume",), "name it with --output"),
        (("--resume", "-o", "x.txt"), "needs every row"),
        (("--resume", "-o", "x.jsonl", "--only", "real"), "needs every row"),
        (("--format", "parquet"), "parquet goes to a file"),
        (("--shard", "0/3"), "expected I/N"),
        (("--shard", "4/3"), "expected I/N"),
        (("--workers", "0", "--timeout", "3"), "not --workers 0"),
        (("-o", "nosuch/x.csv"), "no directory"),
        (("--resume", "--force", "-o", "x.csv"), "give one of them"),
        (("--retry-errors",), "are for --resume"),
        (("--null",), "is for --from-file"),
        (("--trust-list", "x.pem", "--no-provenance"), "contradicts"),
        (("-", "--workers", "2"), "is decoded here"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(call: Call, args: tuple[str, ...], word: str) -> None:
    code, out, said = call("scan", "x.jpg", *args)
    assert code == 2 and word in said.replace("\n", " ") and not out


def test_a_stopped_csv_is_neither_overwritten_nor_forgotten(call: Call, tiny_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    (tmp_path / "x.csv.journal.jsonl").write_text("")
    code, _, said = call("scan", "nosuch.png", "--weights", str(tiny_weights), "-o", str(out))
    assert code == 2 and "was stopped" in said.replace("\n", " ")
    assert call("scan", "nosuch.png", "--weights", str(tiny_weights), "-o", str(out), "--resume")[0] == 3
    code, _, said = call("scan", "nosuch.png", "--weights", str(tiny_weights), "-o", str(out), "--resume")
    assert code == 2 and "is finished" in said.replace("\n", " ")
    lock = FileLock(tmp_path / ".y.jsonl.lock")
    with lock:
        code, _, said = call("scan", "nosuch.png", "--weights", str(tiny_weights), "-o", str(tmp_path / "y.jsonl"))
    assert code == 2 and "another scan is writing" in said.replace("\n", " ")
