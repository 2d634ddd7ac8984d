"""Whether a record of weights can be: numbers in their ranges, finite, and no judge without a share.

A file that was damaged or altered may still parse.  Nothing is scanned with it: a NaN makes every verdict
``uncertain``, and a slope below zero turns them all round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nsnet_cli.views.plan import KERNEL
from nsnet_cli.weights.quantised import HeldTensor, Int8Rows

if TYPE_CHECKING:
    from nsnet_cli.views.selection import SelectionRecipe
    from nsnet_cli.weights.file import WeightsInfo

_MOST_VIEWS, _MOST_LOOKS = 16, 16
_LARGEST_SIDE = 4096  # of a patch, a mosaic or a window, in pixels


def faults(info: WeightsInfo) -> Iterator[str]:
    """What in the record of weights cannot be, in words."""
    c = info.calibration
    if not (_finite(c.slope, c.offset) and c.slope > 0):
        yield f"calibration has the slope {c.slope} and the offset {c.offset}: a higher score must mean more likely"
    if not (_finite(c.t_low, c.t_high) and 0 <= c.t_low <= c.t_high <= 1):
        yield f"the band goes from {c.t_low} to {c.t_high}, not up, or not within 0 and 1"
    if not (_finite(c.fpr_at_t_high, c.miss_rate_at_t_low) and isinstance(c.fitted_on, str)):
        yield "calibration does not say what was measured"
    if not (_finite(info.several.scale, info.several.shift) and info.several.scale > 0):
        yield f"scores of several looks are scaled by {info.several.scale} and moved by {info.several.shift}"
    judges = {*info.head.of(info.kinds), *([KERNEL] if info.kernel is not None else [])}
    shares = info.fusion
    if judges - shares.keys() or not _finite(*shares.values()) or min(shares.values(), default=0) < 0:
        yield f"the shares of {', '.join(sorted(judges))} are {shares}"
    elif not sum(shares[judge] for judge in judges) > 0:
        yield f"no judge has a share: {shares}"
    if not 1 <= info.views <= _MOST_VIEWS:
        yield f"{info.views} views a picture, not 1 to {_MOST_VIEWS}"
    if info.kernel is not None and not (_finite(info.kernel.gamma) and info.kernel.gamma > 0):
        yield f"the kernel's gamma is {info.kernel.gamma}"
    if not all(isinstance(record, dict) for record in (info.basis, info.training)):
        yield "what it says of the semantic basis or of training is no record"
    yield from _faults_of_selection(info.selection)


def _faults_of_selection(recipe: SelectionRecipe) -> Iterator[str]:
    whole = (recipe.patch, recipe.grid, recipe.low, recipe.reference_patches, recipe.window)
    if not all(isinstance(number, int) for number in (*whole, recipe.order_seed)):
        yield f"the selection counts in {whole}, not in whole numbers"
    elif not (recipe.patch >= 2 and recipe.grid >= 1 and recipe.size <= _LARGEST_SIDE):
        yield f"a mosaic of {recipe.grid} x {recipe.grid} patches of {recipe.patch} pixels"
    elif not (0 <= recipe.low <= recipe.count <= recipe.reference_patches):
        yield f"{recipe.low} patches of lowest entropy among {recipe.count}, from {recipe.reference_patches}"
    elif not (0 <= recipe.window <= _LARGEST_SIDE and recipe.order_seed >= 0):
        yield f"a window of {recipe.window} pixels, patches in order {recipe.order_seed}"
    if recipe.spectrum not in ("power", "magnitude") or recipe.window_by not in ("centre", "entropy"):
        yield f"entropy of the {recipe.spectrum}, windows by {recipe.window_by}"
    looks: tuple[Any, ...] = recipe.looks
    if len(looks) > _MOST_LOOKS or not all(map(_is_look, looks)):
        yield f"looks {looks!r:.80}, not pairs of a short side and a place from 0 to 1"


def _is_look(look: Any) -> bool:
    return (
        isinstance(look, tuple)
        and len(look) == 2
        and isinstance(look[0], int)
        and look[0] >= 0
        and _finite(look[1])
        and 0 <= look[1] <= 1
    )


def _finite(*numbers: Any) -> bool:
    return all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers)


def not_finite(tensors: Mapping[str, HeldTensor]) -> str | None:
    """The name of a tensor that holds a number which is none, or an infinite one; None where all are finite."""
    for name, held in tensors.items():
        values = held.scale if isinstance(held, Int8Rows) else held
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            return name
    return None
