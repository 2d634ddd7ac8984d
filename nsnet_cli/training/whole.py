"""Whole pictures: looked at as a scan looks at them, at all their scales.

Training crops are no larger than a window.  A detector that is calibrated on them alone promises error rates for
crops; so whole originals of the same folds are scored beside them, and enter fusion, calibration and band.  Those of
the folds that are learnt from are met by the kernel head, beside its anchors.

Most lossless files are generated, most others are not, and a head that meets them so learns to tell PNG from JPEG.  So
it is known which ones are lossless, and both labels weigh alike among them, and among the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.inputs.decode import channels_first
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VisionTransformer, VitFeatures
from nsnet_cli.training.shelf import Shelf, by_shard
from nsnet_cli.training.views import read_original
from nsnet_cli.views.plan import MOSAIC, WINDOW, ViewKind, make_views
from nsnet_cli.views.selection import SelectionRecipe

_CACHE_FORMAT = "nsnet.whole/3"
_SHARD = 64
_BATCH = 16
WHOLE_KINDS: tuple[ViewKind, ...] = (MOSAIC, WINDOW)


@dataclass(frozen=True)
class WholeFeatures:
    """Of ``N`` pictures: ``features`` of all views, a row a view; by row, ``owner`` is the picture's position and
    ``kind`` that of the kind of view among mosaic and window; ``lossless`` whether the picture's file lost nothing."""

    features: VitFeatures
    owner: Tensor
    kind: Tensor
    lossless: Tensor

    def is_lossless(self, n: int) -> bool:
        """Whether the file of the ``n``-th picture lost nothing."""
        return bool(self.lossless[self.owner == n].any())

    def alike(self, pictures: Sequence[int]) -> list[tuple[list[int], dict[ViewKind, list[VitFeatures]]]]:
        """The ``pictures`` in parts of as many views of each kind: which ones, and by kind the features of each view, a
        row a picture."""
        parts: dict[tuple[int, ...], list[tuple[int, list[Tensor]]]] = {}
        for n in pictures:
            rows = [torch.nonzero((self.owner == n) & (self.kind == k))[:, 0] for k in range(len(WHOLE_KINDS))]
            parts.setdefault(tuple(map(len, rows)), []).append((n, rows))
        return [
            (
                [n for n, _ in part],
                {
                    kind: [self.features.rows(torch.stack([rows[k][v] for _, rows in part])) for v in range(counts[k])]
                    for k, kind in enumerate(WHOLE_KINDS)
                    if counts[k]
                },
            )
            for counts, part in sorted(parts.items())
        ]


@torch.inference_mode()
def whole_features(
    tower: VisionTransformer,
    pictures: Sequence[LabelledPicture],
    recipe: SelectionRecipe,
    views: int,
    normalise: Normaliser,
    folder: Path,
    fingerprint: str,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> WholeFeatures:
    """Features of the frozen tower of all that a scan looks at in each of ``pictures``, class tokens in float16.

    Kept below ``folder`` by the pictures' names (`Shelf`); ``fingerprint`` marks what they hang on beside those.
    Raises `WeightsError` for what is kept of another recipe.
    """
    from safetensors.torch import load_file

    def make(parts: Sequence[Sequence[int]]) -> Iterator[dict[str, Tensor]]:
        return (_encoded(tower, [pictures[n] for n in part], recipe, views, normalise) for part in parts)

    shelf = Shelf(folder, _CACHE_FORMAT, fingerprint)
    parts: dict[str, list[Tensor]] = {}
    for path, held in by_shard(shelf.filled([p.name for p in pictures], _SHARD, make, report)).items():
        kept = load_file(path)
        at = {position: n for n, position in held}
        kept["owner"] = torch.tensor([at.get(position, -1) for position in kept["owner"].tolist()])
        ours = kept["owner"] >= 0
        for name, tensor in kept.items():
            parts.setdefault(name, []).append(tensor[ours])
    whole = {name: torch.cat(tensors) for name, tensors in parts.items()}
    features = VitFeatures(whole["embedding"], whole["class_tokens"])
    return WholeFeatures(features, whole["owner"], whole["kind"], whole["lossless"])


def _encoded(
    tower: VisionTransformer,
    pictures: Sequence[LabelledPicture],
    recipe: SelectionRecipe,
    views: int,
    normalise: Normaliser,
) -> dict[str, Tensor]:
    device = tower.class_embedding.device
    pixels, owner, kind, lossless = [], [], [], []
    for n, picture in enumerate(pictures):
        image, lost_nothing = read_original(picture.path)
        made = make_views(channels_first(np.array(image)), recipe, views)
        pixels.append(torch.from_numpy(made.pixels))
        owner += [n] * len(made.plan)
        kind += [WHOLE_KINDS.index(view.kind) for view in made.plan]
        lossless += [lost_nothing] * len(made.plan)
    seen = [tower(normalise(few.to(device))) for few in torch.cat(pixels).split(_BATCH)]
    return {
        "embedding": torch.cat([f.embedding.float().cpu() for f in seen]),
        "class_tokens": torch.cat([f.class_tokens.half().cpu() for f in seen]),
        "owner": torch.tensor(owner),
        "kind": torch.tensor(kind),
        "lossless": torch.tensor(lossless),
    }
