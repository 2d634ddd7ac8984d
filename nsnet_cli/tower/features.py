"""What a tower makes of views, as arrays: the border between the two towers and everything that judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from nsnet_cli.arrays import Floats, Indices, Pixels
from nsnet_cli.tower.probes import ProbeGrid

_Network = TypeVar("_Network")


@dataclass(frozen=True)
class Features:
    """Of ``N`` views or probes: ``embedding`` ``(N, embed_dim)``, the class token of the last block in the joint space;
    ``class_tokens`` ``(N, layers, width)``, the class token as each block leaves it."""

    embedding: Floats
    class_tokens: Floats

    @staticmethod
    def join(parts: Sequence[Features]) -> Features:
        """The rows of all ``parts``, in order."""
        return Features(np.concatenate([f.embedding for f in parts]), np.concatenate([f.class_tokens for f in parts]))

    def rows(self, index: Indices | slice) -> Features:
        """Some of the rows, by position."""
        return Features(self.embedding[index], self.class_tokens[index])


@dataclass(frozen=True)
class ViewFeatures:
    """What the tower makes of one view of ``N`` pictures: ``features``, a row a picture, and of its probes, where they
    were asked for, ``probes``, a row for each probe of each picture in turn."""

    features: Features
    probes: Features | None = None

    @property
    def probes_seen(self) -> Features:
        assert self.probes is not None
        return self.probes

    def of_picture(self, n: int) -> ViewFeatures:
        """Of the ``n``-th picture alone."""
        one = self.features.rows(slice(n, n + 1))
        if self.probes is None:
            return ViewFeatures(one)
        count = len(self.probes.embedding) // len(self.features.embedding)
        return ViewFeatures(one, self.probes.rows(slice(n * count, (n + 1) * count)))


class ViewBatch(NamedTuple):
    """Views ``(N, 3, S, S)`` uint8 to be looked at, with the probes of a ``grid`` where one is given, by the tower as
    it came or as training ``adapted`` it."""

    views: Pixels
    grid: ProbeGrid | None = None
    adapted: bool = False


def chosen(one: ViewBatch, plain: _Network, adapted: _Network | None) -> _Network:
    """Of two networks the one that is asked for.  Raises `ValueError` where that is an adapted one that is not."""
    if not one.adapted:
        return plain
    if adapted is None:
        raise ValueError("nothing of this tower is adapted")
    return adapted


class Tower(Protocol):
    """CLIP's image tower, wherever it runs."""

    def encode(self, batches: Sequence[ViewBatch]) -> list[ViewFeatures]:
        """A `ViewFeatures` for each set of views.  Raises `ValueError` for an adapted tower that is not there."""
        ...
