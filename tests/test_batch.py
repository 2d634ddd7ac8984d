"""Batches: every input gets exactly one row, whatever becomes of files, workers, disks and the scan itself."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, textured
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nsnet_cli import Detector
from nsnet_cli.cli import app
from nsnet_cli.decode import DecodeLimits
from nsnet_cli.deliveries import Delivery
from nsnet_cli.discover import Discovery, Shard
from nsnet_cli.document import PictureResult, RowContext
from nsnet_cli.errors import UsageError
from nsnet_cli.journal import Journal, OutputError, read_journal, unchanged_by_hash, unchanged_by_stat
from nsnet_cli.merging import merge
from nsnet_cli.preparing import Prepared, Preparer
from nsnet_cli.provenance import ProvenanceReader
from nsnet_cli.selection import SelectionRecipe
from nsnet_cli.wire import from_bytes, to_bytes
from nsnet_cli.workers import PreparePool

CONTEXT = RowContext("a" * 64, 2, "fp32", "0123456789abcdef")
Call = Callable[..., tuple[int, str, str]]


class Hostile(Preparer):
    """Stands for decoders that misbehave, by the name of the file."""

    def __call__(self, path: str, *args: object) -> Prepared:
        if "segfault" in path:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "exit" in path:
            os._exit(3)
        if "hang" in path:
            time.sleep(1000)
        if "memory" in path:
            bytearray(64 * 1024**3)
        if "slow" in path:
            time.sleep(0.2)
        return super().__call__(path)


class Slow(Preparer):
    """Takes two seconds for a picture once it is its turn."""

    def _decoded(self, prepared: Prepared, data: bytes) -> Prepared:
        time.sleep(2)
        return replace(prepared, views=None)


class Deadly(ProvenanceReader):
    """Stands for a reader of metadata that a file brings down."""

    def __call__(self, data: bytes, file_format: str) -> dict[str, object]:
        os.kill(os.getpid(), signal.SIGSEGV)
        return {}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small pictures in two folders, and two files that are none."""
    root = tmp_path_factory.mktemp("many")
    for k in range(40):
        path = root / ("b" if k % 3 else "a") / f"{k:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(textured(230, 230, seed=k)).save(path)
    (root / "b" / "torn.png").write_bytes((root / "a" / "000.png").read_bytes()[:2000])
    (root / "b" / "notes.txt").write_text("no picture")
    return root


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command line in this process."""

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nsnet", *args])
        code = app._run()
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def _rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _same(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows without what differs from scan to scan."""
    return [{k: v for k, v in row.items() if k not in ("scanned_at", "elapsed_ms")} for row in rows]


# Workers -----------------------------------------------------------------------------------------------------


def test_a_decoder_that_dies_hangs_or_eats_memory_costs_one_row(pictures: Path, tmp_path: Path) -> None:
    good = sorted(str(p) for p in pictures.glob("a/*.png"))
    paths = [good[0], "segfault", good[1], "hang", good[2], "memory", "exit", *good[3:6], "segfault-again", good[6]]
    preparer = Hostile(SelectionRecipe(), 2, DecodeLimits())
    with PreparePool(preparer, workers=2, timeout=1.5, window=8) as pool:
        found = [prepared for batch in pool.batches(paths, 3) for prepared in batch]
    assert [p.path for p in found] == paths
    errors = {p.path: (p.error.code, p.error.message) for p in found if p.error is not None}
    assert {path: code for path, (code, _) in errors.items()} == {
        "segfault": "decode_failed",
        "hang": "timeout",
        "memory": "too_large",
        "exit": "decode_failed",
        "segfault-again": "decode_failed",
    }
    assert "SIGSEGV" in errors["segfault"][1] and "exit code 3" in errors["exit"][1]
    assert "1.5 s" in errors["hang"][1]


def test_waiting_for_another_large_picture_is_not_the_files_fault(tmp_path: Path) -> None:
    # Both are large by their header, so one waits for the other, longer than it may take itself.
    Image.new("L", (5000, 5000)).save(tmp_path / "first.png")
    Image.new("L", (5000, 5000)).save(tmp_path / "second.png")
    paths = [str(tmp_path / "first.png"), str(tmp_path / "second.png")]
    with PreparePool(Slow(SelectionRecipe(), 2, DecodeLimits()), workers=2, timeout=3.0, window=4) as pool:
        found = [prepared for batch in pool.batches(paths, 2) for prepared in batch]
    assert [p.error for p in found] == [None, None]


def test_what_a_file_says_never_costs_its_verdict(pictures: Path) -> None:
    good = sorted(str(p) for p in pictures.glob("a/*.png"))[:2]
    preparer = Preparer(SelectionRecipe(), 2, DecodeLimits(), provenance=Deadly())
    with PreparePool(preparer, workers=1, timeout=None, window=4) as pool:
        found = [prepared for batch in pool.batches(good, 2) for prepared in batch]
    assert [p.error for p in found] == [None, None] and all(p.views is not None for p in found)
    assert [p.provenance and p.provenance["errors"][0]["source"] for p in found] == ["file", "file"]


def test_no_more_files_are_on_the_way_than_the_window_allows(pictures: Path) -> None:
    good = sorted(str(p) for p in pictures.glob("*/*.png"))
    asked, taken = 0, 0

    def paths() -> Iterator[str]:
        nonlocal asked
        for path in good:
            asked += 1
            assert asked - taken <= 6
            yield path

    with PreparePool(Preparer(SelectionRecipe(), 2, DecodeLimits()), workers=2, timeout=None, window=6) as pool:
        for batch in pool.batches(paths(), 2):
            taken += len(batch)
            time.sleep(0.01)
    assert taken == len(good)


def test_a_prepared_picture_survives_its_bytes(pictures: Path) -> None:
    deliveries = (Delivery.parse("jpeg:50"), Delivery.parse("crop:8"))
    preparer = Preparer(
        SelectionRecipe(), 2, DecodeLimits(), deliveries, thumbnails=True, provenance=ProvenanceReader()
    )
    for path in (*sorted(map(str, pictures.glob("*/*"))), "no\udcff.png"):
        before = preparer(path)
        after = from_bytes(to_bytes(before))
        assert repr(after) == repr(before)  # tensors at full length are compared below
        if before.views is not None:
            assert torch.equal(after.views, before.views) and np.array_equal(after.thumbnail, before.thumbnail)
            assert all(torch.equal(a.views, b.views) for a, b in zip(after.delivered, before.delivered, strict=True))
            assert torch.equal(after.selections[0].indices, before.selections[0].indices)


def test_workers_change_no_result(pictures: Path, tiny_weights: Path) -> None:
    detector = Detector.load(str(tiny_weights))
    paths = [*sorted(str(p) for p in pictures.glob("*/*")), "nosuch.png"]
    alone, together = (list(detector.scan_many(paths, workers=n)) for n in (0, 2))
    assert [(r.path, r.verdict, r.error, r.sha256) for r in alone] == [
        (r.path, r.verdict, r.error, r.sha256) for r in together
    ]
    assert [r.score for r in alone] == pytest.approx([r.score for r in together], abs=1e-5)


def test_workers_start_where_the_temporary_folder_has_a_long_name(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    paths = sorted(str(p) for p in pictures.glob("a/*.png"))[:2]
    with PreparePool(Preparer(SelectionRecipe(), 2, DecodeLimits()), workers=1, timeout=None, window=4) as pool:
        assert [p.error for batch in pool.batches(paths, 2) for p in batch] == [None, None]


def test_an_error_in_the_list_of_paths_is_heard() -> None:
    def paths() -> Iterator[str]:
        yield "nosuch.png"
        raise UsageError("the list broke off")

    preparer = Preparer(SelectionRecipe(), 2, DecodeLimits())
    with pytest.raises(UsageError, match="broke off"), PreparePool(preparer, 1, None, 4) as pool:
        list(pool.batches(paths(), 1))


# The journal -------------------------------------------------------------------------------------------------


def _result(path: str) -> PictureResult:
    return PictureResult(path, "2026-01-01T00:00:00.000Z", 1.0)


def test_a_torn_row_is_cut_off_and_strangers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with Journal(path, CONTEXT, resume=False) as journal:
        for k in range(3):
            journal.write(_result(f"{k}.png"), k)
    whole = path.read_bytes()
    for torn in (b'{"schema": "nsnet.scan/1", "pa', b"\xff\xfe", whole.splitlines()[0]):
        path.write_bytes(whole + torn)
        with Journal(path, CONTEXT, resume=True) as journal:
            assert journal.done == Counter(["0.png", "1.png", "2.png"])
        assert path.read_bytes() == whole
    for other in (
        RowContext("b" * 64, 2, "fp32", CONTEXT.options_hash),
        RowContext("a" * 64, 2, "fp32", "f" * 16),
        RowContext("a" * 64, 2, "fp32", CONTEXT.options_hash, "1/2"),
    ):
        with pytest.raises(UsageError, match=r"other weights|other options|of shard None"):
            Journal(path, other, resume=True)
    path.write_bytes(b"precious notes\n" + whole)
    with pytest.raises(UsageError, match="not rows of"):
        Journal(path, CONTEXT, resume=True)
    assert path.read_bytes() == b"precious notes\n" + whole
    for foreign in (b'{"precious": 1}', b"x"):  # one line without its end is not taken for a torn row
        path.write_bytes(foreign)
        with pytest.raises(UsageError, match="not rows of"):
            Journal(path, CONTEXT, resume=True)
        assert path.read_bytes() == foreign


def test_what_cannot_be_seen_now_keeps_its_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with Journal(path, CONTEXT, resume=False) as journal:
        for k in range(3):
            journal.write(replace(_result(f"/unmounted/{k}.png"), modified_at="2026-01-01", sha256="0" * 64), k)
    before = path.read_bytes()
    for unchanged in (unchanged_by_stat, unchanged_by_hash):
        with Journal(path, CONTEXT, resume=True, unchanged=unchanged) as journal:
            assert sum(journal.done.values()) == 3
        assert path.read_bytes() == before


def test_two_scans_cannot_write_to_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with Journal(path, CONTEXT, resume=False), pytest.raises(UsageError, match="another scan is writing"):
        Journal(path, CONTEXT, resume=True)
    with Journal(path, CONTEXT, resume=True):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_full_disk_loses_no_row_that_was_reported(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    written = 0
    try:
        with Journal(path, CONTEXT, resume=False) as journal:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
            with pytest.raises(OutputError, match="--resume"):
                for written in range(100):
                    journal.write(_result(f"{written}.png"), written)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    rows = [row["path"] for row in read_journal(path)]
    assert 0 < written < 100 and rows == [f"{k}.png" for k in range(written)]
    assert path.read_bytes().endswith(b"\n")


def test_a_hundred_kills_lose_and_double_nothing(pictures: Path, tiny_weights: Path, tmp_path: Path) -> None:
    # Small files: a kill should hit the writing, not the decoding.
    folder = tmp_path / "small"
    folder.mkdir()
    for k in range(700):
        Image.fromarray(textured(40, 40, seed=k)).save(folder / f"{k:03d}.png")
    output = tmp_path / "rows.jsonl"
    script = Path(__file__).parent / "kill_and_resume.py"
    command = [sys.executable, str(script), str(folder), str(tiny_weights), str(output), "100"]
    run = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=280, check=False)
    assert run.returncode == 0 and b"Traceback" not in run.stderr, run.stderr.decode()
    assert b"finished after" not in run.stdout  # all hundred kills hit a scan that was running
    rows = _rows(output)
    assert sorted(str(row["path"]) for row in rows) == sorted(str(p) for p in folder.iterdir())
    assert [row["input_index"] for row in rows] == list(range(700))


# The command -------------------------------------------------------------------------------------------------


def test_resume_scans_what_changed_and_nothing_else(
    call: Call, pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.jsonl"
    folder.mkdir()
    for k in range(5):
        Image.fromarray(textured(230, 230, seed=k)).save(folder / f"{k}.png")
    command = ("scan", str(folder), "--weights", str(tiny_weights), "-o", str(out), "--workers", "0")
    assert call(*command)[0] == 0
    assert call(*command)[0] == 2  # not overwritten unasked
    first = {row["path"]: row for row in _rows(out)}
    # One changes, one is only touched, one comes in front of all others, one goes.
    Image.fromarray(textured(240, 230, seed=9)).save(folder / "1.png")
    os.utime(folder / "2.png", ns=(1, 1))
    Image.fromarray(textured(230, 230, seed=7)).save(folder / "+.png")
    (folder / "4.png").unlink()
    assert call(*command, "--resume", "--resume-by", "hash")[0] == 0
    rows = {Path(str(row["path"])).name: row for row in _rows(out)}
    # In the order of the inputs as they are now; the row of what is gone stays, behind the others.
    assert list(rows) == ["+.png", "0.png", "1.png", "2.png", "3.png", "4.png"] and len(_rows(out)) == 6
    assert [row["input_index"] for row in _rows(out)] == list(range(6))
    again = {n for n, row in rows.items() if row["scanned_at"] != first.get(str(folder / n), {}).get("scanned_at")}
    assert again == {"1.png", "+.png"} and rows["1.png"]["width"] == 240
    assert call(*command, "--resume")[0] == 0  # by size and time 2.png has changed
    by_stat = {Path(str(row["path"])).name: row for row in _rows(out)}
    assert {n for n, row in by_stat.items() if row["scanned_at"] != rows[n]["scanned_at"]} == {"2.png"}
    assert call(*command, "--resume", "--threshold", "0.5")[0] == 2


def test_csv_json_and_parquet_come_from_the_same_rows(
    call: Call, pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    from pyarrow import parquet

    out = {suffix: tmp_path / f"out.{suffix}" for suffix in ("jsonl", "csv", "json", "parquet")}
    for path in out.values():
        assert call("scan", str(pictures), "--weights", str(tiny_weights), "-o", str(path))[0] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in out.values())  # no journal is left
    rows = _rows(out["jsonl"])
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


def test_kills_with_workers_lose_and_double_nothing(pictures: Path, tiny_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    args = ["scan", str(pictures), "--weights", str(tiny_weights), "-o", str(out), "--batch-size", "1", "--resume"]
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
    assert [row["input_index"] for row in _rows(out)] == list(range(41))
    assert len({row["path"] for row in _rows(out)}) == 41


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
    call: Call, pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    args = ["scan", str(pictures), "--weights", str(tiny_weights), "-o", str(out), "--batch-size", "1"]
    process = subprocess.Popen([sys.executable, "-m", "nsnet_cli", *args], cwd=ROOT, stderr=subprocess.PIPE)
    journal = tmp_path / "out.csv.journal.jsonl"
    deadline = time.monotonic() + 60
    while not journal.exists() or not journal.read_bytes():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"--resume" in said and b"Traceback" not in said, said.decode()
    rows = _rows(journal)
    assert 0 < len(rows) < 41 and len(list(csv.DictReader(out.open()))) == len(rows)
    assert call(*args)[0] == 2
    assert call(*args, "--resume")[0] == 3
    assert not journal.exists() and len(list(csv.DictReader(out.open()))) == 41


def test_shards_scanned_apart_make_the_whole(call: Call, pictures: Path, tiny_weights: Path, tmp_path: Path) -> None:
    whole, merged = tmp_path / "whole.jsonl", tmp_path / "merged.jsonl"
    common = ("scan", str(pictures), "--weights", str(tiny_weights), "--workers", "0")
    assert call(*common, "-o", str(whole))[0] == 3
    parts = [tmp_path / f"part{k}.jsonl" for k in (1, 2, 3)]
    for k, part in enumerate(parts, start=1):
        call(*common, "--shard", f"{k}/3", "-o", str(part))
    names = [str(p) for p in parts]
    assert call("merge", *names, "-o", str(merged), "--expect", str(pictures))[0] == 0
    without_shard = [{**row, "shard": None} for row in _same(_rows(merged))]
    assert [{**row, "score": None, "probability": None} for row in without_shard] == [
        {**row, "score": None, "probability": None} for row in _same(_rows(whole))
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
    assert "before the last one have no row: numbers" in refused(*names)
    assert "2 expected pictures have no row" in refused(*names, "--expect", str(pictures))
    assert call("merge", *names, "-o", str(tmp_path / "some.csv"), "--partial")[0] == 0
    assert len(list(csv.DictReader((tmp_path / "some.csv").open()))) == 39


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1)


@given(st.lists(NAMES), st.integers(1, 9))
def test_every_path_is_in_exactly_one_shard(paths: list[str], count: int) -> None:
    for path in paths:
        assert sum(Shard(k, count).takes(path) for k in range(1, count + 1)) == 1


def test_merge_keeps_the_order_of_the_inputs(tmp_path: Path) -> None:
    for name, indices in (("a", (2, 5)), ("b", (0, 1, 3, 4))):
        with Journal(tmp_path / f"{name}.jsonl", CONTEXT, resume=False) as journal:
            for k in indices:
                journal.write(_result(f"{k}.png"), k)
    merged = merge([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert [row["input_index"] for row in merged.rows()] == list(range(6)) and not merged.gaps + merged.doubles


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
