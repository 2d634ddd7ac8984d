"""The frozen CLIP tower, for detectors that look through it, and what it says of kept pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nsnet_cli.arrays import Pixels
from nsnet_cli.detectors.crops import centre
from nsnet_cli.detectors.store import Store
from nsnet_cli.disk import sha256_of
from nsnet_cli.errors import WeightsError
from nsnet_cli.tower.file import load_tower, tower_info
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VisionTransformer
from nsnet_cli.weights.safefile import read_header, write_safetensors

_KEPT_FORMAT = "nsnet.embeddings/1"
_BATCH = 8


class FrozenTower:
    """CLIP's image tower at ``path``, with its matrices in ``precision`` (``fp32`` or ``bf16``) on ``device``.

    It is loaded when it is first asked.
    """

    def __init__(self, path: Path, precision: str = "fp32", device: str = "cpu") -> None:
        self.path, self.precision, self.device = path, precision, device
        self.info = tower_info(path)

    @cached_property
    def sha256(self) -> str:
        return sha256_of(self.path)

    @property
    def embed_dim(self) -> int:
        return self.info.config.embed_dim

    def look(self, pixels: Pixels) -> Pixels:
        """What the tower sees of a picture: its centre ``(3, S, S)``, at its own resolution."""
        return centre(pixels, self.info.config.image_size)

    @torch.inference_mode()
    def embed(self, views: Pixels) -> Tensor:
        """Embeddings ``(N, embed_dim)`` float32, on the CPU, of views ``(N, 3, S, S)`` uint8."""
        normalise = Normaliser(self.info.mean, self.info.std)
        few = torch.from_numpy(np.ascontiguousarray(views)).split(_BATCH)
        return torch.cat([self._network(normalise(part.to(self.device))).embedding.float().cpu() for part in few])

    @cached_property
    def _network(self) -> VisionTransformer:
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        return load_tower(self.path).matrices_to(dtype).to(self.device)


def kept_embeddings(
    tower: FrozenTower, store: Store, folder: Path, report: Callable[[int, int], None] = lambda done, total: None
) -> Tensor:
    """Embeddings ``(renderings, pictures, embed_dim)`` of all that ``store`` holds; kept below ``folder`` by shard.

    Raises `WeightsError` for embeddings of other pictures or another tower.
    """
    from safetensors import safe_open

    fingerprint = f"{store.fingerprint}:{tower.sha256}:{tower.precision}"
    total = store.renderings * len(store)
    found: list[list[Tensor]] = []
    done = 0
    for rendering in range(store.renderings):
        found.append([])
        for rows in store.shards():
            path = folder / f"{rendering}-{rows.start:07d}.safetensors"
            if not path.exists():
                views = np.stack([tower.look(store.picture(rendering, row)) for row in rows])
                metadata = {"format": _KEPT_FORMAT, "fingerprint": fingerprint}
                write_safetensors(path, {"embedding": tower.embed(views)}, metadata)
            if read_header(path).metadata.get("fingerprint") != fingerprint:
                raise WeightsError(f"{path}: embeddings of other pictures or another tower; use another --work folder")
            with safe_open(path, framework="pt") as file:
                found[-1].append(file.get_tensor("embedding"))
            done += len(rows)
            report(done, total)
    return torch.stack([torch.cat(parts) for parts in found])
