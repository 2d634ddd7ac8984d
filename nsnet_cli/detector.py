"""NS-Net as a scanner: its weights, its views, and which precision scores them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Unpack

import numpy as np

from nsnet_cli.arrays import Doubles, Pixels
from nsnet_cli.engines.preparing import DeliveredViews, Prepared
from nsnet_cli.errors import UsageError
from nsnet_cli.judges.fast_first import FastFirst
from nsnet_cli.judges.network import Network, Scored
from nsnet_cli.judges.patch_scores import patch_scores
from nsnet_cli.results import NS_NET
from nsnet_cli.results.document import PatchResult
from nsnet_cli.scanner import Known, LocalScores, Scanner, Settings, SettingsGiven, learnt_from
from nsnet_cli.tower.devices import choose_device
from nsnet_cli.tower.features import Features
from nsnet_cli.tower.file import tower_info
from nsnet_cli.tower.processor import multiplies_bfloat16
from nsnet_cli.views.plan import (
    MOSAIC,
    WINDOW,
    EntropyLook,
    Square,
    View,
    ViewKind,
    kinds_of,
    make_views,
    plan_views,
    scale_window,
)
from nsnet_cli.weights.fast import FastScores
from nsnet_cli.weights.file import NsnetWeights, load_weights
from nsnet_cli.weights.store import DEFAULT_WEIGHTS


class Detector(Scanner):
    """NS-Net with its weights loaded.

    >>> Detector.load().scan("photo.jpg").verdict  # doctest: +SKIP
    'real'
    """

    def __init__(self, weights: NsnetWeights, views: int | None, settings: Settings) -> None:
        self.weights, self._threads = weights, settings.threads
        info = weights.info
        self.views = info.views if views is None else views
        if len(kinds_of(plan_views(info.selection, self.views))) < len(info.kinds):
            # One kind alone is another detector than the one that was calibrated.
            raise UsageError(f"{info.name} was calibrated on {' and '.join(info.kinds)}: give --views 2 or more")
        device = choose_device(settings.device)
        # Verdicts are those of this precision, whatever scores them first.
        self.asked_precision = settings.precision
        self.precision = "fp32" if settings.precision == "auto" else settings.precision
        self._fast = _fast_scores(weights, self.asked_precision, device)
        known = Known(
            name=info.name,
            method=NS_NET,
            weights_sha256=weights.sha256,
            tower=tower_info(weights.tower_path).name,
            calibration=info.calibration,
            look=EntropyLook(info.selection, self.views),
            views=self.views,
            device=device,
            precision=self.precision,
            fast_bound=None if self._fast is None else self._fast.bound,
            trained_on=learnt_from(info.training),
        )
        super().__init__(known, settings)

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
        views: int | None = None,
        network: bool = True,
        **given: Unpack[SettingsGiven],
    ) -> Detector:
        """Load weights by name or path, with `Settings` as keywords.

        ``views`` is the number looked at of each picture (see `nsnet_cli.views.plan`); None takes that which the
        weights were calibrated with.  Precision ``auto`` gives the verdicts of float32, on processors that are faster
        at bfloat16 by way of that wherever it settles them (`nsnet_cli.judges.fast_first`).  Without ``network`` that
        waits until it is needed, for who wants `model` and `options` alone.  Raises `WeightsError` or `UsageError`.
        """
        settings = Settings.of(given)
        if views is not None and not 1 <= views <= 16:
            raise UsageError(f"views must lie between 1 and 16, not {views}")
        detector = cls(load_weights(weights), views, settings)
        if network:
            _ = detector.network
        return detector

    def expect(self, pictures: int) -> None:
        if self._fast_first is not None:
            self._fast_first.expect(pictures)

    def judged(self, pictures: Sequence[Prepared | DeliveredViews], probes: bool = False) -> list[Scored]:
        seen = [(p.views, p.plan) for p in pictures if p.views is not None]
        return self.score_views([views for views, _ in seen], [plan for _, plan in seen], probes)

    def score_views(
        self, pictures: Sequence[Pixels], plans: Sequence[Sequence[View]], probes: bool = False
    ) -> list[Scored]:
        """What the network says of each of ``pictures``: its views ``(views, 3, S, S)`` uint8 and their plan."""
        if self._fast_first is None or probes:  # local scores are those of float32
            return self.network.score(pictures, plans, probes)
        return self._fast_first.score(pictures, plans)

    def local_scores(self, pixels: Pixels) -> LocalScores:
        """Each part as if a scan's window had shown it alone, the mosaics being what they are."""
        network, recipe = self.network, self.weights.info.selection
        scan = make_views(pixels, recipe, self.views)
        kind = WINDOW if recipe.window else MOSAIC
        # Without windows a tile is a mosaic of patches that lie side by side, and all that is judged.
        others = (
            [network.look(scan.pixels[k : k + 1], MOSAIC).features for k in scan.selections] if recipe.window else []
        )

        def said(tiles: Sequence[Square]) -> Doubles:
            views = np.stack([scale_window(pixels, recipe, *tile) for tile in tiles])
            seen = network.look(views, kind, probes=True).probes_seen
            every = np.zeros(len(seen.embedding), np.int64)
            judged: dict[ViewKind, list[Features]] = {kind: [seen]}
            if others:
                judged = {MOSAIC: [other.rows(every) for other in others], WINDOW: [seen]}
            side = network.probes_of(kind).cells
            return network.fused(judged).reshape(len(tiles), side, side)

        return LocalScores(recipe.window or recipe.size, said)

    def patch_results(self, prepared: Prepared, said: Scored) -> tuple[PatchResult, ...]:
        return tuple(self._patch_results(prepared, said))

    def _patch_results(self, prepared: Prepared, said: Scored) -> Iterator[PatchResult]:
        """The patches of all mosaics, with their local scores where the network was asked for them."""
        scores = {}
        assert prepared.picture is not None
        width, height = prepared.picture.size
        if said.looks:
            scores = patch_scores(self.network, said.looks, prepared.selections, prepared.windows, prepared.plan)
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
