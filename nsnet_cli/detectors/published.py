"""A published detector as a scanner: what NS-Net's weights can be asked, its weights can be asked, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from nsnet_cli.arrays import Doubles, Pixels
from nsnet_cli.detectors.crops import Crops, at_least
from nsnet_cli.detectors.look import PublishedLook
from nsnet_cli.detectors.registry import find_detector
from nsnet_cli.detectors.scorer import Scorer, Seen
from nsnet_cli.detectors.weights import detector_info, detector_weights
from nsnet_cli.disk import sha256_of
from nsnet_cli.engines.preparing import DeliveredViews, Prepared
from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.judges.network import Scored
from nsnet_cli.scanner import Known, LocalScores, Scanner, Settings, SettingsGiven, learnt_from
from nsnet_cli.tower.devices import choose_device
from nsnet_cli.views.plan import Square
from nsnet_cli.weights.store import find_weights

_SUFFIX = ".safetensors"
# Squares that a map is made of unless told otherwise: small networks look at many in the time of one of NS-Net's.
_BUDGET = 256
# Pixels: no network takes less; and what a cell of a map is, as in NS-Net's maps.
_LEAST_SIDE, _CELL = 64, 32
# Side in pixels of a square of the map of a detector that sees another shape than squares.
_MAP_SIDE = 256


class PublishedDetector(Scanner):
    """A detector of `nsnet detectors` with its weights loaded."""

    def __init__(self, path: Path, settings: Settings) -> None:
        info, self._device = detector_info(path), choose_device(settings.device)
        self._precision = "fp32" if settings.precision == "auto" else settings.precision
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self._scorer = Scorer.load(path, self._device, self._precision)
        detector, tower = self._scorer.detector, self._scorer.tower
        known = Known(
            name=info.name,
            method=info.detector,
            weights_sha256=sha256_of(path),
            tower=info.tower,
            calibration=info.calibration,
            look=PublishedLook.of(detector.eyes, None if tower is None else tower.info.config.image_size),
            views=1 if not isinstance(detector.eyes, Crops) else detector.eyes.count,
            device=self._device,
            precision=self._precision,
            trained_on=learnt_from(info.training),
        )
        super().__init__(known, replace(settings, patches=False))  # there are none

    @classmethod
    def load(cls, name_or_path: str, **given: Unpack[SettingsGiven]) -> PublishedDetector:
        """Load the weights of a detector by its name, or by their path, with `Settings` as keywords.

        Precision ``auto`` is float32.  Raises `UsageError` for an unknown name and `WeightsError` where there are no
        weights, or none that fit.
        """
        return cls(find_published(name_or_path), Settings.of(given))

    def judged(self, pictures: Sequence[Prepared | DeliveredViews], probes: bool = False) -> list[Scored]:
        def seen(views: Pixels, beside: Pixels | None) -> Seen:
            return Seen(views, beside) if self._scorer.detector.eyes is not None else Seen(None, views[0])

        scores = self._scorer.judge([seen(p.views, p.beside) for p in pictures if p.views is not None])
        return [Scored(score, None, precision=self._precision) for score in scores]

    def local_scores(self, pixels: Pixels) -> LocalScores:
        scorer = self._scorer
        if not scorer.is_local:
            raise UsageError(f"{self.known.method} judges a picture as a whole: it has no map")

        def said(tiles: Sequence[Square]) -> Doubles:
            """Of a picture that is smaller than networks take, what it is continued by is left out again."""
            squares = [
                at_least(pixels[:, top : top + side, left : left + side], _LEAST_SIDE) for left, top, side in tiles
            ]
            local = scorer.local(np.stack(squares)).astype(np.float64)
            rows, side = local.shape[1], tiles[0][2]
            inside = max(1, round(rows * side / squares[0].shape[1]))
            return _averaged(local[:, :inside, :inside], max(1, round(side / _CELL)))

        side = scorer.detector.eyes.side if scorer.detector.eyes is not None else _MAP_SIDE
        # Scaled down, what these networks look at is gone.
        return LocalScores(side, said, scales=False, budget=_BUDGET, kind=f"{self.known.method}-local")


def _averaged(grids: Doubles, cells: int) -> Doubles:
    """Grids ``(n, rows, rows)`` as ``(n, cells, cells)`` or as they are, where they are no finer: means of what is in
    each cell, since a map takes a point of each."""
    if grids.shape[1] <= cells:
        return grids
    starts = np.arange(cells) * grids.shape[1] // cells
    sums = np.add.reduceat(np.add.reduceat(grids, starts, axis=1), starts, axis=2)
    counts = np.diff([*starts, grids.shape[1]])
    means: Doubles = sums / np.outer(counts, counts)
    return means


def find_published(name_or_path: str) -> Path:
    """The weights of a detector by its name or their path; see `PublishedDetector.load` for what is raised."""
    if name_or_path.endswith(_SUFFIX):
        return find_weights(name_or_path)
    path = detector_weights(name_or_path)
    if path is None:
        name = find_detector(name_or_path).about.name
        raise WeightsError(
            f"there are no weights of {name} here; `nsnet train MANIFEST --detector {name}` makes them, and --detector "
            "takes their path, too"
        )
    return path
