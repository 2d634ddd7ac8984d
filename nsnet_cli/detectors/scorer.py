"""What a trained detector says of decoded pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nsnet_cli.arrays import Floats, Pixels
from nsnet_cli.detectors.frozen import FrozenTower
from nsnet_cli.detectors.interface import Detector
from nsnet_cli.detectors.layers.network import LocalNetwork, Network
from nsnet_cli.detectors.weights import load_detector
from nsnet_cli.errors import WeightsError
from nsnet_cli.weights.store import find_weights

# Views that go through a network together on a CPU; more are no faster.
_TOGETHER = 4


@dataclass(frozen=True)
class Seen:
    """What a detector sees of one picture: ``views`` ``(views, *shape)`` uint8, and what the tower sees of it."""

    views: Pixels | None
    centre: Pixels | None


class Scorer:
    """A detector with a trained network on ``device``, in ``precision`` ``fp32`` or ``bf16``."""

    def __init__(
        self,
        detector: Detector,
        network: Network,
        tower: FrozenTower | None = None,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        if detector.tower and tower is None:
            raise ValueError(f"{detector.about.name} looks through a tower")
        self.detector, self.tower, self.device, self.precision = detector, tower, device, precision
        self.network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> Scorer:
        """The detector of a weights file.  Raises `WeightsError`, also where its tower is another one than here."""
        detector, info, network = load_detector(path)
        tower = None
        if detector.tower:
            if info.tower is None:
                raise WeightsError(f"{path}: it does not say which tower it looks through")
            beside = path.parent / f"{info.tower}.safetensors"
            tower = FrozenTower(beside if beside.is_file() else find_weights(info.tower), precision, device)
            if tower.sha256 != info.tower_sha256:
                raise WeightsError(
                    f"{tower.path}: SHA-256 is {tower.sha256}, but {path.name} was trained on {info.tower_sha256}"
                )
        return cls(detector, network, tower, device, precision)

    def see(self, pixels: Pixels) -> Seen:
        """What is looked at of a picture ``(3, H, W)`` uint8; needs no network, so that others can do it."""
        eyes, tower = self.detector.eyes, self.tower
        return Seen(None if eyes is None else eyes.look(pixels), None if tower is None else tower.look(pixels))

    def score(self, pictures: Sequence[Pixels]) -> list[float]:
        """Logits of pictures ``(3, H, W)`` uint8, each the mean over its views."""
        return self.judge([self.see(pixels) for pixels in pictures])

    def judge(self, seen: Sequence[Seen], embeddings: Tensor | None = None) -> list[float]:
        """Logits of pictures as they are seen; ``embeddings`` ``(N, embed_dim)`` where the tower was asked before."""
        if not seen:
            return []
        if embeddings is None and self.tower is not None:
            embeddings = self.tower.embed(np.stack([one.centre for one in seen if one.centre is not None]))
        counts = [1 if one.views is None else len(one.views) for one in seen]
        features = (
            torch.zeros(sum(counts), 0) if embeddings is None else embeddings.repeat_interleave(torch.tensor(counts), 0)
        )
        looked = [one.views for one in seen if one.views is not None]
        views = torch.from_numpy(np.concatenate(looked)) if looked else torch.zeros(sum(counts), 0)
        logits = self._forward(views, features)
        return [float(part.mean()) for part in logits.split(counts)]

    @property
    def is_local(self) -> bool:
        """Whether the detector can say where."""
        return isinstance(self.network, LocalNetwork)

    def local(self, views: Pixels) -> Floats:
        """Local logits ``(N, rows, columns)`` of views ``(N, 3, H, W)`` uint8 of any one size."""
        network = self.network
        if not isinstance(network, LocalNetwork):
            raise ValueError(f"{self.detector.about.name} has no local scores")
        maps = []
        with torch.inference_mode(), self._in_precision():
            for part in torch.from_numpy(np.ascontiguousarray(views)).split(_TOGETHER):
                maps.append(network.local(part.to(self.device)).float().cpu().numpy())
        local: Floats = np.concatenate(maps)
        return local

    def _forward(self, views: Tensor, features: Tensor) -> Tensor:
        few = _TOGETHER if self.device == "cpu" else max(1, len(views))
        with torch.inference_mode(), self._in_precision():
            parts = zip(views.split(few), features.split(few), strict=True)
            return torch.cat([self.network(v.to(self.device), f.to(self.device)).float().cpu() for v, f in parts])

    def _in_precision(self) -> torch.autocast:
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16")
