"""What judges the tower's features, as arrays: contrastive heads and the kernel head, trained elsewhere.

`nsnet_cli.judges.head` and `nsnet_cli.judges.kernel` define and train them with PyTorch; here their tensors, as a
weights file holds them, are applied.  `tests/test_network.py` holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nsnet_cli.arrays import Doubles, Floats
from nsnet_cli.tower.features import Features
from nsnet_cli.views.plan import ViewKind
from nsnet_cli.weights.quantised import HeldTensor, Int8Rows
from nsnet_cli.weights.shapes import HeadConfig, KernelConfig, Shapes, VitConfig

State = Mapping[str, HeldTensor]

_NORM_EPSILON = np.float32(1e-5)
_ROWS_AT_ONCE = 512
_erf = np.frompyfunc(math.erf, 1, 1)


class ContrastiveHead:
    """NS-Net's head for one kind of view: null-space part and class tokens of some blocks to one logit.

    ``state`` holds the tensors of `nsnet_cli.judges.head.NullSpaceHead`; ``semantic`` ``(rank, embed_dim)`` is the
    orthonormal basis of what is projected out.
    """

    def __init__(self, config: HeadConfig, semantic: Floats, state: State) -> None:
        self._config, self._semantic = config, semantic
        self._state = {name: np.asarray(value, np.float32) for name, value in state.items()}

    @staticmethod
    def shapes(tower: VitConfig, config: HeadConfig) -> Shapes:
        """The tensors that a head has."""
        wide = config.reduced * (1 + len(config.blocks))
        shapes: Shapes = {}
        for number in range(len(config.blocks)):
            shapes |= {f"norms.{number}.{part}": (tower.width,) for part in ("weight", "bias")}
            shapes |= _linear(f"blocks.{number}", tower.width, config.reduced)
        shapes |= _linear("embedding", tower.embed_dim, config.reduced)
        return shapes | _linear("hidden", wide, config.hidden) | _linear("decision", config.hidden, 1)

    def score(self, features: Features) -> Floats:
        """Logits ``(N,)``."""
        # sqrt(d) brings the entries of a unit vector to the scale that LayerNorm gives the tokens.
        spine = decouple(features.embedding, self._semantic) * np.float32(features.embedding.shape[1] ** 0.5)
        parts = [self._apply("embedding", spine)]
        for number, block in enumerate(self._config.blocks):
            token = _standard(features.class_tokens[:, block - 1])
            token = token * self._state[f"norms.{number}.weight"] + self._state[f"norms.{number}.bias"]
            parts.append(self._apply(f"blocks.{number}", token))
        hidden = self._apply("hidden", _gelu(np.concatenate(parts, axis=1)))
        return self._apply("decision", _gelu(hidden))[:, 0]

    def _apply(self, name: str, x: Floats) -> Floats:
        y: Floats = x @ self._state[f"{name}.weight"].T + self._state[f"{name}.bias"]
        return y


class KernelJudge:
    """Kernel ridge regression on what all kinds of view show together.

    ``state`` holds the tensors of `nsnet_cli.judges.kernel.KernelHead`.
    """

    def __init__(self, config: KernelConfig, semantic: Floats, kinds: Sequence[ViewKind], state: State) -> None:
        self._config, self._semantic, self._kinds = config, semantic, list(kinds)
        self._anchors = _in_floats(state["anchors"])
        self._components = {kind: _in_floats(state[f"kinds.{kind}.components"]) for kind in kinds}
        self._state = {name: np.asarray(x, np.float32) for name, x in state.items() if not isinstance(x, Int8Rows)}
        # They cancel: their sizes add up to ten thousand times a score, of which float32 would lose thousandths.
        self._coefficients = self._state["coefficients"].astype(np.float64)

    @staticmethod
    def shapes(tower: VitConfig, config: KernelConfig, kinds: Sequence[ViewKind], state: State) -> Shapes:
        """The tensors that a kernel head has; how many anchors and components, ``state`` says itself."""
        long = tower.embed_dim + tower.width * len(config.blocks)
        anchors = np.shape(state.get("anchors", ()))[:1]
        shapes: Shapes = {"coefficients": anchors, "offset": ()}
        dimensions = 0
        for kind in kinds:
            components = np.shape(state.get(f"kinds.{kind}.components", ()))[1:]
            dimensions += sum(components)
            shapes |= {f"kinds.{kind}.{part}": (long,) for part in ("mean", "centre")}
            shapes[f"kinds.{kind}.components"] = (long, *components)
        return shapes | {"anchors": (*anchors, dimensions)}

    def score(self, features: Mapping[ViewKind, Sequence[Features]]) -> Doubles:
        """Scores ``(N,)`` of pictures from ``features``: by kind, those of each view, a row a picture."""
        described = [
            np.mean([self._described(kind, view) for view in features[kind]], axis=0, dtype=np.float32)
            for kind in self._kinds
        ]
        x = np.concatenate(described, axis=1)
        own = np.square(x).sum(axis=1)[:, None]
        score = np.full(len(x), self._state["offset"], np.float64)
        for few, anchors in _parts(self._anchors):
            squares = own + np.einsum("ij,ij->i", anchors, anchors) - 2 * (x @ anchors.T)
            likeness = np.exp(np.float32(-0.5 * self._config.gamma) * np.maximum(squares, 0))
            score += likeness.astype(np.float64) @ self._coefficients[few]
        return score

    def _described(self, kind: ViewKind, view: Features) -> Floats:
        """The part of a picture's coordinates that a view of one kind shows, ``(N, dimensions)``."""
        mean, centre = (self._state[f"kinds.{kind}.{part}"] for part in ("mean", "centre"))
        tokens = [_standard(view.class_tokens[:, block - 1]) for block in self._config.blocks]
        parts = [decouple(view.embedding, self._semantic), *tokens]
        ends = np.cumsum([part.shape[1] for part in parts])[:-1]
        even = [_unit(part - own) for part, own in zip(parts, np.split(mean, ends), strict=True)]
        x: Floats = np.concatenate(even, axis=1) - centre
        described: Floats = np.sum([x[:, few] @ some for few, some in _parts(self._components[kind])], axis=0)
        return described


def _in_floats(held: HeldTensor) -> HeldTensor:
    return held if isinstance(held, Int8Rows) else np.asarray(held, np.float32)


def _parts(tall: HeldTensor) -> Iterator[tuple[slice, Floats]]:
    """A matrix of many rows in float32, a few at a time, which stay in the processor's caches: to multiply int8 out
    anew for every batch takes as long as to read the whole from memory, and a quarter of the room."""
    for first in range(0, tall.shape[0], _ROWS_AT_ONCE):
        few = slice(first, first + _ROWS_AT_ONCE)
        yield few, tall.rows(few) if isinstance(tall, Int8Rows) else tall[few]


def semantic_part(features: Features, semantic: Floats) -> Floats:
    """Coordinates ``(N, rank)`` in the ``semantic`` basis ``(rank, embed_dim)`` of what the projection removes."""
    part: Floats = _unit(features.embedding) @ semantic.T
    return part


def decouple(embedding: Floats, semantic: Floats) -> Floats:
    """``f P`` of the unit-length embedding ``f`` ``(N, d)``, brought to unit length again (NS-Net, eq. 4)."""
    f = _unit(embedding)
    coordinates: Floats = f @ semantic.T
    inside: Floats = coordinates @ semantic
    return _unit(f - inside)


def _linear(name: str, d_in: int, d_out: int) -> Shapes:
    return {f"{name}.weight": (d_out, d_in), f"{name}.bias": (d_out,)}


def _unit(x: Floats) -> Floats:
    unit: Floats = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))
    return unit


def _standard(x: Floats) -> Floats:
    """Each row with mean 0 and variance 1: LayerNorm before its weights."""
    x = x - x.mean(axis=1, keepdims=True)
    standard: Floats = x / np.sqrt(np.square(x).mean(axis=1, keepdims=True) + _NORM_EPSILON)
    return standard


def _gelu(x: Floats) -> Floats:
    # Values are few: Python's erf on each takes less time than importing SciPy's.
    gelu: Floats = x * (0.5 * (1 + _erf(x * np.float32(2**-0.5)).astype(np.float32)))
    return gelu
