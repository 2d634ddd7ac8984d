"""Whole pictures: looked at as a scan looks at them, at all their scales.

Training crops are no larger than a window.  A detector that is calibrated on them alone promises error rates for
crops; so whole originals of the same folds are scored beside them, and enter fusion, calibration and band.  Those of
the folds that are learnt from are met by the kernel head, beside its anchors.

What is met is in a *matched container*, as training crops are: nearly all lossless pictures are generated, and a head
that meets them as they are learns to tell PNG from JPEG.  So of a lossless original a copy is learnt from that went
through one generation of JPEG.  What is scored is the file as it is.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nsnet_cli.errors import WeightsError
from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.inputs.decode import channels_first
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VisionTransformer, VitFeatures
from nsnet_cli.training.views import read_original
from nsnet_cli.views.plan import MOSAIC, WINDOW, ViewKind, make_views
from nsnet_cli.views.selection import SelectionRecipe
from nsnet_cli.weights.safefile import read_header, write_safetensors

_CACHE_FORMAT = "nsnet.whole/2"
_SHARD = 64
_BATCH = 16
WHOLE_KINDS: tuple[ViewKind, ...] = (MOSAIC, WINDOW)
# Of the copy of a lossless original; training crops were made alike.
_QUALITIES, _SUBSAMPLINGS = (80, 98), (0, 2)


@dataclass(frozen=True)
class WholeFeatures:
    """Of ``N`` pictures: ``features`` of all views, a row a view; by row, ``owner`` is the picture's position and
    ``kind`` that of the kind of view among mosaic and window; ``matched`` where it shows not the file as it is but the
    copy of it that is learnt from."""

    features: VitFeatures
    owner: Tensor
    kind: Tensor
    matched: Tensor

    def of(self, n: int) -> dict[ViewKind, list[VitFeatures]]:
        """By kind, the features of each view of the ``n``-th picture as it is, of one row."""
        found: dict[ViewKind, list[VitFeatures]] = {}
        for row in torch.nonzero((self.owner == n) & ~self.matched)[:, 0]:
            found.setdefault(WHOLE_KINDS[int(self.kind[row])], []).append(self.features.rows(row[None]))
        return found

    def learnt(self, pictures: Sequence[int]) -> list[tuple[list[int], dict[ViewKind, list[VitFeatures]]]]:
        """What is learnt from of the ``pictures``, in parts of as many views of each kind: which ones, and by kind the
        features of each view, a row a picture."""
        parts: dict[tuple[int, ...], list[tuple[int, list[Tensor]]]] = {}
        for n in pictures:
            mine = self.owner == n
            mine &= self.matched if bool(self.matched[mine].any()) else ~self.matched
            rows = [torch.nonzero(mine & (self.kind == k))[:, 0] for k in range(len(WHOLE_KINDS))]
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

    Of lossless ones twice: as they are, and of the copy that is learnt from.  Kept below ``folder`` in shards that are
    written whole.  Raises `WeightsError` for shards of another recipe or other data, by their ``fingerprint`` and the
    order of the pictures.
    """
    from safetensors.torch import load_file

    # Rows lie by position, so the order of the pictures counts.
    order = hashlib.sha256("\n".join(p.name for p in pictures).encode()).hexdigest()
    fingerprint = f"{fingerprint}:{order}"
    parts: list[Mapping[str, Tensor]] = []
    for first in range(0, len(pictures), _SHARD):
        path = folder / f"{first:07d}.safetensors"
        if not path.exists():
            made = _encoded(tower, pictures[first : first + _SHARD], recipe, views, normalise)
            made["owner"] += first
            write_safetensors(path, made, {"format": _CACHE_FORMAT, "fingerprint": fingerprint})
        if read_header(path).metadata.get("fingerprint") != fingerprint:
            raise WeightsError(f"{path}: features of another recipe or other data; use another --work folder")
        parts.append(load_file(path))
        report(min(first + _SHARD, len(pictures)), len(pictures))
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    features = VitFeatures(whole["embedding"], whole["class_tokens"])
    return WholeFeatures(features, whole["owner"], whole["kind"], whole["matched"])


def _encoded(
    tower: VisionTransformer,
    pictures: Sequence[LabelledPicture],
    recipe: SelectionRecipe,
    views: int,
    normalise: Normaliser,
) -> dict[str, Tensor]:
    device = tower.class_embedding.device
    pixels, owner, kind, matched = [], [], [], []
    for n, picture in enumerate(pictures):
        image, lossless = read_original(picture.path)
        for copy in (image, _as_jpeg(image, picture.name)) if lossless else (image,):
            made = make_views(channels_first(np.array(copy)), recipe, views)
            pixels.append(torch.from_numpy(made.pixels))
            owner += [n] * len(made.plan)
            kind += [WHOLE_KINDS.index(view.kind) for view in made.plan]
            matched += [copy is not image] * len(made.plan)
    seen = [tower(normalise(few.to(device))) for few in torch.cat(pixels).split(_BATCH)]
    return {
        "embedding": torch.cat([f.embedding.float().cpu() for f in seen]),
        "class_tokens": torch.cat([f.class_tokens.half().cpu() for f in seen]),
        "owner": torch.tensor(owner),
        "kind": torch.tensor(kind),
        "matched": torch.tensor(matched),
    }


def _as_jpeg(image: Image.Image, mark: str) -> Image.Image:
    """The picture after a generation of JPEG, whose settings are drawn from ``mark``."""
    rng, out = Random(mark), io.BytesIO()
    image.save(out, "JPEG", quality=rng.randint(*_QUALITIES), subsampling=rng.choice(_SUBSAMPLINGS))
    return Image.open(out).convert("RGB")
