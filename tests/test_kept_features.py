"""Features that training keeps: the same whoever renders, and what is kept goes on to the features of the tower."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nsnet_cli.errors import WeightsError
from nsnet_cli.evaluation.labelled import LabelledPicture, read_manifest
from nsnet_cli.tower.file import CLIP_MEAN, CLIP_STD, load_tower
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.training import features, shelf
from nsnet_cli.training.features import KeptFeatures, frozen_features
from nsnet_cli.training.shelf import by_shard
from nsnet_cli.training.views import Rendering
from nsnet_cli.views.plan import View, ViewKind
from nsnet_cli.views.selection import SelectionRecipe


@pytest.fixture(autouse=True)
def several_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_SHARD", 16)


RECIPE = SelectionRecipe()


def keep(manifest: Path, tower: Path, work: Path, stem: int | None, kind: ViewKind = "mosaic") -> KeptFeatures:
    return keep_of(read_manifest(manifest, "train"), tower, work, stem=stem, kind=kind)


def keep_of(
    pictures: list[LabelledPicture],
    tower: Path,
    work: Path,
    recipe: SelectionRecipe = RECIPE,
    stem: int | None = None,
    kind: ViewKind = "mosaic",
) -> KeptFeatures:
    rendering = Rendering(View(kind, 0), seed=4)
    normalise = Normaliser(CLIP_MEAN, CLIP_STD)
    return frozen_features(load_tower(tower), pictures, recipe, normalise, work, rendering, "the tower", stem)


def shards(kept: KeptFeatures) -> list[Path]:
    return list(by_shard(kept.places))


def test_what_is_missing_of_a_run_that_was_killed_is_made_again(
    manifest: Path, tiny_tower: Path, tmp_path: Path
) -> None:
    whole = keep(manifest, tiny_tower, tmp_path / "a", stem=0)
    assert [len(load_file(path)["views"]) for path in shards(whole)] == [16, 16, 8]
    shards(keep(manifest, tiny_tower, tmp_path / "b", stem=0))[1].unlink()
    resumed = keep(manifest, tiny_tower, tmp_path / "b", stem=0)
    assert torch.equal(whole.features.class_tokens, resumed.features.class_tokens)
    for one, other in zip(shards(whole), shards(resumed), strict=True):
        assert torch.equal(load_file(one)["views"], load_file(other)["views"])


def test_another_run_in_the_same_folder_mixes_nothing_up(
    manifest: Path, tiny_tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = keep(manifest, tiny_tower, tmp_path / "a", stem=0)
    write, first = shelf.write_safetensors, []

    def other_run_writes_the_next(path: Path, *rest: object) -> None:
        write(path, *rest)  # type: ignore[arg-type]
        if not first:
            first.append(path)
            (path.parent / shards(whole)[1].name).write_bytes(shards(whole)[1].read_bytes())

    monkeypatch.setattr(shelf, "write_safetensors", other_run_writes_the_next)
    found = keep(manifest, tiny_tower, tmp_path / "b", stem=0)
    assert torch.equal(whole.features.embedding, found.features.embedding)


def test_manifests_that_grow_or_shrink_cost_only_what_is_new(
    manifest: Path, tiny_tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = read_manifest(manifest, "train")
    encoded, made = features._encoded, []

    def counting(*given: Any) -> Iterator[dict[str, torch.Tensor]]:
        made.extend(row for shard in given[-1] for row in shard)
        return encoded(*given)

    monkeypatch.setattr(features, "_encoded", counting)

    def kept(some: list[LabelledPicture]) -> VitFeatures:
        made.clear()
        return keep_of(some, tiny_tower, tmp_path).features

    first = kept(pictures[3:30])
    assert made == list(range(27))
    both = kept([*pictures[:3], *pictures[5:]])
    assert made == [0, 1, 2, *range(28, 38)]
    assert torch.equal(both.embedding[3:28], first.embedding[2:])
    backwards = kept(pictures[::-1])
    assert made == []
    assert torch.equal(backwards.class_tokens.flip(0)[5:], both.class_tokens[3:])


def test_features_of_another_recipe_are_refused(manifest: Path, tiny_tower: Path, tmp_path: Path) -> None:
    keep(manifest, tiny_tower, tmp_path, stem=None)
    with pytest.raises(WeightsError, match="another recipe"):
        keep_of(read_manifest(manifest, "train"), tiny_tower, tmp_path, SelectionRecipe(grid=5, low=12))


def test_processes_that_render_change_nothing(
    manifest: Path, tiny_tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = keep(manifest, tiny_tower, tmp_path / "alone", stem=0, kind="window")
    monkeypatch.setattr(features, "rendering_workers", lambda device: 2)
    together = keep(manifest, tiny_tower, tmp_path / "together", stem=0, kind="window")
    assert torch.equal(alone.features.embedding, together.features.embedding)
    for one, other in zip(shards(alone), shards(together), strict=True):
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
    held = replace(keep(manifest, tiny_tower, tmp_path, stem=0), places=())
    assert kept.views is None and held.views is not None and held.views.shape == (40, 3, 224, 224)
    with torch.no_grad():
        for one, other in zip(kept.enter(tower, [39, 0, 17]), held.enter(tower, [39, 0, 17]), strict=True):
            assert torch.equal(one, other)
