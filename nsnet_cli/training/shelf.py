"""What was computed of pictures, kept on disk by their names.

Features take hours, and a training set is never finished: pictures are added, and wrong ones are taken out.  So what
is kept says of which pictures it is.  A run that was killed computes what is missing, and so does one whose manifests
have changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nsnet_cli.errors import WeightsError
from nsnet_cli.weights.safefile import read_header, write_safetensors

# The shard that holds a picture, and its position there.
Place = tuple[Path, int]
# Tensors of each of some parts of the pictures, by position, in turn.
Maker = Callable[[Sequence[Sequence[int]]], Iterator[dict[str, Tensor]]]


@dataclass(frozen=True)
class Shelf:
    """A folder of shards, safetensors that are written whole.

    ``fingerprint`` marks all that their tensors hang on beside the pictures.
    """

    folder: Path
    format: str
    fingerprint: str

    def filled(
        self,
        names: Sequence[str],
        size: int,
        make: Maker,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Place]:
        """Where each of ``names`` is kept, after what was missing was made, ``size`` pictures at a time.

        Raises `WeightsError` where the folder holds shards of another recipe.
        """
        # Decided once: what another run writes meanwhile is written again, under the same name and with the same rows.
        kept = self._kept()
        missing = [n for n, name in enumerate(names) if name not in kept]
        parts = [missing[first : first + size] for first in range(0, len(missing), size)]
        made = make(parts)
        done = len(names) - len(missing)
        report(done, len(names))
        for part in parts:
            theirs = [names[n] for n in part]
            listed = json.dumps(theirs)
            path = self.folder / f"{hashlib.sha256(listed.encode()).hexdigest()[:24]}.safetensors"
            said = {"format": self.format, "fingerprint": self.fingerprint, "names": listed}
            write_safetensors(path, next(made), said)
            kept |= {name: (path, position) for position, name in enumerate(theirs)}
            done += len(part)
            report(done, len(names))
        return [kept[name] for name in names]

    def _kept(self) -> dict[str, Place]:
        kept: dict[str, Place] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            said = read_header(path).metadata
            if (said.get("format"), said.get("fingerprint")) != (self.format, self.fingerprint):
                raise WeightsError(f"{path}: features of another recipe; use another --work folder")
            kept |= {name: (path, position) for position, name in enumerate(json.loads(said.get("names", "[]")))}
        return kept


def by_shard(places: Sequence[Place]) -> dict[Path, list[tuple[int, int]]]:
    """For each shard, in the order of their first pictures: which pictures it holds, and at which of its positions."""
    found: dict[Path, list[tuple[int, int]]] = {}
    for n, (path, position) in enumerate(places):
        found.setdefault(path, []).append((n, position))
    return found
