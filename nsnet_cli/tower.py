"""Tower files: reading and writing the weights of the CLIP image tower."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from nsnet_cli.errors import WeightsError
from nsnet_cli.safefile import read_header, write_safetensors
from nsnet_cli.vit import VisionTransformer, VitConfig

TOWER_FORMAT = "nsnet.tower/1"
# OpenAI's CLIP normalisation of pixels in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


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


def load_tower(path: Path) -> VisionTransformer:
    """Build the network from a tower file, in float32 with int8 matrices multiplied out."""
    from safetensors.torch import load_file

    info = tower_info(path)
    stored = load_file(path)
    state: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith(".scale"):
            continue
        scale = stored.get(f"{name}.scale")
        if scale is not None:
            # ``proj`` is held in x out, all others out x in; the scale belongs to the output channels.
            tensor = tensor.float() * (scale if name == "proj" else scale[:, None])
        state[name] = tensor.float()
    with torch.device("meta"):
        tower = VisionTransformer(info.config)
    try:
        tower.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"{path}: the tensors do not fit the architecture it declares: {error}") from error
    return tower.requires_grad_(False).eval()
