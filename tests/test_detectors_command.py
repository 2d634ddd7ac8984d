"""``nsnet detectors``: the list, and what a detector's weights say of files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from conftest import Call, textured
from PIL import Image

from nsnet_cli.detectors.registry import all_detectors, find_detector
from nsnet_cli.detectors.weights import DetectorInfo, save_detector
from nsnet_cli.verdict.calibration import Calibration


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """NPR as it begins: its scores mean nothing, and are always the same."""
    torch.manual_seed(0)
    detector = find_detector("npr")
    info = DetectorInfo(
        name="npr",
        detector="npr",
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
    path = tmp_path / "npr.safetensors"
    save_detector(path, detector.network(**detector.shape), info)
    return path


def test_the_list_names_every_detector(call: Call) -> None:
    code, out, _ = call("detectors")
    assert code == 0 and [line.split("\t")[0] for line in out.splitlines()] == [about.name for about in all_detectors()]
    assert {"cnn-spot", "univfd", "freqnet", "npr", "ladeda", "aide", "dffreq", "safe", "vib-net"} <= {
        about["name"] for about in json.loads(call("detectors", "--json")[1])
    }


def test_every_file_has_a_row_and_a_bad_one_leaves_the_next_alone(weights: Path, tmp_path: Path, call: Call) -> None:
    good, bad = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(textured(230, 260)).save(good)
    bad.write_bytes(b"no picture")
    code, out, _ = call("detectors", "score", str(weights), str(bad), str(good), str(tmp_path / "none.png"))
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 3 and [row["error"] is None for row in rows] == [False, True, False]
    assert rows[1]["schema"] == "nsnet.detector-score/1" and rows[1]["detector"] == "npr"
    assert rows[1]["verdict"] in ("real", "uncertain", "generated") and 0.0 < rows[1]["probability"] < 1.0
    alone = json.loads(call("detectors", "score", str(weights), str(good))[1])
    assert alone == rows[1]


def test_weights_of_something_else_and_unknown_names_are_refused(
    weights: Path, tiny_weights: Path, tmp_path: Path, call: Call
) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(textured(64, 64)).save(picture)
    code, _, err = call("detectors", "score", str(tiny_weights), str(picture))
    assert code == 4 and "expected weights of a detector" in err
    assert call("detectors", "score", str(tmp_path / "no.safetensors"), str(picture))[0] == 4
    train = ("train", str(tmp_path / "m.csv"), "-o", str(tmp_path / "o.safetensors"), "--work", str(tmp_path / "w"))
    code, _, err = call(*train, "--detector", "nonsense")
    assert code == 2 and "no detector is called 'nonsense'; there are aide" in err
    code, _, err = call(*train)
    assert code == 2 and "--labels FILE is needed" in err


def test_a_detector_is_trained_by_the_command(manifest: Path, tmp_path: Path, call: Call) -> None:
    made = tmp_path / "made.safetensors"
    work = ("--work", str(tmp_path / "work"), "--folds", "4", "--precision", "fp32", "--detector-samples", "640")
    code, _, err = call("train", str(manifest), "-o", str(made), *work, "--detector", "npr")
    assert code == 0 and ", auc " in err, err
    code, out, _ = call("detectors", "score", str(made), str(manifest))
    assert code == 3 and json.loads(out)["error"]["code"] == "not_an_image"
