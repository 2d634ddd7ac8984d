"""``nsnet detectors``: the list, and commands that ask another detector than ours."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Call, textured
from jsonschema import validate
from PIL import Image

from nsnet_cli.detectors.registry import all_detectors, find_detector
from nsnet_cli.detectors.weights import DetectorInfo, detector_info, save_detector
from nsnet_cli.disk import sha256_of
from nsnet_cli.verdict.calibration import Calibration
from nsnet_cli.weights.file import load_weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """NPR as it begins: its scores mean nothing, and are always the same."""
    return untrained(tmp_path / "npr.safetensors", "npr")


def untrained(path: Path, name: str, sign: float = 1.0) -> Path:
    """Weights of a detector as it begins, its last layer drawn at random, so that it says anything; or its opposite."""
    torch.manual_seed(0)
    detector = find_detector(name)
    info = DetectorInfo(
        name=path.stem,
        detector=name,
        eyes=asdict(detector.eyes),  # type: ignore[call-overload]
        shape=dict(detector.shape),
        tower=None,
        tower_sha256=None,
        parameters=0,
        calibration=Calibration(1.0, 0.0, 0.3, 0.7, 0.02, 0.05, "nothing"),
        held_out={},
        training={},
        licence="MIT",
    )
    network = detector.network(**detector.shape)
    torch.nn.init.normal_(network.score.weight).data.mul_(sign)
    save_detector(path, network, info)
    return path


def test_the_list_says_of_every_detector_what_is_known(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsnet_cli.detectors.listed.detector_weights", lambda name: None)
    code, out, _ = call("detectors")
    table = out.split("AUC: of one fold")[0]
    assert code == 0 and all(f"\n{about.name} " in table for about in all_detectors())
    listed = json.loads(call("detectors", "--json")[1])
    assert {"cnn-spot", "univfd", "freqnet", "npr", "ladeda", "aide", "dffreq", "safe", "vib-net"} <= {
        about["name"] for about in listed
    }
    assert all(row["weights"] is None and row["held_out_auc"] is None for row in listed)


def test_what_is_shipped_is_small_and_says_how_well_it_does(call: Call) -> None:
    listed = json.loads(call("detectors", "--json")[1])
    assert all(row["weights"] is not None for row in listed)
    assert sum(path.stat().st_size for path in (ROOT / "weights" / "baselines").iterdir()) < 12_000_000
    assert all(0.5 < row["held_out_auc"] <= 1.0 and row["parameters"] > 0 for row in listed)


def test_a_detector_scans_as_ours_does_and_a_bad_file_leaves_the_next_alone(
    weights: Path, tmp_path: Path, call: Call
) -> None:
    good, bad = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(textured(420, 330)).save(good)
    bad.write_bytes(b"no picture")
    asked = ("scan", "--detector", str(weights), "--format", "jsonl")
    code, out, _ = call(*asked, str(bad), str(good), str(tmp_path / "none.png"))
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 3 and [row["error"] is None for row in rows] == [False, True, False]
    row = rows[1]
    assert row["verdict"] in ("real", "uncertain", "generated") and 0.0 < row["probability"] < 1.0
    assert row["patches"] is None
    # The window says where it looked: the square in the centre.
    side = find_detector("npr").eyes.side  # type: ignore[union-attr]
    place = {"x": (420 - side) // 2, "y": (330 - side) // 2}
    assert row["windows"] == [{**place, "width": side, "height": side, "view": 0}]
    # Decoded in other processes it is the same.
    code, out, _ = call(*asked, "--workers", "1", str(good))
    again = json.loads(out)
    assert code == 0 and [again[key] for key in ("score", "windows")] == [row[key] for key in ("score", "windows")]
    document = json.loads(call("scan", "--detector", str(weights), "--json", str(good))[1])
    assert document["model"]["detector"] == "npr" and document["model"]["tower"] is None
    validate(document, json.loads(call("schema")[1]))
    code, out, _ = call("scan", "--detector", str(weights), str(good))
    assert code == 0 and "npr" in out


def test_one_that_looks_through_clip_sees_its_centre_too(
    tiny_weights: Path, manifest: Path, tmp_path: Path, call: Call
) -> None:
    """AIDE's patches travel beside the tower's square, through worker processes, too."""
    tower = load_weights(str(tiny_weights)).tower_path
    made = tmp_path / "aide.safetensors"
    sizes = ("--folds", "4", "--precision", "fp32", "--detector-samples", "640", "--tower", str(tower))
    code, _, err = call(
        "train", str(manifest), "-o", str(made), "--work", str(tmp_path / "work"), *sizes, "--detector", "aide"
    )
    assert code == 0, err
    shutil.copy(tower, tmp_path / tower.name)
    picture = tmp_path / "a.png"
    Image.fromarray(textured(300, 280)).save(picture)
    asked = ("scan", "--detector", str(made), "--format", "jsonl", "--stability", str(picture))
    here, there = (json.loads(call(*asked, "--workers", workers)[1]) for workers in ("0", "1"))
    assert here["error"] is None and len(here["stability"]["deliveries"]) == 4
    assert (here["score"], here["stability"]) == (there["score"], there["stability"])


def test_small_pictures_are_no_verdict_and_need_no_square(weights: Path, tmp_path: Path, call: Call) -> None:
    small = tmp_path / "small.png"
    Image.fromarray(textured(60, 80)).save(small)
    row = json.loads(call("scan", "--detector", str(weights), "--format", "jsonl", str(small))[1])
    assert row["verdict"] == "uncertain" and row["warnings"] == ["too_small"] and row["windows"] == []


@pytest.mark.parametrize("name", ["npr", "ladeda", "dffreq"])
def test_the_smallest_picture_has_a_map_and_a_strip_says_what_was_left_out(
    name: str, tmp_path: Path, call: Call
) -> None:
    asked = ("--detector", str(untrained(tmp_path / f"{name}.safetensors", name)))
    Image.fromarray(textured(1, 1)).save(tmp_path / "dot.png")
    code, out, err = call("explain", *asked, "--json", str(tmp_path / "dot.png"))
    assert code == 0 and json.loads(out)["map"]["rows"] == 1, err
    Image.fromarray(textured(8000, 100)).save(tmp_path / "strip.png")
    row = json.loads(call("scan", *asked, "--format", "jsonl", str(tmp_path / "strip.png"))[1])
    assert "mostly_unseen" in row["warnings"]


def test_the_map_of_a_detector_covers_the_picture(weights: Path, tmp_path: Path, call: Call) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(textured(400, 600)).save(picture)
    code, out, err = call("explain", "--detector", str(weights), "--json", str(picture))
    assert code == 0, err
    found = json.loads(out)["map"]
    assert found["kind"] == "npr-local" and all(value is not None for row in found["values"] for value in row)
    # Fewer squares than it takes: blank is what was not looked at, and nothing was scaled down for it.
    code, out, _ = call("explain", "--detector", str(weights), "--budget", "2", "--json", str(picture))
    few = json.loads(out)["map"]
    assert [tile["side"] for tile in few["tiles"]] == [256, 256] and None in few["values"][0]


def test_detectors_are_measured_side_by_side(weights: Path, manifest: Path, tmp_path: Path, call: Call) -> None:
    other = untrained(tmp_path / "other.safetensors", "npr", sign=-1.0)
    table = tmp_path / "table.csv"
    both = ("--detector", str(weights), "--detector", str(other))
    code, out, err = call("evaluate", str(manifest), *both, "--json", "-o", str(table))
    assert code == 3, err  # of one of the pictures there is no score
    document = json.loads(out)
    assert document["schema"] == "nsnet.comparison/1"
    aucs = {row["name"]: row["auc"] for row in document["detectors"]}
    assert len(set(aucs.values())) == 2 and list(aucs.values()) == sorted(aucs.values(), reverse=True), "best first"
    # Each says beside the other what it says alone.
    for path in (weights, other):
        alone = json.loads(call("evaluate", str(manifest), "--detector", str(path), "--json")[1])
        assert alone["schema"] == "nsnet.evaluation/1" and alone["total"]["auc"] == aucs[str(path)]
        assert {row["name"]: row["f_acc"] for row in alone["by_generator"]} == {
            row["name"]: row["f_acc"][str(path)] for row in document["by_generator"]
        }
        assert alone["content_control"]["semantic_part"]["reason"] == "this detector has no semantic part"
    assert [row["warnings"] for row in document["detectors"]] == [alone["warnings"]] * 2 and alone["warnings"]
    shares = [sum(row["f_acc"].values()) for row in document["by_generator"]]
    assert shares == sorted(shares), "worst first"
    rows = list(csv.DictReader(table.open()))
    assert {row["kind"] for row in rows} >= {"total", "generator", "source"}
    code, out, _ = call("evaluate", str(manifest), *both)
    assert code == 3 and "worst first" in out and alone["warnings"][0]["code"] in out
    # What is wrong with one of them is said before hours of work with another.
    code, out, err = call("evaluate", str(manifest), "--detector", str(weights), "--detector", "nonsense")
    assert code == 2 and "nonsense" in err and "asking" not in err
    assert call("evaluate", str(manifest), *both, "-o", str(tmp_path / "x.html"))[0] == 2


def test_weights_of_something_else_and_unknown_names_are_refused(
    weights: Path, tiny_weights: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(textured(64, 64)).save(picture)

    def refused(*arguments: str) -> tuple[int, str]:
        code, _, err = call("scan", str(picture), *arguments)
        return code, err

    code, err = refused("--detector", str(tiny_weights))
    assert code == 4 and "expected weights of a detector" in err
    assert refused("--detector", str(tmp_path / "no.safetensors"))[0] == 4
    code, err = refused("--detector", "nonsense")
    assert code == 2 and "no detector is called 'nonsense'; there are aide" in err
    monkeypatch.setattr("nsnet_cli.detectors.published.detector_weights", lambda name: None)
    code, err = refused("--detector", "npr")
    assert code == 4 and "nsnet train MANIFEST --detector npr" in err
    for option in (("--views", "2"), ("--weights", str(tiny_weights)), ("--engine", "ray")):
        assert refused("--detector", str(weights), *option)[0] == 2
    train = ("train", str(tmp_path / "m.csv"), "-o", str(tmp_path / "o.safetensors"), "--work", str(tmp_path / "w"))
    code, _, err = call(*train, "--detector", "nonsense")
    assert code == 2 and "no detector is called 'nonsense'; there are aide" in err


def test_a_detector_is_trained_by_the_command(manifest: Path, tmp_path: Path, call: Call) -> None:
    made = tmp_path / "made.safetensors"
    work = ("--work", str(tmp_path / "work"), "--folds", "4", "--precision", "fp32", "--detector-samples", "640")
    header, *rows = manifest.read_text().splitlines()
    halves = [manifest.with_name(f"of-the-command-{k}.csv") for k in range(2)]
    for k, half in enumerate(halves):
        half.write_text("\n".join([header, *rows[20 * k : 20 * (k + 1)]]) + "\n")
    code, _, err = call("train", *map(str, halves), "-o", str(made), *work, "--detector", "npr")
    assert code == 0 and ", auc " in err, err
    assert detector_info(made).training["pictures"] == {"0": 20, "1": 20}
    code, out, _ = call("scan", "--detector", str(made), "--format", "jsonl", str(manifest.parent))
    assert code == 0 and json.loads(out.splitlines()[0])["weights_sha256"] == sha256_of(made)
