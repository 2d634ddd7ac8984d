"""Features of the frozen tower, computed once and kept: what makes training a matter of minutes.

With ``stem`` the tokens after that many blocks are kept as well, so that fine-tuning of the blocks above
never pays for those below (0 keeps the tokens as they enter the first block).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nsnet_cli.deliveries import random_chain_mark
from nsnet_cli.errors import WeightsError
from nsnet_cli.labelled import LabelledPicture, manifest_hash
from nsnet_cli.preprocess import Normaliser
from nsnet_cli.safefile import read_header, write_safetensors
from nsnet_cli.selection import SelectionRecipe
from nsnet_cli.training.views import Rendered, Rendering
from nsnet_cli.vit import VisionTransformer, VitFeatures

_CACHE_FORMAT = "nsnet.features/1"
_SHARD = 256


@dataclass(frozen=True)
class StemTokens:
    """Tokens after the frozen lower blocks, ``(1 + tokens, width)`` a picture in bfloat16, read where they lie."""

    shards: tuple[Path, ...]
    stem: int

    def rows(self, indices: Sequence[int]) -> Tensor:
        """Tokens ``(len(indices), 1 + tokens, width)`` float32."""
        from safetensors import safe_open

        out: list[Tensor] = []
        for index in indices:
            shard, row = divmod(index, _SHARD)
            with safe_open(self.shards[shard], framework="pt") as file:
                out.append(file.get_slice("tokens")[row : row + 1])
        return torch.cat(out).float()


@dataclass(frozen=True)
class KeptFeatures:
    """One rendering of every picture: features of the whole frozen tower, and, if asked for, its stem's tokens."""

    features: VitFeatures
    tokens: StemTokens


def frozen_features(
    tower: VisionTransformer,
    pictures: Sequence[LabelledPicture],
    recipe: SelectionRecipe,
    normalise: Normaliser,
    folder: Path,
    rendering: Rendering,
    tower_sha256: str,
    stem: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> KeptFeatures:
    """Features of one rendering of each picture, class tokens in float16; with ``stem`` its tokens too.

    Kept below ``folder`` in shards that are written whole; a run that was killed computes only what is
    missing.  Raises `WeightsError` for shards of another recipe or other data.
    """
    from safetensors import safe_open

    precision = tower.conv1.weight.dtype
    # Shards hold rows by position, so the order of the pictures counts, which `manifest_hash` leaves out.
    order = hashlib.sha256("\n".join(p.name for p in pictures).encode()).hexdigest()
    fingerprint = f"{manifest_hash(list(pictures))}:{order}:{tower_sha256}:{recipe}:{rendering}:{precision}"
    if rendering.seed is not None:
        fingerprint += f":deliveries {random_chain_mark()}"
    if stem is not None:
        fingerprint += f":stem {stem}"
        folder = folder / f"stem-{stem}"
    embeddings: list[Tensor] = []
    class_tokens: list[Tensor] = []
    shards: list[Path] = []
    for first in range(0, len(pictures), _SHARD):
        last = min(first + _SHARD, len(pictures))
        path = folder / rendering.name / f"{first:07d}.safetensors"
        if not path.exists():
            data = Rendered(pictures, range(last), recipe, [rendering], start=first)
            made = [_encode(tower, normalise, views, stem) for views, _ in DataLoader(data, batch_size=16)]
            shard = {name: torch.cat([part[name] for part in made]) for name in made[0]}
            write_safetensors(path, shard, {"format": _CACHE_FORMAT, "fingerprint": fingerprint})
        if read_header(path).metadata.get("fingerprint") != fingerprint:
            raise WeightsError(f"{path}: features of another recipe or other data; use another --work folder")
        with safe_open(path, framework="pt") as file:
            embeddings.append(file.get_tensor("embedding"))
            class_tokens.append(file.get_tensor("class_tokens"))
        shards.append(path)
        report(last, len(pictures))
    features = VitFeatures(torch.cat(embeddings), torch.cat(class_tokens))
    return KeptFeatures(features, StemTokens(tuple(shards), stem or 0))


@torch.inference_mode()
def _encode(tower: VisionTransformer, normalise: Normaliser, views: Tensor, stem: int | None) -> dict[str, Tensor]:
    x, lower = tower.through(tower.embed(normalise(views.to(tower.class_embedding.device))), 1, stem or 0)
    features = tower.finish(x, lower)
    kept = {"embedding": features.embedding.float().cpu(), "class_tokens": features.class_tokens.half().cpu()}
    return kept | ({"tokens": x.bfloat16().cpu()} if stem is not None else {})
