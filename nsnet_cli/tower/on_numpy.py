"""The tower on a CPU, in float32, without PyTorch: what a scan runs on.

Importing PyTorch takes longer than looking at a picture, and most scans look at one.  The matrix products, nine tenths
of the work, are the same BLAS either way.  Each view is carried through by a thread of its own, with its products on
that thread: views share nothing but the weights, so no core waits for another, and what lies between the products
(norms, attention weights, activations) runs on all cores, too.  `tests/test_tower.py` holds this network to the one
that is trained (`nsnet_cli.tower.vit`), with which it shares names and shapes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from nsnet_cli.arrays import Floats, Pixels
from nsnet_cli.tower.blas import default_threads, ending_at_once, one_thread_a_product
from nsnet_cli.tower.features import Features, ViewBatch, ViewFeatures, chosen
from nsnet_cli.tower.file import TowerInfo
from nsnet_cli.tower.probes import ProbeGrid
from nsnet_cli.weights.shapes import VitConfig

_EPSILON = np.float32(1e-5)  # of LayerNorm, as in PyTorch


class NumpyTower:
    """CLIP's image tower with ``state``, float32 arrays under open_clip's names (`nsnet_cli.tower.file.tower_state`).

    ``adapted`` is its state as training adapted it, where it did.  ``threads`` views are looked at at once; None takes
    as many as BLAS would take threads, which is all cores unless the usual variables (``OMP_NUM_THREADS`` and its like)
    say otherwise.
    """

    def __init__(
        self,
        info: TowerInfo,
        state: Mapping[str, Floats],
        threads: int | None = None,
        adapted: Mapping[str, Floats] | None = None,
    ) -> None:
        self.state, self.adapted = state, adapted
        self._tower = _Vit(info, state)
        self._adapted = self._tower if adapted is state else _Vit(info, adapted) if adapted is not None else None
        self._keeps = True
        self._pool = ThreadPoolExecutor(threads or default_threads(), thread_name_prefix="tower")

    def keep_nothing(self) -> None:
        """Give up what was multiplied out, and do it anew for each call, a block at a time, to the same bits.

        For who asks seldom: it takes as long as a third of a view does, of all views in a call together.
        """
        self._keeps = False
        for network in filter(None, (self._tower, self._adapted)):
            network.forget()

    def encode(self, batches: Sequence[ViewBatch]) -> list[ViewFeatures]:
        todo = [
            (network, view, one.grid)
            for one, network in ((one, chosen(one, self._tower, self._adapted)) for one in batches)
            for view in one.views
        ]
        with one_thread_a_product(), ending_at_once(self._pool):
            under_way = [(network, self._pool.submit(network.begin, view, grid)) for network, view, grid in todo]
            for network in dict.fromkeys(network for network, _ in under_way):
                self._carry_through(network, [way for of, way in under_way if of is network])
        seen = (network.end(way.result()) for network, way in under_way)
        looks = []
        for one in batches:
            few = [next(seen) for _ in one.views]
            probes = None if one.grid is None else Features.join([look.probes_seen for look in few])
            looks.append(ViewFeatures(Features.join([look.features for look in few]), probes))
        return looks

    def _carry_through(self, network: _Vit, ways: Sequence[Future[_Way]]) -> None:
        """All ``ways`` through block after block, in turns: three views keep two threads busy to the end."""
        # Of one call, which is all that most scans make, nothing is kept: memory that is used again is nearer than new.
        keeps, network.asked = self._keeps and network.asked, True

        def step(behind: Future[_Way], ready: Future[_Block]) -> _Way:
            # Both were asked for before this was, so somebody is at them: nobody waits in a circle.
            return network.through(ready.result(), behind.result())

        coming = self._pool.submit(network.block, 0, keeps)
        for k in range(network.depth):
            ready = coming
            if k + 1 < network.depth:
                coming = self._pool.submit(network.block, k + 1, keeps)
            ways = [self._pool.submit(step, behind, ready) for behind in ways]
        for way in ways:
            way.result()


@dataclass
class _Way:
    """A view on its way: tokens ``x`` ``(length, width)``, of which those after the image's are probes of ``grid``
    once ``late`` blocks are behind it; and what the class token and the probes were after each block."""

    x: Floats
    grid: ProbeGrid | None
    late: int
    class_tokens: list[Floats] = field(default_factory=list)
    probes: list[Floats] = field(default_factory=list)
    look: Floats | None = None


class _Vit:
    """The network of one state."""

    def __init__(self, info: TowerInfo, state: Mapping[str, Floats]) -> None:
        config, mean, std = info.config, np.array(info.mean), np.array(info.std)
        self._config, self._state, self.depth = config, state, config.layers
        # (x / 255 - mean) / std, in one product and one sum.
        self._scale = (1.0 / (255.0 * std)).astype(np.float32)[:, None, None]
        self._shift = (mean / std).astype(np.float32)[:, None, None]
        self._patches = state["conv1.weight"].reshape(config.width, -1).T
        self._kept: dict[int, _Block] = {}
        self.asked = False

    def forget(self) -> None:
        self._kept = {}

    def block(self, k: int, keeps: bool) -> _Block:
        """The ``k``-th block, its matrices multiplied out; who ``keeps`` it finds it so the next time."""
        block = self._kept.get(k) or _Block(
            self._config, self._state, f"transformer.resblocks.{k}.", k == self.depth - 1
        )
        if keeps:
            self._kept[k] = block
        return block

    def begin(self, view: Pixels, grid: ProbeGrid | None) -> _Way:
        """With one view ``(3, S, S)``."""
        way = _Way(self._embed(view), grid, self.depth if grid is None else int(self.depth * grid.late))
        self._let_probes_in(way)
        return way

    def through(self, block: _Block, way: _Way) -> _Way:
        """Through the next block."""
        way.x = block(way.x, way.look)
        way.class_tokens.append(way.x[0].copy())  # a view of them would keep all tokens
        if way.grid is not None and way.look is not None:
            way.probes.append(way.x[-way.grid.count :].copy())
        self._let_probes_in(way)
        return way

    def _let_probes_in(self, way: _Way) -> None:
        grid, config = way.grid, self._config
        if grid is None or len(way.class_tokens) != way.late:
            return
        way.look = grid.look(math.isqrt(config.tokens))
        way.x = np.concatenate([way.x, np.broadcast_to(way.x[:1], (grid.count, config.width))])
        way.probes = [np.broadcast_to(token, (grid.count, config.width)) for token in way.class_tokens]

    def end(self, way: _Way) -> ViewFeatures:
        """What was seen on the way."""
        features = self._features(np.stack(way.class_tokens)[None])
        if way.grid is None:
            return ViewFeatures(features)
        return ViewFeatures(features, self._features(np.stack(way.probes, axis=1)))

    def _embed(self, view: Pixels) -> Floats:
        """Tokens as they enter the first block, ``(1 + tokens, width)``."""
        config, state = self._config, self._state
        side, size = math.isqrt(config.tokens), config.patch_size
        x = view.astype(np.float32) * self._scale - self._shift
        x = x.reshape(3, side, size, side, size).transpose(1, 3, 0, 2, 4).reshape(config.tokens, -1)
        x = np.concatenate([state["class_embedding"][None], x @ self._patches]) + state["positional_embedding"]
        return _norm(x, state["ln_pre.weight"], state["ln_pre.bias"])

    def _features(self, class_tokens: Floats) -> Features:
        """From class tokens ``(N, layers, width)``, the last of which is carried into the joint space."""
        state = self._state
        last = _norm(class_tokens[:, -1], state["ln_post.weight"], state["ln_post.bias"])
        return Features(last @ state["proj"], class_tokens)


@dataclass(frozen=True)
class _Linear:
    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        y: Floats = x @ self.weight.T
        y += self.bias
        return y


class _Block:
    """One pre-norm residual block.  Of the ``last`` one only the class token, and probes, come out: nobody asks for
    its patch tokens, and to leave them out saves one part in sixteen of the whole tower."""

    def __init__(self, config: VitConfig, state: Mapping[str, Floats], name: str, last: bool) -> None:
        def pair(part: str, joint: str = ".") -> tuple[Floats, Floats]:
            return state[f"{name}{part}{joint}weight"], state[f"{name}{part}{joint}bias"]

        self._heads, self._last, self._quick = config.heads, last, config.quick_gelu
        self._ln_1, self._ln_2 = pair("ln_1"), pair("ln_2")
        self._qkv, self._out = _Linear(*pair("attn.in_proj", "_")), _Linear(*pair("attn.out_proj"))
        self._fc, self._proj = _Linear(*pair("mlp.c_fc")), _Linear(*pair("mlp.c_proj"))

    def __call__(self, x: Floats, look: Floats | None = None) -> Floats:
        """Tokens ``(length, width)``; with ``look`` ``(probes, patch tokens)`` the last of them are probes."""
        length, width = x.shape
        image = length if look is None else length - len(look)
        qkv = self._qkv(_norm(x, *self._ln_1)).reshape(length, 3, self._heads, width // self._heads)
        q, k, v = qkv.transpose(1, 2, 0, 3)
        asking = 1 if self._last else image
        mixed = _attend(q[:, :asking], k[:, :image], v[:, :image])
        if look is not None:
            mixed = np.concatenate([mixed, _probe(q, k, v, look)], axis=1)
        if asking < image:
            x = np.concatenate([x[:asking], x[image:]])
        x = x + self._out(mixed.transpose(1, 0, 2).reshape(len(x), width))
        x += self._proj(self._activate(self._fc(_norm(x, *self._ln_2))))
        return x

    def _activate(self, x: Floats) -> Floats:
        """GELU: OpenAI's, ``x sigmoid(1.702 x)``, or the exact one."""
        if self._quick:
            below = np.exp(x * np.float32(-1.702))
            below += 1
            x /= below
            return x
        from scipy.special import erf

        twice = 1 + erf(x * np.float32(2**-0.5))
        x *= np.float32(0.5)
        return np.multiply(x, twice, out=x)


def _attend(q: Floats, k: Floats, v: Floats) -> Floats:
    """Attention of each head, ``(heads, asking, width of a head)``."""
    q = q * np.float32(q.shape[-1] ** -0.5)
    mixed: Floats = _softmax(q @ k.transpose(0, 2, 1)) @ v
    return mixed


def _probe(q: Floats, k: Floats, v: Floats, look: Floats) -> Floats:
    """Attention of probes, the last ``len(look)`` tokens: each stands where the class token stands for all others.

    A probe sees itself, and of the patch tokens what its row of ``look`` lets it; all of them together keep the
    weight beside itself that they would have if it saw them alike.
    """
    probes = len(look)
    q = q[:, -probes:] * np.float32(q.shape[-1] ** -0.5)
    alike: Floats = q @ k[:, 1:-probes].transpose(0, 2, 1)
    own = (q * k[:, -probes:]).sum(-1, keepdims=True)
    near = alike + look
    near += _log_sum_exp(alike) - _log_sum_exp(near)
    weights = _softmax(np.concatenate([own, near], axis=-1))
    mixed: Floats = weights[..., :1] * v[:, -probes:] + weights[..., 1:] @ v[:, 1:-probes]
    return mixed


def _softmax(x: Floats) -> Floats:
    """Along the last axis, in place."""
    x -= x.max(axis=-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=-1, keepdims=True)
    return x


def _log_sum_exp(x: Floats) -> Floats:
    highest = x.max(axis=-1, keepdims=True)
    total: Floats = highest + np.log(np.exp(x - highest).sum(axis=-1, keepdims=True))
    return total


def _norm(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """LayerNorm along the last axis."""
    x = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("...i,...i->...", x, x)[..., None] / np.float32(x.shape[-1])
    x /= np.sqrt(variance + _EPSILON)
    x *= weight
    x += bias
    return x
