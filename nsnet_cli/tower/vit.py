"""The CLIP vision transformer, and nothing else.

Parameter names are those of ``open_clip``'s ``VisionTransformer``, so that one state dict loads into
both; ``tests/test_tower.py`` ties the two together.  What this network adds is what a detector needs:
the class token after *every* block (traces of generation live in the middle ones: RINE,
arXiv 2402.19091), LoRA factors on any linear map (arXiv 2106.09685), and the dropping of patch tokens
while training (FLIP, arXiv 2212.00794).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsnet_cli.weights.shapes import Adaptation, VitConfig


@dataclass(frozen=True)
class VitFeatures:
    """What the tower says of a batch of ``N`` pictures, in float32.

    ``embedding`` is ``(N, embed_dim)``: the class token of the last block in the joint space.
    ``class_tokens`` is ``(N, layers, width)``: the class token as each block leaves it.
    """

    embedding: Tensor
    class_tokens: Tensor

    @staticmethod
    def join(parts: Sequence[VitFeatures]) -> VitFeatures:
        """The pictures of all ``parts``, in order."""
        return VitFeatures(torch.cat([f.embedding for f in parts]), torch.cat([f.class_tokens for f in parts]))

    def rows(self, index: Tensor) -> VitFeatures:
        """Those of some pictures, by position or by mask."""
        return VitFeatures(self.embedding[index], self.class_tokens[index])

    def floats_on(self, device: torch.device) -> VitFeatures:
        """In float32 on ``device``."""
        return VitFeatures(self.embedding.float().to(device), self.class_tokens.float().to(device))


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


def attend_probes(q: Tensor, k: Tensor, v: Tensor, look: Tensor) -> Tensor:
    """Attention of probes, the last ``len(look)`` tokens: each stands where the class token stands for all others.

    A probe sees itself, and of the patch tokens what its row of ``look`` lets it; all of them together keep the
    weight beside itself that they would have if it saw them alike.
    """
    probes = len(look)
    q = q[..., -probes:, :] * q.shape[-1] ** -0.5
    alike = q @ k[..., 1:-probes, :].transpose(-1, -2)
    own = (q * k[..., -probes:, :]).sum(-1, keepdim=True)
    near = alike + look.to(alike.dtype)
    near = near + alike.logsumexp(-1, keepdim=True) - near.logsumexp(-1, keepdim=True)
    weights = torch.softmax(torch.cat([own, near], dim=-1), dim=-1)
    return weights[..., :1] * v[..., -probes:, :] + weights[..., 1:] @ v[..., 1:-probes, :]


class Attention(nn.Module):
    """Multi-head self-attention under ``torch.nn.MultiheadAttention``'s parameter names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = LoraLinear(width, width)
        # Separate factors for q, k and v, by name: a shared A would tie what they can learn.
        self.lora_qkv = nn.ModuleDict()

    def forward(self, x: Tensor, look: Tensor | None = None, asking: Tensor | None = None) -> Tensor:
        x = x.to(self.in_proj_weight.dtype)
        n, length, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        if len(self.lora_qkv):
            none = x.new_zeros(()).expand_as(x)
            qkv = qkv + torch.cat([self.lora_qkv[k](x) if k in self.lora_qkv else none for k in "qkv"], dim=-1)
        q, k, v = qkv.view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if asking is not None:
            q, length = q[..., asking, :], len(asking)
        if look is None:
            mixed = _attend(q, k, v)
        else:
            image = slice(None, -len(look))
            mixed = _attend(q[..., image, :], k[..., image, :], v[..., image, :])
            mixed = torch.cat([mixed, attend_probes(q, k, v, look)], dim=2)
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
    """One pre-norm residual block.  The residual stream stays in float32 whatever the matrices are.

    With ``asking`` only those tokens, by position, go on: they look at all, but the others end here.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attn = Attention(config.width, config.heads)
        self.ln_2 = nn.LayerNorm(config.width)
        self.mlp = Mlp(config.width, config.mlp_width, config.quick_gelu)

    def forward(self, x: Tensor, look: Tensor | None = None, asking: Tensor | None = None) -> Tensor:
        mixed = self.attn(self.ln_1(x), look, asking)
        x = (x if asking is None else x[:, asking]) + mixed
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

    @staticmethod
    def of_state(config: VitConfig, state: Mapping[str, Tensor]) -> VisionTransformer:
        """The frozen network whose parameters are ``state``."""
        # Row by row: PyTorch's products in bfloat16 take many times as long on matrices that lie otherwise.
        state = {name: value.contiguous() for name, value in state.items()}
        with torch.device("meta"):
            tower = VisionTransformer(config)
        tower.load_state_dict(state, strict=True, assign=True)
        return tower.requires_grad_(False).eval()

    def embed(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens as they enter the first block, ``(N, 1 + tokens, width)``.

        ``pixels`` is ``(N, 3, S, S)``, normalised; for ``keep`` see `keep_tokens`.
        """
        x = self.conv1(pixels.to(self.conv1.weight.dtype)).float().flatten(2).transpose(1, 2)
        x = x + self.positional_embedding[1:]
        cls = (self.class_embedding + self.positional_embedding[0]).expand(x.shape[0], 1, -1)
        x = torch.cat([cls, x], dim=1)
        return self.ln_pre(x if keep is None else keep_tokens(x, keep))

    def to_joint(self, class_token: Tensor) -> Tensor:
        """Class tokens ``(..., width)`` carried into the joint image-text space ``(..., embed_dim)``."""
        return self.ln_post(class_token) @ self.proj

    def through(
        self,
        x: Tensor,
        first_block: int,
        last_block: int,
        look: Tensor | None = None,
        watch: Callable[[int, Tensor], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Carry tokens ``(N, length, width)`` through blocks ``first_block`` to ``last_block`` (1-based).

        Gives the tokens after the last of them, and the class token after each, ``(N, blocks, width)``.  The tower's
        own last block gives the class token and the probes alone: nobody asks for its patch tokens, and to leave
        them out saves one part in sixteen of the whole tower.  With
        ``look`` ``(probes, patch tokens)``, logarithms of weights, the last tokens are probes (`with_probes`):
        they look at patch tokens by those weights, and no other token sees them.  ``watch`` is shown the number
        of each block and all tokens as it leaves them.
        """
        class_tokens = [x.new_empty((len(x), 0, x.shape[2]))]
        for number, block in enumerate(self.transformer.resblocks[first_block - 1 : last_block], first_block):
            x = block(x, look, self._asking(x, look) if number == self.config.layers else None)
            class_tokens.append(x[:, :1])
            if watch is not None:
                watch(number, x)
        return x, torch.cat(class_tokens, dim=1)

    @staticmethod
    def _asking(x: Tensor, look: Tensor | None) -> Tensor:
        """Positions of the class token and the probes among tokens ``(N, length, width)``."""
        probes = 0 if look is None else len(look)
        return torch.tensor([0, *range(x.shape[1] - probes, x.shape[1])], device=x.device)

    def finish(self, x: Tensor, lower: Tensor) -> VitFeatures:
        """Features from tokens ``x`` after the first ``lower.shape[1]`` blocks and the class tokens of those."""
        x, upper = self.through(x, lower.shape[1] + 1, self.config.layers)
        return VitFeatures(self.to_joint(x[:, 0]), torch.cat([lower, upper], dim=1))

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> VitFeatures:
        x = self.embed(pixels, keep)
        return self.finish(x, x.new_empty((len(x), 0, x.shape[2])))

    def adapt(self, adaptation: Adaptation, dropout: float = 0.0) -> None:
        """Attach trainable low-rank updates, free the LayerNorms if asked for, and freeze everything else."""
        self.requires_grad_(False)
        width, hidden, rank = self.config.width, self.config.mlp_width, adaptation.rank

        def factors(d_in: int, d_out: int) -> LoraFactors:
            return LoraFactors(d_in, d_out, rank, adaptation.alpha, dropout)

        for block in self.transformer.resblocks[adaptation.first_block - 1 : adaptation.last_block]:
            assert isinstance(block, Block)
            block.ln_1.requires_grad_(adaptation.norms)
            block.ln_2.requires_grad_(adaptation.norms)
            if not rank:
                continue
            for name in "qkv":
                if name in adaptation.targets:
                    block.attn.lora_qkv[name] = factors(width, width)
            if "out" in adaptation.targets:
                block.attn.out_proj.lora = factors(width, width)
            if "fc" in adaptation.targets:
                block.mlp.c_fc.lora = factors(width, hidden)
            if "proj" in adaptation.targets:
                block.mlp.c_proj.lora = factors(hidden, width)

    def adapted_state(self) -> dict[str, Tensor]:
        """What `adapt` made trainable, by name."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

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


def with_probes(x: Tensor, probes: int) -> Tensor:
    """Tokens as they enter the first block, and after them ``probes`` copies of the class token."""
    return torch.cat([x, x[:, :1].expand(-1, probes, -1)], dim=1)


def keep_tokens(x: Tensor, keep: Tensor) -> Tensor:
    """Of tokens ``(N, 1 + tokens, width)`` the class token and the patch tokens ``keep`` ``(N, k)`` alone (FLIP)."""
    with_class = torch.cat([keep.new_zeros((len(keep), 1)), keep + 1], dim=1)
    return x.gather(1, with_class[:, :, None].expand(-1, -1, x.shape[2]))
