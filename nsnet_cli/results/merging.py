"""Several outputs of one scan made one: shards from many machines, checked for gaps, doubles and strangers.

Rows are found once and read again when they are written, so that memory holds a few numbers for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from nsnet_cli.errors import UsageError
from nsnet_cli.results.escaping import printable
from nsnet_cli.results.journal import Row, parse_row

_NAMED = 3
_OPEN_FILES = 200


@dataclass(frozen=True)
class _Place:
    """Where a row stands."""

    index: int
    file: int
    offset: int
    path: str
    shard: object


@dataclass
class Merged:
    """What was found in all files.

    ``gaps`` and ``doubles`` say in words what is missing and what is there twice; both empty means that every
    input has exactly one row, as far as the rows can tell.  They cannot tell of inputs after the last one that
    any shard reported: ``expected`` paths can.
    """

    files: Sequence[Path]
    places: list[_Place] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """All rows in the order of the inputs."""
        with ExitStack() as stack:
            opened: dict[int, BinaryIO] = {}
            for place in sorted(self.places, key=lambda p: (p.index, p.file)):
                if place.file not in opened:
                    if len(opened) >= _OPEN_FILES:
                        opened.clear()
                        stack.close()
                    opened[place.file] = stack.enter_context(self.files[place.file].open("rb"))
                opened[place.file].seek(place.offset)
                row = parse_row(opened[place.file].readline())
                if row is None:
                    raise UsageError(f"{self.files[place.file]}: changed while it was read")
                yield row


def merge(files: Sequence[Path], expected: Sequence[str] | None = None) -> Merged:
    """Look through JSONL outputs of one scan.

    Raises `UsageError` for what is no output of a scan, and for rows of other weights, options or numbers of
    shards than the first: they are of another scan.
    """
    merged = Merged(files)
    first: tuple[str, tuple[object, ...]] | None = None
    shards: set[str] = set()
    for number, path in enumerate(files):
        for offset, row in _rows(path):
            shard = row.get("shard")
            count = shard.split("/")[1] if isinstance(shard, str) and "/" in shard else None
            mark = (row.get("weights_sha256"), row.get("options_hash"), count)
            if first is None:
                first = (str(path), mark)
            elif mark != first[1]:
                what = ("other weights", "other options", "another number of shards")
                other = next(name for name, a, b in zip(what, mark, first[1], strict=True) if a != b)
                raise UsageError(f"{path}: rows of {other} than {first[0]}: they are of another scan")
            index = row.get("input_index")
            if not isinstance(index, int):
                raise UsageError(f"{path}: rows without input_index; they were made by an older version")
            if shard is not None:
                shards.add(shard)
            merged.places.append(_Place(index, number, offset, row["path"], shard))
    _check(merged, shards, expected)
    return merged


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    with file:
        if not file.seekable():
            raise UsageError(f"{path} is no file that can be read twice; write the rows to one first")
        offset = 0
        for number, line in enumerate(file, start=1):
            row = parse_row(line)
            if row is None and not line.endswith(b"\n"):
                return  # cut short by a kill: no row
            if row is None:
                raise UsageError(f"{path}:{number}: not a row of a scan; merge takes .jsonl outputs")
            yield offset, row
            offset += len(line)


def _check(merged: Merged, shards: set[str], expected: Sequence[str] | None) -> None:
    at = Counter(place.index for place in merged.places)
    shared: dict[int, list[_Place]] = {index: [] for index, n in at.items() if n > 1}
    for place in merged.places:
        if place.index in shared:
            shared[place.index].append(place)
    twice = sorted(index for index, places in shared.items() if not _of_shards_of_their_own(places))
    if twice:
        paths = [shared[index][0].path for index in twice[:_NAMED]]
        merged.doubles.append(f"{len(twice)} inputs have more than one row: {_named(paths, len(twice))}")
    if shards and expected is None:  # a shard may have had no picture; only who knows the inputs can tell
        count = int(next(iter(shards)).split("/")[1])
        missing = [f"{k}/{count}" for k in range(1, count + 1) if f"{k}/{count}" not in shards]
        if missing:
            # A shard that drew nothing has no rows; only the inputs tell it from one that is lost.
            which = _named(missing, len(missing))
            merged.gaps.append(f"no rows of shards {which} (were they empty? --expect INPUT tells)")
    holes = max(at, default=-1) + 1 - len(at)
    if holes:
        some = [str(k) for k in range(max(at)) if k not in at][:_NAMED]
        several = "1 input before the last one has" if holes == 1 else f"{holes} inputs before the last one have"
        merged.gaps.append(f"{several} no row: numbers {_named(some, holes)}")
    if expected is not None:
        there, wanted = Counter(p.path for p in merged.places), Counter(expected)
        lacking = list((wanted - there).elements())
        foreign = list((there - wanted).elements())
        if lacking:
            merged.gaps.append(f"{len(lacking)} expected pictures have no row: {_named(lacking, len(lacking))}")
        if foreign:
            merged.doubles.append(f"{len(foreign)} rows are of no expected picture: {_named(foreign, len(foreign))}")


def _of_shards_of_their_own(places: Sequence[_Place]) -> bool:
    """Whether rows share a number because their files have gone: a shard that is resumed puts those behind its last
    one, where another shard may have a row."""
    own = {(place.shard, place.path) for place in places}
    return None not in {place.shard for place in places} and len({shard for shard, _ in own}) == len(places)


def _named(some: Sequence[str], total: int) -> str:
    return ", ".join(map(printable, some[:_NAMED])) + (", ..." if total > _NAMED else "")
