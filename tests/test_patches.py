"""Which parts look generated: patch heads, the composites that teach them, and the command that adds them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from conftest import textured
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from nsnet_cli.detector import Detector
from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.network import Network
from nsnet_cli.patch_head import PatchHeadConfig, ProbeGrid
from nsnet_cli.selection import SelectionRecipe
from nsnet_cli.training.composites import compose
from nsnet_cli.training.fit import Progress
from nsnet_cli.training.patches import (
    PatchRecipe,
    PatchTraining,
    TaughtCells,
    localisation,
    teach,
    train_patches,
    window_cells,
)
from nsnet_cli.weights import load_weights, weights_info

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def image(seed: int, size: int = 320) -> Image.Image:
    return Image.fromarray(textured(size, size, seed))


def quiet(name: str, progress: Progress) -> None:
    pass


@pytest.mark.parametrize("grid", [ProbeGrid(7, 0.8), ProbeGrid(5, 2.0), ProbeGrid(1, 3.0)])
def test_a_probe_looks_around_the_middle_of_its_cell(grid: ProbeGrid) -> None:
    look = grid.look(14)
    assert look.shape == (grid.count, 196)
    for probe in range(grid.count):
        row, column = ((k + 0.5) * 14 / grid.cells for k in divmod(probe, grid.cells))
        for token in (0, 13, 77, 195):
            y, x = (k + 0.5 for k in divmod(token, 14))
            distance = (y - row) ** 2 + (x - column) ** 2
            assert float(look[probe, token]) == pytest.approx(-distance / (2 * grid.reach**2), rel=1e-5, abs=1e-5)


def test_a_probe_that_looks_everywhere_is_the_class_token(tiny_weights: Path) -> None:
    network = Network.of_weights(load_weights(str(tiny_weights)))
    views = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    config = PatchHeadConfig(blocks=(1, 2), window=ProbeGrid(3, 1e6))
    _, class_tokens, probes = network.probes(views, "window", config)
    assert probes.shape == (2, 2, 9, network.tower.config.width)
    for probe in range(9):
        assert torch.allclose(probes[:, :, probe], class_tokens, atol=1e-4)
    near = network.probes(views, "window", replace(config, window=ProbeGrid(3, 1.0)))[2]
    assert not torch.allclose(near[:, :, 0], near[:, :, 8], atol=1e-2)


def test_no_other_token_sees_a_probe(tiny_weights: Path) -> None:
    network = Network.of_weights(load_weights(str(tiny_weights)))
    views = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    tokens, class_tokens, _ = network.probes(views, "mosaic", PatchHeadConfig(blocks=(1, 2)))
    with torch.inference_mode():
        alone, alone_class = network.tower.through(network.tower.embed(network.normalise(views)), 1, 2)
    assert torch.allclose(tokens, alone, atol=1e-5) and torch.allclose(class_tokens, alone_class, atol=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), width=st.integers(224, 400), height=st.integers(224, 400))
def test_a_quarter_to_a_half_is_pasted_and_all_else_is_the_base(seed: int, width: int, height: int) -> None:
    base, other = Image.new("RGB", (width, height), (200, 10, 10)), Image.new("RGB", (width, height), (10, 10, 200))
    made = compose(base, other, Random(seed))
    again = compose(base, other, Random(seed))
    assert np.array_equal(made.pixels, again.pixels) and made.pixels.shape == (height, width, 3)
    assert 0.2 < made.pasted.mean() < 0.55
    # Encoding moves plain colours by little; where the mask says 0 or 1 there is one picture alone.
    clear = np.abs(made.pixels.astype(int)[made.pasted == 0] - (200, 10, 10)).max(1)
    pasted = np.abs(made.pixels.astype(int)[made.pasted == 1] - (10, 10, 200)).max(1)
    assert np.quantile(clear, 0.9) < 40 and np.quantile(pasted, 0.9) < 40
    assert np.allclose(made.generated(1, 0), 1 - made.pasted)


def test_nothing_pasted_is_the_whole_picture() -> None:
    made = compose(image(1), None, Random(3))
    assert not made.pasted.any()
    assert np.abs(made.pixels.astype(int) - np.asarray(image(1))).mean() < 15


def test_cells_of_a_window_tile_it() -> None:
    covered = np.zeros((400, 400), int)
    for left, top, right, bottom in window_cells(13, 9, 384, 7):
        covered[top:bottom, left:right] += 1
    assert (covered[9:393, 13:397] == 1).all() and covered.sum() == 384 * 384


def test_what_is_taught_of_a_patch_is_what_was_pasted_there() -> None:
    made = compose(image(1, 384), image(2, 384), Random(5))
    taught = teach(made, (0, 1), 0, SelectionRecipe(), PatchHeadConfig(), Random(1))
    assert taught.views["mosaic"].shape == taught.views["window"].shape == (3, 224, 224)
    assert taught.generated["mosaic"].shape == (49,) and taught.generated["window"].shape == (25,)
    for kind in ("mosaic", "window"):
        assert torch.equal(taught.generated[kind], taught.pasted[kind])  # type: ignore[index]
        assert taught.generated[kind].max() > 0.9 and taught.generated[kind].min() < 0.1  # type: ignore[index]
    turned = teach(made, (1, 0), 0, SelectionRecipe(), PatchHeadConfig(), Random(1))
    assert torch.allclose(turned.generated["mosaic"], 1 - taught.generated["mosaic"], atol=1e-5)


def test_localisation_counts_places_within_pictures_not_pictures() -> None:
    generated = torch.zeros(4, 49)
    generated[0, :20] = generated[1, 29:] = 1.0
    pasted = generated.clone()
    pasted[2, :15] = 1.0
    labels = torch.tensor([[0, 1], [0, 1], [0, 0], [1, -1]])
    generated[3] = 1.0
    cells = TaughtCells(torch.zeros(4, 1, 49, 1), generated, pasted, torch.zeros(4), labels)
    perfect = localisation(generated.numpy(), cells)
    assert perfect["mixed"] == 1.0 and perfect["control"] == 0.5 and perfect["pooled"] == 1.0
    # A head that knows each picture's share, but not the place, finds no place.
    blind = generated.mean(1, keepdim=True).expand(-1, 49).numpy()
    assert localisation(blind, cells)["mixed"] == 0.5


@pytest.fixture(scope="module")
def taught_request(manifest: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> PatchTraining:
    work = tmp_path_factory.mktemp("patches")
    config = PatchHeadConfig(blocks=(1, 2), reduced=8, hidden=16, dropout=0.0)
    recipe = PatchRecipe(composites=220, steps=200, batch=16, lr=0.01, folds=2, config=config)
    request = PatchTraining(
        manifest, str(tiny_weights), tiny_weights.parent / "taught.safetensors", work, "train", recipe, "fp32", "cpu",
        "nsnet train-patches",
    )  # fmt: skip
    train_patches(request, quiet)
    return request


def test_heads_find_what_was_pasted_and_leave_verdicts_alone(
    taught_request: PatchTraining, tiny_weights: Path, picture: Callable[..., Path]
) -> None:
    record = weights_info(taught_request.output).patch_head
    assert record is not None
    # Generated pictures of this manifest are dark: even a random tower tells them, wherever they lie.
    for figures in record.training["out_of_fold"].values():
        assert figures["mixed"] > 0.9
    before, after = load_file(tiny_weights), load_file(taught_request.output)
    assert all(torch.equal(after[k], v) for k, v in before.items() if not k.startswith("patch."))
    path = picture("any.png", 500, 400, seed=4)
    one, other = (Detector.load(str(w)).scan(path) for w in (tiny_weights, taught_request.output))
    assert one.score == other.score and one.verdict == other.verdict
    assert one.patches is not None and other.patches is not None
    assert [p.score for p in one.patches] != [p.score for p in other.patches]


def test_a_run_goes_on_from_its_composites_and_refuses_those_of_another(
    taught_request: PatchTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = sorted((taught_request.work / "composites").iterdir())[-1]
    stamps = {p: p.stat().st_mtime_ns for p in last.parent.iterdir()}
    last.unlink()
    again = replace(taught_request, output=taught_request.work / "again.safetensors")
    # The tower's file is found beside the weights, wherever the output goes.
    train_patches(again, quiet)
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in stamps.items() if p != last)
    first, second = load_file(taught_request.output), load_file(again.output)
    assert all(torch.equal(first[k], second[k]) for k in first)
    with pytest.raises(WeightsError, match="another recipe"):
        train_patches(replace(again, recipe=replace(again.recipe, seed=5)), quiet)


def test_blocks_that_a_tower_has_not_are_refused(taught_request: PatchTraining) -> None:
    recipe = replace(taught_request.recipe, config=PatchHeadConfig(blocks=(1, 9)))
    with pytest.raises(UsageError, match="a tower of 2"):
        train_patches(replace(taught_request, recipe=recipe), quiet)


def test_scores_of_a_mosaic_stand_beside_their_patches(tiny_weights: Path, picture: Callable[..., Path]) -> None:
    detector = Detector.load(str(tiny_weights))
    path = str(picture("b.png", 640, 480, seed=8))
    result = detector.scan(path)
    prepared = detector.prepare(path)
    assert prepared.views is not None and result.patches is not None
    assert result.patch_score_kind == "patch-head-logit"
    network = Network.of_weights(load_weights(str(tiny_weights)))
    alone = network.cells(prepared.views[:1], "mosaic")[0]
    assert [p.score for p in result.patches] == pytest.approx(alone.tolist(), abs=0.011)
    without = Detector.load(str(tiny_weights), patches=False).scan(path)
    assert without.patches is None and without.patch_score_kind is None and without.score == result.score


def test_the_command_says_what_is_wrong_first(run_nsnet: Run, tmp_path: Path, manifest: Path) -> None:
    done = run_nsnet("train-patches", str(manifest), "-o", str(tmp_path / "x.bin"), "--work", str(tmp_path))
    assert done.returncode == 2 and b".safetensors" in done.stderr
