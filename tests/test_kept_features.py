"""Features that training keeps: the same whoever renders, and what is kept goes on to the features of the tower."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nsnet_cli.evaluation.labelled import read_manifest
from nsnet_cli.tower.file import CLIP_MEAN, CLIP_STD, load_tower
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.training import features
from nsnet_cli.training.features import KeptFeatures, frozen_features
from nsnet_cli.training.views import Rendering
from nsnet_cli.views.plan import View, ViewKind
from nsnet_cli.views.selection import SelectionRecipe


@pytest.fixture(autouse=True)
def several_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_SHARD", 16)


def keep(manifest: Path, tower: Path, work: Path, stem: int | None, kind: ViewKind = "mosaic") -> KeptFeatures:
    return frozen_features(
        load_tower(tower), read_manifest(manifest, "train"), SelectionRecipe(), Normaliser(CLIP_MEAN, CLIP_STD),
        work, Rendering(View(kind, 0), seed=4), "the tower", stem,
    )  # fmt: skip


def test_what_is_missing_of_a_run_that_was_killed_is_made_again(
    manifest: Path, tiny_tower: Path, tmp_path: Path
) -> None:
    whole = keep(manifest, tiny_tower, tmp_path / "a", stem=0)
    assert [len(load_file(path)["views"]) for path in whole.shards] == [16, 16, 8]
    keep(manifest, tiny_tower, tmp_path / "b", stem=0).shards[1].unlink()
    resumed = keep(manifest, tiny_tower, tmp_path / "b", stem=0)
    assert torch.equal(whole.features.class_tokens, resumed.features.class_tokens)
    for one, other in zip(whole.shards, resumed.shards, strict=True):
        assert torch.equal(load_file(one)["views"], load_file(other)["views"])


def test_another_run_in_the_same_folder_mixes_nothing_up(
    manifest: Path, tiny_tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = keep(manifest, tiny_tower, tmp_path / "a", stem=0)
    write, first = features.write_safetensors, []

    def other_run_writes_the_next(path: Path, *rest: object) -> None:
        write(path, *rest)  # type: ignore[arg-type]
        if not first:
            first.append(path)
            (path.parent / whole.shards[1].name).write_bytes(whole.shards[1].read_bytes())

    monkeypatch.setattr(features, "write_safetensors", other_run_writes_the_next)
    found = keep(manifest, tiny_tower, tmp_path / "b", stem=0)
    assert torch.equal(whole.features.embedding, found.features.embedding)


def test_processes_that_render_change_nothing(
    manifest: Path, tiny_tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = keep(manifest, tiny_tower, tmp_path / "alone", stem=0, kind="window")
    monkeypatch.setattr(features, "rendering_workers", lambda device: 2)
    together = keep(manifest, tiny_tower, tmp_path / "together", stem=0, kind="window")
    assert torch.equal(alone.features.embedding, together.features.embedding)
    for one, other in zip(alone.shards, together.shards, strict=True):
        assert torch.equal(load_file(one)["views"], load_file(other)["views"])


@pytest.mark.parametrize(("stem", "tolerance"), [(0, 1e-3), (1, 2e-2)])  # tokens are kept in bfloat16
def test_what_is_kept_goes_on_to_the_features(
    manifest: Path, tiny_tower: Path, tmp_path: Path, stem: int, tolerance: float
) -> None:
    kept, rows = keep(manifest, tiny_tower, tmp_path, stem), [31, 2, 17]
    tower = load_tower(tiny_tower)
    with torch.no_grad():
        found = tower.finish(*kept.enter(tower, rows))
    wanted = kept.features.rows(torch.tensor(rows)).floats_on(torch.device("cpu"))
    assert torch.allclose(found.embedding, wanted.embedding, atol=tolerance * float(wanted.embedding.abs().max()))
    assert torch.allclose(found.class_tokens, wanted.class_tokens, atol=tolerance * float(wanted.class_tokens.max()))


def test_views_that_a_gpu_holds_are_those_on_disk(
    manifest: Path, tiny_tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, tower = keep(manifest, tiny_tower, tmp_path, stem=0), load_tower(tiny_tower)
    monkeypatch.setattr(features, "free_memory", lambda device: 2**40)
    held = replace(keep(manifest, tiny_tower, tmp_path, stem=0), shards=())
    assert kept.views is None and held.views is not None and held.views.shape == (40, 3, 224, 224)
    with torch.no_grad():
        for one, other in zip(kept.enter(tower, [39, 0, 17]), held.enter(tower, [39, 0, 17]), strict=True):
            assert torch.equal(one, other)
