"""Where fine-tuning takes its steps from: tokens or views that were kept, or pictures that are delivered anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VisionTransformer, keep_tokens
from nsnet_cli.training.features import KeptFeatures, one_thread, rendering_workers
from nsnet_cli.training.recipe import FitConfig, draw, kept_tokens
from nsnet_cli.training.views import Rendered, Rendering
from nsnet_cli.views.plan import View, ViewKind


@dataclass(frozen=True)
class Batch:
    """One step's views, all of one ``kind``, on their way through the tower.

    ``tokens`` ``(N, length, width)`` have passed the frozen lower blocks, whose class tokens are ``lower``
    ``(N, blocks, width)``; ``labels`` is ``(N,)``.
    """

    kind: ViewKind
    tokens: Tensor
    lower: Tensor
    labels: Tensor


class Batches(Protocol):
    """The steps of a tuning phase, kinds of view in turn; step ``k`` is the same whenever it is asked for."""

    def __call__(self, tower: VisionTransformer, first_step: int) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class KeptBatches:
    """Steps from kept tokens or views; each picture in a rendering drawn at random."""

    renderings: Mapping[ViewKind, Sequence[KeptFeatures]]
    pictures: Sequence[LabelledPicture]
    indices: Sequence[int]
    config: FitConfig

    def __call__(self, tower: VisionTransformer, first_step: int) -> Iterator[Batch]:
        config, phase = self.config, self.config.tune
        device = tower.class_embedding.device
        order = draw([self.pictures[i] for i in self.indices], phase, config.seed)
        kinds = list(self.renderings)
        for step in range(first_step, phase.steps):
            kind = kinds[step % len(kinds)]
            rows = [self.indices[k] for k in order[step * phase.batch : (step + 1) * phase.batch]]
            rng = Random(f"rendering:{config.seed}:{step}")
            tokens, lower = _entered(tower, self.renderings[kind], rows, rng)
            keep = kept_tokens(len(rows), step, phase, config.selection, tower.config.tokens, config.seed)
            labels = torch.tensor([self.pictures[row].label for row in rows])
            tokens = tokens if keep is None else keep_tokens(tokens, keep.to(device))
            yield Batch(kind, tokens, lower, labels.to(device))


def _entered(
    tower: VisionTransformer, renderings: Sequence[KeptFeatures], rows: Sequence[int], rng: Random
) -> tuple[Tensor, Tensor]:
    """What the tuned blocks take of each row, in a rendering of its own; those of one rendering at once."""
    drawn = [rng.randrange(len(renderings)) for _ in rows]
    together = sorted(range(len(rows)), key=lambda k: drawn[k])
    parts = [
        kept.enter(tower, [rows[k] for k in together if drawn[k] == number])
        for number, kept in enumerate(renderings)
        if number in drawn
    ]
    back = torch.tensor(together).argsort().to(tower.class_embedding.device)
    return torch.cat([tokens for tokens, _ in parts])[back], torch.cat([lower for _, lower in parts])[back]


@dataclass(frozen=True)
class FreshBatches:
    """Steps from the pictures themselves, each delivered, cut and shuffled anew."""

    kinds: Sequence[ViewKind]
    pictures: Sequence[LabelledPicture]
    config: FitConfig
    normalise: Normaliser

    def __call__(self, tower: VisionTransformer, first_step: int) -> Iterator[Batch]:
        config, phase = self.config, self.config.tune
        device = tower.class_embedding.device
        order = draw(self.pictures, phase, config.seed)
        seed = config.seed if config.augment else None
        renderings = [Rendering(View(kind, 0), seed, anew=True) for kind in self.kinds]
        data = Rendered(self.pictures, order, config.selection, renderings, phase.batch, first_step * phase.batch)
        workers = max(1, rendering_workers(device))
        loader = DataLoader(
            data, batch_size=phase.batch, num_workers=workers, prefetch_factor=4, worker_init_fn=one_thread
        )
        for step, (views, labels) in enumerate(loader, start=first_step):
            keep = kept_tokens(len(views), step, phase, config.selection, tower.config.tokens, config.seed)
            with torch.no_grad():
                embedded = tower.embed(self.normalise(views.to(device)), None if keep is None else keep.to(device))
                tokens, lower = tower.through(embedded, 1, config.adaptation.first_block - 1)
            yield Batch(self.kinds[step % len(self.kinds)], tokens, lower, labels.to(device))
