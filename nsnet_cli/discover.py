"""Which pictures are meant: files as named, directories walked in sorted order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from nsnet_cli.decode import looks_like_picture

STDIN = "-"


@dataclass
class WalkCount:
    """Files met on a walk that are no pictures, by content."""

    skipped: int = 0


def find_pictures(
    inputs: Sequence[str], include: Sequence[str], exclude: Sequence[str], count: WalkCount
) -> Iterator[str]:
    """Every named file and every picture below a named directory, once a mention, in input order.

    Hidden files, and links to directories that were already visited, are left out of walks.  ``include``
    and ``exclude`` are globs on the file's name or its path below the directory.
    """
    for given in inputs:
        if given != STDIN and os.path.isdir(given):
            yield from _walk(given, include, exclude, count)
        else:
            yield given


def _walk(root: str, include: Sequence[str], exclude: Sequence[str], count: WalkCount) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    stack = [root]
    while stack:
        folder = stack.pop()
        try:
            status = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError:
            yield folder  # becomes a row that says why it could not be read
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        below = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                below.append(entry.path)
            elif _wanted(os.path.relpath(entry.path, root), include, exclude):
                if looks_like_picture(Path(entry.path)):
                    yield entry.path
                else:
                    count.skipped += 1
        stack.extend(reversed(below))


def _wanted(relative: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    name = os.path.basename(relative)

    def matches(globs: Sequence[str]) -> bool:
        return any(fnmatch(name, glob) or fnmatch(relative, glob) for glob in globs)

    return (not include or matches(include)) and not matches(exclude)
