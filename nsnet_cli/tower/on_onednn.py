"""The tower on a CPU with its matrix products in bfloat16, by oneDNN through PyTorch: three times as fast as float32
where the processor multiplies bfloat16 in tiles (AMX), twice in AMD's vectors, and slower wherever it does neither
(`nsnet_cli.tower.processor`).

What is cheap stays float32: pixels and the embedding of patches, whose rounding would be most of all drift; norms; the
residual stream; softmax; biases.  Of matrices that are held as int8 those that add to the residual stream are exact in
bfloat16, too: their rows are held as the whole numbers that they are, and the scale of a row is multiplied with in
float32 where the sum is made.  As in `nsnet_cli.tower.on_numpy` each view is carried through by a thread of its own, so
a view's features are the same alone and in any batch, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nsnet_cli.arrays import Floats, Pixels
from nsnet_cli.tower.blas import default_threads, ending_at_once
from nsnet_cli.tower.features import Features, ViewBatch, ViewFeatures, chosen
from nsnet_cli.tower.file import TowerInfo
from nsnet_cli.tower.probes import ProbeGrid
from nsnet_cli.tower.vit import attend_probes
from nsnet_cli.weights.shapes import VitConfig

# sigmoid(1.702 x) x, OpenAI's GELU, is SiLU of 1.702 x, but for that factor.
_QUICK = 1.702
_LEVELS = 127


class OnednnTower:
    """CLIP's image tower with ``state``, float32 arrays under open_clip's names (`nsnet_cli.tower.file.tower_state`).

    ``adapted`` is its state as training adapted it, where it did.  ``threads`` views are looked at at once; None takes
    as many as NumPy's products would.
    """

    def __init__(
        self,
        info: TowerInfo,
        state: Mapping[str, Floats],
        threads: int | None = None,
        adapted: Mapping[str, Floats] | None = None,
    ) -> None:
        self._tower = _Vit(info, state)
        self._adapted = self._tower if adapted is state else _Vit(info, adapted) if adapted is not None else None
        # One thread a product: PyTorch keeps that number for each thread that asks.
        self._pool = ThreadPoolExecutor(
            threads or default_threads(), thread_name_prefix="tower", initializer=lambda: torch.set_num_threads(1)
        )

    def encode(self, batches: Sequence[ViewBatch]) -> list[ViewFeatures]:
        todo = [
            (network, view, one.grid)
            for one, network in ((one, chosen(one, self._tower, self._adapted)) for one in batches)
            for view in one.views
        ]
        with ending_at_once(self._pool):
            seen = iter(list(self._pool.map(lambda one: one[0].look(*one[1:]), todo)))
        looks = []
        for one in batches:
            few = [next(seen) for _ in one.views]
            probes = None if one.grid is None else Features.join([look.probes_seen for look in few])
            looks.append(ViewFeatures(Features.join([look.features for look in few]), probes))
        return looks


class _Vit:
    """The network of one state."""

    def __init__(self, info: TowerInfo, state: Mapping[str, Floats]) -> None:
        def tensor(name: str) -> Tensor:
            return torch.from_numpy(state[name])

        config, mean, std = info.config, np.array(info.mean), np.array(info.std)
        self._config = config
        # (x / 255 - mean) / std, in one product and one sum.
        self._scale = torch.from_numpy((1.0 / (255.0 * std)).astype(np.float32)[:, None, None])
        self._shift = torch.from_numpy((mean / std).astype(np.float32)[:, None, None])
        self._patches = tensor("conv1.weight").reshape(config.width, -1).T
        self._positions = tensor("positional_embedding").clone()
        self._positions[0] += tensor("class_embedding")
        self._ln_pre, self._ln_post = (
            (tensor(f"ln_{name}.weight"), tensor(f"ln_{name}.bias")) for name in ("pre", "post")
        )
        self._proj = tensor("proj")
        blocks = range(config.layers)
        self._blocks = [_Block(config, state, f"transformer.resblocks.{k}.", k == config.layers - 1) for k in blocks]

    @torch.inference_mode()
    def look(self, view: Pixels, grid: ProbeGrid | None) -> ViewFeatures:
        """At one view ``(3, S, S)``."""
        config = self._config
        x = self._embed(view)
        late = config.layers if grid is None else int(config.layers * grid.late)
        class_tokens = []
        for block in self._blocks[:late]:
            x = block(x)
            class_tokens.append(x[0])
        if grid is None:
            return ViewFeatures(self._features(torch.stack(class_tokens)[None]))
        look = torch.from_numpy(grid.look(math.isqrt(config.tokens)))
        x = torch.cat([x, x[:1].expand(grid.count, -1)])
        probes = [token.expand(grid.count, -1) for token in class_tokens]
        for block in self._blocks[late:]:
            x = block(x, look)
            class_tokens.append(x[0])
            probes.append(x[-grid.count :])
        return ViewFeatures(self._features(torch.stack(class_tokens)[None]), self._features(torch.stack(probes, dim=1)))

    def _embed(self, view: Pixels) -> Tensor:
        """Tokens as they enter the first block, ``(1 + tokens, width)``, in float32."""
        config = self._config
        side, size = math.isqrt(config.tokens), config.patch_size
        x = torch.from_numpy(np.ascontiguousarray(view)).float() * self._scale - self._shift
        x = x.view(3, side, size, side, size).permute(1, 3, 0, 2, 4).reshape(config.tokens, -1)
        x = torch.cat([x.new_zeros(1, config.width), x @ self._patches]) + self._positions
        return F.layer_norm(x, x.shape[-1:], *self._ln_pre)

    def _features(self, class_tokens: Tensor) -> Features:
        """From class tokens ``(N, layers, width)``, the last of which is carried into the joint space."""
        last = F.layer_norm(class_tokens[:, -1], class_tokens.shape[-1:], *self._ln_post)
        return Features((last @ self._proj).numpy(), class_tokens.numpy())


class _Linear:
    """``then(x W^T + b)``: ``W`` and what goes in and comes out in bfloat16, sums and ``b`` in float32."""

    def __init__(self, weight: Tensor, bias: Tensor, then: str = "none") -> None:
        weight, self._then, self._packed = weight.bfloat16().contiguous(), then, True
        self._algorithm = "none" if then == "gelu" else ""  # the exact GELU, not that by tanh
        try:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
            self._bias = bias.contiguous()
        except (AttributeError, NotImplementedError, RuntimeError):
            # No oneDNN in this PyTorch, or a processor that it has no such products for.
            self._weight, self._bias, self._packed = weight, bias.bfloat16(), False

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed:
            y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, self._then, [], self._algorithm)
            return y
        y = F.linear(x, self._weight, self._bias)
        return F.silu(y) if self._then == "swish" else F.gelu(y) if self._then == "gelu" else y


class _Adding:
    """``x + y W^T + b`` with ``x`` and the sum in float32.

    Rows of ``W`` are held in steps of the hundred-and-twenty-seventh part of their largest value, which are whole
    numbers where the matrix was int8; ``factor`` is what ``y`` is too large by.
    """

    def __init__(self, weight: Tensor, bias: Tensor, factor: float = 1.0) -> None:
        scale = weight.abs().amax(dim=1).clamp_min(1e-12) / _LEVELS
        self._scale = scale / factor
        self._linear = _Linear(weight / scale[:, None], bias / self._scale)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.addcmul(x, self._linear(y).float(), self._scale)


class _Block:
    """One pre-norm residual block.  Of the ``last`` one only the class token, and probes, come out."""

    def __init__(self, config: VitConfig, state: Mapping[str, Floats], name: str, last: bool) -> None:
        def pair(part: str, joint: str = ".") -> tuple[Tensor, Tensor]:
            weight, bias = (torch.from_numpy(state[f"{name}{part}{joint}{what}"]) for what in ("weight", "bias"))
            return weight, bias

        self._heads, self._last = config.heads, last
        self._ln_1, self._ln_2 = pair("ln_1"), pair("ln_2")
        self._qkv, self._out = _Linear(*pair("attn.in_proj", "_")), _Adding(*pair("attn.out_proj"))
        factor = _QUICK if config.quick_gelu else 1.0
        weight, bias = pair("mlp.c_fc")
        self._fc = _Linear(weight * factor, bias * factor, "swish" if config.quick_gelu else "gelu")
        self._proj = _Adding(*pair("mlp.c_proj"), factor)

    def __call__(self, x: Tensor, look: Tensor | None = None) -> Tensor:
        """Tokens ``(length, width)``; with ``look`` ``(probes, patch tokens)`` the last of them are probes."""
        length, width = x.shape
        image = length if look is None else length - len(look)
        qkv = self._qkv(F.layer_norm(x, (width,), *self._ln_1).bfloat16())
        q, k, v = qkv.view(1, length, 3, self._heads, width // self._heads).permute(2, 0, 3, 1, 4)
        asking = 1 if self._last else image
        mixed = F.scaled_dot_product_attention(q[:, :, :asking], k[:, :, :image], v[:, :, :image])
        if look is not None:
            mixed = torch.cat([mixed, attend_probes(q.float(), k.float(), v.float(), look).bfloat16()], dim=2)
        if asking < image:
            x = torch.cat([x[:asking], x[image:]])
        x = self._out(x, mixed.transpose(1, 2).reshape(len(x), width))
        return self._proj(x, self._fc(F.layer_norm(x, (width,), *self._ln_2).bfloat16()))
