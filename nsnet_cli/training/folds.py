"""How much each labelled picture counts, and folds that keep groups together."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from nsnet_cli.evaluation.labelled import LabelledPicture

_SMALL_GROUP = 10


def picture_weights(pictures: list[LabelledPicture]) -> list[float]:
    """Weight of each picture: proportional to 1/sqrt(n) of its group, both classes summing to 1/2.

    A group so counts as the square root of its size: variety is what is scarce.  A picture of a group under ten counts
    as one of a group of ten, or single pictures would rule.
    """
    sizes = Counter((p.label, p.group) for p in pictures)
    raw = [1.0 / math.sqrt(max(sizes[p.label, p.group], _SMALL_GROUP)) for p in pictures]
    totals: dict[int, float] = defaultdict(float)
    for picture, weight in zip(pictures, raw, strict=True):
        totals[picture.label] += weight
    return [0.5 * weight / totals[picture.label] for picture, weight in zip(pictures, raw, strict=True)]


def evened_within(weights: Sequence[float], labels: Sequence[int], kinds: Sequence[object]) -> list[float]:
    """The ``weights``, scaled so that both ``labels`` weigh alike in each of the ``kinds``, which stay as heavy.

    So a kind tells nothing of the label.  One that has a single label stays as it is.
    """
    totals: dict[tuple[object, int], float] = defaultdict(float)
    for weight, label, kind in zip(weights, labels, kinds, strict=True):
        totals[kind, label] += weight
    found = []
    for weight, label, kind in zip(weights, labels, kinds, strict=True):
        mine, others = totals[kind, label], totals.get((kind, 1 - label), 0.0)
        found.append(weight * (0.5 * (mine + others) / mine if others else 1.0))
    return found


def lineage(group: str, label: int) -> str:
    """What is kept on one side of a fold: a source, or all generators of one descent.

    Names are cut at the first hyphen and stripped of version digits, so that ``sd-1.4`` and
    ``sd-1.x-lora``, or ``stylegan`` and ``stylegan2-styleclip``, are never on both sides.  Generators
    that are only known as unknown stay apart; so do sources, but for families that share a look.
    """
    stem = group.split("-")[0]
    if label == 0:
        return f"0:{stem if stem in ('boxart', 'ffhq', 'imagenet', 'imagenette') else group}"
    return f"1:{group}" if stem == "unknown" else f"1:{re.sub(r'[0-9.]+$', '', stem)}"


def split_fold(pictures: Sequence[LabelledPicture], fold_of: Sequence[int], fold: int) -> tuple[list[int], list[int]]:
    """Who is learnt from where a ``fold`` is left out, and who is in it.

    A repository's pictures look alike whatever made them, so what shares one with the fold is not learnt from either.
    """
    outside = [i for i, f in enumerate(fold_of) if f == fold]
    shared = {pictures[i].repository for i in outside} - {""}
    inside = [i for i, f in enumerate(fold_of) if f != fold and pictures[i].repository not in shared]
    return inside, outside


def grouped_folds(pictures: list[LabelledPicture], folds: int) -> list[int]:
    """Assign each picture to one of ``folds``, whole lineages at a time, classes balanced.

    Largest lineage first, each to the fold with least weight of its class so far; deterministic.
    """
    weights = picture_weights(pictures)
    load: dict[str, float] = defaultdict(float)
    for picture, weight in zip(pictures, weights, strict=True):
        load[lineage(picture.group, picture.label)] += weight
    filled = {label: [0.0] * folds for label in "01"}
    fold_of: dict[str, int] = {}
    for name in sorted(load, key=lambda name: (-load[name], name)):
        side = filled[name[0]]
        fold_of[name] = side.index(min(side))
        side[fold_of[name]] += load[name]
    return [fold_of[lineage(p.group, p.label)] for p in pictures]
