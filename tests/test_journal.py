"""The journal: what a kill, a full disk or a power cut leaves is whole rows."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, jsonl_rows, textured
from PIL import Image

from nsnet_cli.errors import UsageError
from nsnet_cli.results.document import PictureResult, RowContext
from nsnet_cli.results.journal import Journal, OutputError, read_journal, unchanged_by_hash, unchanged_by_stat
from nsnet_cli.results.merging import merge

CONTEXT = RowContext("a" * 64, 2, "fp32", "0123456789abcdef")


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


def test_a_hundred_kills_lose_and_double_nothing(many_pictures: Path, tiny_weights: Path, tmp_path: Path) -> None:
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
    rows = jsonl_rows(output)
    assert sorted(str(row["path"]) for row in rows) == sorted(str(p) for p in folder.iterdir())
    assert [row["input_index"] for row in rows] == list(range(700))


def test_merge_keeps_the_order_of_the_inputs(tmp_path: Path) -> None:
    for name, indices in (("a", (2, 5)), ("b", (0, 1, 3, 4))):
        with Journal(tmp_path / f"{name}.jsonl", CONTEXT, resume=False) as journal:
            for k in indices:
                journal.write(_result(f"{k}.png"), k)
    merged = merge([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert [row["input_index"] for row in merged.rows()] == list(range(6)) and not merged.gaps + merged.doubles


def test_rows_of_files_that_have_gone_since_are_merged_where_shards_gave_them_one_number(tmp_path: Path) -> None:
    rows = {"1/2": (("0.png", 0), ("gone.png", 3)), "2/2": (("1.png", 1), ("2.png", 2), ("3.png", 3))}
    for shard, found in rows.items():
        with Journal(tmp_path / f"{shard[0]}.jsonl", replace(CONTEXT, shard=shard), resume=False) as journal:
            for path, index in found:
                journal.write(_result(path), index)
    files = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    merged = merge(files)
    assert not merged.gaps + merged.doubles
    assert [row["path"] for row in merged.rows()] == ["0.png", "1.png", "2.png", "gone.png", "3.png"]
    assert "5 inputs have more than one row" not in " ".join(merge([*files, files[0]]).doubles)
    assert "2 inputs have more than one row" in " ".join(merge([*files, files[0]]).doubles)


def test_a_whole_row_whose_line_has_lost_its_end_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path, CONTEXT, resume=False) as journal:
        for k in range(2):
            journal.write(_result(f"{k}.png"), k)
    whole = path.read_bytes()
    path.write_bytes(whole.rstrip(b"\n"))
    assert [row["path"] for row in read_journal(path)] == ["0.png", "1.png"]
    assert [row["path"] for row in merge([path]).rows()] == ["0.png", "1.png"]
    path.write_bytes(whole[:-5])
    assert [row["path"] for row in read_journal(path)] == ["0.png"]
