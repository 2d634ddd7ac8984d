"""The tower: ours, open_clip's and OpenAI's say the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from nsnet_cli.errors import WeightsError
from nsnet_cli.tower.convert import tower_from_open_clip
from nsnet_cli.tower.features import Features, ViewBatch, ViewFeatures
from nsnet_cli.tower.file import adapted_state, held_state, load_tower, save_tower, tower_info, tower_state
from nsnet_cli.tower.on_numpy import NumpyTower
from nsnet_cli.tower.on_torch import TorchTower
from nsnet_cli.tower.probes import ProbeGrid
from nsnet_cli.tower.vit import VisionTransformer
from nsnet_cli.weights.safefile import read_header, write_safetensors
from nsnet_cli.weights.shapes import LORA_TARGETS, Adaptation
from nsnet_cli.weights.store import TOWER_NAME, find_weights


@pytest.fixture(scope="module")
def shipped() -> VisionTransformer:
    return load_tower(find_weights(TOWER_NAME))


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def test_reference_features(shipped: VisionTransformer, shared: Path) -> None:
    reference = np.load(shared / "reference" / "clip_vit_b16_image_tower.npz")
    with torch.inference_mode():
        ours = shipped(torch.from_numpy(reference["inputs"])).embedding.double().numpy()
    assert relative(ours, reference["features"]) < 1e-4


def test_open_clip_with_the_same_weights_gives_the_same_features(shipped: VisionTransformer) -> None:
    open_clip = pytest.importorskip("open_clip")
    theirs = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None).visual.eval()
    theirs.load_state_dict(shipped.state_dict(), strict=True)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert relative(shipped(x).embedding.numpy(), theirs(x).numpy()) < 1e-4


def test_features_of_a_fixed_input_are_pinned(shipped: VisionTransformer) -> None:
    """For clones without reference data: a wrong activation, transpose or bias changes these."""
    x = torch.linspace(-2, 2, 3 * 224 * 224).view(1, 3, 224, 224)
    with torch.inference_mode():
        features = shipped(x)
    assert features.class_tokens.shape == (1, 12, 768)
    assert features.embedding[0, :4].tolist() == pytest.approx(PINNED, abs=2e-4)


PINNED = [0.1072771, -0.8595852, -0.1440859, 0.0621887]


@pytest.mark.parametrize("int8", [False, True])
def test_another_open_clip_tower_loads_by_the_same_door(tmp_path: Path, int8: bool) -> None:
    open_clip = pytest.importorskip("open_clip")
    name = "nsnet-tiny-test"
    open_clip.factory._MODEL_CONFIGS[name] = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32},
        "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
    }
    torch.manual_seed(0)
    state, config, origin = tower_from_open_clip(name, None, int8)
    path = tmp_path / "tiny.safetensors"
    save_tower(path, state, config, origin)
    tower = load_tower(path)
    assert not config.quick_gelu and tower_info(path).config == config
    torch.manual_seed(0)
    theirs = open_clip.create_model(name, pretrained=None).visual.eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert relative(tower(x).embedding.numpy(), theirs(x).numpy()) < (0.05 if int8 else 1e-4)


def test_untrained_lora_changes_nothing(tiny_tower: Path) -> None:
    tower = load_tower(tiny_tower)
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        plain = tower(x).embedding
        tower.adapt(Adaptation(rank=3, alpha=6.0, last_block=2, targets=LORA_TARGETS, norms=True))
        assert torch.equal(tower(x).embedding, plain)
        for parameter in tower.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
        adapted = tower.eval()(x).embedding
        assert not torch.allclose(adapted, plain, atol=1e-3)


def test_dropping_tokens_keeps_those_that_stay_unchanged(tiny_tower: Path) -> None:
    tower = load_tower(tiny_tower)
    x = torch.randn(1, 3, 224, 224)
    keep = torch.tensor([[5, 190, 17]])
    with torch.no_grad():
        whole, kept = tower.embed(x), tower.embed(x, keep)
    assert torch.equal(kept[0], whole[0, [0, 6, 191, 18]])


def test_a_tower_cut_short_is_refused(tiny_tower: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny_tower.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cut short"):
        load_tower(cut)


# --- the same network on NumPy, which a scan on a CPU runs on ---


def numpy_tower(path: Path, threads: int | None = None) -> NumpyTower:
    return NumpyTower(tower_info(path), tower_state(path), threads)


def torch_tower(path: Path, precision: str = "fp32") -> TorchTower:
    return TorchTower(tower_info(path), tower_state(path), "cpu", precision)


def some_views(n: int, size: int = 224) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


def same(a: Features, b: Features, tolerance: float) -> bool:
    return relative(a.embedding, b.embedding) < tolerance and relative(a.class_tokens, b.class_tokens) < tolerance


def test_numpy_and_pytorch_see_the_same_in_the_shipped_tower() -> None:
    path = find_weights(TOWER_NAME)
    asked = [
        ViewBatch(some_views(1), ProbeGrid(5, 0.16)),
        ViewBatch(some_views(2), ProbeGrid(7, 0.05, late=0.5)),
        ViewBatch(some_views(1)),
    ]
    ours, trained = numpy_tower(path).encode(asked), torch_tower(path).encode(asked)
    for here, there in zip(ours, trained, strict=True):
        assert same(here.features, there.features, 1e-4)
        assert (here.probes is None) == (there.probes is None)
        if here.probes is not None:
            assert same(here.probes, there.probes_seen, 1e-4)
    assert ours[1].features.class_tokens.shape == (2, 12, 768) and ours[1].probes_seen.embedding.shape == (98, 512)


def test_numpy_gives_the_reference_features(shared: Path) -> None:
    reference, path = np.load(shared / "reference" / "clip_vit_b16_image_tower.npz"), find_weights(TOWER_NAME)
    # The reference's inputs are normalised already: with these, normalising them changes nothing.
    tower = NumpyTower(replace(tower_info(path), mean=(0.0,) * 3, std=(1 / 255,) * 3), tower_state(path))
    look = tower.encode([ViewBatch(reference["inputs"])])[0]
    assert relative(look.features.embedding, reference["features"]) < 1e-4


def test_a_view_is_seen_alike_whatever_is_seen_beside_it(tiny_tower: Path) -> None:
    tower, views = numpy_tower(tiny_tower, threads=3), some_views(7)
    together = tower.encode([ViewBatch(views, ProbeGrid(3, 0.2)), ViewBatch(views[::-1])])
    for n in range(7):
        alone = tower.encode([ViewBatch(views[n : n + 1], ProbeGrid(3, 0.2))])[0]
        beside: ViewFeatures = together[0].of_picture(n)
        assert np.array_equal(beside.features.embedding, alone.features.embedding)
        assert np.array_equal(beside.probes_seen.class_tokens, alone.probes_seen.class_tokens)
        assert same(together[1].of_picture(6 - n).features, alone.features, 1e-5)


def test_the_exact_activation_is_that_of_pytorch(tiny_tower: Path, tmp_path: Path) -> None:
    tensors, metadata = tower_state(tiny_tower), dict(read_header(tiny_tower).metadata)
    metadata["architecture"] = metadata["architecture"].replace('"quick_gelu": true', '"quick_gelu": false')
    path = tmp_path / "exact.safetensors"
    write_safetensors(path, {name: torch.from_numpy(value) for name, value in tensors.items()}, metadata)
    assert not tower_info(path).config.quick_gelu
    asked = [ViewBatch(some_views(2))]
    ours, quick = numpy_tower(path).encode(asked)[0].features, numpy_tower(tiny_tower).encode(asked)[0].features
    assert same(ours, torch_tower(path).encode(asked)[0].features, 1e-4) and not same(ours, quick, 1e-3)


@pytest.mark.parametrize("targets", [LORA_TARGETS, ("v", "proj")])
def test_what_training_adapted_is_put_into_the_state(tiny_tower: Path, targets: tuple[str, ...]) -> None:
    adaptation = Adaptation(rank=3, alpha=6.0, first_block=2, last_block=2, targets=targets, norms=True)
    trained = load_tower(tiny_tower)
    trained.adapt(adaptation)
    for parameter in trained.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted = {name: value.numpy() for name, value in trained.adapted_state().items()}
    state = tower_state(tiny_tower)
    before, x = {name: value.copy() for name, value in state.items()}, torch.randn(2, 3, 224, 224)
    changed = adapted_state(state, adaptation, adapted)
    assert set(changed) == set(state) and all(np.array_equal(state[name], before[name]) for name in state)
    assert changed["proj"] is state["proj"]  # what is not adapted is not held twice
    merged = VisionTransformer.of_state(trained.config, {name: torch.from_numpy(v) for name, v in changed.items()})
    with torch.no_grad():
        wanted, found, plain = trained.eval()(x), merged(x), load_tower(tiny_tower)(x)
    assert torch.allclose(found.embedding, wanted.embedding, atol=1e-5)
    assert torch.allclose(found.class_tokens, wanted.class_tokens, atol=1e-4)
    assert not torch.allclose(plain.embedding, wanted.embedding, atol=1e-3)
    path, views = tiny_tower, some_views(2)
    for tower in (
        NumpyTower(tower_info(path), state, adapted=changed),
        TorchTower(tower_info(path), state, "cpu", "fp32", adapted=changed),
    ):
        as_it_came, tuned = tower.encode([ViewBatch(views), ViewBatch(views, adapted=True)])
        assert same(as_it_came.features, numpy_tower(path).encode([ViewBatch(views)])[0].features, 1e-4)
        assert same(tuned.features, NumpyTower(tower_info(path), changed).encode([ViewBatch(views)])[0].features, 1e-4)
        assert not same(tuned.features, as_it_came.features, 1e-3)
    with pytest.raises(ValueError, match="nothing of this tower is adapted"):
        numpy_tower(path).encode([ViewBatch(views, adapted=True)])
    both = TorchTower(tower_info(path), state, "cpu", "bf16", adapted=changed)
    assert both._adapted is not None
    plain, tuned_state = both._tower.state_dict(), both._adapted.state_dict()
    assert {n for n in plain if plain[n].data_ptr() == tuned_state[n].data_ptr()} >= {"proj", "conv1.weight"}
    name = next(iter(adapted))
    with pytest.raises(RuntimeError, match="missing"):
        adapted_state(tower_state(tiny_tower), adaptation, {k: v for k, v in adapted.items() if k != name})
    with pytest.raises(RuntimeError, match="unknown"):
        adapted_state(tower_state(tiny_tower), adaptation, adapted | {"more": np.zeros(1, np.float32)})


def test_a_tower_of_another_architecture_is_refused(tiny_tower: Path, tmp_path: Path) -> None:
    tensors, metadata = tower_state(tiny_tower), dict(read_header(tiny_tower).metadata)
    tensors.pop("ln_post.bias")
    tensors["proj"] = tensors["proj"][:, :-1]
    path = tmp_path / "other.safetensors"
    write_safetensors(path, {name: torch.from_numpy(value) for name, value in tensors.items()}, metadata)
    with pytest.raises(WeightsError, match=r"do not fit the architecture.*ln_post.bias is missing; proj has shape"):
        tower_state(path)


def test_a_tower_that_keeps_nothing_sees_the_same_to_the_last_bit(tiny_tower: Path) -> None:
    info, rng = tower_info(tiny_tower), np.random.default_rng(3)
    state = held_state(tiny_tower)
    asked = [
        ViewBatch(rng.integers(0, 256, (count, 3, 224, 224), dtype=np.uint8), grid)
        for count, grid in ((3, None), (2, ProbeGrid(7, 0.05, late=0.5)), (1, ProbeGrid(7, 0.05, late=0.0)))
    ]
    kept = NumpyTower(info, tower_state(tiny_tower)).encode(asked)
    tower = NumpyTower(info, state)
    at_first, then = tower.encode(asked), tower.encode(asked)  # from the second call on it keeps what it needs
    tower.keep_nothing()
    for again in (at_first, then, tower.encode(asked), tower.encode(asked)):
        for a, b, one in zip(kept, again, asked, strict=True):
            assert np.array_equal(a.features.class_tokens, b.features.class_tokens)
            assert np.array_equal(a.features.embedding, b.features.embedding)
            if one.grid is not None:
                assert np.array_equal(a.probes_seen.class_tokens, b.probes_seen.class_tokens)


def test_what_is_held_as_int8_is_multiplied_out_as_it_is_asked_for() -> None:
    held, whole = held_state(find_weights(TOWER_NAME)), tower_state(find_weights(TOWER_NAME))
    assert held.keys() == whole.keys()
    name = "transformer.resblocks.3.mlp.c_fc.weight"
    assert np.array_equal(held[name], whole[name]) and held[name] is not held[name]
    with safe_open(find_weights(TOWER_NAME), framework="numpy") as file:
        rows, scale = file.get_tensor(name), file.get_tensor(f"{name}.scale")
    assert np.array_equal(held[name], np.multiply(rows, scale[:, None], dtype=np.float32))
    assert held[name].strides == whole[name].strides == (4, 4 * len(rows))
