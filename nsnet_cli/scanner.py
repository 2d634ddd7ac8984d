"""One picture's way from bytes to a verdict, and many pictures' way in batches, whatever the detector."""

from __future__ import annotations

import itertools
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.arrays import Doubles, Pixels
from nsnet_cli.engines.preparing import DeliveredViews, Prepared, Preparer, prepare_safely
from nsnet_cli.engines.workers import PreparePool
from nsnet_cli.errors import UsageError
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.judges.network import Scored
from nsnet_cli.judges.patch_scores import PATCH_SCORE_KIND
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
from nsnet_cli.verdict.calibration import UNCERTAIN, Calibration
from nsnet_cli.verdict.profiles import MadeBy, load_profile
from nsnet_cli.verdict.stability import UNSTABLE, is_unstable, stability_of
from nsnet_cli.views.plan import Look, Square

if TYPE_CHECKING:
    from nsnet_cli.views.deliveries import Delivery

# Forward passes for a map.
DEFAULT_BUDGET = 16
AnyPath = str | os.PathLike[str]


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


@dataclass(frozen=True)
class Settings:
    """What a scan may be told, whatever its detector.

    ``device`` is ``auto``, ``cpu``, ``cuda`` or ``mps``; ``precision`` ``auto``, ``fp32`` or ``bf16``.  ``threshold``
    is one cut on the probability in place of the band, ``profile`` names one of `nsnet_cli.verdict.profiles`.
    ``stability`` scores each picture under mild deliveries as well; ``deliveries`` are those that `observe_many` looks
    at.  ``provenance`` reads what files say about themselves, with ``trust_list``, a PEM file, for the signers of
    content credentials.  ``threads`` of the CPU are used; None takes what the libraries take.
    """

    device: str = "auto"
    precision: str = "auto"
    threshold: float | None = None
    limits: DecodeLimits | None = None
    patches: bool = True
    stability: bool = False
    profile: str | None = None
    deliveries: Sequence[Delivery] | None = None
    provenance: bool = True
    trust_list: Path | None = None
    threads: int | None = None

    @staticmethod
    def of(given: SettingsGiven) -> Settings:
        """Raises `UsageError` for what cannot be, or not together."""
        settings = Settings(**given)
        settings._check()
        return settings

    def _check(self) -> None:
        if self.precision not in ("auto", "fp32", "bf16"):
            raise UsageError(f"precision must be auto, fp32 or bf16, not {self.precision!r}")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise UsageError(f"threshold must lie between 0 and 1, not {self.threshold}")
        if self.profile is not None and self.threshold is not None:
            raise UsageError("a profile brings its own threshold: give the one or the other")


class SettingsGiven(TypedDict, total=False):
    """`Settings` as keywords, any of which may be left out."""

    device: str
    precision: str
    threshold: float | None
    limits: DecodeLimits | None
    patches: bool
    stability: bool
    profile: str | None
    deliveries: Sequence[Delivery] | None
    provenance: bool
    trust_list: Path | None
    threads: int | None


@dataclass(frozen=True)
class Known:
    """What is known of a detector before its network is loaded.

    ``name`` is that of its weights, ``method`` that in `nsnet detectors`; ``tower`` names the CLIP that it looks
    through; ``precision`` is that of its verdicts.  ``trained_on`` are hashes of the sets of labelled pictures that it
    learnt from, where the weights say it.
    """

    name: str
    method: str
    weights_sha256: str
    tower: str | None
    calibration: Calibration
    look: Look
    views: int
    device: str
    precision: str
    fast_bound: float | None = None
    trained_on: tuple[str, ...] = ()


def learnt_from(training: Mapping[str, Any]) -> tuple[str, ...]:
    """Hashes of the labelled sets that weights were trained on, by their record: of all together, and of each."""
    return tuple(filter(None, (training.get("data_sha256"), *training.get("manifests_sha256", ()))))


@dataclass(frozen=True)
class LocalScores:
    """How a detector scores the parts of one picture.

    ``said`` gives logits ``(n, cells, cells)`` of square views, each ``(left, top, side)`` in pixels of the picture, at
    ``finest`` pixels or more; with ``scales`` also of larger ones, which it sees scaled down.  ``budget`` is how many
    are looked at unless told otherwise; ``kind`` names what a local score is.
    """

    finest: int
    said: Callable[[Sequence[Square]], Doubles]
    scales: bool = True
    budget: int = DEFAULT_BUDGET
    kind: str = PATCH_SCORE_KIND


def _deliveries(settings: Settings) -> tuple[Delivery, ...]:
    if settings.deliveries is not None or not settings.stability:
        return tuple(settings.deliveries or ())
    from nsnet_cli.views.deliveries import MILD  # a plain scan starts without them

    return MILD


class Scanner(ABC):
    """A detector with its weights: all that is done with them whatever they are."""

    def __init__(self, known: Known, settings: Settings) -> None:
        self.known, self.device, self.limits = known, known.device, settings.limits or DecodeLimits()
        self.deliveries = _deliveries(settings)
        self.provenance = ProvenanceReader.with_trust(settings.trust_list) if settings.provenance else None
        self.calibration = known.calibration
        profile = None if settings.profile is None else load_profile(settings.profile)
        if profile is not None:
            profile.check(MadeBy(known.weights_sha256, known.views, known.precision))
            self.calibration = profile.apply(known.calibration)
        self.options = ScanOptions(
            views=known.views,
            precision=known.precision,
            threshold=settings.threshold,
            patches=settings.patches,
            max_pixels=self.limits.max_pixels,
            max_bytes=self.limits.max_bytes,
            stability=settings.stability,
            profile=None if profile is None else AppliedProfile(profile.name, profile.threshold),
            provenance=self.provenance is not None,
            trust_list=None if self.provenance is None else self.provenance.trust_list_sha256,
        )
        self.model = ModelInfo(
            name=known.name,
            weights_sha256=known.weights_sha256,
            tower=known.tower,
            prior=0.5,
            t_low=self.calibration.t_low,
            t_high=self.calibration.t_high,
            fpr_at_t_high=self.calibration.fpr_at_t_high,
            miss_rate_at_t_low=self.calibration.miss_rate_at_t_low,
            precision=known.precision,
            device=known.device,
            views=known.views,
            profile=None if profile is None else profile.name,
            fast_bound=known.fast_bound,
            detector=known.method,
        )

    @abstractmethod
    def judged(self, pictures: Sequence[Prepared | DeliveredViews], probes: bool = False) -> list[Scored]:
        """What the network says of each of ``pictures``, all of which have views; with ``probes`` of parts of them."""

    @abstractmethod
    def local_scores(self, pixels: Pixels) -> LocalScores:
        """What scores the parts of ``pixels`` ``(3, H, W)``.  Raises `UsageError` where the detector has no map."""

    def patch_results(self, prepared: Prepared, said: Scored) -> tuple[PatchResult, ...] | None:
        """The selected patches of a picture with their local scores; None of a detector that selects none."""
        return None

    def expect(self, pictures: int) -> None:  # noqa: B027  most detectors need not know
        """Be told how many pictures are to come, where that is known."""

    def scan(self, path: str | Path) -> PictureResult:
        """Scan one picture.  A picture that cannot be read gives a result with an ``error``."""
        return next(self.scan_many([path], batch_size=1))

    def scan_many(
        self,
        paths: Iterable[AnyPath],
        batch_size: int = 8,
        workers: int = 0,
        timeout: float | None = None,
    ) -> Iterator[PictureResult]:
        """Scan pictures in order, one result for each path.  ``-`` is a picture on standard input.

        With ``workers`` files are read and decoded in so many processes, and one that takes longer than
        ``timeout`` seconds, or kills its process, becomes a result with an error (`nsnet_cli.engines.workers`).  Raises
        `UsageError` for a batch of none, or fewer workers than none.
        """
        return (seen.result for seen in self._observe(paths, batch_size, False, workers, timeout))

    def observe_many(
        self,
        paths: Iterable[AnyPath],
        batch_size: int = 8,
        workers: int = 0,
        timeout: float | None = None,
    ) -> Iterator[Observation]:
        """The same results with what an evaluation's controls look at."""
        return self._observe(paths, batch_size, True, workers, timeout)

    def _observe(
        self,
        given: Iterable[AnyPath],
        batch_size: int,
        thumbnails: bool,
        workers: int,
        timeout: float | None,
    ) -> Iterator[Observation]:
        if batch_size < 1 or workers < 0:
            raise UsageError(f"a batch of {batch_size} pictures, {workers} workers: give 1 or more, and 0 or more")
        if isinstance(given, Sized):
            self.expect(len(given) * (1 + len(self.deliveries)))
        return self._observed(map(os.fsdecode, given), batch_size, thumbnails, workers, timeout)

    def _observed(
        self, paths: Iterator[str], batch_size: int, thumbnails: bool, workers: int, timeout: float | None
    ) -> Iterator[Observation]:
        preparer = self._preparer(thumbnails)
        if not workers:
            while batch := [prepare_safely(preparer, path) for path in itertools.islice(paths, batch_size)]:
                yield from self._judge(batch)
            return
        with PreparePool(preparer, workers, timeout, window=2 * (batch_size + workers)) as pool:
            for batch in pool.batches(paths, batch_size):
                yield from self._judge(batch)

    def prepare(self, path: str) -> Prepared:
        """Read, decode and select; never raises for a bad picture."""
        return self._preparer(thumbnails=False)(path)

    def _preparer(self, thumbnails: bool) -> Preparer:
        return Preparer(self.known.look, self.limits, self.deliveries, thumbnails, self.provenance)

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
        there = [p for p in pictures if p.views is not None]
        scored = iter(self.judged(there, probes) if there else ())
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
            patches=self.patch_results(prepared, said) if self.options.patches else None,
            patch_score_kind=PATCH_SCORE_KIND if self.options.patches and said.looks else None,
            windows=tuple(WindowResult(x, y, side, side, view) for view, (x, y, side) in prepared.windows.items()),
        )


def _contradiction(verdict: str, provenance: dict[str, Any] | None) -> tuple[str, ...]:
    """The warning that verdict and file, or what the file says itself, cannot all be right."""
    return (CONTRADICTION,) if all_contradictions(verdict, provenance) else ()
