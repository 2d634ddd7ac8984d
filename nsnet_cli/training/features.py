"""Features of a frozen tower, computed once and kept: what makes training a head a matter of minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nsnet_cli.errors import WeightsError
from nsnet_cli.labelled import LabelledPicture, manifest_hash
from nsnet_cli.preprocess import Normaliser
from nsnet_cli.safefile import read_header, write_safetensors
from nsnet_cli.selection import SelectionRecipe
from nsnet_cli.training.views import Mosaics, Rendering
from nsnet_cli.vit import VisionTransformer, VitFeatures

_CACHE_FORMAT = "nsnet.features/1"
_SHARD = 256


def frozen_features(
    tower: VisionTransformer,
    pictures: Sequence[LabelledPicture],
    recipe: SelectionRecipe,
    normalise: Normaliser,
    folder: Path,
    rendering: Rendering,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> VitFeatures:
    """Features of one rendering of each picture, class tokens in float16.

    Kept below ``folder`` in shards that are written whole; a run that was killed computes only what is
    missing.  Raises `WeightsError` for shards of another recipe or other data.
    """
    from safetensors.torch import load_file

    precision = tower.conv1.weight.dtype
    fingerprint = f"{manifest_hash(list(pictures))}:{recipe}:{rendering}:{precision}"
    embeddings: list[Tensor] = []
    tokens: list[Tensor] = []
    for first in range(0, len(pictures), _SHARD):
        last = min(first + _SHARD, len(pictures))
        path = folder / rendering.name / f"{first:07d}.safetensors"
        if not path.exists():
            data = Mosaics(pictures, range(last), recipe, rendering, start=first)
            made = [_encode(tower, normalise, mosaics) for mosaics, _ in DataLoader(data, batch_size=16)]
            shard = {
                "embedding": torch.cat([f.embedding for f in made]),
                "class_tokens": torch.cat([f.class_tokens for f in made]).half(),
            }
            write_safetensors(path, shard, {"format": _CACHE_FORMAT, "fingerprint": fingerprint})
        if read_header(path).metadata.get("fingerprint") != fingerprint:
            raise WeightsError(f"{path}: features of another recipe or other data; use another --work folder")
        shard = load_file(path)
        embeddings.append(shard["embedding"])
        tokens.append(shard["class_tokens"])
        report(last, len(pictures))
    return VitFeatures(torch.cat(embeddings), torch.cat(tokens))


@torch.inference_mode()
def _encode(tower: VisionTransformer, normalise: Normaliser, mosaics: Tensor) -> VitFeatures:
    device = tower.class_embedding.device
    features = tower(normalise(mosaics.to(device)))
    return VitFeatures(features.embedding.float().cpu(), features.class_tokens.float().cpu())
