"""The network of a scan says what the heads said that were trained: one weights file, PyTorch and NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nsnet_cli.errors import UsageError
from nsnet_cli.judges.head import NullSpaceHead, ViewHeads
from nsnet_cli.judges.kernel import KernelHead
from nsnet_cli.judges.network import Network
from nsnet_cli.judges.on_numpy import ContrastiveHead, KernelJudge, semantic_part
from nsnet_cli.tower import file as tower_file
from nsnet_cli.tower.features import Features
from nsnet_cli.tower.file import tower_info
from nsnet_cli.tower.vit import VisionTransformer, VitFeatures
from nsnet_cli.views.plan import KERNEL, View, ViewKind, fuse
from nsnet_cli.weights.file import SEMANTIC, NsnetWeights, load_weights
from nsnet_cli.weights.shapes import HeadConfig, KernelConfig, SeveralLooks, VitConfig
from nsnet_cli.weights.store import DEFAULT_WEIGHTS


@pytest.fixture(scope="module")
def weights() -> NsnetWeights:
    return load_weights(DEFAULT_WEIGHTS)


@pytest.fixture(scope="module")
def network(weights: NsnetWeights) -> Network:
    return Network.of_weights(weights)


def trained(weights: NsnetWeights) -> tuple[ViewHeads, KernelHead]:
    """The judges as training has them."""
    info, tower = weights.info, tower_info(weights.tower_path).config
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in weights.tensors.items()}
    semantic = tensors[SEMANTIC]
    heads = ViewHeads(tower, info.head, semantic, info.head.of(info.kinds)).eval()
    heads.load_state_dict({k.removeprefix("head."): v for k, v in tensors.items() if k.startswith("head.")})
    assert info.kernel is not None
    state = {k.removeprefix("kernel."): v for k, v in tensors.items() if k.startswith("kernel.")}
    return heads, KernelHead.of_state(tower, info.kernel, semantic, info.kernel.looked_at(info.kinds), state)


def seen(n: int, seed: int) -> Features:
    """Something like features, of the size of the shipped tower's."""
    rng = np.random.default_rng(seed)
    return Features(
        rng.standard_normal((n, 512), np.float32), 2 * rng.standard_normal((n, 12, 768), np.float32) + np.float32(0.1)
    )


def tensors(features: Features) -> VitFeatures:
    return VitFeatures(torch.from_numpy(features.embedding), torch.from_numpy(features.class_tokens))


@torch.inference_mode()
def test_judges_say_what_the_trained_heads_say(weights: NsnetWeights, network: Network) -> None:
    heads, kernel = trained(weights)
    views: dict[ViewKind, list[Features]] = {"mosaic": [seen(9, 0), seen(9, 1)], "window": [seen(9, 2)]}
    said: dict[str, list[np.ndarray]] = {}
    for kind in weights.info.head.of(weights.info.kinds):
        features = views[kind]
        said[kind] = [heads.of(kind)(tensors(f)).logit.double().numpy() for f in features]
        for f, logits in zip(features, said[kind], strict=True):
            assert network.heads[kind].score(f) == pytest.approx(logits, abs=1e-4)
            part = torch.nn.functional.normalize(tensors(f).embedding, dim=1) @ heads.of(kind).semantic.T
            assert semantic_part(f, network.semantic) == pytest.approx(part.numpy(), abs=1e-5)
    said[KERNEL] = [kernel.score({kind: [tensors(f) for f in fs] for kind, fs in views.items()}).double().numpy()]
    assert network.kernel is not None and network.kernel.score(views) == pytest.approx(said[KERNEL][0], abs=1e-3)
    assert network.fused(views) == pytest.approx(fuse(said, weights.info.fusion), abs=1e-3)


def test_shapes_that_files_are_held_to_are_those_of_the_modules() -> None:
    def of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in module.state_dict().items()}

    tower = VitConfig(width=24, layers=3, heads=3, mlp_width=40, embed_dim=16)
    head, kernel = HeadConfig(blocks=(1, 3), reduced=5, hidden=7), KernelConfig(blocks=(2,))
    kinds: list[ViewKind] = ["mosaic", "window"]
    assert tower_file._shapes(tower) == of(VisionTransformer(tower))
    assert ContrastiveHead.shapes(tower, head) == of(NullSpaceHead(tower, head, torch.zeros(2, 16)))
    module = KernelHead(tower, kernel, torch.zeros(2, 16), kinds, anchors=9, dimensions=(3, 4))
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    assert KernelJudge.shapes(tower, kernel, kinds, state) == of(module)


def test_a_picture_scores_alike_on_numpy_and_on_pytorch(weights: NsnetWeights, network: Network) -> None:
    # bfloat16 is the precision of PyTorch that a CPU offers: coarse, but of the same network.
    other = Network.of_weights(weights, "cpu", "bf16")
    views = np.random.default_rng(5).integers(0, 256, (2, 2, 3, 224, 224), dtype=np.uint8)
    plan = [View("mosaic", 0), View("window", 0)]
    for ours, theirs in zip(network.score(views, [plan] * 2), other.score(views, [plan] * 2), strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=0.5)
        assert ours.semantic == pytest.approx(theirs.semantic, abs=0.02)


def test_pictures_with_more_looks_and_with_fewer_score_as_they_do_alone(network: Network) -> None:
    views = np.random.default_rng(6).integers(0, 256, (9, 3, 224, 224), dtype=np.uint8)
    short = (View("mosaic", 0), View("window", 0))
    long = (*short, View("window", 0, 1))
    pictures, plans = [views[:2], views[2:5], views[5:7], views[7:9]], [short, long, short, short]
    together = network.score(pictures, plans)
    for scored, picture, plan in zip(together, pictures, plans, strict=True):
        alone = network.score([picture], [plan])[0]
        assert scored.score == pytest.approx(alone.score, abs=1e-3)
        assert scored.semantic == pytest.approx(alone.semantic, abs=1e-5)
        assert len(scored.looks) == len(plan)


def test_only_what_was_looked_at_in_several_places_is_brought_to_scale(network: Network) -> None:
    views = np.random.default_rng(7).integers(0, 256, (3, 3, 224, 224), dtype=np.uint8)
    short = (View("mosaic", 0), View("window", 0))
    pictures, plans = [views[:2], views], [short, (*short, View("window", 0, 1))]
    plain = replace(network, several=SeveralLooks()).score(pictures, plans)
    scaled = replace(network, several=SeveralLooks(2.0, -1.0)).score(pictures, plans)
    assert scaled[0].score == pytest.approx(plain[0].score)
    assert scaled[1].score == pytest.approx(2.0 * plain[1].score - 1.0, abs=1e-6)


def test_a_device_that_is_not_there_is_named() -> None:
    from nsnet_cli.tower.devices import choose_device

    assert choose_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="auto, cpu, cuda or mps"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no CUDA device here"):
            choose_device("cuda")


@pytest.mark.parametrize("there", [True, False])
def test_pytorch_is_asked_for_a_gpu_only_where_a_driver_is(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    from nsnet_cli.tower import devices

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(devices.sys, "platform", "linux")
    monkeypatch.setattr(devices.os.path, "exists", lambda path: there and path == "/dev/nvidiactl")
    assert devices.choose_device("auto") == ("cuda" if there else "cpu")


def test_the_kernel_head_says_of_a_picture_alone_what_it_says_of_it_among_others(network: Network) -> None:
    kernel = network.kernel
    assert kernel is not None
    views: dict[ViewKind, list[Features]] = {"mosaic": [seen(24, 5)], "window": [seen(24, 6)]}
    alone = [
        float(kernel.score({kind: [f.rows(slice(k, k + 1)) for f in fs] for kind, fs in views.items()})[0])
        for k in range(24)
    ]
    assert kernel.score(views) == pytest.approx(alone, abs=1e-4)
