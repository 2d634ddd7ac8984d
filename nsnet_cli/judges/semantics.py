"""Where the semantic basis comes from: label embeddings, labels through a text tower, a basis file, or weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nsnet_cli.disk import sha256_of
from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.judges.nullspace import BasisRule, SemanticBasis, semantic_basis
from nsnet_cli.weights.file import DIRECTIONS, SEMANTIC, SINGULAR_VALUES, is_weights, weights_info
from nsnet_cli.weights.safefile import read_header, write_safetensors

BASIS_FORMAT = "nsnet.basis/1"
DEFAULT_RULE = BasisRule("rank", 100)


@dataclass(frozen=True)
class BasisOrigin:
    """What a basis was computed from: the file of labels, its SHA-256, and how many there were (of weights: how many
    singular values, which are no more than there are dimensions).

    ``space`` names the tower whose space the labels lie in, where that is known.
    """

    labels: str
    labels_sha256: str
    count: int
    prompt: str = ""
    space: str = ""


def load_basis(path: Path, rule: BasisRule | None = None) -> tuple[SemanticBasis, BasisOrigin]:
    """The basis in a file written by `save_basis` or in weights, or that of a ``.npy`` matrix of label embeddings.

    ``rule`` is for a matrix, None is `DEFAULT_RULE`; the others hold their own, and another is refused.
    Raises `UsageError`, or `WeightsError` for a file that is damaged or of another kind.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file of label embeddings")
    if path.suffix == ".safetensors":
        basis, origin = _read_basis(path)
        if rule is not None and rule != basis.rule:
            raise UsageError(
                f"{path} was built with {basis.rule.name}={basis.rule.value:g}; leave --rule out, or name the matrix "
                "of label embeddings"
            )
        gram = basis.vectors @ basis.vectors.T
        if not torch.allclose(gram, torch.eye(basis.rank, dtype=gram.dtype), atol=1e-6):
            raise WeightsError(f"{path}: its vectors are not orthonormal; build it again")
        return basis, origin
    matrix = read_labels(path)
    return semantic_basis(matrix, rule or DEFAULT_RULE), BasisOrigin(path.name, sha256_of(path), len(matrix))


def read_labels(path: Path) -> Tensor:
    """A ``.npy`` matrix of label embeddings ``(n, d)``.  Raises `UsageError` for anything else."""
    try:
        matrix = np.load(path, allow_pickle=False)
        return torch.from_numpy(matrix.astype(np.float64))
    except (ValueError, OSError, EOFError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not a .npy matrix of label embeddings ({error})") from error


def embed_labels(path: Path, model: str, pretrained: str, prompt: str) -> Tensor:
    """Text embeddings ``(n, d)`` of the labels in a text file, one a line, by an open_clip model.

    ``prompt`` holds ``{}`` where the label goes.  ``pretrained`` is a checkpoint file, or a tag that
    open_clip downloads.
    """
    try:
        labels = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file in UTF-8 ({error})") from error
    if not labels:
        raise UsageError(f"{path}: no labels in it, one a line is expected")
    if "{}" not in prompt:
        raise UsageError(f"--prompt {prompt!r}: write {{}} where the label goes")
    try:
        import open_clip
    except ImportError as error:
        raise UsageError("labels as text need a text tower: pip install 'nsnet-cli[towers]'") from error
    try:
        network = open_clip.create_model(model, pretrained=pretrained).eval()
    except (RuntimeError, OSError, ValueError) as error:
        raise UsageError(f"open_clip could not make {model} with {pretrained}: {error}") from error
    with torch.inference_mode():
        embedded: Tensor = network.encode_text(
            open_clip.get_tokenizer(model)([prompt.replace("{}", x) for x in labels])
        )
    return embedded.double()


def save_basis(path: Path, basis: SemanticBasis, origin: BasisOrigin) -> None:
    """Write a basis file: vectors, all singular values, the rule and the origin."""
    metadata = {
        "format": BASIS_FORMAT,
        "rule": json.dumps({"name": basis.rule.name, "value": basis.rule.value}),
        "labels": origin.labels,
        "labels_sha256": origin.labels_sha256,
        "count": str(origin.count),
        "prompt": origin.prompt,
    }
    write_safetensors(path, {"vectors": basis.vectors, "singular_values": basis.singular_values}, metadata)


def load_basis_record(path: Path) -> tuple[SemanticBasis, dict[str, Any], Tensor]:
    """What `nsnet nullspace inspect` shows of a weights file.

    The semantic basis, its record, and the artifact directions ``(m, d)``, whose names are in the record.
    """
    from safetensors.torch import load_file

    info = weights_info(path)
    tensors = load_file(path)
    try:
        vectors, singular_values = tensors[SEMANTIC].double(), tensors[SINGULAR_VALUES].double()
        directions, rule = tensors[DIRECTIONS].double(), BasisRule(info.basis["rule"], info.basis["value"])
    except KeyError as error:
        raise WeightsError(f"{path}: no {error.args[0]} in it; it was made by an older version of nsnet") from error
    return SemanticBasis(vectors, singular_values, rule), info.basis, directions


def _read_basis(path: Path) -> tuple[SemanticBasis, BasisOrigin]:
    from safetensors.torch import load_file

    metadata = read_header(path).metadata
    if not is_weights(metadata) and metadata.get("format") != BASIS_FORMAT:
        raise WeightsError(
            f"{path}: expected a semantic basis ({BASIS_FORMAT}), found {metadata.get('format', 'no format')!r}"
        )
    try:
        if is_weights(metadata):
            basis, record, _ = load_basis_record(path)
            count = len(basis.singular_values)
            return basis, BasisOrigin(record["labels"], record["labels_sha256"], count, space=record["space"])
        tensors = load_file(path)
        basis = SemanticBasis(tensors["vectors"], tensors["singular_values"], BasisRule(**json.loads(metadata["rule"])))
        origin = BasisOrigin(metadata["labels"], metadata["labels_sha256"], int(metadata["count"]), metadata["prompt"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the basis is incomplete ({error}); build it again") from error
    return basis, origin
