"""Training on a tiny tower: folds, resuming, and weights that a scan can use."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import textured
from PIL import Image

from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.head import HeadConfig, NullSpaceHead
from nsnet_cli.labelled import LabelledPicture, read_manifest
from nsnet_cli.nullspace import BasisRule
from nsnet_cli.preprocess import Normaliser
from nsnet_cli.safefile import sha256_of
from nsnet_cli.tower import load_tower
from nsnet_cli.training.fit import FitConfig, Progress, fit, frozen_renderings
from nsnet_cli.training.folds import grouped_folds, lineage, picture_weights
from nsnet_cli.training.run import TrainRequest, train
from nsnet_cli.weights import weights_info

FIT = FitConfig(
    samples=48, batch=8, lora_rank=2, head=HeadConfig(blocks=(1, 2), reduced=8, hidden=8), frozen_augmented=1, seed=3
)


def row(name: str, label: int, group: str) -> LabelledPicture:
    return LabelledPicture(Path(name), name, label, group, "", "")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small pictures; the generated ones are dark, which even a random tower sees."""
    folder = tmp_path_factory.mktemp("corpus")
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "generator", "split"])
        for k in range(40):
            label = k % 2
            pixels = textured(256, 256, seed=k).astype(int)
            pixels //= 1 + 3 * label
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{k}.png")
            writer.writerow([f"{k}.png", label, f"{'gen' if label else 'cam'}{'abcd'[k // 2 % 4]}-x", "train"])
        writer.writerow(["not-there.png", 1, "gen-val", "val"])
    return folder / "manifest.csv"


def request(manifest: Path, tower: Path, work: Path, **changes: object) -> TrainRequest:
    labels = work.parent / "labels.npy"
    np.save(labels, np.random.default_rng(0).normal(size=(12, 24)).astype(np.float32))
    base = TrainRequest(
        manifest=manifest, labels=labels, tower=tower, output=work / "tiny-nsnet.safetensors", work=work,
        split="train", rule=BasisRule("rank", 5), fit=FIT, fold_samples=32, folds=2, views=2, precision="fp32",
        device="cpu", command="nsnet train",
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def test_weights_even_out_groups_and_classes() -> None:
    pictures = [row(f"{k}", 0, "big") for k in range(100)] + [row(f"s{k}", 0, "small") for k in range(25)]
    pictures += [row(f"g{k}", 1, f"tiny{k}") for k in range(7)]
    weights = picture_weights(pictures)
    assert sum(weights[:125]) == pytest.approx(0.5) and sum(weights[125:]) == pytest.approx(0.5)
    assert sum(weights[:100]) / sum(weights[100:125]) == pytest.approx(2.0)  # sqrt(100 / 25)
    assert len(set(weights[125:])) == 1  # groups under ten are one group


def test_folds_keep_lineages_together_and_cover_everything() -> None:
    names = ["sd-1.4", "sd-1.x-lora", "stylegan", "stylegan2-ada", "flux-1-dev", "dalle-2", "unknown-a", "unknown-b"]
    pictures = [row(f"{n}{k}", 1, n) for n in names for k in range(12)]
    pictures += [row(f"r{n}{k}", 0, f"camera-{n}") for n in range(9) for k in range(5 + n)]
    folds = grouped_folds(pictures, 3)
    assert set(folds) == {0, 1, 2}
    of = {}
    for picture, fold in zip(pictures, folds, strict=True):
        assert of.setdefault(lineage(picture.group, picture.label), fold) == fold
    assert lineage("sd-1.4", 1) == lineage("sd-1.x-lora", 1)
    assert lineage("stylegan", 1) == lineage("stylegan2-ada", 1)
    assert lineage("unknown-a", 1) != lineage("unknown-b", 1)


def test_a_killed_run_ends_with_the_same_weights(manifest: Path, tiny_tower: Path, tmp_path: Path) -> None:
    pictures = read_manifest(manifest, "train")

    def run(checkpoint: Path, stop_at: int | None = None) -> dict[str, torch.Tensor]:
        tower = load_tower(tiny_tower)
        torch.manual_seed(1)
        head = NullSpaceHead(tower.config, FIT.head, torch.eye(24)[:5])

        def report(progress: Progress) -> None:
            if progress.step == stop_at:
                raise KeyboardInterrupt

        normalise = Normaliser((0.5,) * 3, (0.25,) * 3)
        fit(tower, head, pictures, FIT, normalise, checkpoint, report, checkpoint_every=2, workers=0)
        return {**head.state_dict(), **tower.lora_state()}

    whole = run(tmp_path / "a.safetensors")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b.safetensors", stop_at=5)
    resumed = run(tmp_path / "b.safetensors")
    for name, tensor in whole.items():
        assert torch.allclose(tensor, resumed[name], atol=1e-6), name
    with pytest.raises(WeightsError, match="another run"):
        other = replace(FIT, seed=4)
        tower = load_tower(tiny_tower)
        head = NullSpaceHead(tower.config, FIT.head, torch.eye(24)[:5])
        fit(tower, head, pictures, other, Normaliser((0.5,) * 3, (0.25,) * 3), tmp_path / "b.safetensors", workers=0)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_train_writes_weights_that_scan(
    manifest: Path, tiny_tower: Path, tmp_path: Path, lora_rank: int, run_nsnet: Callable[..., object]
) -> None:
    work = tmp_path / "work"
    fit_config = replace(FIT, lora_rank=lora_rank, samples=640, lr_head=0.01, bce_share=1.0, augment=False, keep=1.0)
    asked = request(manifest, tiny_tower, work, fit=fit_config, fold_samples=fit_config.samples)
    train(asked, lambda name, progress: None)
    info = weights_info(asked.output)
    assert info.tower_sha256 == sha256_of(tiny_tower) and info.basis["rank"] == 5 and info.lora.rank == lora_rank
    assert info.training["pictures"] == {"0": 20, "1": 20}
    events = [json.loads(line)["event"] for line in (work / "log.jsonl").read_text().splitlines()]
    assert events[0] == "start" and events[-1] == "written" and events.count("held_out") == 2

    from nsnet_cli import Detector

    (work / tiny_tower.name).write_bytes(tiny_tower.read_bytes())
    result = Detector.load(str(asked.output)).scan(manifest.parent / "3.png")
    assert result.error is None and result.probability is not None


def test_the_manifest_is_checked(tmp_path: Path) -> None:
    bad = tmp_path / "m.csv"
    bad.write_text("path,label\na.png,1\n")
    with pytest.raises(UsageError, match="lacks the columns generator"):
        read_manifest(bad, None)
    bad.write_text("path,label,generator\na.png,fake,x\n")
    with pytest.raises(UsageError, match=r"m\.csv:2: label must be 0 or 1"):
        read_manifest(bad, None)


def test_scores_of_another_recipe_are_not_taken_for_ours(manifest: Path, tiny_tower: Path, tmp_path: Path) -> None:
    """A killed LoRA run leaves scores of its finished folds; another recipe must not be calibrated on them."""
    work = tmp_path / "work"
    asked = request(manifest, tiny_tower, work, fit=replace(FIT, bce_share=1.0))

    def stop(name: str, progress: Progress) -> None:
        if name == "fold-1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(asked, stop)
    assert (work / "fold-0.scores.json").exists()
    with pytest.raises(WeightsError, match="another recipe"):
        train(replace(asked, fit=replace(asked.fit, temperature=0.5)), lambda name, progress: None)


def test_a_frozen_fit_honours_seed_and_no_augment() -> None:
    names = [r.name for r in frozen_renderings(replace(FIT, frozen_augmented=2, seed=0), views=2)]
    assert names == ["scan-0", "scan-1", "augmented-1", "augmented-2"]
    other = {r.name for r in frozen_renderings(replace(FIT, frozen_augmented=2, seed=1), views=2)}
    assert other & set(names) == {"scan-0", "scan-1"}
    plain = frozen_renderings(replace(FIT, augment=False), views=1)
    assert [r.name for r in plain] == ["scan-0"]


def test_the_commands_defaults_are_the_recipes() -> None:
    import inspect

    from nsnet_cli.cli.train import train as command

    given = {name: p.default for name, p in inspect.signature(command).parameters.items()}
    recipe = FitConfig()
    for name in given.keys() & vars(recipe).keys():
        assert given[name] == getattr(recipe, name), name
    assert given["dropout"] == recipe.head.dropout and given["dc"] == recipe.selection.dc
