"""Worker processes: a file may crash, hang or eat memory, and costs one row."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import encoded
from PIL import Image

from nsnet_cli import Detector
from nsnet_cli.engines.preparing import Prepared, Preparer
from nsnet_cli.engines.wire import from_bytes, to_bytes
from nsnet_cli.engines.workers import PreparePool
from nsnet_cli.errors import UsageError
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.provenance import ProvenanceReader
from nsnet_cli.views.deliveries import Delivery
from nsnet_cli.views.plan import EntropyLook
from nsnet_cli.views.selection import SelectionRecipe

LOOK = EntropyLook(SelectionRecipe(), 2)


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


def test_a_decoder_that_dies_hangs_or_eats_memory_costs_one_row(many_pictures: Path, tmp_path: Path) -> None:
    good = sorted(str(p) for p in many_pictures.glob("a/*.png"))
    paths = [good[0], "segfault", good[1], "hang", good[2], "memory", "exit", *good[3:6], "segfault-again", good[6]]
    preparer = Hostile(LOOK, DecodeLimits())
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
    with PreparePool(Slow(LOOK, DecodeLimits()), workers=2, timeout=3.0, window=4) as pool:
        found = [prepared for batch in pool.batches(paths, 2) for prepared in batch]
    assert [p.error for p in found] == [None, None]


def test_what_a_file_says_never_costs_its_verdict(many_pictures: Path) -> None:
    good = sorted(str(p) for p in many_pictures.glob("a/*.png"))[:2]
    preparer = Preparer(LOOK, DecodeLimits(), provenance=Deadly())
    with PreparePool(preparer, workers=1, timeout=None, window=4) as pool:
        found = [prepared for batch in pool.batches(good, 2) for prepared in batch]
    assert [p.error for p in found] == [None, None] and all(p.views is not None for p in found)
    assert [p.provenance and p.provenance["errors"][0]["source"] for p in found] == ["file", "file"]


def test_no_more_files_are_on_the_way_than_the_window_allows(many_pictures: Path) -> None:
    good = sorted(str(p) for p in many_pictures.glob("*/*.png"))
    asked, taken = 0, 0

    def paths() -> Iterator[str]:
        nonlocal asked
        for path in good:
            asked += 1
            assert asked - taken <= 6
            yield path

    with PreparePool(Preparer(LOOK, DecodeLimits()), workers=2, timeout=None, window=6) as pool:
        for batch in pool.batches(paths(), 2):
            taken += len(batch)
            time.sleep(0.01)
    assert taken == len(good)


def test_a_prepared_picture_survives_its_bytes(many_pictures: Path) -> None:
    deliveries = (Delivery.parse("jpeg:50"), Delivery.parse("crop:8"))
    preparer = Preparer(LOOK, DecodeLimits(), deliveries, thumbnails=True, provenance=ProvenanceReader())
    for path in (*sorted(map(str, many_pictures.glob("*/*"))), "no\udcff.png"):
        before = preparer(path)
        after = from_bytes(to_bytes(before))
        assert repr(after) == repr(before)  # tensors at full length are compared below
        if before.views is not None:
            assert np.array_equal(after.views, before.views) and np.array_equal(after.thumbnail, before.thumbnail)
            assert all(np.array_equal(a.views, b.views) for a, b in zip(after.delivered, before.delivered, strict=True))
            assert np.array_equal(after.selections[0].indices, before.selections[0].indices)


def test_workers_change_no_result(many_pictures: Path, tiny_weights: Path) -> None:
    detector = Detector.load(str(tiny_weights))
    paths = [*sorted(str(p) for p in many_pictures.glob("*/*")), "nosuch.png"]
    alone, together = (list(detector.scan_many(paths, workers=n)) for n in (0, 2))
    assert [(r.path, r.verdict, r.error, r.sha256) for r in alone] == [
        (r.path, r.verdict, r.error, r.sha256) for r in together
    ]
    assert [r.score for r in alone] == pytest.approx([r.score for r in together], abs=1e-5)


def test_workers_start_where_the_temporary_folder_has_a_long_name(
    many_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    paths = sorted(str(p) for p in many_pictures.glob("a/*.png"))[:2]
    with PreparePool(Preparer(LOOK, DecodeLimits()), workers=1, timeout=None, window=4) as pool:
        assert [p.error for batch in pool.batches(paths, 2) for p in batch] == [None, None]


@pytest.mark.parametrize("module", ["numpy", "PIL", "signal", "socket"])
def test_no_module_of_the_folder_that_is_scanned_is_run(module: str, many_pictures: Path, tmp_path: Path) -> None:
    # As a user starts it: `python -m` itself looks in the current folder, and `python -P` passes that on.
    nsnet = shutil.which("nsnet", path=str(Path(sys.executable).parent))
    assert nsnet is not None
    (tmp_path / "a.png").write_bytes(next(many_pictures.glob("a/*.png")).read_bytes())
    (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    scan = [nsnet, "scan", ".", "--format", "csv", "--workers", "1"]
    done = subprocess.run(scan, cwd=tmp_path, capture_output=True, check=False, timeout=300)
    assert not (tmp_path / "ran").exists()
    assert done.returncode == 0 and done.stdout.count(b"\n") == 2, done.stderr


def test_an_error_in_the_list_of_paths_is_heard() -> None:
    def paths() -> Iterator[str]:
        yield "nosuch.png"
        raise UsageError("the list broke off")

    preparer = Preparer(LOOK, DecodeLimits())
    with pytest.raises(UsageError, match="broke off"), PreparePool(preparer, 1, None, 4) as pool:
        list(pool.batches(paths(), 1))


def _damaged_tiff() -> bytes:
    """A picture on which libtiff has something to remark."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    data = encoded(Image.fromarray(noise), "TIFF", compression="tiff_lzw")
    half = len(data) // 2
    return data[:half] + b"\xff" * 800 + data[half + 800 :]


@pytest.mark.parametrize("workers", [0, 1])
def test_what_libraries_in_c_remark_is_not_written_beside_the_rows(
    workers: int, tmp_path: Path, run_nsnet: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    for name in ("damaged.tif", "as_bad.tif"):
        (tmp_path / name).write_bytes(_damaged_tiff())
    scan = ("scan", str(tmp_path), "--format", "csv", "--workers", str(workers))
    quiet = run_nsnet("-q", *scan)
    assert quiet.stderr == b""
    assert quiet.stdout.count(b"decode_failed") == 2
    # What is ours to say is said.
    assert run_nsnet(*scan).stderr.count(b"2 could not be read") == 1


def test_nor_is_it_by_other_commands_that_look_at_pictures(
    tmp_path: Path, tiny_weights: Path, run_nsnet: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    for label in ("real", "fake"):
        (tmp_path / label).mkdir()
        (tmp_path / label / f"{label}.tif").write_bytes(_damaged_tiff())
        Image.new("RGB", (300, 300), "teal").save(tmp_path / label / f"{label}.png")
    weights = ("--weights", str(tiny_weights))
    assert run_nsnet("-q", "evaluate", str(tmp_path), "--json", *weights).stderr == b""
    explained = run_nsnet("-q", "explain", str(tmp_path / "real" / "real.tif"), *weights).stderr
    assert explained.count(b"\n") == 1 and b"damaged" in explained, explained
    assert b"tempfile.tif" in run_nsnet("--debug", "explain", str(tmp_path / "real" / "real.tif"), *weights).stderr
