"""Labelled pictures, decoded and delivered once and kept: all detectors learn from the same ones.

To decode a picture and send it through a random chain of deliveries takes longer than most networks here take to learn
from it.  So of each picture a square is kept as it is, and squares of random deliveries of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from nsnet_cli.arrays import Pixels
from nsnet_cli.errors import WeightsError
from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.inputs.decode import channels_first
from nsnet_cli.training.chains import random_chain, random_chain_mark
from nsnet_cli.training.views import read_picture
from nsnet_cli.weights.safefile import read_header, write_safetensors

# Side in pixels of what is kept of a picture; of smaller ones all is.
SIDE = 256
_FORMAT = "nsnet.pictures/1"
_SHARD = 256


@dataclass
class Store:
    """Squares of ``pictures``: the first rendering is the centre of each as it is, further ones are delivered.

    Kept below ``folder``; `fill` makes what is missing.
    """

    pictures: Sequence[LabelledPicture]
    folder: Path
    delivered: int = 1
    seed: int = 0
    _open: dict[Path, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def renderings(self) -> int:
        return 1 + self.delivered

    @property
    def fingerprint(self) -> str:
        """A mark of the pictures in their order, and of what was done to them."""
        digest = hashlib.sha256(f"{SIDE}:{self.seed}:{random_chain_mark()}".encode())
        for picture in self.pictures:
            digest.update(f"\n{picture.name}\t{picture.label}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def shards(self) -> list[range]:
        """The pictures of each file, in order."""
        return [range(first, min(first + _SHARD, len(self))) for first in range(0, len(self), _SHARD)]

    def fill(self, report: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Make what is not there yet.  Raises `WeightsError` for files of other pictures."""
        fingerprint = self.fingerprint
        total, done = self.renderings * len(self), 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for rendering in range(self.renderings):
                for rows in self.shards():
                    path = self._path(rendering, rows.start)
                    if not path.exists():
                        made = list(pool.map(lambda row, r=rendering: self._rendered(r, row), rows))
                        self._write(path, made, fingerprint)
                    if read_header(path).metadata.get("fingerprint") != fingerprint:
                        raise WeightsError(f"{path}: kept of other pictures; use another --work folder")
                    done += len(rows)
                    report(done, total)

    def picture(self, rendering: int, index: int) -> Pixels:
        """The square ``(3, h, w)`` uint8 that is kept of a picture."""
        from safetensors import safe_open

        first = index // _SHARD * _SHARD
        path = self._path(rendering, first)
        if path not in self._open:
            file = safe_open(path, framework="numpy")
            self._open[path] = (file.get_slice("pictures"), file.get_tensor("sizes"))
        pictures, sizes = self._open[path]
        row = index - first
        height, width = sizes[row].tolist()
        square: Pixels = pictures[row : row + 1, :, :height, :width][0]
        return square

    def _path(self, rendering: int, first: int) -> Path:
        return self.folder / f"{rendering}-{first:07d}.safetensors"

    def _rendered(self, rendering: int, index: int) -> Pixels:
        picture = self.pictures[index]
        image = read_picture(picture.path)
        rng = Random(f"{self.seed}:{rendering}:{picture.name}")
        if rendering:
            for operation in random_chain(rng, image.size):
                image = operation(image, rng)
        pixels = channels_first(np.asarray(image))
        height, width = (min(SIDE, length) for length in pixels.shape[1:])
        across, down = (rng.random(), rng.random()) if rendering else (0.5, 0.5)
        top, left = round((pixels.shape[1] - height) * down), round((pixels.shape[2] - width) * across)
        return pixels[:, top : top + height, left : left + width]

    @staticmethod
    def _write(path: Path, squares: Sequence[Pixels], fingerprint: str) -> None:
        kept = torch.zeros(len(squares), 3, SIDE, SIDE, dtype=torch.uint8)
        sizes = torch.tensor([square.shape[1:] for square in squares])
        for row, square in enumerate(squares):
            kept[row, :, : square.shape[1], : square.shape[2]] = torch.from_numpy(np.ascontiguousarray(square))
        write_safetensors(path, {"pictures": kept, "sizes": sizes}, {"format": _FORMAT, "fingerprint": fingerprint})
