"""Views: what the network sees of a picture.  Mosaics of selected patches, and windows.

A *mosaic* is NS-Net's: selected 32x32 patches at native resolution (`nsnet_cli.views.selection`).  A *window* is
a contiguous square of the picture, at most `SelectionRecipe.window` pixels wide, scaled to the network's
224: it keeps what a mosaic cuts to pieces, the edges and textures that reach over more than 32 pixels.
Each kind has a head of its own.  ``window=0`` leaves mosaics alone, which is the paper.

A picture that is larger than a window has room for several. At native scale a window of a 12-megapixel photograph is
a hundredth of it, and mostly blurred ground; scaled down first to a short side of 640 pixels, it is a scene, as
training crops are. So the first window is several *looks*: squares of the picture scaled down so, at both ends of its
longer side. In a picture that is no larger than a window they are the same square, which is looked at once. What all
windows say is averaged. (`docs/looks.md` has what each is worth.) Further windows, for whoever asks for more
views, are at native scale: in the centre and the four corners, by ``window_by`` in this order, or those of highest
mean spectral entropy first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

import numpy as np
from PIL import Image

from nsnet_cli.arrays import Doubles, Pixels
from nsnet_cli.views.selection import PatchGrid, Selection, SelectionRecipe, build_mosaic, cut_patches, select_patches

ViewKind = Literal["mosaic", "window"]
Score = TypeVar("Score", float, Doubles)
# Left, top and side in pixels.
Square = tuple[int, int, int]
MOSAIC: ViewKind = "mosaic"
WINDOW: ViewKind = "window"
# The judge that looks at all kinds together (`nsnet_cli.judges.kernel`), by its name among those that are fused.
KERNEL = "kernel"
# Where windows may lie, as shares of the room that is left beside them: the centre, then the corners.
_PLACES = ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0))
_STRIP = 256  # rows that are scaled at a time
_ENTROPY_DIGITS = 3
# A further look that lies less than this share of its side away from another has nothing new to show.
_LEAST_SHIFT = 0.25
# Warnings: fewer patches than a mosaic has places; next to nothing of the picture is in any view.
FEW_PATCHES, MOSTLY_UNSEEN = "few_patches", "mostly_unseen"
# From this share of flat patches on the user is told of borders or plain graphics.
_CONSTANT_SHARE = 0.25
# Below this share of a picture in any view the user is told that most of it had no part in the verdict.
_MOSTLY_UNSEEN = 0.05


@dataclass(frozen=True)
class View:
    """The ``number``-th view of its kind, from 0; the first window is several, one for each ``look`` of the recipe."""

    kind: ViewKind
    number: int
    look: int = 0


def in_several_places(plan: Sequence[View]) -> bool:
    """Whether the first window of a picture was looked at in more than one place."""
    return any(view.look for view in plan)


@dataclass(frozen=True)
class Views:
    """What a detector sees of one picture: ``pixels`` ``(n, 3, S, S)`` uint8, in the order of ``plan``.

    By position in ``pixels``: ``selections`` of the mosaics, and ``windows`` as ``(left, top, side)`` in pixels of the
    picture.  ``warnings`` are codes of what in the picture leaves little to look at, or out of sight; ``beside``
    ``(3, S, S)`` uint8 is what a second eye sees, where a detector has one.
    """

    pixels: Pixels
    plan: tuple[View, ...]
    selections: dict[int, Selection] = field(default_factory=dict)
    windows: dict[int, Square] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    beside: Pixels | None = None


class Look(Protocol):
    """How a detector looks at pictures ``(3, H, W)`` uint8.  Plain data, so that it can be sent to another process."""

    def __call__(self, pixels: Pixels) -> Views: ...


@dataclass(frozen=True)
class EntropyLook:
    """NS-Net's: the first ``count`` views of `make_views`."""

    recipe: SelectionRecipe
    count: int

    def __call__(self, pixels: Pixels) -> Views:
        return make_views(pixels, self.recipe, self.count)


def plan_views(recipe: SelectionRecipe, count: int) -> list[View]:
    """The first ``count`` views of any picture: mosaics and windows in turn, or mosaics alone where there are none.

    A picture that is larger than a window has more: the first window's further looks (`make_views`).
    """
    if not recipe.window:
        return [View(MOSAIC, k) for k in range(count)]
    return [View(WINDOW if k % 2 else MOSAIC, k // 2) for k in range(count)]


def kinds_of(plan: Sequence[View]) -> list[ViewKind]:
    """The kinds that a plan has, each once, in the order of their first view."""
    return list(dict.fromkeys(view.kind for view in plan))


def fuse(scores: Mapping[str, Sequence[Score]], weights: Mapping[str, float]) -> Score:
    """One score from those of all judges: the mean of each one's, weighted by ``weights`` among the judges there.

    A judge is the contrastive head of a kind of view, which has a score for each view, or the kernel head.
    Scores are numbers, or arrays ``(N,)`` of many pictures.
    """
    total = sum(weights[judge] for judge in scores)
    parts = [weights[judge] / total / len(values) * value for judge, values in scores.items() for value in values]
    return sum(parts[1:], parts[0])


def make_views(pixels: Pixels, recipe: SelectionRecipe, count: int) -> Views:
    """The views of ``pixels`` ``(3, H, W)`` uint8: the same picture always gives the same.

    The first ``count`` are those of `plan_views`; then come the first window's other looks, but for those that would
    show next to nothing new.
    """
    grid = cut_patches(pixels, recipe)
    plan = plan_views(recipe, count)
    mosaics = iter(select_patches(grid, recipe, sum(view.kind == MOSAIC for view in plan)))
    made: list[Pixels] = []
    selections: dict[int, Selection] = {}
    windows: dict[int, Square] = {}

    looks = [View(WINDOW, 0, k) for k in range(1, len(recipe.looks))] if View(WINDOW, 0) in plan else []
    for view in (*plan, *looks):
        if view.kind == MOSAIC:
            selections[len(made)] = next(mosaics)
            made.append(build_mosaic(grid, selections[len(made)], recipe))
            continue
        square = window_of(grid, pixels.shape[2], pixels.shape[1], recipe, view)
        if view.look:
            if any(_much_the_same(square, other) for other in windows.values()):
                continue
            plan.append(view)
        windows[len(made)] = square
        made.append(scale_window(pixels, recipe, *square))
    warnings = _warnings(grid, recipe, pixels, selections, windows)
    return Views(np.stack(made), tuple(plan), selections, windows, warnings)


def mostly_unseen(pixels: Pixels, seen: int) -> bool:
    """Whether of ``pixels`` ``(3, H, W)`` next to nothing was looked at; ``seen`` is how many were."""
    return seen < _MOSTLY_UNSEEN * pixels.shape[1] * pixels.shape[2]


def _warnings(
    grid: PatchGrid,
    recipe: SelectionRecipe,
    pixels: Pixels,
    selections: Mapping[int, Selection],
    windows: Mapping[int, Square],
) -> tuple[str, ...]:
    distinct, total = grid.distinct, len(grid.entropy)
    # Pixels that are in several views count each time.
    patches = sum(len(set(selection.indices.tolist())) for selection in selections.values())
    seen = patches * grid.patch**2 + sum(side**2 for _, _, side in set(windows.values()))
    found = {
        FEW_PATCHES: distinct < recipe.count,
        "constant_patches": total - distinct >= _CONSTANT_SHARE * total,
        MOSTLY_UNSEEN: mostly_unseen(pixels, seen),
    }
    return tuple(code for code, holds in found.items() if holds)


def window_of(grid: PatchGrid, width: int, height: int, recipe: SelectionRecipe, view: View) -> Square:
    """Where in a picture of ``width`` x ``height`` pixels a window lies; ``grid`` as for `window_places`."""
    native = view.number - bool(recipe.looks)
    if native >= 0:
        places = window_places(grid, width, height, recipe)
        return places[native % len(places)]
    scale, along = recipe.looks[view.look]
    side = _side(width, height, recipe, scale)
    across, down = (along, 0.5) if width >= height else (0.5, along)
    return int((width - side) * across), int((height - side) * down), side


def _side(width: int, height: int, recipe: SelectionRecipe, scale: int) -> int:
    """Side of a window of the picture scaled down to a short side of ``scale``, in pixels of the picture itself."""
    short = min(width, height)
    return min(short, recipe.window if not 0 < scale < short else round(recipe.window * short / scale))


def _much_the_same(one: Square, other: Square) -> bool:
    """Whether two windows are as large, and nearly in the same place."""
    moved = max(abs(one[0] - other[0]), abs(one[1] - other[1]))
    return one[2] == other[2] and moved < one[2] * _LEAST_SHIFT


def window_places(grid: PatchGrid, width: int, height: int, recipe: SelectionRecipe) -> list[Square]:
    """Where windows at the native scale of a picture of ``width`` x ``height`` pixels lie, the first one first.

    ``grid`` holds the picture's patches, cut with no offset.
    """
    side = _side(width, height, recipe, 0)
    places = [(int((width - side) * across), int((height - side) * down), side) for across, down in _PLACES]
    if recipe.window_by == "centre":
        return places
    # Rounded, so that the last bits of a sum on another machine do not decide a tie; ties go by the order of places.
    return sorted(places, key=lambda place: -round(_mean_entropy(grid, place), _ENTROPY_DIGITS))


def _mean_entropy(grid: PatchGrid, place: Square) -> float:
    """Mean spectral entropy in bits of the patches whose centres lie in a square; flat patches have none."""
    left, top, side = place
    entropy = grid.entropy.reshape(-1, grid.columns)

    def inside(start: int, length: int) -> slice:
        # The k-th centre lies at k + 1/2 patches.  A square that is smaller than a patch still has one.
        first, end = (math.ceil(edge / grid.patch - 0.5) for edge in (start, start + side))
        first = min(first, length - 1)
        return slice(first, max(first + 1, end))

    rows, columns = entropy.shape
    return float(entropy[inside(top, rows), inside(left, columns)].mean())


def scale_window(
    pixels: Pixels,
    recipe: SelectionRecipe,
    left: int,
    top: int,
    side: int,
    kernel: Image.Resampling = Image.Resampling.BICUBIC,
) -> Pixels:
    """The square at ``(left, top)``, ``side`` pixels wide, scaled to ``(3, size, size)`` uint8.

    One that is wider than a window is first scaled down to a window: as if the whole picture had been.
    """
    square = pixels[:, top : top + side, left : left + side]
    image = _scaled_down(square, recipe.window) if side > recipe.window > 0 else _image_of(square)
    return np.array(image.resize((recipe.size, recipe.size), kernel)).transpose(2, 0, 1)


def _scaled_down(square: Pixels, side: int) -> Image.Image:
    """A square ``(3, S, S)`` as one of ``side`` pixels.

    Pillow goes along rows first, rounds, and goes down columns then.  So rows can be scaled a strip at a time, with the
    same outcome, and the square of a hundred megapixels need not be there twice more.
    """
    rows = Image.new("RGB", (side, square.shape[1]))
    for top in range(0, square.shape[1], _STRIP):
        strip = _image_of(square[:, top : top + _STRIP])
        rows.paste(strip.resize((side, strip.height), Image.Resampling.BICUBIC), (0, top))
    return rows.resize((side, side), Image.Resampling.BICUBIC)


def _image_of(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
