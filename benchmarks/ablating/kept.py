"""Features of the frozen tower, kept on disk: a run that was killed computes only what is missing."""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from safetensors.torch import load_file

from ablating.ways import Way
from nsnet_cli.disk import sha256_of
from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash
from nsnet_cli.inputs.decode import channels_first
from nsnet_cli.tower.file import load_tower, tower_info
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.training.views import read_picture
from nsnet_cli.weights.safefile import read_header, write_safetensors
from nsnet_cli.weights.store import TOWER_NAME, find_weights

_SHARD, _BATCH = 128, 16


def even_subset(pictures: Sequence[LabelledPicture], count: int) -> list[LabelledPicture]:
    """At most ``count`` pictures, half of them of either label: of every generator and source as many as of the others,
    as far as it has them."""
    taken: set[str] = set()
    for label in (0, 1):
        groups: dict[str, list[LabelledPicture]] = defaultdict(list)
        for picture in sorted(pictures, key=lambda p: hashlib.sha256(p.name.encode()).digest()):
            if picture.label == label:
                groups[picture.group].append(picture)
        sizes, each = list(map(len, groups.values())), 0
        while each < max(sizes) and 2 * sum(min(size, each + 1) for size in sizes) <= count:
            each += 1
        taken |= {p.name for group in groups.values() for p in group[:each]}
    return [p for p in pictures if p.name in taken]


class Keeper:
    """Computes and keeps features below ``folder``, float32."""

    def __init__(self, folder: Path) -> None:
        self._folder, path = folder, find_weights(TOWER_NAME)
        info = tower_info(path)
        self._tower = load_tower(path).matrices_to(torch.float32)
        self._normalise, self._tower_sha256 = Normaliser(info.mean, info.std), sha256_of(path)

    @torch.inference_mode()
    def features(self, name: str, way: Way, pictures: Sequence[LabelledPicture]) -> VitFeatures:
        """What the tower says of ``pictures``, each shown in that ``way``; a row a picture."""
        made_of = f"{manifest_hash(list(pictures))}:{[p.name for p in pictures]}:{self._tower_sha256}:{name}"
        mark = hashlib.sha256(made_of.encode()).hexdigest()
        folder = self._folder / f"{name.replace(', ', '-').replace(' ', '-')}-{mark[:12]}"
        parts = []
        for first in range(0, len(pictures), _SHARD):
            path = folder / f"{first:06d}.safetensors"
            if not path.exists():
                made = [self._see(way, few) for few in _batches(pictures[first : first + _SHARD])]
                seen = VitFeatures.join(made)
                tensors = {"embedding": seen.embedding, "class_tokens": seen.class_tokens.half()}
                write_safetensors(path, tensors, {"mark": mark})
                print(f"{name}: {min(first + _SHARD, len(pictures))}/{len(pictures)}", file=sys.stderr, flush=True)
            if read_header(path).metadata.get("mark") != mark:
                sys.exit(f"{path}: features of other pictures; use another --work folder")
            tensors = load_file(path)
            parts.append(VitFeatures(tensors["embedding"], tensors["class_tokens"].float()))
        return VitFeatures.join(parts)

    def _see(self, way: Way, pictures: Sequence[LabelledPicture]) -> VitFeatures:
        views = []
        for picture in pictures:
            pixels = channels_first(np.array(read_picture(picture.path)))
            views.append(way(pixels, Random(picture.name)))
        return self._tower(self._normalise(torch.from_numpy(np.stack(views))))


def _batches(pictures: Sequence[LabelledPicture]) -> list[Sequence[LabelledPicture]]:
    return [pictures[first : first + _BATCH] for first in range(0, len(pictures), _BATCH)]
