"""Training of the published detectors: folds, teachers, towers, kills, and files that score as they were trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import textured
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from nsnet_cli.detectors.fitting import Step
from nsnet_cli.detectors.interface import Recipe
from nsnet_cli.detectors.scorer import Scorer
from nsnet_cli.detectors.store import SIDE, Store
from nsnet_cli.detectors.training import DetectorRequest, Trainer, train_detector
from nsnet_cli.detectors.weights import DETECTOR_FORMAT, detector_info, load_detector
from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.evaluation.labelled import read_manifest

BRIEF = Recipe(samples=480, batch=16, rate=5e-3, settled=0.0, look_every=160, patience=2)


def request(manifest: Path, work: Path, name: str = "npr", **changes: Any) -> DetectorRequest:
    thin = {"npr": {"width": 8, "depths": (1, 1)}, "ladeda": {"width": 4, "depths": (1, 1, 1, 1)}}
    base = DetectorRequest(
        name, (manifest,), work / f"{name}.safetensors", work, recipe=BRIEF, folds=4, shape=thin.get(name, {})
    )
    if name not in ("univfd", "vib-net", "aide"):
        base = replace(base, eyes={"side": 64, "learn": 49})
    return replace(base, **changes)


def pictures_of(manifest: Path) -> tuple[list[np.ndarray], list[int]]:
    rows = read_manifest(manifest, "train")
    return [np.asarray(Image.open(row.path)).transpose(2, 0, 1) for row in rows], [row.label for row in rows]


def test_train_writes_weights_that_score_as_they_were_trained(manifest: Path, tmp_path: Path) -> None:
    asked = request(manifest, tmp_path, command="nsnet train --detector npr")
    said: list[tuple[str, Step | None, int, int]] = []
    info = train_detector(asked, lambda *what: said.append(what))
    assert info == detector_info(asked.output)
    assert info.detector == "npr" and info.shape["width"] == 8 and info.eyes["side"] == 64 and info.tower is None
    assert info.held_out["pictures"] == 10 and info.calibration.fitted_on.startswith("10 held-out scores of 1 of 4")
    assert {name for name, *_ in said} == {"pictures", "npr fold-0", "npr final"}

    pictures, labels = pictures_of(manifest)
    scorer = Scorer.load(asked.output)
    scores = scorer.score(pictures)
    assert roc_auc_score(labels, scores) > 0.95
    assert scorer.score(pictures[3:4]) == pytest.approx(scores[3:4], abs=1e-4)
    kept = [json.loads(line) for line in (tmp_path / "npr" / "held_out.jsonl").read_text("utf-8").splitlines()]
    assert len(kept) == info.held_out["pictures"] and {row["label"] for row in kept} == {0, 1}
    events = [json.loads(line) for line in (tmp_path / "npr" / "log.jsonl").read_text("utf-8").splitlines()]
    assert [e["event"] for e in events if e["event"] != "step"] == ["start", "held_out", "calibration", "written"]
    # Folds hold whole groups, and none is on both sides.
    trainer = Trainer(asked, lambda *what: None)
    part = trainer.rotations[0]
    sides = [{trainer.pictures[i].group for i in those} for those in (part.learnt, part.stopping, part.left_out)]
    assert all(sides) and not (sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2])


@pytest.mark.parametrize("killed", ["npr fold-0", "npr final"])
def test_a_killed_fit_ends_with_the_same_weights(
    killed: str, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(work: Path, stop_at: int | None = None) -> dict[str, torch.Tensor]:
        def report(name: str, step: Step | None, done: int, total: int) -> None:
            if name == killed and done == stop_at:
                raise KeyboardInterrupt

        asked = request(manifest, work)
        train_detector(asked, report)
        return load_file(asked.output)

    whole = run(tmp_path / "a")
    monkeypatch.setattr("nsnet_cli.detectors.fitting._SAVE_EVERY", -1.0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", stop_at=13)
    assert not (tmp_path / "b" / "npr.safetensors").exists()
    assert list((tmp_path / "b" / "npr").glob(f"{killed.split()[1]}-*.checkpoint.safetensors"))
    resumed = run(tmp_path / "b")
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_a_student_finds_what_its_teacher_left_and_never_more(manifest: Path, tmp_path: Path) -> None:
    brief = replace(BRIEF, samples=160, look_every=80)
    teacher = request(manifest, tmp_path, "ladeda", recipe=brief)
    train_detector(teacher)
    steps: list[str] = []
    student = request(manifest, tmp_path, "tiny-ladeda", recipe=brief)
    trainer = Trainer(student, lambda name, step, done, total: steps.append(name) if step else None)
    # The teacher's own recipe and shape would take long here; those of its training above are what it left.
    master = replace(Trainer(teacher, lambda *what: None).detector, eyes=trainer.detector.eyes)
    part = trainer.rotations[0]
    _, taken = trainer.fitted(master, part)
    assert not steps and taken in (5, 10)
    assert part.left_out == Trainer(teacher, lambda *what: None).rotations[0].left_out


def test_detectors_that_share_a_folder_share_its_pictures(manifest: Path, tmp_path: Path) -> None:
    pictures = read_manifest(manifest, "train")
    store = Store(pictures, tmp_path / "pictures", delivered=2)
    store.fill()
    assert sorted(path.name[:2] for path in store.folder.iterdir()) == ["0-", "1-", "2-"]
    made = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    again = Store(pictures, tmp_path / "pictures", delivered=2)
    again.fill()
    assert made == {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    # The first rendering is the picture as it is, others are deliveries of it, always the same.
    original = np.asarray(Image.open(pictures[5].path)).transpose(2, 0, 1)
    assert np.array_equal(again.picture(0, 5), original)
    delivered = again.picture(1, 5)
    assert min(delivered.shape[1:]) > 100 and max(delivered.shape[1:]) <= SIDE
    assert not np.array_equal(delivered, again.picture(2, 5))
    assert np.array_equal(delivered, again._rendered(1, 5))
    with pytest.raises(WeightsError, match="kept of other pictures"):
        Store(pictures[:-1], tmp_path / "pictures", delivered=2).fill()


def test_a_store_keeps_the_centre_of_large_pictures(tmp_path: Path) -> None:
    Image.fromarray(textured(700, 301)).save(tmp_path / "a.png")
    (tmp_path / "m.csv").write_text("path,label\na.png,0\n")
    store = Store(read_manifest(tmp_path / "m.csv", None), tmp_path / "pictures", delivered=0)
    store.fill()
    assert np.array_equal(store.picture(0, 0), textured(700, 301).transpose(2, 0, 1)[:, 22:278, 222:478])


@pytest.mark.parametrize("name", ["univfd", "vib-net", "aide"])
def test_detectors_look_through_a_frozen_tower(name: str, manifest: Path, tiny_tower: Path, tmp_path: Path) -> None:
    shape = {"aide": {"width": 4, "depth": 1, "semantic": 4}, "vib-net": {"hidden": 8, "latent": 4}}.get(name, {})
    asked = request(
        manifest, tmp_path, name, tower=tiny_tower, shape=shape, output=tiny_tower.parent / f"{name}.safetensors"
    )
    info = train_detector(replace(asked, recipe=replace(BRIEF, samples=320, rate=2e-2)))
    assert info.tower == "tiny" and info.shape["embed_dim"] == 24
    pictures, labels = pictures_of(manifest)
    scores = Scorer.load(asked.output).score(pictures)
    assert roc_auc_score(labels, scores) > 0.9
    # Held-out scores stood on kept embeddings: the same as those that a scan makes.
    trainer = Trainer(asked, lambda *what: None)
    _, _, network = load_detector(asked.output)
    kept = trainer._scores(trainer.detector, network, [0, 1, 2])
    assert kept == pytest.approx(scores[:3], abs=1e-3)


def test_training_stops_where_what_is_held_out_gains_no_more(manifest: Path, tmp_path: Path) -> None:
    """With labels at random nothing held out is learnt, so that patience runs out long before the samples do."""
    text = manifest.read_text("utf-8").splitlines()
    rows = [line.split(",") for line in text[1:] if line.endswith("train")]
    for k, row in enumerate(rows):
        row[0] = str(manifest.parent / row[0])
        row[1] = str((k // 8) % 2)
        row[2] = f"{'gen' if row[1] == '1' else 'cam'}{'abcdefgh'[k % 8]}-x"
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join([text[0], *map(",".join, rows)]), "utf-8")
    asked = request(shuffled, tmp_path, recipe=replace(BRIEF, samples=4800, look_every=32, patience=2))
    trainer = Trainer(asked, lambda *what: None)
    _, taken = trainer.fitted(trainer.detector, trainer.rotations[0])
    assert taken < 150
    best = [json.loads(line) for line in (tmp_path / "npr" / "log.jsonl").read_text("utf-8").splitlines()]
    looks = [(e["score"], e["step"]) for e in best if e.get("score") is not None]
    assert taken == max(looks)[1]  # of equals the later
    assert looks[-1][1] <= taken + 2 * 2  # two looks of two steps each without a gain


def test_requests_that_cannot_be_met_say_so(manifest: Path, tmp_path: Path) -> None:
    def refused(match: str, **changes: Any) -> None:
        with pytest.raises(UsageError, match=match):
            train_detector(request(manifest, tmp_path, **changes))

    refused("npr has no height; it has width=16, depths=", shape={"height": 3})
    refused("no detector is called 'nrp'", name="nrp")
    refused("looks through a tower", name="univfd")
    refused("batches must be even", recipe=replace(BRIEF, batch=15))
    refused("too few generators or sources for 2 folds: none of one class to learn from", folds=2)


def test_files_that_do_not_fit_are_refused(manifest: Path, tmp_path: Path, tiny_weights: Path) -> None:
    asked = request(manifest, tmp_path, recipe=replace(BRIEF, samples=160))
    train_detector(asked)
    tensors, path = load_file(asked.output), tmp_path / "other.safetensors"
    with safe_open(asked.output, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == DETECTOR_FORMAT
    assert {t.dtype for name, t in tensors.items() if t.ndim > 1} == {torch.float16}

    def refused(match: str, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        save_file(tensors, path, metadata)
        with pytest.raises((WeightsError, UsageError), match=match):
            Scorer.load(path)

    first = next(iter(tensors))
    refused(f"{first} is missing", {k: v for k, v in tensors.items() if k != first}, metadata)
    refused("extra is unknown", {**tensors, "extra": torch.zeros(1)}, metadata)
    refused("has shape", {**tensors, first: torch.zeros(3, 3)}, metadata)
    refused("metadata is incomplete", tensors, {k: v for k, v in metadata.items() if k != "calibration"})
    refused("made for another version of npr", tensors, {**metadata, "shape": '{"height": 3}'})
    refused("no detector is called 'gone'", tensors, {**metadata, "detector": '"gone"'})
    with pytest.raises(WeightsError, match="expected weights of a detector"):
        Scorer.load(tiny_weights)
