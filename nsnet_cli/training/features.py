"""Features of the frozen tower, computed once and kept: what makes training a matter of minutes.

With ``stem`` more is kept, so that fine-tuning never pays twice for what it does not change: the tokens after that many
frozen blocks, or, where the first block is tuned already (``stem`` 0), the views themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import threadpoolctl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nsnet_cli.errors import WeightsError
from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash, order_hash
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VisionTransformer, VitFeatures
from nsnet_cli.training.chains import random_chain_mark
from nsnet_cli.training.views import Rendered, Rendering
from nsnet_cli.views.selection import SelectionRecipe
from nsnet_cli.weights.safefile import read_header, write_safetensors

_CACHE_FORMAT = "nsnet.features/1"
_SHARD = 256
_BATCH = 16


@dataclass(frozen=True)
class KeptFeatures:
    """One rendering of every picture.

    ``features`` are those of the whole frozen tower; ``shards`` the files that hold what enters block ``stem + 1``.
    ``views`` ``(n, 3, S, S)`` uint8 are all that the shards hold, where a GPU has room for what a disk is slow to give.
    """

    features: VitFeatures
    shards: tuple[Path, ...]
    stem: int
    normalise: Normaliser
    views: Tensor | None = None

    def enter(self, tower: VisionTransformer, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What the tuned blocks of ``tower`` take: tokens ``(n, 1 + tokens, width)``, and the class tokens below."""
        device = tower.class_embedding.device
        entering = self._entering(rows) if self.views is None else self.views[torch.tensor(rows, device=device)]
        lower = self.features.class_tokens[torch.tensor(rows), : self.stem].float().to(device)
        if self.stem:
            return entering.float().to(device), lower
        with torch.no_grad():
            return tower.embed(self.normalise(entering.to(device))), lower

    def _entering(self, rows: Sequence[int]) -> Tensor:
        from safetensors import safe_open

        found = []
        for row in rows:
            shard, offset = divmod(row, _SHARD)
            with safe_open(self.shards[shard], framework="pt") as file:
                found.append(file.get_slice("tokens" if self.stem else "views")[offset : offset + 1])
        return torch.cat(found)


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
    """Features of one rendering of each picture, class tokens in float16; with ``stem`` what enters the block after it.

    Kept below ``folder`` in shards that are written whole; a run that was killed computes only what is
    missing.  Raises `WeightsError` for shards of another recipe or other data.
    """
    from safetensors import safe_open

    fingerprint = _fingerprint(tower, pictures, recipe, rendering, tower_sha256, stem)
    if stem is not None:
        folder = folder / f"stem-{stem}"
    embeddings: list[Tensor] = []
    class_tokens: list[Tensor] = []
    starts = range(0, len(pictures), _SHARD)
    shards = {
        folder / rendering.name / f"{first:07d}.safetensors": range(first, min(first + _SHARD, len(pictures)))
        for first in starts
    }
    # Decided once: a shard that another run writes meanwhile is written again, with the same rows.
    missing = {path: rows for path, rows in shards.items() if not path.exists()}
    made = _encoded(tower, pictures, recipe, normalise, rendering, stem, list(missing.values()))
    for path, rows in shards.items():
        if path in missing:
            write_safetensors(path, next(made), {"format": _CACHE_FORMAT, "fingerprint": fingerprint})
        if read_header(path).metadata.get("fingerprint") != fingerprint:
            raise WeightsError(f"{path}: features of another recipe or other data; use another --work folder")
        with safe_open(path, framework="pt") as file:
            embeddings.append(file.get_tensor("embedding"))
            class_tokens.append(file.get_tensor("class_tokens"))
        report(rows.stop, len(pictures))
    kept = KeptFeatures(
        VitFeatures(torch.cat(embeddings), torch.cat(class_tokens)), tuple(shards), stem or 0, normalise
    )
    return replace(kept, views=_held(kept, tower.class_embedding.device)) if stem == 0 else kept


def _fingerprint(
    tower: VisionTransformer,
    pictures: Sequence[LabelledPicture],
    recipe: SelectionRecipe,
    rendering: Rendering,
    tower_sha256: str,
    stem: int | None,
) -> str:
    """A mark of all that shards hang on."""
    precision = tower.conv1.weight.dtype
    mark = f"{manifest_hash(list(pictures))}:{order_hash(pictures)}:{tower_sha256}:{recipe}:{rendering}:{precision}"
    if rendering.seed is not None:
        mark += f":deliveries {random_chain_mark()}"
    if tower.class_embedding.device.type != "cpu":
        mark += ":TF32"  # what a GPU multiplies in while training
    if stem is not None:
        mark += f":stem {stem}" if stem else ":views"
    return mark


def _held(kept: KeptFeatures, device: torch.device) -> Tensor | None:
    """All views on ``device``, or None where they stay on disk: a CPU waits for the tower, not for the disk."""
    from safetensors import safe_open

    size = sum(path.stat().st_size for path in kept.shards)
    if free_memory(device) < 2 * size:
        return None
    views = None
    for number, path in enumerate(kept.shards):
        with safe_open(path, framework="pt") as file:
            part = file.get_tensor("views")
        if views is None:
            views = part.new_empty((len(kept.features.embedding), *part.shape[1:]), device=device)
        views[number * _SHARD : number * _SHARD + len(part)] = part.to(device)
    return views


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU's own memory that are free; 0 for a CPU, and for what does not say."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def _encoded(
    tower: VisionTransformer,
    pictures: Sequence[LabelledPicture],
    recipe: SelectionRecipe,
    normalise: Normaliser,
    rendering: Rendering,
    stem: int | None,
    shards: Sequence[range],
) -> Iterator[dict[str, Tensor]]:
    """The tensors of each of ``shards``, ranges of pictures, in turn."""
    batches = [list(shard[first : first + _BATCH]) for shard in shards for first in range(0, len(shard), _BATCH)]
    data = Rendered(pictures, range(len(pictures)), recipe, [rendering])
    workers = rendering_workers(tower.class_embedding.device)
    loader = DataLoader(data, batch_sampler=batches, num_workers=workers, worker_init_fn=one_thread)
    views = iter(loader) if batches else iter(())
    for shard in shards:
        made = [_encode(tower, normalise, next(views)[0], stem) for _ in range(0, len(shard), _BATCH)]
        yield {name: torch.cat([part[name] for part in made]) for name in made[0]}


def rendering_workers(device: torch.device) -> int:
    """Processes that render: none where the tower takes every core itself, else a core each."""
    return 0 if device.type == "cpu" else os.cpu_count() or 1


def one_thread(worker: int) -> None:
    """Workers there are as many as cores: for each to take all of them would be slower than one."""
    threadpoolctl.threadpool_limits(1)


@torch.inference_mode()
def _encode(tower: VisionTransformer, normalise: Normaliser, views: Tensor, stem: int | None) -> dict[str, Tensor]:
    x, lower = tower.through(tower.embed(normalise(views.to(tower.class_embedding.device))), 1, stem or 0)
    features = tower.finish(x, lower)
    kept = {"embedding": features.embedding.float().cpu(), "class_tokens": features.class_tokens.half().cpu()}
    if stem is None:
        return kept
    return kept | ({"tokens": x.bfloat16().cpu()} if stem else {"views": views})
