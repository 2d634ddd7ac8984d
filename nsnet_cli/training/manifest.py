"""The list of labelled pictures, how much each counts, and folds that keep groups together."""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from nsnet_cli.errors import UsageError

_SMALL_GROUP = 10


@dataclass(frozen=True)
class LabelledPicture:
    """One row of a manifest.  ``label`` is 1 for generated; ``group`` is its generator or source."""

    path: Path
    name: str
    label: int
    group: str
    photo_like: str
    repository: str


def read_manifest(path: Path, split: str | None) -> list[LabelledPicture]:
    """Read a manifest CSV with ``path`` (relative to it or absolute), ``label``, ``generator``, maybe ``split``.

    Raises `UsageError` naming the line for a missing column or a label other than 0 and 1.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such manifest")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"path", "label", "generator"} - set(reader.fieldnames or ())
        if split is not None:
            missing |= {"split"} - set(reader.fieldnames or ())
        if missing:
            raise UsageError(f"{path}: the manifest lacks the columns {', '.join(sorted(missing))}")
        pictures = []
        for row in reader:
            if split is not None and row["split"] != split:
                continue
            if row["label"] not in ("0", "1"):
                raise UsageError(f"{path}:{reader.line_num}: label must be 0 or 1, found {row['label']!r}")
            pictures.append(
                LabelledPicture(
                    path=path.parent / row["path"],
                    name=row["path"],
                    label=int(row["label"]),
                    group=row["generator"] or row.get("source") or "unnamed",
                    photo_like=row.get("photo_like") or "",
                    repository=row.get("source_repo") or "",
                )
            )
    if not pictures:
        raise UsageError(f"{path}: no pictures{f' with split {split!r}' if split else ''}")
    return pictures


def picture_weights(pictures: list[LabelledPicture]) -> list[float]:
    """Weight of each picture: proportional to 1/sqrt(n) of its group, both classes summing to 1/2.

    A group so counts as the square root of its size: variety is what is scarce.  Groups under ten
    pictures are merged into one for each class, or single pictures would rule.
    """
    sizes = Counter((p.label, p.group) for p in pictures)
    merged = [(p.label, p.group if sizes[p.label, p.group] >= _SMALL_GROUP else None) for p in pictures]
    merged_sizes = Counter(merged)
    raw = [1.0 / math.sqrt(merged_sizes[key]) for key in merged]
    totals: dict[int, float] = defaultdict(float)
    for picture, weight in zip(pictures, raw, strict=True):
        totals[picture.label] += weight
    return [0.5 * weight / totals[picture.label] for picture, weight in zip(pictures, raw, strict=True)]


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


def manifest_hash(pictures: list[LabelledPicture]) -> str:
    """SHA-256 over names, labels and groups: which data a model was trained on."""
    digest = hashlib.sha256()
    for picture in sorted(pictures, key=lambda p: p.name):
        digest.update(f"{picture.name}\t{picture.label}\t{picture.group}\n".encode())
    return digest.hexdigest()
