"""What a detector is: where it was published, how it sees a picture, its network, and how that is trained.

Nothing here imports NumPy or PyTorch, so that detectors can be listed at once.  A file in `nsnet_cli.detectors.methods`
defines two names: ``ABOUT``, an `About` written in literals (it is read without running the file), and ``DETECTOR``, a
`Detector`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from nsnet_cli.arrays import Pixels
    from nsnet_cli.detectors.layers.network import Network
    from nsnet_cli.views.plan import Square


@dataclass(frozen=True)
class About:
    """A published detector, for people.

    ``name`` is what the command line calls it; ``idea`` is its defining idea in a line, ``differs`` what is otherwise
    here than in the paper.
    """

    name: str
    title: str
    paper: str
    link: str
    venue: str
    year: int
    idea: str
    differs: str


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, unless told otherwise.

    ``samples`` pictures are drawn at most, ``batch`` at a time, half of them generated; AdamW at ``rate``, which rises
    over the first twentieth and then stays, because what is kept is the running average of the weights (its memory is
    ``average`` a step): such a run can be stopped anywhere.  After ``settled``, a share of the samples, the held-out
    fold is looked at every ``look_every`` pictures, and after ``patience`` looks without a better one training ends:
    the first looks say more about chance than about learning.  ``rotations`` of the folds are fitted for held-out
    scores before the final fit.
    """

    samples: int = 40_000
    batch: int = 32
    rate: float = 1e-3
    weight_decay: float = 0.01
    average: float = 0.995
    settled: float = 0.4
    look_every: int = 4_000
    patience: int = 4
    rotations: int = 1

    @property
    def steps(self) -> int:
        return self.samples // self.batch


class Eyes(Protocol):
    """How a detector sees a picture; a frozen dataclass, whose fields a weights file holds.

    ``side`` is that of what it sees, in pixels.
    """

    @property
    def side(self) -> int: ...

    def look(self, pixels: Pixels) -> Pixels:
        """Views ``(views, *shape)`` uint8 of ``pixels`` ``(3, H, W)``; the same picture always gives the same."""
        ...

    def draw(self, pixels: Pixels, rng: Random) -> Pixels:
        """One random view ``shape`` uint8 to learn from."""
        ...

    def places(self, height: int, width: int) -> tuple[Square, ...]:
        """Where in a picture each view lies, ``(left, top, side)`` in pixels; nothing where it is no square of it."""
        ...

    def quick(self) -> Eyes:
        """Eyes for the looks of a training run, which are many: as these, but cheaper where that is possible."""
        ...


@dataclass(frozen=True)
class Detector:
    """All that makes a detector.

    ``eyes`` is None for one that looks only through the frozen CLIP tower.  ``network(**shape)`` is its untrained
    network; ``shape`` goes into the weights file.  With ``tower`` the network is given the tower's embedding of the
    picture's centre, too.  ``teacher`` names the detector whose local scores it learns from.
    """

    about: About
    eyes: Eyes | None
    network: Callable[..., Network]
    shape: Mapping[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    tower: bool = False
    teacher: str | None = None
