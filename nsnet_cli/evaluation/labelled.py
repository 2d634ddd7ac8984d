"""Labelled pictures: a manifest, or one of the directory layouts that benchmarks use.

Label 1 is generated, 0 is real.  Layouts, each flat or below any number of folders:

* ``0_real/ 1_fake/`` (ForenSynths, UniversalFakeDetect, AIGCDetectBenchmark),
* ``nature/ ai/`` (GenImage),
* ``real/ fake/``,
* a folder for each generator, beside a folder of real pictures named on the command line.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nsnet_cli.errors import UsageError
from nsnet_cli.inputs.discover import WalkCount, WalkOptions, find_pictures
from nsnet_cli.inputs.written_text import read_table, read_text

# Names of class folders, real and generated, as the benchmarks write them.
_LAYOUTS = (("0_real", "1_fake"), ("nature", "ai"), ("real", "fake"))
# Folders that say when a picture was used, not where it is from.
_SPLIT_FOLDERS = frozenset({"train", "val", "valid", "validation", "test"})
# Names of the column of paths, as data sets have it.
_PATH_COLUMNS = ("path", "file_name", "filename", "image", "file")
# The group of all generated pictures where nothing says which generator made which.
_ONE_GROUP = "generated"
WITHOUT_GENERATORS = "manifest without a column generator: all generated pictures are one group"
_CLASS_FOLDERS = {name: label for pair in _LAYOUTS for label, name in enumerate(pair)}


# The rows that are learnt from; where a manifest has no splits, all of them.
TRAIN = "train"


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
    """Read a manifest: a table with ``path`` (relative to it or absolute), ``label``, maybe ``generator``, ``split``.

    Cells lie between commas, semicolons or tabs; ``file_name``, ``filename``, ``image`` and ``file`` are other names
    of ``path``.  Without ``generator`` all generated pictures are one group.  Without ``split`` all rows are read, and
    so they are by ``train`` of a manifest that has no such column.
    Raises `UsageError` naming the line for a missing column, an empty path, or a label other than 0 and 1.
    """
    return _read_splits(path, split)[0][split or ""]


def read_manifests(paths: Sequence[Path], split: str | None) -> list[LabelledPicture]:
    """Pictures to learn from, of one manifest after the other, in order; raises as `read_each_manifest` does."""
    return [picture for part in read_each_manifest(paths, split) for picture in part]


def read_each_manifest(paths: Sequence[Path], split: str | None) -> list[list[LabelledPicture]]:
    """Pictures to learn from, by manifest.

    Raises `UsageError` as `read_manifest` does, where a picture is not there or named twice, and where another manifest
    has it too, or has another picture of that name: what is kept of pictures, and the record of a training run, go by
    their names.
    """
    found: list[list[LabelledPicture]] = []
    files: set[Path] = set()
    names: set[str] = set()
    for path in paths:
        pictures = read_manifest(path, split)
        missing = [p.name for p in pictures if not p.path.is_file()]
        if missing:
            raise UsageError(f"{path}: {len(missing)} pictures are not there, the first is {missing[0]}")
        resolved: dict[Path, str] = {}
        for picture in pictures:
            file = picture.path.resolve()
            if file in resolved:
                raise UsageError(f"{path}: {picture.name} is in it twice; name each picture once")
            resolved[file] = picture.name
        twice = next((name for file, name in resolved.items() if file in files), None)
        if twice is not None:
            raise UsageError(f"{path}: {twice} is in another manifest, too; name each picture once")
        alike = next((p.name for p in pictures if p.name in names), None)
        if alike is not None:
            raise UsageError(
                f"{path}: another manifest calls another picture {alike}, too; names must differ, so put the manifests "
                "into a folder above both data sets, or write paths in full"
            )
        files |= resolved.keys()
        names |= {p.name for p in pictures}
        found.append(pictures)
    return found


def _read_splits(path: Path, split: str | None) -> tuple[dict[str, list[LabelledPicture]], str]:
    """Pictures by split, all under ``""`` where no ``split`` is asked for; and how the manifest is laid out."""
    if not path.is_file():
        raise UsageError(f"{path}: no such manifest, and no directory: expected a table with path and label")
    found: dict[str, list[LabelledPicture]] = defaultdict(list)
    try:
        reader = read_table(read_text(path), (*_PATH_COLUMNS, "label", "generator", "split"))
        columns = list(reader.fieldnames or ())
        path_column = next((name for name in _PATH_COLUMNS if name in columns), None)
        in_parts = split is not None and (split != TRAIN or "split" in columns)
        missing = [name for name in ("label", *(("split",) if in_parts else ())) if name not in columns]
        if missing or path_column is None:
            wanted = ", ".join([*([] if path_column else ["path"]), *missing])
            raise UsageError(
                f"{path}: the manifest lacks the columns {wanted}; found {', '.join(columns)[:200]}; expected "
                "path, label (0 real, 1 generated), and maybe generator and split, between commas, semicolons or tabs"
            )
        for row in reader:
            part = (row["split"] or "") if in_parts else (split or "")
            if part == (split or "") or row["label"] in ("0", "1"):  # other splits may have no labels
                found[part].append(_labelled(row, path_column, path, reader.line_num))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path}: not a table in UTF-8, nor in UTF-16 with its mark ({error}); save it as CSV UTF-8"
        ) from error
    if not found.get(split or ""):
        named = sorted(filter(None, found))
        there = f"; its splits are {', '.join(named)[:200]}" if split and named else ""
        raise UsageError(f"{path}: no pictures{f' with split {split!r}' if split else ''}{there}")
    return found, "manifest" if "generator" in columns else WITHOUT_GENERATORS


def _labelled(row: dict[str, str], path_column: str, manifest: Path, line: int) -> LabelledPicture:
    label = (row["label"] or "").strip()
    if label not in ("0", "1"):
        raise UsageError(f"{manifest}:{line}: label must be 0 (real) or 1 (generated), found {row['label']!r}")
    if not row[path_column]:
        raise UsageError(f"{manifest}:{line}: no path in the column {path_column}")
    generator = row.get("generator") if "generator" in row else (_ONE_GROUP if label == "1" else "")
    return LabelledPicture(
        path=manifest.parent / row[path_column],
        name=row[path_column],
        label=int(label),
        group=generator or row.get("source") or ("unnamed" if "generator" in row else "real"),
        photo_like=row.get("photo_like") or "",
        repository=row.get("source_repo") or "",
    )


def manifest_hash(pictures: list[LabelledPicture]) -> str:
    """SHA-256 over names, labels and groups: which data a model was trained on."""
    digest = hashlib.sha256()
    for picture in sorted(pictures, key=lambda p: p.name):
        digest.update(f"{picture.name}\t{picture.label}\t{picture.group}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def order_hash(pictures: Sequence[LabelledPicture]) -> str:
    """SHA-256 over names as they come: for what hangs on the order, which `manifest_hash` leaves out."""
    return hashlib.sha256("\n".join(p.name for p in pictures).encode()).hexdigest()


@dataclass(frozen=True)
class LabelledSet:
    """Labelled pictures as one data set.

    ``layout`` says how labels were found; ``skipped`` counts files that are no pictures.  Of a manifest with
    splits, ``elsewhere`` are the pictures of the others, and ``shared_repositories`` those that both draw on.
    """

    name: str
    layout: str
    split: str | None
    pictures: tuple[LabelledPicture, ...]
    elsewhere: tuple[LabelledPicture, ...] = ()
    shared_repositories: frozenset[str] = frozenset()
    skipped: int = 0


def find_labelled(dataset: Path, split: str | None = None, real_dir: Path | None = None) -> LabelledSet:
    """Read a data set: a manifest CSV, or a directory in one of the layouts above.

    ``split`` is for manifests, ``real_dir`` for folders of generators.  Raises `UsageError`.
    """
    if dataset.is_dir():
        if split is not None:
            raise UsageError(f"{dataset}: --split is for a manifest; name the folder of the split instead")
        return _beside_reals(dataset, real_dir) if real_dir is not None else _class_folders(dataset)
    if real_dir is not None:
        raise UsageError(f"{dataset}: --real-dir is for a directory of generators")
    by_split, layout = _read_splits(dataset, split)
    pictures = by_split.pop(split or "")
    elsewhere = [p for others in by_split.values() for p in others]
    shared = frozenset({p.repository for p in pictures} & {p.repository for p in elsewhere}) - {""}
    return LabelledSet(str(dataset), layout, split, tuple(pictures), tuple(elsewhere), shared)


def _class_folders(root: Path) -> LabelledSet:
    count = WalkCount()
    pictures = []
    found: set[tuple[str, int]] = set()
    for path in find_pictures([str(root)], WalkOptions(), count):
        name = os.path.relpath(path, root)
        parts = Path(name).parts
        # The walk gives a folder that it cannot read as if it were a picture: a row that will say so.
        unreadable = os.path.isdir(path)
        folders = list(parts if unreadable else parts[:-1])
        while folders and folders[0].lower() in _SPLIT_FOLDERS:
            folders.pop(0)
        at = next((k for k, folder in enumerate(folders) if folder.lower() in _CLASS_FOLDERS), None)
        if at is None and unreadable:
            raise UsageError(f"{path}: this folder cannot be read")
        if at is None:
            # Neither class: a preview, say, or a folder that the layout does not speak of.
            count.add(path, "in no class folder")
            continue
        label = _CLASS_FOLDERS[folders[at].lower()]
        found.add((folders[at].lower(), label))
        group = "/".join([*folders[:at][:1], *folders[at + 1 :][:1]]) or root.resolve().name
        pictures.append(LabelledPicture(Path(path), name, label, group, "", ""))
    if not pictures:
        expected = ", ".join(f"{real}/{fake}" for real, fake in _LAYOUTS)
        raise UsageError(
            f"{root}: no pictures below class folders ({expected}); for a folder of generators add --real-dir, "
            "for anything else write a manifest CSV with path, label and generator"
        )
    layout = " ".join(name for name, _ in sorted(found, key=lambda item: (item[1], item[0])))
    return LabelledSet(str(root), layout, None, tuple(pictures), skipped=count.skipped)


def _beside_reals(generators: Path, reals: Path) -> LabelledSet:
    if not reals.is_dir():
        raise UsageError(f"--real-dir {reals}: no such directory")
    if generators.resolve().is_relative_to(reals.resolve()):
        raise UsageError(f"--real-dir {reals} holds {generators}: its generated pictures would count as real")
    count = WalkCount()
    above = Path(os.path.commonpath([generators.resolve(), reals.resolve()]))
    fakes = [p for p in _below(generators, 1, above, count) if not p.path.resolve().is_relative_to(reals.resolve())]
    pictures = (*_below(reals, 0, above, count), *fakes)
    if not pictures:
        raise UsageError(f"no pictures in {generators}, nor in {reals}")
    return LabelledSet(f"{generators} + {reals}", "generators beside reals", None, pictures, skipped=count.skipped)


def _below(root: Path, label: int, above: Path, count: WalkCount) -> Iterator[LabelledPicture]:
    """Pictures below ``root``, grouped by its folders; names begin below ``above``, so that two roots do not mix."""
    for path in find_pictures([str(root)], WalkOptions(), count):
        below = Path(os.path.relpath(path, root))
        in_folder = len(below.parts) > 1 or os.path.isdir(path)
        group = below.parts[0] if in_folder and below.parts else root.resolve().name
        name = str((root.resolve() / below).relative_to(above))
        yield LabelledPicture(Path(path), name, label, group, "", "")
