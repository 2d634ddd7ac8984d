"""The shapes of a detector: plain data that a weights file holds, and that scanning and training both read.

Nothing here needs PyTorch: a scan on a CPU never imports it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, overload

from nsnet_cli.errors import WeightsError

if TYPE_CHECKING:
    from nsnet_cli.arrays import Doubles
    from nsnet_cli.views.plan import ViewKind
    from nsnet_cli.weights.quantised import HeldTensor

# Of tensors, by name.
Shapes: TypeAlias = dict[str, tuple[int, ...]]


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


# Linear maps of a block that LoRA can adapt: query, key, value, output, and the MLP's two.
LORA_TARGETS = ("q", "k", "v", "out", "fc", "proj")


@dataclass(frozen=True)
class Adaptation:
    """What is trained of the tower; ``rank`` 0 with ``norms`` off, or no ``kinds``, leaves it frozen.

    LoRA of the given ``rank`` and ``alpha`` on the ``targets`` (see `LORA_TARGETS`) of the blocks from
    ``first_block`` to ``last_block`` (1-based, both included); with ``norms`` their LayerNorms too.  Only views of
    ``kinds`` go through the adapted tower; those of other kinds see CLIP as it came.
    """

    rank: int = 0
    alpha: float = 16.0
    first_block: int = 1
    last_block: int = 12
    targets: tuple[str, ...] = ("q", "k", "v", "out")
    norms: bool = False
    kinds: tuple[ViewKind, ...] = ("mosaic", "window")

    @property
    def frozen(self) -> bool:
        return (self.rank == 0 and not self.norms) or not self.kinds

    def of(self, kind: ViewKind) -> bool:
        """Whether views of a kind go through the adapted tower."""
        return not self.frozen and kind in self.kinds


@dataclass(frozen=True)
class HeadConfig:
    """Shape of the contrastive heads, of which there is one for each kind of view among ``kinds``.

    ``blocks`` are the tower's blocks (1-based) whose class tokens are used beside the projected
    embedding; ``reduced`` is the width that each of them, and the embedding, is reduced to; ``hidden``
    that of the common layer, on which the contrastive loss works.
    """

    blocks: tuple[int, ...] = (5, 6, 7, 8, 9, 10)
    reduced: int = 64
    hidden: int = 256
    dropout: float = 0.3
    kinds: tuple[ViewKind, ...] = ("mosaic", "window")

    def of(self, kinds: Sequence[ViewKind]) -> list[ViewKind]:
        """Those of the ``kinds`` of view there are that have a head."""
        return [kind for kind in kinds if kind in self.kinds]


@dataclass(frozen=True)
class KernelConfig:
    """Shape of the kernel head.

    ``blocks`` are the tower's blocks (1-based) whose class tokens are used; ``dimensions`` principal components
    are kept of each kind of view among ``kinds``, each divided by the power ``whitening`` of its variance: 0 leaves
    them, at 0.5 all vary alike.  ``gamma`` is the kernel's, for pictures whose mean square
    length is one; ``ridge`` is added to the kernel matrix, whose diagonal is one, in the mean over
    pictures.  ``mosaic_scale`` is the length of
    the mosaic's part beside a window's.  ``delivered_share`` is what a randomly delivered picture counts in the fit,
    beside one as it came, ``whole_share`` what a whole original at all its looks counts, each in the mean over its
    own set; 0 leaves them out.
    """

    blocks: tuple[int, ...] = (5, 6, 7, 8, 9, 10, 11)
    dimensions: int = 400
    whitening: float = 0.2
    gamma: float = 1.0
    ridge: float = 0.3
    mosaic_scale: float = 0.45
    kinds: tuple[ViewKind, ...] = ("mosaic", "window")
    delivered_share: float = 0.6
    whole_share: float = 2.0

    def looked_at(self, kinds: Sequence[ViewKind]) -> list[ViewKind]:
        """Those of the ``kinds`` of view there are that the kernel head looks at."""
        return [kind for kind in kinds if kind in self.kinds]

    def meets_delivered(self, kind: ViewKind) -> bool:
        """Whether the fit has use for views of a kind after random deliveries."""
        return kind in self.kinds and self.delivered_share > 0

    def scale_of(self, kind: ViewKind) -> float:
        """How long the part of a kind of view is beside those of others."""
        return self.mosaic_scale if kind == "mosaic" else 1.0


@dataclass(frozen=True)
class SeveralLooks:
    """What brings the score of a picture that was looked at in several places to the scale of all others.

    The mean of several windows is less extreme than what one says, so the same score stands for other odds.  ``score *
    scale + shift`` has the same odds as the score of a picture that one window shows; both are fitted to held-out
    scores.
    """

    scale: float = 1.0
    shift: float = 0.0

    @overload
    def of(self, score: float) -> float: ...
    @overload
    def of(self, score: Doubles) -> Doubles: ...
    def of(self, score: float | Doubles) -> float | Doubles:
        return self.scale * score + self.shift


def check_shapes(path: Path, found: Mapping[str, HeldTensor], wanted: Shapes, what: str) -> None:
    """Raises `WeightsError` where tensors are missing, unknown or of another shape; ``what`` asks for them."""
    wrong = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    wrong += [f"{name} is unknown" for name in sorted(found.keys() - wanted.keys())]
    wrong += [
        f"{name} has shape {found[name].shape}, not {shape}"
        for name, shape in sorted(wanted.items())
        if name in found and found[name].shape != shape
    ]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise WeightsError(f"{path}: the tensors do not fit {what}: {'; '.join(wrong[:3])}{more}")
