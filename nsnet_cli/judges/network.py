"""All that has weights, as one: from the views of pictures to their scores.  No files of pictures, no verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nsnet_cli.allocator import give_back_freed_memory
from nsnet_cli.arrays import Doubles, Floats, Pixels
from nsnet_cli.errors import WeightsError
from nsnet_cli.judges.on_numpy import ContrastiveHead, KernelJudge, semantic_part
from nsnet_cli.tower.blas import one_thread_a_product
from nsnet_cli.tower.features import Features, Tower, ViewBatch, ViewFeatures
from nsnet_cli.tower.file import adapted_state, held_state, tower_info
from nsnet_cli.tower.held import HeldState
from nsnet_cli.tower.probes import ProbeGrid, probes_of
from nsnet_cli.views.plan import KERNEL, View, ViewKind, fuse, in_several_places
from nsnet_cli.views.selection import SelectionRecipe
from nsnet_cli.weights.file import SEMANTIC, NsnetWeights
from nsnet_cli.weights.plausible import not_finite
from nsnet_cli.weights.shapes import Adaptation, SeveralLooks, check_shapes

_RECIPE = "the recipe in the metadata"


@dataclass(frozen=True)
class Scored:
    """What the network says of a picture.

    ``score``, the logit before calibration, and the ``precision`` that it was computed in; ``semantic`` ``(rank,)``,
    the semantic part of the first view's embedding, None of a network without one; ``looks`` at each view, in the order
    of the picture's plan.
    """

    score: float
    semantic: Floats | None
    looks: tuple[ViewFeatures, ...] = ()
    precision: str = "fp32"


@dataclass(frozen=True)
class Network:
    """Tower, contrastive heads, and the kernel head where the weights have one."""

    tower: Tower
    adaptation: Adaptation
    semantic: Floats
    heads: dict[ViewKind, ContrastiveHead]
    kernel: KernelJudge | None
    fusion: dict[str, float]
    selection: SelectionRecipe
    several: SeveralLooks = field(default_factory=SeveralLooks)
    precision: str = "fp32"

    @staticmethod
    def of_weights(
        weights: NsnetWeights, device: str = "cpu", precision: str = "fp32", threads: int | None = None
    ) -> Network:
        """On ``device``, with the tower's matrices in ``precision``; float32 on a CPU needs no PyTorch.

        ``threads`` are those of the CPU; None leaves it to the libraries.  Raises `WeightsError` when the tensors do
        not fit the recipe in the metadata.
        """
        semantic, heads, kernel = _judges(weights)
        info, tower = weights.info, tower_info(weights.tower_path)
        state, adapted = tower_states(weights)
        if device == "cpu" and precision == "bf16":
            from nsnet_cli.tower.on_onednn import OnednnTower

            seeing: Tower = OnednnTower(tower, state, threads, adapted)
        elif device == "cpu":
            from nsnet_cli.tower.on_numpy import NumpyTower

            seeing = NumpyTower(tower, state, threads, adapted)
        else:
            from nsnet_cli.tower.on_torch import TorchTower

            seeing = TorchTower(tower, state, device, precision, threads, adapted)
        return Network(
            seeing, info.adaptation, semantic, heads, kernel, info.fusion, info.selection, info.several, precision
        )

    def in_bfloat16(self, weights: NsnetWeights, threads: int | None = None) -> Network:
        """The same one on a CPU with the tower's matrices in bfloat16; what judges is shared, and stays float32.

        From now on this one multiplies its own matrices out for each call: both would be half a gigabyte.
        """
        from nsnet_cli.tower.on_numpy import NumpyTower

        assert isinstance(self.tower, NumpyTower)
        self.tower.keep_nothing()
        give_back_freed_memory()
        from nsnet_cli.tower.on_onednn import OnednnTower  # brings PyTorch, half a gigabyte, once there is room

        tower = OnednnTower(tower_info(weights.tower_path), self.tower.state, threads, self.tower.adapted)
        if isinstance(self.tower.state, HeldState):
            self.tower.state.let_go()
        give_back_freed_memory()
        return replace(self, tower=tower, precision="bf16")

    def probes_of(self, kind: ViewKind) -> ProbeGrid:
        """The probes of a kind of view."""
        return probes_of(kind, self.selection)

    def score(self, pictures: Sequence[Pixels], plans: Sequence[Sequence[View]], probes: bool = False) -> list[Scored]:
        """What is said of each of ``pictures``: its views ``(views, 3, S, S)`` uint8, in the order of its plan."""
        with one_thread_a_product():
            return self.judged(self.looks(pictures, plans, probes), plans)

    def judged(self, looks: Sequence[Sequence[ViewFeatures]], plans: Sequence[Sequence[View]]) -> list[Scored]:
        """What is said of pictures by what the tower made of each view of each."""
        alike: dict[tuple[ViewKind, ...], list[int]] = defaultdict(list)
        for n, plan in enumerate(plans):
            alike[tuple(view.kind for view in plan)].append(n)
        scored: dict[int, Scored] = {}
        for kinds, few in alike.items():
            # Judges take the k-th view of all pictures that have as many of each kind.
            columns = [Features.join([looks[n][k].features for n in few]) for k in range(len(kinds))]
            by_kind = {
                kind: [column for column, of in zip(columns, kinds, strict=True) if of == kind]
                for kind in dict.fromkeys(kinds)
            }
            semantic = semantic_part(columns[0], self.semantic)
            for k, (n, score) in enumerate(zip(few, self.fused(by_kind).tolist(), strict=True)):
                if in_several_places(plans[n]):
                    score = self.several.of(score)
                scored[n] = Scored(score, semantic[k], tuple(looks[n]), self.precision)
        return [scored[n] for n in range(len(plans))]

    def looks(
        self, pictures: Sequence[Pixels], plans: Sequence[Sequence[View]], probes: bool = False
    ) -> list[list[ViewFeatures]]:
        """What the tower makes of each view of each picture; it is asked for all views of a kind at once."""
        places: dict[ViewKind, list[tuple[int, int]]] = defaultdict(list)
        for n, plan in enumerate(plans):
            for k, view in enumerate(plan):
                places[view.kind].append((n, k))
        found = self.tower.encode(
            [self._batch(np.stack([pictures[n][k] for n, k in at]), kind, probes) for kind, at in places.items()]
        )
        looks = {
            place: seen.of_picture(row)
            for seen, at in zip(found, places.values(), strict=True)
            for row, place in enumerate(at)
        }
        return [[looks[n, k] for k in range(len(plan))] for n, plan in enumerate(plans)]

    def look(self, views: Pixels, kind: ViewKind, probes: bool = False) -> ViewFeatures:
        """What the tower makes of views ``(N, 3, S, S)`` uint8 of one kind."""
        return self.tower.encode([self._batch(views, kind, probes)])[0]

    def _batch(self, views: Pixels, kind: ViewKind, probes: bool) -> ViewBatch:
        return ViewBatch(views, self.probes_of(kind) if probes else None, self.adaptation.of(kind))

    def fused(self, by_kind: Mapping[ViewKind, Sequence[Features]]) -> Doubles:
        """Raw scores ``(N,)`` of what all judges say of the features of each view."""
        said: dict[str, list[Doubles]] = {
            kind: [head.score(view).astype(np.float64) for view in by_kind[kind]]
            for kind, head in self.heads.items()
            if kind in by_kind
        }
        if self.kernel is not None:
            said[KERNEL] = [self.kernel.score(by_kind)]
        return fuse(said, self.fusion)


def tower_states(weights: NsnetWeights) -> tuple[Mapping[str, Floats], Mapping[str, Floats] | None]:
    """The tower's state as it came, and as training adapted it, None where it did not.

    Where all views go through the adapted one, it is both: nothing looks at the other, whose matrices need not be held.
    Raises `WeightsError` when the tensors do not fit the recipe in the metadata.
    """
    info, kept = weights.info, held_state(weights.tower_path)
    if info.adaptation.frozen and not weights.below("tower"):
        return kept, None
    # What was adapted is no longer int8 with a scale for each row.
    state = kept.multiplied_out()
    try:
        adapted = adapted_state(state, info.adaptation, weights.below("tower"))
    except RuntimeError as error:
        raise WeightsError(f"{weights.path}: the tensors do not fit {_RECIPE}: {error}") from error
    return (adapted if all(map(info.adaptation.of, info.kinds)) else state), adapted


def _judges(weights: NsnetWeights) -> tuple[Floats, dict[ViewKind, ContrastiveHead], KernelJudge | None]:
    """The semantic basis, and the heads that stand on its null space.

    Raises `WeightsError` where tensors are missing, unknown or of another shape.
    """
    info, tower = weights.info, tower_info(weights.tower_path).config
    if SEMANTIC not in weights.tensors:
        raise WeightsError(f"{weights.path}: no semantic basis ({SEMANTIC}) in the file")
    semantic: Floats = np.asarray(weights.tensors[SEMANTIC], np.float32)
    if semantic.ndim != 2 or semantic.shape[1] != tower.embed_dim:
        raise WeightsError(f"{weights.path}: the semantic basis has shape {semantic.shape}, not (., {tower.embed_dim})")
    blocks = {*info.head.blocks, *(info.kernel.blocks if info.kernel is not None else ())}
    if not all(isinstance(block, int) and 1 <= block <= tower.layers for block in blocks):
        raise WeightsError(f"{weights.path}: {_RECIPE} names blocks {sorted(blocks)} of a tower of {tower.layers}")
    if info.selection.size != tower.image_size:
        raise WeightsError(
            f"{weights.path}: {_RECIPE} makes mosaics of {info.selection.size} pixels for a tower of {tower.image_size}"
        )
    bad = not_finite(weights.tensors)
    if bad is not None:
        raise WeightsError(f"{weights.path}: {bad} holds what is no finite number; get the original file")
    head_state, kernel_state = weights.below("head"), weights.below("kernel")
    wanted = {
        f"{kind}.{name}": shape
        for kind in info.head.of(info.kinds)
        for name, shape in ContrastiveHead.shapes(tower, info.head).items()
    }
    check_shapes(weights.path, head_state, wanted, _RECIPE)
    heads = {
        kind: ContrastiveHead(info.head, semantic, weights.below(f"head.{kind}")) for kind in info.head.of(info.kinds)
    }
    if info.kernel is None:
        return semantic, heads, None
    looked_at = info.kernel.looked_at(info.kinds)
    check_shapes(weights.path, kernel_state, KernelJudge.shapes(tower, info.kernel, looked_at, kernel_state), _RECIPE)
    return semantic, heads, KernelJudge(info.kernel, semantic, looked_at, kernel_state)
