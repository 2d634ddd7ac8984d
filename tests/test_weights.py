"""Weights that are missing, foreign, altered or cut short are refused with a word on what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, SAMPLE, Call

from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.judges.network import Network
from nsnet_cli.verdict.profiles import profiles_folder
from nsnet_cli.weights.file import SEMANTIC, load_weights, weights_info
from nsnet_cli.weights.safefile import read_header, write_safetensors
from nsnet_cli.weights.store import DEFAULT_WEIGHTS, find_weights


def copied(tmp_path: Path, change: Callable[[dict, dict], None]) -> Path:
    from safetensors.torch import load_file

    source = find_weights(DEFAULT_WEIGHTS)
    tensors, metadata = load_file(source), dict(read_header(source).metadata)
    change(tensors, metadata)
    path = tmp_path / "changed.safetensors"
    write_safetensors(path, tensors, metadata)
    return path


def test_shipped_weights_fit_together() -> None:
    weights = load_weights(DEFAULT_WEIGHTS)
    network = Network.of_weights(weights)
    assert not weights.below("tower")
    assert (network.kernel is not None) == ("kernel" in weights.info.fusion)
    semantic = weights.tensors[SEMANTIC]
    assert np.abs(semantic @ semantic.T - np.eye(len(semantic))).max() < 1e-5
    assert len(semantic) == weights.info.basis["rank"]


def test_a_name_that_is_not_there_says_where_it_looked() -> None:
    with pytest.raises(WeightsError, match="looked in"):
        load_weights("no-such-weights")


def test_who_has_no_home_has_the_shipped_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*args: object, **more: object) -> str:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("platformdirs.user_data_dir", homeless)
    monkeypatch.setattr("platformdirs.user_config_dir", homeless)
    assert find_weights(DEFAULT_WEIGHTS).is_file()
    with pytest.raises(UsageError, match="live in a home"):
        profiles_folder()
    with pytest.raises(WeightsError, match="no such weights file"):
        find_weights("~nobody-of-this-name/x.safetensors")


@pytest.mark.parametrize(
    ("args", "said"),
    [(("ViT-B-16", "-o", "c.safetensors"), "--pretrained"), (("x.onnx", "-o", "c.txt"), "end the name with")],
)
def test_no_tower_of_random_numbers_is_written(args: tuple[str, ...], said: str, call: Call) -> None:
    code, _, err = call("weights", "convert", *args)
    assert code == 2 and said in err


def test_the_tower_alone_is_no_detector() -> None:
    with pytest.raises(WeightsError, match="expected NS-Net weights"):
        load_weights("clip-vit-b-16")


def test_cut_short(tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(find_weights(DEFAULT_WEIGHTS).read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cut short"):
        load_weights(str(cut))


def test_another_tower_is_refused(tmp_path: Path) -> None:
    path = copied(tmp_path, lambda tensors, metadata: metadata.update(tower_sha256="0" * 64))
    with pytest.raises(WeightsError, match="was trained on 0000"):
        load_weights(str(path))


def test_a_recipe_that_is_incomplete_is_refused(tmp_path: Path) -> None:
    path = copied(tmp_path, lambda tensors, metadata: metadata.pop("calibration"))
    with pytest.raises(WeightsError, match="incomplete"):
        load_weights(str(path))


def test_tensors_that_do_not_fit_the_recipe_are_refused(tmp_path: Path) -> None:
    path = copied(tmp_path, lambda tensors, metadata: tensors.pop("head.window.decision.weight"))
    with pytest.raises(WeightsError, match="do not fit"):
        Network.of_weights(load_weights(str(path)))


ALTERED: dict[str, tuple[str, dict[str, Any]]] = {
    "slope of nothing": ("calibration", {"slope": float("nan")}),
    "slope turned round": ("calibration", {"slope": -1.0}),
    "slope as text": ("calibration", {"slope": "1"}),
    "crossed band": ("calibration", {"t_low": 0.9, "t_high": 0.1}),
    "judge without a share": ("fusion", {"window": float("nan")}),
    "no shares": ("fusion", {"window": 0.0, "kernel": 0.0}),
    "no patch": ("selection", {"patch": 0}),
    "patch as text": ("selection", {"patch": "32"}),
    "another mosaic": ("selection", {"grid": 8}),
    "more low ones than there are": ("selection", {"low": 99}),
    "a look at nothing": ("selection", {"looks": [640]}),
    "a look outside": ("selection", {"looks": [[640, 5.0]]}),
    "a block that is not there": ("head", {"blocks": [5, 6, 7, 8, 9, 13]}),
    "a kernel's block that is not there": ("kernel", {"blocks": [5, 6, 7, 8, 9, 10, 13]}),
    "a kernel without width": ("kernel", {"gamma": "x"}),
    "looks of no scale": ("several", {"scale": float("nan")}),
}


@pytest.mark.parametrize("what", ALTERED)
def test_a_record_that_cannot_be_is_refused(what: str, tmp_path: Path) -> None:
    part, altered = ALTERED[what]

    def change(tensors: dict, metadata: dict) -> None:
        metadata[part] = json.dumps(json.loads(metadata[part]) | altered)

    with pytest.raises(WeightsError, match="the recipe in"):
        Network.of_weights(load_weights(str(copied(tmp_path, change))))


@pytest.mark.parametrize(("name", "text"), [("views", "100000"), ("views", "0"), ("training", "[]"), ("fusion", "{}")])
def test_so_is_one_that_counts_what_nobody_can(name: str, text: str, tmp_path: Path) -> None:
    path = copied(tmp_path, lambda tensors, metadata: metadata.update({name: text}))
    with pytest.raises(WeightsError, match="cannot be"):
        load_weights(str(path))


@pytest.mark.parametrize("name", [SEMANTIC, "kernel.coefficients", "kernel.anchors.scale", "head.window.hidden.weight"])
def test_numbers_that_are_none_are_refused(name: str, tmp_path: Path) -> None:
    def change(tensors: dict, metadata: dict) -> None:
        tensors[name].view(-1)[0] = float("nan")

    with pytest.raises(WeightsError, match="no finite number"):
        Network.of_weights(load_weights(str(copied(tmp_path, change))))


def test_a_basis_of_another_space_is_refused(tmp_path: Path) -> None:
    path = copied(tmp_path, lambda tensors, metadata: tensors.update({SEMANTIC: tensors[SEMANTIC].T.contiguous()}))
    with pytest.raises(WeightsError, match="semantic basis"):
        Network.of_weights(load_weights(str(path)))


def test_what_weights_made_before_do_not_say_is_read_as_not_done(tmp_path: Path) -> None:
    newer = ("whitening", "delivered_share", "whole_share")

    def older(tensors: dict, metadata: dict) -> None:
        kernel = json.loads(metadata["kernel"])
        metadata["kernel"] = json.dumps({key: value for key, value in kernel.items() if key not in newer})

    shipped, before = load_weights(DEFAULT_WEIGHTS).info.kernel, weights_info(copied(tmp_path, older)).kernel
    assert shipped is not None and before is not None
    assert [getattr(before, name) for name in newer] == [0.0, 0.0, 0.0]
    assert before == replace(shipped, **dict.fromkeys(newer, 0.0)) != shipped


def test_anchors_are_the_same_stored_row_by_row_as_weights_made_before_have_them(tmp_path: Path) -> None:
    rows, columns = "kernel.anchors", "kernel.anchors.columns"

    def the_other_way(tensors: dict, metadata: dict) -> None:
        given, wanted, version = (columns, rows, 4) if columns in tensors else (rows, columns, 5)
        tensors[wanted] = tensors.pop(given).T.contiguous()
        metadata["format"] = f"nsnet.weights/{version}"

    path = copied(tmp_path, the_other_way)
    other, shipped = (load_weights(name).tensors[rows] for name in (str(path), DEFAULT_WEIGHTS))
    assert other.shape == shipped.shape
    assert np.array_equal(np.asarray(other), np.asarray(shipped))


# Scores (logits before calibration) of the shipped weights, float32.  Another processor moves them by less than 1e-3;
# a change in decoding, selection, scaling, tower, projection or head moves them by far more.
PINNED = {
    "rocket": -4.3178,
    "landscape": -6.0426,
    "small": -5.0565,
}


def test_shipped_weights_are_those_that_the_model_card_names() -> None:
    card = (ROOT / "weights" / "MODEL_CARD.md").read_text("utf-8")
    assert load_weights(DEFAULT_WEIGHTS).sha256 in card


def test_scores_of_the_shipped_weights_do_not_move(picture: Callable[..., Path]) -> None:
    from nsnet_cli import Detector

    paths = {
        "rocket": SAMPLE,
        "landscape": picture("landscape.png", 900, 600, seed=5),
        "small": picture("small.png", 300, 260, seed=6),
    }
    detector = Detector.load()
    for name, result in zip(paths, detector.scan_many(map(str, paths.values())), strict=True):
        assert result.score == pytest.approx(PINNED[name], abs=0.02), name
        assert result.patches is not None
        if name == "rocket":
            strongest = max(result.patches, key=lambda patch: patch.score or -99.0)
            assert (strongest.x, strongest.y) == (288, 384) and strongest.score == pytest.approx(-1.58, abs=0.05)
