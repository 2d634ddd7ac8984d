"""The detector: one picture's way from bytes to a verdict, and many pictures' way in batches."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nsnet_cli.calibration import UNCERTAIN
from nsnet_cli.decode import DecodeLimits
from nsnet_cli.deliveries import MILD, Delivery
from nsnet_cli.document import (
    WEAKENING_WARNINGS,
    AppliedProfile,
    DeliveredResult,
    ModelInfo,
    PatchResult,
    PictureResult,
    ScanOptions,
    WindowResult,
    nanoseconds_utc,
)
from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.head import ViewHeads
from nsnet_cli.kernel import KERNEL, KernelHead
from nsnet_cli.preparing import DeliveredViews, Prepared, Preparer, prepare_safely
from nsnet_cli.preprocess import Normaliser
from nsnet_cli.profiles import MadeBy, Profile, load_profile
from nsnet_cli.provenance import ProvenanceReader
from nsnet_cli.selection import Selection
from nsnet_cli.stability import UNSTABLE, is_unstable, stability_of
from nsnet_cli.tower import load_tower, tower_info
from nsnet_cli.views import ViewKind, fuse, kinds_of, plan_views
from nsnet_cli.vit import VisionTransformer, VitFeatures
from nsnet_cli.weights import SEMANTIC, NsnetWeights, load_weights
from nsnet_cli.weights_store import DEFAULT_WEIGHTS
from nsnet_cli.workers import PreparePool

_VIEWS_ON_CPU = 4


@dataclass(frozen=True)
class Observation:
    """A result, and what controls need beside it.

    ``thumbnail`` is ``(32, 32, 3)`` uint8; ``semantic`` ``(rank,)`` float32, the coordinates of the first
    view's embedding in the semantic basis, what the null space leaves out.  None for unreadable pictures.
    ``delivered`` is what the picture scores after each of the detector's deliveries.
    """

    result: PictureResult
    delivered: tuple[DeliveredResult, ...] = ()
    thumbnail: NDArray[np.uint8] | None = None
    semantic: NDArray[np.float32] | None = None


class Detector:
    """NS-Net with its weights loaded.

    >>> Detector.load().scan("photo.jpg").verdict  # doctest: +SKIP
    'real'
    """

    def __init__(
        self,
        weights: NsnetWeights,
        device: torch.device,
        precision: str,
        views: int | None,
        threshold: float | None,
        limits: DecodeLimits,
        patches: bool,
        stability: bool,
        profile: Profile | None,
        deliveries: Sequence[Delivery],
        provenance: ProvenanceReader | None,
    ) -> None:
        self.weights, self.device, self.limits = weights, device, limits
        self.deliveries, self.provenance = tuple(deliveries), provenance
        info = weights.info
        self.views = info.views if views is None else views
        self.plan = plan_views(info.selection, self.views)
        if len(kinds_of(self.plan)) < len(info.kinds):
            # One kind alone is another detector than the one that was calibrated.
            raise UsageError(f"{info.name} was calibrated on {' and '.join(info.kinds)}: give --views 2 or more")
        self.precision = precision
        self.calibration = info.calibration
        if profile is not None:
            profile.check(MadeBy(weights.sha256, self.views, precision))
            self.calibration = profile.apply(info.calibration)
        self.options = ScanOptions(
            views=self.views,
            precision=precision,
            threshold=threshold,
            patches=patches,
            max_pixels=limits.max_pixels,
            max_bytes=limits.max_bytes,
            stability=stability,
            profile=None if profile is None else AppliedProfile(profile.name, profile.threshold),
            provenance=provenance is not None,
            trust_list=None if provenance is None else provenance.trust_list_sha256,
        )
        tower = tower_info(weights.tower_path)
        self._normalise = Normaliser(tower.mean, tower.std)
        self._tower, self._heads, self._kernel = build_network(weights)
        self._tower.matrices_to(torch.bfloat16 if precision == "bf16" else torch.float32).to(device).eval()
        self._heads.to(device).eval()
        if self._kernel is not None:
            self._kernel.to(device).eval()
        self.model = ModelInfo(
            name=info.name,
            weights_sha256=weights.sha256,
            tower=tower.name,
            prior=0.5,
            t_low=self.calibration.t_low,
            t_high=self.calibration.t_high,
            fpr_at_t_high=self.calibration.fpr_at_t_high,
            miss_rate_at_t_low=self.calibration.miss_rate_at_t_low,
            precision=precision,
            device=str(device),
            views=self.views,
            profile=None if profile is None else profile.name,
        )

    @classmethod
    def load(
        cls,
        weights: str = DEFAULT_WEIGHTS,
        *,
        device: str = "auto",
        precision: str = "auto",
        views: int | None = None,
        threshold: float | None = None,
        limits: DecodeLimits | None = None,
        patches: bool = True,
        stability: bool = False,
        profile: str | None = None,
        deliveries: Sequence[Delivery] | None = None,
        provenance: bool = True,
        trust_list: Path | None = None,
    ) -> Detector:
        """Load weights by name or path.

        ``device`` is ``auto``, ``cpu``, ``cuda`` or ``mps``; ``precision`` ``auto``, ``fp32`` or ``bf16``
        (``auto`` is float32, the reference).  ``views`` is the number looked at of each picture (see
        `nsnet_cli.views`); None takes that which the weights were calibrated with.  ``profile`` names one of
        `nsnet_cli.profiles`; ``stability`` scores each picture under mild deliveries as well.  ``deliveries``
        are those that `observe_many` looks at.  ``provenance`` reads what files say about themselves, with
        ``trust_list``, a PEM file, for the signers of content credentials.  Raises `WeightsError` or `UsageError`.
        """
        if precision not in ("auto", "fp32", "bf16"):
            raise UsageError(f"precision must be auto, fp32 or bf16, not {precision!r}")
        if views is not None and not 1 <= views <= 16:
            raise UsageError(f"views must lie between 1 and 16, not {views}")
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise UsageError(f"threshold must lie between 0 and 1, not {threshold}")
        if profile is not None and threshold is not None:
            raise UsageError("a profile brings its own threshold: give the one or the other")
        return cls(
            load_weights(weights),
            device=_device(device),
            precision="fp32" if precision == "auto" else precision,
            views=views,
            threshold=threshold,
            limits=limits or DecodeLimits(),
            patches=patches,
            stability=stability,
            profile=None if profile is None else load_profile(profile),
            deliveries=deliveries if deliveries is not None else MILD if stability else (),
            provenance=ProvenanceReader.with_trust(trust_list) if provenance else None,
        )

    def scan(self, path: str | Path) -> PictureResult:
        """Scan one picture.  A picture that cannot be read gives a result with an ``error``."""
        return next(self.scan_many([str(path)], batch_size=1))

    def scan_many(
        self, paths: Iterable[str], batch_size: int = 8, workers: int = 0, timeout: float | None = None
    ) -> Iterator[PictureResult]:
        """Scan pictures in order, one result for each path.  ``-`` is a picture on standard input.

        With ``workers`` files are read and decoded in so many processes, and one that takes longer than
        ``timeout`` seconds, or kills its process, becomes a result with an error (`nsnet_cli.workers`).
        """
        return (seen.result for seen in self._observe(paths, batch_size, False, workers, timeout))

    def observe_many(
        self, paths: Iterable[str], batch_size: int = 8, workers: int = 0, timeout: float | None = None
    ) -> Iterator[Observation]:
        """The same results with what an evaluation's controls look at."""
        return self._observe(paths, batch_size, True, workers, timeout)

    def _observe(
        self, paths: Iterable[str], batch_size: int, thumbnails: bool, workers: int, timeout: float | None
    ) -> Iterator[Observation]:
        preparer = self._preparer(thumbnails)
        if not workers:
            todo = iter(paths)
            while batch := [prepare_safely(preparer, path) for path in itertools.islice(todo, batch_size)]:
                yield from self._judge(batch)
            return
        with PreparePool(preparer, workers, timeout, window=2 * (batch_size + workers)) as pool:
            for batch in pool.batches(paths, batch_size):
                yield from self._judge(batch)

    def prepare(self, path: str) -> Prepared:
        """Read, decode and select; never raises for a bad picture."""
        return self._preparer(thumbnails=False)(path)

    def _preparer(self, thumbnails: bool) -> Preparer:
        recipe = self.weights.info.selection
        return Preparer(recipe, self.views, self.limits, self.deliveries, thumbnails, self.provenance)

    @torch.inference_mode()
    def score_views(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Of the views of pictures ``(N, views, 3, S, S)`` uint8: raw scores ``(N,)`` float64, and the semantic
        parts of the embeddings of all views ``(N, views, rank)`` float32."""
        made = []
        flat = views.flatten(0, 1)
        # Two cores are as fast on a few as on many, and the activations of many cost hundreds of megabytes.
        for few in flat.split(_VIEWS_ON_CPU if self.device.type == "cpu" else len(flat)):
            made.append(self._tower(self._normalise(few.to(self.device))))
        features = VitFeatures.join(made)
        by_kind = {
            kind: [
                features.rows(torch.arange(position, len(flat), len(self.plan)))
                for position, view in enumerate(self.plan)
                if view.kind == kind
            ]
            for kind in kinds_of(self.plan)
        }
        semantic = self._heads.of(self.plan[0].kind).semantic_part(features.embedding)
        return self._fused(by_kind), semantic.float().cpu().view(*views.shape[:2], -1)

    def _fused(self, by_kind: dict[ViewKind, list[VitFeatures]]) -> Tensor:
        """Raw scores ``(N,)`` float64 of what all judges say of the features of each view."""
        said: dict[str, list[Tensor]] = {
            kind: [self._heads.of(kind)(view).logit.double().cpu() for view in views] for kind, views in by_kind.items()
        }
        if self._kernel is not None:
            said[KERNEL] = [self._kernel.score(by_kind).double().cpu()]
        return fuse(said, self.weights.info.fusion)

    def _judge(self, batch: list[Prepared]) -> Iterator[Observation]:
        began = time.perf_counter()
        stacks = [v for p in batch for v in (p.views, *(d.views for d in p.delivered)) if v is not None]
        scored: Iterator[tuple[float, NDArray[np.float32]]] = iter(())
        if stacks:
            scores, semantic = self.score_views(torch.stack(stacks))
            scored = zip(scores.tolist(), semantic[:, 0].numpy(), strict=True)
        share = (time.perf_counter() - began) / max(1, sum(p.views is not None for p in batch))
        for prepared in batch:
            score, part = next(scored) if prepared.views is not None else (None, None)
            delivered = []
            for d in prepared.delivered:
                after = next(scored)[0] if d.views is not None else None
                delivered.append(self._delivered_result(d, after, prepared))
            result = self._result(prepared, score, share)
            if self.options.stability and result.probability is not None:
                result = self._with_stability(result, delivered)
            yield Observation(result, tuple(delivered), prepared.thumbnail, part)

    def _verdict(self, probability: float, weak: bool) -> str:
        return UNCERTAIN if weak else self.calibration.verdict(probability, self.options.threshold)

    def _delivered_result(self, delivered: DeliveredViews, score: float | None, prepared: Prepared) -> DeliveredResult:
        if score is None:
            return DeliveredResult(delivered.delivery)
        probability = self.calibration.probability(score)
        weak = delivered.weak or bool(WEAKENING_WARNINGS & set(prepared.warnings))
        return DeliveredResult(delivered.delivery, probability, score, self._verdict(probability, weak))

    def _with_stability(self, result: PictureResult, delivered: Sequence[DeliveredResult]) -> PictureResult:
        assert result.probability is not None
        stability = stability_of(result.probability, delivered)
        # A picture that is too small for a verdict has none that could change.
        judged = not WEAKENING_WARNINGS & set(result.warnings)
        unstable = judged and is_unstable(stability, lambda p: self._verdict(p, weak=False))
        warnings = (*result.warnings, UNSTABLE) if unstable else result.warnings
        return replace(result, stability=stability, warnings=warnings)

    def _result(self, prepared: Prepared, score: float | None, network_seconds: float) -> PictureResult:
        result = PictureResult(
            path=prepared.path,
            scanned_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            elapsed_ms=round(1000 * (prepared.seconds + (network_seconds if score is not None else 0.0)), 1),
            sha256=prepared.facts.sha256 if prepared.facts else None,
            bytes=prepared.facts.size if prepared.facts else None,
            modified_at=nanoseconds_utc(prepared.mtime_ns),
            warnings=prepared.warnings,
            provenance=prepared.provenance,
            error=prepared.error,
        )
        if score is None or prepared.picture is None:
            return result
        probability = self.calibration.probability(score)
        return replace(
            result,
            format=prepared.picture.format,
            width=prepared.picture.size[0],
            height=prepared.picture.size[1],
            verdict=self._verdict(probability, weak=bool(WEAKENING_WARNINGS & set(prepared.warnings))),
            probability=probability,
            score=score,
            patches=tuple(_patch_results(prepared.selections)) if self.options.patches else None,
            windows=tuple(WindowResult(x, y, side, side, view) for view, (x, y, side) in prepared.windows.items()),
        )


def build_network(weights: NsnetWeights) -> tuple[VisionTransformer, ViewHeads, KernelHead | None]:
    """Tower, contrastive heads and kernel head from a weights file, in float32, LoRA merged.

    Raises `WeightsError` when the tensors do not fit the recipe in the metadata.
    """
    info = weights.info
    tower = load_tower(weights.tower_path)
    head_state, kernel_state, adapted = (weights.below(part) for part in ("head", "kernel", "tower"))
    if SEMANTIC not in weights.tensors:
        raise WeightsError(f"{weights.path}: no semantic basis ({SEMANTIC}) in the file")
    semantic = weights.tensors[SEMANTIC]
    heads = ViewHeads(tower.config, info.head, semantic, info.kinds)
    kernel = None
    try:
        heads.load_state_dict(head_state, strict=True)
        if info.kernel is not None:
            kernel = KernelHead.of_state(tower.config, info.kernel, semantic, info.kinds, kernel_state)
        tower.adapt(info.adaptation)
        wrong = set(tower.adapted_state()) ^ set(adapted)
        if wrong:
            raise RuntimeError(f"adapted tensors missing or unknown: {sorted(wrong)[:3]}")
        tower.load_state_dict(adapted, strict=False)
        tower.merge_lora()
    except RuntimeError as error:
        raise WeightsError(f"{weights.path}: the tensors do not fit the recipe in the metadata: {error}") from error
    return tower.requires_grad_(False), heads.requires_grad_(False), kernel


def _patch_results(selections: dict[int, Selection]) -> Iterator[PatchResult]:
    for view, selection in selections.items():
        for k in range(len(selection.indices)):
            x, y = selection.corner(k)
            rank = "high" if bool(selection.is_high[k]) else "low"
            yield PatchResult(x, y, selection.patch, selection.patch, round(float(selection.entropy[k]), 4), rank, view)


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no CUDA device here; use --device cpu, or auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: PyTorch finds no Apple GPU here; use --device cpu, or auto")
    if name not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device must be auto, cpu, cuda or mps, not {name!r}")
    return torch.device(name)
