"""Local scores: what the verdict's own judges say of the patches of a mosaic, each seen by itself.

A probe (`nsnet_cli.tower.probes`) is scored as if it were the class token of its view.  So a *local score* has the
unit of a picture's ``score``, and is trained by nothing but what trained the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nsnet_cli.arrays import Doubles
from nsnet_cli.judges.network import Network
from nsnet_cli.tower.features import Features, ViewFeatures
from nsnet_cli.views.plan import MOSAIC, WINDOW, Square, View, ViewKind, in_several_places
from nsnet_cli.views.selection import Selection

# What `patches[].score` and the map of an explanation mean.
PATCH_SCORE_KIND = "probe-logit"


def patch_scores(
    network: Network,
    looks: Sequence[ViewFeatures],
    selections: Mapping[int, Selection],
    windows: Mapping[int, Square],
    plan: Sequence[View],
) -> dict[int, Doubles]:
    """Local scores ``(count,)`` of the patches of each mosaic of one picture, by position in ``looks``,
    which follow its ``plan``.

    The score if every view that shows the patch showed nothing else: its mosaic looks at it alone, a window at the
    cell in which it lies; a window that does not show it looks at all that it has.
    """
    scores = {}
    for position, selection in selections.items():
        half = selection.patch / 2
        centres = [(x + half, y + half) for x, y in map(selection.corner, range(len(selection.indices)))]
        seen: dict[ViewKind, list[Features]] = {MOSAIC: [looks[position].probes_seen]}
        for other, square in windows.items():
            grid = network.probes_of(WINDOW)
            cells = [grid.cell_at(x, y, square) for x, y in centres]
            rows = np.array([grid.count if cell is None else cell for cell in cells])
            look = looks[other]
            seen.setdefault(WINDOW, []).append(Features.join([look.probes_seen, look.features]).rows(rows))
        said = network.fused(seen)
        # On the scale of the picture's own score.
        scores[position] = network.several.of(said) if in_several_places(plan) else said
    return scores
