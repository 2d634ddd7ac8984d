"""The CLIP vision transformer, and nothing else.

Parameter names are those of ``open_clip``'s ``VisionTransformer``, so that one state dict loads into
both; ``tests/test_tower.py`` ties the two together.  What this network adds is what a detector needs:
the class token after *every* block (traces of generation live in the middle ones: RINE,
arXiv 2402.19091), LoRA factors on any linear map (arXiv 2106.09685), and the dropping of patch tokens
while training (FLIP, arXiv 2212.00794).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class VitConfig:
    """Shape of a CLIP image tower.

    ``image_size`` and ``patch_size`` are in pixels, ``width`` is the token dimension, ``embed_dim``
    the dimension of the joint image-text space.  OpenAI's weights need ``quick_gelu=True``: with the
    exact GELU they load without complaint and give silently wrong features.
    """

    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    embed_dim: int = 512
    quick_gelu: bool = True

    @property
    def tokens(self) -> int:
        """Number of patch tokens, without the class token."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class VitFeatures:
    """What the tower says of a batch of ``N`` pictures, in float32.

    ``embedding`` is ``(N, embed_dim)``: the class token of the last block in the joint space.
    ``class_tokens`` is ``(N, layers, width)``: the class token as each block leaves it.
    """

    embedding: Tensor
    class_tokens: Tensor


class LoraFactors(nn.Module):
    """The trained low-rank update ``(alpha/rank) x A^T B^T`` of a frozen linear map.

    ``B`` starts at zero, so that an untrained update changes nothing.  The factors stay in float32;
    the product runs in the precision of ``x``.
    """

    def __init__(self, d_in: int, d_out: int, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, d_in))
        self.b = nn.Parameter(torch.zeros(d_out, rank))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)
        self.scale = alpha / rank
        self.dropout = dropout

    def delta(self) -> Tensor:
        """The update as a matrix ``(d_out, d_in)``, for merging into the frozen weight."""
        return self.scale * (self.b @ self.a)

    def forward(self, x: Tensor) -> Tensor:
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        return F.linear(F.linear(x, self.a.to(x.dtype)), (self.scale * self.b).to(x.dtype))


class LoraLinear(nn.Linear):
    """A linear map with an optional low-rank update."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__(d_in, d_out)
        self.lora: LoraFactors | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        out = F.linear(x, self.weight, self.bias)
        return out if self.lora is None else out + self.lora(x)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention.  At these lengths PyTorch's fused CPU kernel takes twice the time of the plain formula."""
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v)
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1) @ v


class Attention(nn.Module):
    """Multi-head self-attention under ``torch.nn.MultiheadAttention``'s parameter names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = LoraLinear(width, width)
        # Separate factors for q, k and v: a shared A would tie what they can learn.
        self.lora_qkv: nn.ModuleList | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.in_proj_weight.dtype)
        n, length, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        if self.lora_qkv is not None:
            qkv = qkv + torch.cat([factors(x) for factors in self.lora_qkv], dim=-1)
        q, k, v = qkv.view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = _attend(q, k, v)
        return self.out_proj(mixed.transpose(1, 2).reshape(n, length, width))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, quick_gelu: bool) -> None:
        super().__init__()
        self.c_fc = LoraLinear(width, hidden)
        self.c_proj = LoraLinear(hidden, width)
        self.quick_gelu = quick_gelu

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        if not self.quick_gelu:
            return self.c_proj(F.gelu(x))
        # x sigmoid(1.702 x), written so that only one new (tokens, 4 width) tensor has to be made.
        return self.c_proj(F.silu(x.mul_(1.702)).mul_(1 / 1.702))


class Block(nn.Module):
    """One pre-norm residual block.  The residual stream stays in float32 whatever the matrices are."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attn = Attention(config.width, config.heads)
        self.ln_2 = nn.LayerNorm(config.width)
        self.mlp = Mlp(config.width, config.mlp_width, config.quick_gelu)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(config) for _ in range(config.layers))


class VisionTransformer(nn.Module):
    """CLIP's image tower (Radford et al., arXiv 2103.00020)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(3, config.width, config.patch_size, config.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(config.width))
        self.positional_embedding = nn.Parameter(torch.zeros(config.tokens + 1, config.width))
        self.ln_pre = nn.LayerNorm(config.width)
        self.transformer = Transformer(config)
        self.ln_post = nn.LayerNorm(config.width)
        self.proj = nn.Parameter(torch.zeros(config.width, config.embed_dim))

    def embed(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens as they enter the first block, ``(N, 1 + tokens, width)``.

        ``pixels`` is ``(N, 3, S, S)``, normalised.  ``keep`` is ``(N, k)``, the patch tokens to go on
        with; positions are added before any is dropped, so that a kept token is unchanged.
        """
        x = self.conv1(pixels.to(self.conv1.weight.dtype)).float().flatten(2).transpose(1, 2)
        x = x + self.positional_embedding[1:]
        if keep is not None:
            x = x.gather(1, keep[:, :, None].expand(-1, -1, x.shape[-1]))
        cls = (self.class_embedding + self.positional_embedding[0]).expand(x.shape[0], 1, -1)
        return self.ln_pre(torch.cat([cls, x], dim=1))

    def to_joint(self, class_token: Tensor) -> Tensor:
        """Class tokens ``(..., width)`` carried into the joint image-text space ``(..., embed_dim)``."""
        return self.ln_post(class_token) @ self.proj

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> VitFeatures:
        x = self.embed(pixels, keep)
        class_tokens = []
        for block in self.transformer.resblocks:
            x = block(x)
            class_tokens.append(x[:, 0])
        return VitFeatures(self.to_joint(x[:, 0]), torch.stack(class_tokens, dim=1))

    def add_lora(self, blocks: range, rank: int, alpha: float, dropout: float = 0.0, mlp: bool = True) -> None:
        """Attach trainable low-rank updates to the given blocks and freeze everything else."""
        self.requires_grad_(False)
        width, hidden = self.config.width, self.config.mlp_width
        for index in blocks:
            block = self.transformer.resblocks[index]
            assert isinstance(block, Block)
            block.attn.lora_qkv = nn.ModuleList(LoraFactors(width, width, rank, alpha, dropout) for _ in range(3))
            block.attn.out_proj.lora = LoraFactors(width, width, rank, alpha, dropout)
            if mlp:
                block.mlp.c_fc.lora = LoraFactors(width, hidden, rank, alpha, dropout)
                block.mlp.c_proj.lora = LoraFactors(hidden, width, rank, alpha, dropout)

    def lora_state(self) -> dict[str, Tensor]:
        """The trained factors by name."""
        return {name: p.detach() for name, p in self.named_parameters() if ".lora" in name}

    @torch.no_grad()
    def merge_lora(self) -> None:
        """Add every update to its frozen weight and drop the factors: scanning pays nothing for them."""
        for module in self.modules():
            if isinstance(module, LoraLinear) and module.lora is not None:
                module.weight.data += module.lora.delta().to(module.weight.dtype)
                module.lora = None
            elif isinstance(module, Attention) and module.lora_qkv is not None:
                delta = torch.cat([cast("LoraFactors", f).delta() for f in module.lora_qkv])
                module.in_proj_weight.data += delta.to(module.in_proj_weight.dtype)
                module.lora_qkv = None

    def matrices_to(self, dtype: torch.dtype) -> VisionTransformer:
        """Hold the large matrices in ``dtype``; norms, embeddings and the residual stream stay float32."""
        for module in self.modules():
            if isinstance(module, LoraLinear):
                module.weight.data = module.weight.data.to(dtype)
                if module.bias is not None:
                    module.bias.data = module.bias.data.to(dtype)
            elif isinstance(module, Attention):
                module.in_proj_weight.data = module.in_proj_weight.data.to(dtype)
                module.in_proj_bias.data = module.in_proj_bias.data.to(dtype)
        self.conv1.weight.data = self.conv1.weight.data.to(dtype)
        return self
