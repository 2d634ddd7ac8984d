"""Features of a frozen tower, computed once and kept: what makes training a head a matter of minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nsnet_cli.errors import WeightsError
from nsnet_cli.preprocess import Normaliser
from nsnet_cli.safefile import read_header, write_safetensors
from nsnet_cli.selection import SelectionRecipe
from nsnet_cli.training.manifest import LabelledPicture, manifest_hash
from nsnet_cli.training.views import AugmentedMosaics
from nsnet_cli.vit import VisionTransformer, VitFeatures

_CACHE_FORMAT = "nsnet.features/1"
_SHARD = 256


def frozen_features(
    tower: VisionTransformer,
    pictures: Sequence[LabelledPicture],
    recipe: SelectionRecipe,
    normalise: Normaliser,
    folder: Path,
    views: int,
    seed: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> VitFeatures:
    """Features of ``views`` augmented mosaics of each picture: ``(len(pictures) * views, ...)``, views innermost.

    Kept in ``folder`` in shards that are written whole; a run that was killed computes only what is
    missing.  Raises `WeightsError` for shards of another recipe or other data.
    """
    order = [index for index in range(len(pictures)) for _ in range(views)]
    fingerprint = f"{manifest_hash(list(pictures))}:{recipe}:{seed}:{views}:{tower.conv1.weight.dtype}"
    embeddings: list[Tensor] = []
    tokens: list[Tensor] = []
    for first in range(0, len(order), _SHARD):
        path = folder / f"features-{first:07d}.safetensors"
        if not path.exists():
            data = AugmentedMosaics(pictures, order[: first + _SHARD], recipe, seed, start=first)
            made = [_encode(tower, normalise, mosaics) for mosaics, _ in DataLoader(data, batch_size=16)]
            shard = {
                "embedding": torch.cat([f.embedding for f in made]),
                "class_tokens": torch.cat([f.class_tokens for f in made]).half(),
            }
            write_safetensors(path, shard, {"format": _CACHE_FORMAT, "fingerprint": fingerprint})
        if read_header(path).metadata.get("fingerprint") != fingerprint:
            raise WeightsError(f"{path}: features of another recipe or other data; use another --work folder")
        from safetensors.torch import load_file

        shard = load_file(path)
        embeddings.append(shard["embedding"])
        tokens.append(shard["class_tokens"])
        report(min(first + _SHARD, len(order)), len(order))
    return VitFeatures(torch.cat(embeddings), torch.cat(tokens))


@torch.no_grad()
def _encode(tower: VisionTransformer, normalise: Normaliser, mosaics: Tensor) -> VitFeatures:
    device = tower.class_embedding.device
    features = tower(normalise(mosaics.to(device)))
    return VitFeatures(features.embedding.float().cpu(), features.class_tokens.float().cpu())
