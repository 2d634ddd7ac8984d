"""The detector: one picture's way from bytes to a verdict, and many pictures' way in batches."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.arrays import Pixels
from nsnet_cli.engines.preparing import DeliveredViews, Prepared, Preparer, prepare_safely
from nsnet_cli.engines.workers import PreparePool
from nsnet_cli.errors import UsageError
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.judges.fast_first import FastFirst
from nsnet_cli.judges.network import Network, Scored
from nsnet_cli.judges.patch_scores import PATCH_SCORE_KIND, patch_scores
from nsnet_cli.provenance import ProvenanceReader
from nsnet_cli.provenance.declared import CONTRADICTION, all_contradictions
from nsnet_cli.results.document import (
    WEAKENING_WARNINGS,
    AppliedProfile,
    DeliveredResult,
    ModelInfo,
    PatchResult,
    PictureResult,
    ScanOptions,
    WindowResult,
    nanoseconds_utc,
    now_utc,
)
from nsnet_cli.tower.devices import choose_device
from nsnet_cli.tower.file import tower_info
from nsnet_cli.tower.processor import multiplies_bfloat16
from nsnet_cli.verdict.calibration import UNCERTAIN
from nsnet_cli.verdict.profiles import MadeBy, Profile, load_profile
from nsnet_cli.verdict.stability import UNSTABLE, is_unstable, stability_of
from nsnet_cli.views.deliveries import MILD, Delivery
from nsnet_cli.views.plan import View, kinds_of, plan_views
from nsnet_cli.weights.fast import FastScores
from nsnet_cli.weights.file import NsnetWeights, load_weights
from nsnet_cli.weights.store import DEFAULT_WEIGHTS


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
        device: str,
        precision: str,
        views: int | None,
        threshold: float | None,
        limits: DecodeLimits,
        patches: bool,
        stability: bool,
        profile: Profile | None,
        deliveries: Sequence[Delivery],
        provenance: ProvenanceReader | None,
        threads: int | None = None,
    ) -> None:
        self._threads = threads
        self.weights, self.device, self.limits = weights, device, limits
        self.deliveries, self.provenance = tuple(deliveries), provenance
        info = weights.info
        self.views = info.views if views is None else views
        if len(kinds_of(plan_views(info.selection, self.views))) < len(info.kinds):
            # One kind alone is another detector than the one that was calibrated.
            raise UsageError(f"{info.name} was calibrated on {' and '.join(info.kinds)}: give --views 2 or more")
        # Verdicts are those of this precision, whatever scores them first.
        self.asked_precision, self.precision = precision, "fp32" if precision == "auto" else precision
        self._fast = _fast_scores(weights, self.asked_precision, device)
        self.calibration = info.calibration
        if profile is not None:
            profile.check(MadeBy(weights.sha256, self.views, self.precision))
            self.calibration = profile.apply(info.calibration)
        self.options = ScanOptions(
            views=self.views,
            precision=self.precision,
            threshold=threshold,
            patches=patches,
            max_pixels=limits.max_pixels,
            max_bytes=limits.max_bytes,
            stability=stability,
            profile=None if profile is None else AppliedProfile(profile.name, profile.threshold),
            provenance=provenance is not None,
            trust_list=None if provenance is None else provenance.trust_list_sha256,
        )
        self.model = ModelInfo(
            name=info.name,
            weights_sha256=weights.sha256,
            tower=tower_info(weights.tower_path).name,
            prior=0.5,
            t_low=self.calibration.t_low,
            t_high=self.calibration.t_high,
            fpr_at_t_high=self.calibration.fpr_at_t_high,
            miss_rate_at_t_low=self.calibration.miss_rate_at_t_low,
            precision=self.precision,
            device=device,
            views=self.views,
            profile=None if profile is None else profile.name,
            fast_bound=None if self._fast is None else self._fast.bound,
        )

    @cached_property
    def network(self) -> Network:
        """The network on its device, loaded when it is first asked for."""
        return Network.of_weights(self.weights, self.device, self.precision, self._threads)

    @cached_property
    def _fast_first(self) -> FastFirst | None:
        """What scores in two precisions; None where one is all that was asked for, or that pays."""
        if self._fast is None:
            return None

        def verdict(score: float) -> str:
            return self.calibration.verdict(self.calibration.probability(score), self.options.threshold)

        return FastFirst(
            self.network, lambda: self.network.in_bfloat16(self.weights, self._threads), self._fast, verdict
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
        network: bool = True,
        threads: int | None = None,
    ) -> Detector:
        """Load weights by name or path.

        ``device`` is ``auto``, ``cpu``, ``cuda`` or ``mps``; ``precision`` ``auto``, ``fp32`` or ``bf16``
        (``auto`` gives the verdicts of float32, on processors that are faster at bfloat16 by way of that wherever it
        settles them; `nsnet_cli.judges.fast_first`).  ``views`` is the number looked at of each picture (see
        `nsnet_cli.views.plan`); None takes that which the weights were calibrated with.  ``profile`` names one of
        `nsnet_cli.verdict.profiles`; ``stability`` scores each picture under mild deliveries as well.  ``deliveries``
        are those that `observe_many` looks at.  ``provenance`` reads what files say about themselves, with
        ``trust_list``, a PEM file, for the signers of content credentials.  Without ``network`` that
        waits until it is needed, for who wants `model` and `options` alone.  ``threads`` of the CPU are used; None
        takes what the libraries take.  Raises `WeightsError` or `UsageError`.
        """
        if precision not in ("auto", "fp32", "bf16"):
            raise UsageError(f"precision must be auto, fp32 or bf16, not {precision!r}")
        if views is not None and not 1 <= views <= 16:
            raise UsageError(f"views must lie between 1 and 16, not {views}")
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise UsageError(f"threshold must lie between 0 and 1, not {threshold}")
        if profile is not None and threshold is not None:
            raise UsageError("a profile brings its own threshold: give the one or the other")
        detector = cls(
            load_weights(weights),
            device=choose_device(device),
            precision=precision,
            views=views,
            threshold=threshold,
            limits=limits or DecodeLimits(),
            patches=patches,
            stability=stability,
            profile=None if profile is None else load_profile(profile),
            deliveries=deliveries if deliveries is not None else MILD if stability else (),
            provenance=ProvenanceReader.with_trust(trust_list) if provenance else None,
            threads=threads,
        )
        if network:
            _ = detector.network
        return detector

    def scan(self, path: str | Path) -> PictureResult:
        """Scan one picture.  A picture that cannot be read gives a result with an ``error``."""
        return next(self.scan_many([str(path)], batch_size=1))

    def scan_many(
        self, paths: Iterable[str], batch_size: int = 8, workers: int = 0, timeout: float | None = None
    ) -> Iterator[PictureResult]:
        """Scan pictures in order, one result for each path.  ``-`` is a picture on standard input.

        With ``workers`` files are read and decoded in so many processes, and one that takes longer than
        ``timeout`` seconds, or kills its process, becomes a result with an error (`nsnet_cli.engines.workers`).
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
        if self._fast_first is not None and isinstance(paths, Sized):
            self._fast_first.expect(len(paths) * (1 + len(self.deliveries)))
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

    def score_views(
        self, pictures: Sequence[Pixels], plans: Sequence[Sequence[View]], probes: bool = False
    ) -> list[Scored]:
        """What the network says of each of ``pictures``: its views ``(views, 3, S, S)`` uint8 and their plan."""
        if self._fast_first is None or probes:  # local scores are those of float32
            return self.network.score(pictures, plans, probes)
        return self._fast_first.score(pictures, plans)

    def _judge(self, batch: list[Prepared]) -> Iterator[Observation]:
        began = time.perf_counter()
        scored = self._scored(batch, self.options.patches)
        scored_after = self._scored([d for p in batch for d in p.delivered], probes=False)
        share = (time.perf_counter() - began) / max(1, sum(p.views is not None for p in batch))
        for prepared in batch:
            said = next(scored)
            delivered = []
            for d in prepared.delivered:
                after = next(scored_after)
                delivered.append(self._delivered_result(d, after, prepared))
            result = self._result(prepared, said, share)
            if self.options.stability and result.probability is not None:
                result = self._with_stability(result, delivered)
            yield Observation(result, tuple(delivered), prepared.thumbnail, None if said is None else said.semantic)

    def _scored(self, pictures: Sequence[Prepared | DeliveredViews], probes: bool) -> Iterator[Scored | None]:
        """What the network says of each of ``pictures``, None where there are no views."""
        there = [(p.views, p.plan) for p in pictures if p.views is not None]
        scored = iter(self.score_views([v for v, _ in there], [plan for _, plan in there], probes) if there else ())
        return iter([None if p.views is None else next(scored) for p in pictures])

    def _verdict(self, probability: float, weak: bool) -> str:
        return UNCERTAIN if weak else self.calibration.verdict(probability, self.options.threshold)

    def _delivered_result(self, delivered: DeliveredViews, said: Scored | None, prepared: Prepared) -> DeliveredResult:
        if said is None:
            return DeliveredResult(delivered.delivery)
        probability = self.calibration.probability(said.score)
        weak = delivered.weak or bool(WEAKENING_WARNINGS & set(prepared.warnings))
        verdict = self._verdict(probability, weak)
        return DeliveredResult(delivered.delivery, probability, said.score, verdict, said.precision)

    def _with_stability(self, result: PictureResult, delivered: Sequence[DeliveredResult]) -> PictureResult:
        assert result.probability is not None
        stability = stability_of(result.probability, delivered)
        # A picture that is too small for a verdict has none that could change.
        judged = not WEAKENING_WARNINGS & set(result.warnings)
        unstable = judged and is_unstable(stability, lambda p: self._verdict(p, weak=False))
        warnings = (*result.warnings, UNSTABLE) if unstable else result.warnings
        return replace(result, stability=stability, warnings=warnings)

    def _result(self, prepared: Prepared, said: Scored | None, network_seconds: float) -> PictureResult:
        result = PictureResult(
            path=prepared.path,
            scanned_at=now_utc(),
            elapsed_ms=round(1000 * (prepared.seconds + (network_seconds if said is not None else 0.0)), 1),
            sha256=prepared.facts.sha256 if prepared.facts else None,
            bytes=prepared.facts.size if prepared.facts else None,
            modified_at=nanoseconds_utc(prepared.mtime_ns),
            warnings=prepared.warnings,
            provenance=prepared.provenance,
            error=prepared.error,
        )
        if said is None or prepared.picture is None:
            return result
        probability = self.calibration.probability(said.score)
        verdict = self._verdict(probability, weak=bool(WEAKENING_WARNINGS & set(prepared.warnings)))
        return replace(
            result,
            warnings=(*prepared.warnings, *_contradiction(verdict, prepared.provenance)),
            format=prepared.picture.format,
            width=prepared.picture.size[0],
            height=prepared.picture.size[1],
            verdict=verdict,
            probability=probability,
            score=said.score,
            score_precision=said.precision,
            patches=tuple(self._patch_results(prepared, said)) if self.options.patches else None,
            patch_score_kind=PATCH_SCORE_KIND if self.options.patches and said.looks else None,
            windows=tuple(WindowResult(x, y, side, side, view) for view, (x, y, side) in prepared.windows.items()),
        )

    def _patch_results(self, prepared: Prepared, said: Scored) -> Iterator[PatchResult]:
        """The patches of all mosaics, with their local scores where the network was asked for them."""
        scores = {}
        assert prepared.picture is not None
        width, height = prepared.picture.size
        if said.looks:
            scores = patch_scores(self.network, said.looks, prepared.selections, prepared.windows)
        for view, selection in prepared.selections.items():
            for k in range(len(selection.indices)):
                x, y = selection.corner(k)
                rank = "high" if bool(selection.is_high[k]) else "low"
                score = round(float(scores[view][k]), 2) if scores else None
                entropy = round(float(selection.entropy[k]), 4) + 0.0  # no minus before a zero
                # Of a picture smaller than a patch there is less than one.
                across, down = min(selection.patch, width - x), min(selection.patch, height - y)
                yield PatchResult(x, y, across, down, entropy, rank, view, score)


def _fast_scores(weights: NsnetWeights, precision: str, device: str) -> FastScores | None:
    """What is known of the fast precision, where it may be used: asked for ``auto``, on a CPU where it is fast."""
    return weights.fast if precision == "auto" and device == "cpu" and multiplies_bfloat16() else None


def _contradiction(verdict: str, provenance: dict[str, Any] | None) -> tuple[str, ...]:
    """The warning that verdict and file, or what the file says itself, cannot all be right."""
    return (CONTRADICTION,) if all_contradictions(verdict, provenance) else ()
