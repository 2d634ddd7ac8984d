"""Tower files: reading and writing the weights of the CLIP image tower."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.arrays import Floats
from nsnet_cli.errors import WeightsError
from nsnet_cli.tower.held import HeldState
from nsnet_cli.weights.quantised import SCALE, HeldTensor, Int8Rows, held
from nsnet_cli.weights.safefile import mapped, read_header, write_safetensors
from nsnet_cli.weights.shapes import Adaptation, Shapes, VitConfig, check_shapes

if TYPE_CHECKING:
    from torch import Tensor

    from nsnet_cli.tower.vit import VisionTransformer

TOWER_FORMAT = "nsnet.tower/1"
# OpenAI's CLIP normalisation of pixels in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_BLOCKS = "transformer.resblocks."
# Held in x out, where all others are out x in; a scale belongs to an output channel.
_TURNED = "proj"
# Where each target of LoRA lies in a block: the matrix, the factors, and the third of the matrix that is meant.
_LORA: dict[str, tuple[str, str, int | None]] = {
    "q": ("attn.in_proj_weight", "attn.lora_qkv.q", 0),
    "k": ("attn.in_proj_weight", "attn.lora_qkv.k", 1),
    "v": ("attn.in_proj_weight", "attn.lora_qkv.v", 2),
    "out": ("attn.out_proj.weight", "attn.out_proj.lora", None),
    "fc": ("mlp.c_fc.weight", "mlp.c_fc.lora", None),
    "proj": ("mlp.c_proj.weight", "mlp.c_proj.lora", None),
}


@dataclass(frozen=True)
class TowerInfo:
    """The metadata of a tower file."""

    name: str
    config: VitConfig
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    origin: str


def save_tower(path: Path, state: dict[str, Tensor], config: VitConfig, origin: dict[str, str]) -> None:
    """Write a tower file; int8 matrices carry a ``NAME.scale`` beside them."""
    metadata = {
        "format": TOWER_FORMAT,
        "architecture": json.dumps(asdict(config)),
        "mean": json.dumps(CLIP_MEAN),
        "std": json.dumps(CLIP_STD),
        **origin,
    }
    write_safetensors(path, state, metadata)


def tower_info(path: Path) -> TowerInfo:
    """Read the metadata alone.  Raises `WeightsError` for anything that is not a tower file."""
    metadata = read_header(path).metadata
    if metadata.get("format") != TOWER_FORMAT:
        raise WeightsError(
            f"{path}: expected a tower file ({TOWER_FORMAT}), found {metadata.get('format', 'no format')}"
        )
    try:
        return TowerInfo(
            name=metadata["name"],
            config=VitConfig(**json.loads(metadata["architecture"])),
            mean=tuple(json.loads(metadata["mean"])),
            std=tuple(json.loads(metadata["std"])),
            licence=metadata["licence"],
            origin=metadata["origin"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the tower's metadata is incomplete ({error}); fetch the file again") from error


def tower_state(path: Path) -> dict[str, Floats]:
    """The tensors of a tower file by name, in float32, with int8 matrices multiplied out.

    Matrices lie column by column: products with their transposes are a twentieth faster so.  Raises `WeightsError`
    where they are not those of the architecture that the file declares.
    """
    return held_state(path).multiplied_out()


def held_state(path: Path) -> HeldState:
    """The same with int8 matrices as they are in the file until they are asked for."""
    info, file = tower_info(path), mapped(path)
    tensors = dict(file.tensors)
    scale = tensors.pop(_TURNED + SCALE, None)
    found = held(tensors)
    if scale is not None and _TURNED in found:
        found[_TURNED] = np.multiply(found[_TURNED], scale, dtype=np.float32)
    check_shapes(path, found, _shapes(info.config), "the architecture that the file declares")
    like_products = {name: x if isinstance(x, Int8Rows) else _as_products_like(x) for name, x in found.items()}
    return HeldState(like_products, file.let_go)


def _as_products_like(x: NDArray[Any]) -> Floats:
    return np.asarray(x, np.float32, order="F" if x.ndim == 2 else "C")


def _shapes(config: VitConfig) -> Shapes:
    """The tensors of a tower."""
    width, hidden = config.width, config.mlp_width
    shapes: Shapes = {
        "conv1.weight": (width, 3, config.patch_size, config.patch_size),
        "class_embedding": (width,),
        "positional_embedding": (config.tokens + 1, width),
        "proj": (width, config.embed_dim),
    }
    shapes |= {f"ln_{which}.{part}": (width,) for which in ("pre", "post") for part in ("weight", "bias")}
    linear = {
        "attn.in_proj_": (3 * width, width),
        "attn.out_proj.": (width, width),
        "mlp.c_fc.": (hidden, width),
        "mlp.c_proj.": (width, hidden),
    }
    for block in (f"{_BLOCKS}{k}." for k in range(config.layers)):
        shapes |= {f"{block}ln_{k}.{part}": (width,) for k in (1, 2) for part in ("weight", "bias")}
        for name, shape in linear.items():
            shapes |= {f"{block}{name}weight": shape, f"{block}{name}bias": shape[:1]}
    return shapes


def adapted_state(
    state: Mapping[str, Floats], adaptation: Adaptation, tensors: Mapping[str, HeldTensor]
) -> dict[str, Floats]:
    """A tower's ``state`` as training adapted it: other LayerNorms, LoRA factors added up.  All else is shared.

    ``tensors`` are those of `nsnet_cli.tower.vit.VisionTransformer.adapted_state`.  Raises `RuntimeError` where they
    are not those that ``adaptation`` asks for.
    """
    adapted = dict(state)
    left = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
    blocks = range(0) if adaptation.frozen else range(adaptation.first_block - 1, adaptation.last_block)
    for block in (f"{_BLOCKS}{k}." for k in blocks):
        if adaptation.norms:
            for name in (f"{block}ln_{k}.{part}" for k in (1, 2) for part in ("weight", "bias")):
                adapted[name] = _taken(left, name, state[name].shape)
        for target in adaptation.targets if adaptation.rank else ():
            name, lora, third = _LORA[target]
            if adapted[block + name] is state[block + name]:
                adapted[block + name] = state[block + name].copy(order="K")
            weight = adapted[block + name]
            part = weight if third is None else np.split(weight, 3)[third]
            a = _taken(left, f"{block}{lora}.a", (adaptation.rank, part.shape[1]))
            b = _taken(left, f"{block}{lora}.b", (part.shape[0], adaptation.rank))
            part += np.float32(adaptation.alpha / adaptation.rank) * (b @ a)
    if left:
        raise RuntimeError(f"unknown tensors of an adapted tower: {sorted(left)[:3]}")
    return adapted


def _taken(left: dict[str, Floats], name: str, shape: tuple[int, ...]) -> Floats:
    found = left.pop(name, None)
    if found is None or found.shape != shape:
        raise RuntimeError(f"tower.{name} is {'missing' if found is None else f'of shape {found.shape}, not {shape}'}")
    return found


def load_tower(path: Path) -> VisionTransformer:
    """The network of a tower file on PyTorch, in float32 and frozen, for training.  Raises `WeightsError`."""
    import torch

    from nsnet_cli.tower.vit import VisionTransformer

    state = {name: torch.from_numpy(value) for name, value in tower_state(path).items()}
    return VisionTransformer.of_state(tower_info(path).config, state)
