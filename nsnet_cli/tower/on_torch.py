"""The tower on PyTorch: GPUs, and precisions that NumPy does not have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from nsnet_cli.arrays import Floats, Pixels
from nsnet_cli.tower.features import Features, ViewBatch, ViewFeatures, chosen
from nsnet_cli.tower.file import TowerInfo
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.probes import ProbeGrid
from nsnet_cli.tower.vit import VisionTransformer, VitFeatures, with_probes

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_VIEWS_ON_CPU = 4


class TorchTower:
    """CLIP's image tower with ``state`` (`nsnet_cli.tower.file.tower_state`).

    ``device`` is ``cpu``, ``cuda`` or ``mps``.  ``adapted`` is its state as training adapted it, where it did.  Its
    matrices are held in ``precision``, ``fp32`` or ``bf16``; norms and the residual stream are float32.
    """

    def __init__(
        self,
        info: TowerInfo,
        state: Mapping[str, Floats],
        device: str,
        precision: str,
        threads: int | None = None,
        adapted: Mapping[str, Floats] | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        # float32 means float32: a GPU's convolutions round to ten bits unless told otherwise.
        torch.backends.cudnn.allow_tf32 = False
        self._normalise = Normaliser(info.mean, info.std)

        def tower(tensors: Mapping[str, Tensor]) -> VisionTransformer:
            return VisionTransformer.of_state(info.config, tensors).matrices_to(_DTYPES[precision]).to(self._device)

        self._tower = tower({name: torch.from_numpy(value) for name, value in state.items()})
        self._adapted = self._tower if adapted is state else None
        if adapted is not None and adapted is not state:
            held = self._tower.state_dict()  # what is not adapted is not held twice
            self._adapted = tower(
                {name: held[name] if x is state[name] else torch.from_numpy(x) for name, x in adapted.items()}
            )

    @torch.inference_mode()
    def encode(self, batches: Sequence[ViewBatch]) -> list[ViewFeatures]:
        return [self._look(chosen(one, self._tower, self._adapted), one.views, one.grid) for one in batches]

    def _look(self, tower: VisionTransformer, views: Pixels, grid: ProbeGrid | None) -> ViewFeatures:
        looks = [
            self._plain(tower, few) if grid is None else self._probed(tower, few, grid) for few in self._split(views)
        ]
        probes = None if grid is None else Features.join([look.probes_seen for look in looks])
        return ViewFeatures(Features.join([look.features for look in looks]), probes)

    def _split(self, views: Pixels) -> Sequence[Tensor]:
        # On a CPU a few at a time are as fast as many, whose activations cost hundreds of megabytes.
        few = _VIEWS_ON_CPU if self._device.type == "cpu" else max(1, len(views))
        return torch.from_numpy(np.ascontiguousarray(views)).split(few)

    def _plain(self, tower: VisionTransformer, views: Tensor) -> ViewFeatures:
        return ViewFeatures(_arrays(tower(self._normalise(views.to(self._device)))))

    def _probed(self, tower: VisionTransformer, views: Tensor, grid: ProbeGrid) -> ViewFeatures:
        after = []

        def watch(block: int, tokens: Tensor) -> None:
            after.append(tokens[:, -grid.count :].float())

        late = int(tower.config.layers * grid.late)
        x, lower = tower.through(tower.embed(self._normalise(views.to(self._device))), 1, late)
        look = torch.from_numpy(grid.look(math.isqrt(tower.config.tokens))).to(self._device)
        x, upper = tower.through(with_probes(x, grid.count), late + 1, tower.config.layers, look, watch)
        features = VitFeatures(tower.to_joint(x[:, 0]), torch.cat([lower, upper], dim=1))
        before = lower[:, None].expand(-1, grid.count, -1, -1)
        seen = torch.cat([before, torch.stack(after, dim=2)], dim=2).flatten(0, 1)
        return ViewFeatures(_arrays(features), _arrays(VitFeatures(tower.to_joint(seen[:, -1]), seen)))


def _arrays(features: VitFeatures) -> Features:
    return Features(features.embedding.float().cpu().numpy(), features.class_tokens.float().cpu().numpy())
