"""The fast precision first, and float32 where it could say something else: verdicts are those of float32.

A score in the fast precision lies within a measured bound of that in float32 (`nsnet_cli.weights.fast`).  Verdicts are
monotone in the score.  So where the score less the bound and the score plus the bound give one verdict, float32 gives
the same; every other picture is scored again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

from nsnet_cli.arrays import Pixels
from nsnet_cli.judges.network import Network, Scored
from nsnet_cli.views.plan import View
from nsnet_cli.weights.fast import FastScores

# So many pictures pass before the fast tower is made, unless more are known to come: to import what it runs on and to
# pack its matrices takes as long as it saves on a dozen.
FEW_PICTURES = 12


class FastFirst:
    """Scores pictures as ``exact`` would be judged, for the most part by ``fast``, which is made when it pays.

    ``verdict`` of a score is whatever may not change; ``bound`` how far apart the two may be.
    """

    def __init__(
        self, exact: Network, fast: Callable[[], Network], scores: FastScores, verdict: Callable[[float], str]
    ) -> None:
        self._exact, self._make, self._scores, self._verdict = exact, fast, scores, verdict
        self._passed = self._expected = 0

    @cached_property
    def _fast(self) -> Network:
        return self._make()

    def expect(self, pictures: int) -> None:
        """So many will come, at least."""
        self._expected = max(self._expected, self._passed + pictures)

    def score(self, pictures: Sequence[Pixels], plans: Sequence[Sequence[View]]) -> list[Scored]:
        """As `Network.score`; each result says its precision."""
        # Where nobody knows how many there will be, the first few are float32, however they are batched.
        few = 0 if self._expected > FEW_PICTURES else max(0, min(len(pictures), FEW_PICTURES - self._passed))
        self._passed += len(pictures)
        scored = self._exact.score(pictures[:few], plans[:few]) if few else []
        if few == len(pictures):
            return scored
        rest = self._fast.score(pictures[few:], plans[few:])
        scored += [replace(one, precision=self._scores.precision) for one in rest]
        again = [n for n in range(few, len(scored)) if not self.settled(scored[n].score)]
        if again:
            for n, one in zip(
                again, self._exact.score([pictures[n] for n in again], [plans[n] for n in again]), strict=True
            ):
                scored[n] = one
        return scored

    def settled(self, score: float) -> bool:
        """Whether float32 must give the verdict that this ``score`` in the fast precision gives."""
        bound = self._scores.bound
        return self._verdict(score - bound) == self._verdict(score + bound)
