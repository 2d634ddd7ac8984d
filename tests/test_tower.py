"""The tower: ours, open_clip's and OpenAI's say the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nsnet_cli.convert import tower_from_open_clip
from nsnet_cli.errors import WeightsError
from nsnet_cli.tower import load_tower, save_tower, tower_info
from nsnet_cli.vit import LORA_TARGETS, Adaptation, VisionTransformer
from nsnet_cli.weights_store import TOWER_NAME, find_weights


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


def test_untrained_lora_changes_nothing_and_merging_changes_nothing(tiny_tower: Path) -> None:
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
        tower.merge_lora()
        assert not any("lora" in name for name in tower.state_dict())
        assert torch.allclose(tower(x).embedding, adapted, atol=1e-5)


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
