"""`nsnet nullspace`: a basis is built once, looked at, and trained with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.judges.nullspace import BasisRule, angles_to_subspace, random_angle, semantic_basis
from nsnet_cli.judges.semantics import DEFAULT_RULE, load_basis
from nsnet_cli.weights.file import weights_info
from nsnet_cli.weights.safefile import read_header, write_safetensors
from nsnet_cli.weights.store import DEFAULT_WEIGHTS, find_weights


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    path = tmp_path / "labels.npy"
    np.save(path, np.random.default_rng(0).normal(size=(12, 24)).astype(np.float16))
    return path


def test_a_built_basis_is_the_one_that_its_labels_give(matrix: Path, run_nsnet: Callable) -> None:
    out = matrix.with_name("basis.safetensors")
    done = run_nsnet("nullspace", "build", str(matrix), "-o", str(out), "--rule", "rank=5")
    assert done.returncode == 0 and b"5 semantic directions of 24, 19 left" in done.stderr and not done.stdout
    basis, origin = load_basis(out)
    direct, _ = load_basis(matrix, BasisRule("rank", 5))
    assert torch.equal(basis.projector(), direct.projector()) and basis.rule == direct.rule
    assert origin.labels == "labels.npy" and origin.count == 12
    again = run_nsnet("nullspace", "build", str(matrix), "-o", str(out))
    assert again.returncode == 2 and b"--force" in again.stderr
    with pytest.raises(UsageError, match="was built with rank=5"):
        load_basis(out, DEFAULT_RULE)


def test_inspect_says_what_is_removed(matrix: Path, run_nsnet: Callable) -> None:
    done = run_nsnet("nullspace", "inspect", str(matrix), "--rule", "energy=0.6", "--json")
    found = json.loads(done.stdout)
    share = found["energy_share"]
    assert share[found["rank"] - 2] < 0.6 <= share[found["rank"] - 1] == found["energy"]
    assert found["rank"] + found["null_dimension"] == found["dimension"] == 24
    assert found["singular_values"] == sorted(found["singular_values"], reverse=True)
    table = run_nsnet("nullspace", "inspect", str(matrix), "--rule", "rank=5").stdout.decode()
    assert "5 *" in table and max(map(len, table.splitlines())) <= 80


def test_angles_run_from_removed_to_untouched() -> None:
    vectors = torch.eye(8, dtype=torch.float64)[:2]
    directions = torch.tensor([[3.0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 2], [1, 0, 1, 0, 0, 0, 0, 0]])
    assert angles_to_subspace(directions, vectors).tolist() == pytest.approx([0.0, 90.0, 45.0], abs=1e-5)
    generator = torch.Generator().manual_seed(0)
    basis = semantic_basis(torch.randn(300, 512, generator=generator), BasisRule("rank", 100))
    many = angles_to_subspace(torch.randn(500, 512, generator=generator), basis.vectors)
    assert many.mean().item() == pytest.approx(random_angle(100, 512), abs=0.3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "{m}", "-o", "basis.npy"], "safetensors"),
        (["build", "{m}.txt", "-o", "b.safetensors"], "no such file"),
        (["build", "{m}", "-o", "b.safetensors", "--rule", "rank=x"], "expected rank=N"),
        (["build", "{m}", "-o", "b.safetensors", "--rule", "rank=0"], "all or nothing"),
        (["inspect", "nsnet-vit-b-16", "--rule", "rank=3"], "its own rule"),
    ],
)
def test_wrong_use_is_named(matrix: Path, arguments: list[str], said: str, run_nsnet: Callable) -> None:
    done = run_nsnet("nullspace", *[a.format(m=matrix) for a in arguments])
    assert done.returncode == 2 and said in done.stderr.decode() and not done.stdout


def test_labels_as_text_ask_for_a_tower(tmp_path: Path, run_nsnet: Callable) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    done = run_nsnet("nullspace", "build", str(labels), "-o", str(tmp_path / "b.safetensors"))
    assert done.returncode == 2 and b"--text-tower" in done.stderr


def test_labels_through_a_text_tower(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    from nsnet_cli.judges.semantics import embed_labels

    labels = tmp_path / "labels.txt"
    labels.write_text("cat\n\ndog\n")
    torch.manual_seed(0)
    made = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
    checkpoint = tmp_path / "text.safetensors"
    write_safetensors(checkpoint, made.state_dict(), {})
    found = embed_labels(labels, "ViT-B-32-quickgelu", str(checkpoint), "a photo of a {}")
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer("ViT-B-32-quickgelu")(["a photo of a cat", "a photo of a dog"])
        assert torch.allclose(found, made.eval().encode_text(tokens).double(), atol=1e-5)


def test_weights_hold_the_basis_that_they_were_made_with() -> None:
    basis, origin = load_basis(find_weights(DEFAULT_WEIGHTS))
    record = weights_info(find_weights(DEFAULT_WEIGHTS)).basis
    assert basis.vectors.shape == (record["rank"], 512) and origin.count == 171
    assert torch.allclose(basis.vectors @ basis.vectors.T, torch.eye(100, dtype=torch.float64), atol=1e-5)
    assert basis.energy == pytest.approx(record["energy"], abs=1e-6)
    assert (origin.labels_sha256, origin.space) == (record["labels_sha256"], "openai/clip-vit-base-patch16")
    with pytest.raises(UsageError, match="leave --rule out"):
        load_basis(find_weights(DEFAULT_WEIGHTS), BasisRule("energy", 0.5))


def test_a_damaged_basis_is_refused(matrix: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    write_safetensors(path, {"x": torch.zeros(2)}, {"format": "other"})
    with pytest.raises(WeightsError, match="expected a semantic basis"):
        load_basis(path)
    from nsnet_cli.judges.semantics import BasisOrigin, save_basis

    basis, _ = load_basis(matrix, BasisRule("rank", 5))
    save_basis(path, basis, BasisOrigin("labels.npy", "0", 12))
    metadata = read_header(path).metadata
    tensors = {"vectors": basis.vectors * 2, "singular_values": basis.singular_values}
    write_safetensors(path, tensors, dict(metadata))
    with pytest.raises(WeightsError, match="not orthonormal"):
        load_basis(path)
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"not a \.npy matrix"):
        load_basis(tmp_path / "objects.npy")
