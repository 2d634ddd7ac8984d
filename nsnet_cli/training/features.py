"""Features of the frozen tower, computed once and kept: what makes training a matter of minutes.

With ``stem`` more is kept, so that fine-tuning never pays twice for what it does not change: the tokens after that many
frozen blocks, or, where the first block is tuned already (``stem`` 0), the views themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import threadpoolctl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VisionTransformer, VitFeatures
from nsnet_cli.training.chains import random_chain_mark
from nsnet_cli.training.shelf import Place, Shelf, by_shard
from nsnet_cli.training.views import Rendered, Rendering
from nsnet_cli.views.selection import SelectionRecipe

_CACHE_FORMAT = "nsnet.features/2"
_SHARD = 256
_BATCH = 16


@dataclass(frozen=True)
class KeptFeatures:
    """One rendering of every picture.

    ``features`` are those of the whole frozen tower; ``places`` say, by picture, where what enters block ``stem + 1``
    is kept.  ``views`` ``(n, 3, S, S)`` uint8 are all of it, where a GPU has room for what a disk is slow to give.
    """

    features: VitFeatures
    places: tuple[Place, ...]
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
            path, position = self.places[row]
            with safe_open(path, framework="pt") as file:
                found.append(file.get_slice("tokens" if self.stem else "views")[position : position + 1])
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

    Kept below ``folder`` by the pictures' names (`Shelf`).  Raises `WeightsError` for what is kept of another recipe.
    """
    if stem is not None:
        folder = folder / f"stem-{stem}"
    shelf = Shelf(folder / rendering.name, _CACHE_FORMAT, _fingerprint(tower, recipe, rendering, tower_sha256, stem))
    make = partial(_encoded, tower, pictures, recipe, normalise, rendering, stem)
    places = tuple(shelf.filled([picture.name for picture in pictures], _SHARD, make, report))
    features = VitFeatures(_read(places, "embedding"), _read(places, "class_tokens"))
    kept = KeptFeatures(features, places, stem or 0, normalise)
    return replace(kept, views=_held(kept, tower.class_embedding.device)) if stem == 0 else kept


def _fingerprint(
    tower: VisionTransformer, recipe: SelectionRecipe, rendering: Rendering, tower_sha256: str, stem: int | None
) -> str:
    """A mark of all that features hang on beside the picture."""
    precision = tower.conv1.weight.dtype
    mark = f"{tower_sha256}:{recipe}:{rendering}:{precision}"
    if rendering.seed is not None:
        mark += f":deliveries {random_chain_mark()}"
    if tower.class_embedding.device.type != "cpu":
        mark += ":TF32"  # what a GPU multiplies in while training
    if stem is not None:
        mark += f":stem {stem}" if stem else ":views"
    return mark


def _read(places: Sequence[Place], name: str, device: torch.device | None = None) -> Tensor:
    """The tensor of that ``name``, a row a picture."""
    from safetensors import safe_open

    whole: Tensor | None = None
    for path, held in by_shard(places).items():
        with safe_open(path, framework="pt") as file:
            part = file.get_tensor(name)
        if whole is None:
            whole = part.new_empty((len(places), *part.shape[1:]), device=device)
        rows, positions = (torch.tensor(numbers) for numbers in zip(*held, strict=True))
        whole[rows.to(whole.device)] = part[positions].to(whole.device)
    assert whole is not None
    return whole


def _held(kept: KeptFeatures, device: torch.device) -> Tensor | None:
    """All views on ``device``, or None where they stay on disk: a CPU waits for the tower, not for the disk."""
    size = sum(path.stat().st_size for path in by_shard(kept.places))
    return None if free_memory(device) < 2 * size else _read(kept.places, "views", device)


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
    shards: Sequence[Sequence[int]],
) -> Iterator[dict[str, Tensor]]:
    """The tensors of each of ``shards``, pictures by position, in turn."""
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
