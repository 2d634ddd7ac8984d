"""Which pictures are meant: files as named, directories walked in sorted order."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from nsnet_cli.decode import looks_like_picture
from nsnet_cli.errors import UsageError

STDIN = "-"


@dataclass
class WalkCount:
    """Files met on a walk that are no pictures, by content."""

    skipped: int = 0


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts of all paths, by their hash: the same path is always in the same part."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/8`` is the second of eight.  Raises `UsageError`."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard {text}: expected I/N with I from 1 to N, such as 2/8")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def takes(self, path: str) -> bool:
        digest = hashlib.sha256(os.fsencode(path)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


class Discovery:
    """`find_pictures` in a thread of its own, so that the first are scanned while others are still being found.

    Iterate once: ``(index, path)`` of those that ``keep`` takes, where ``index`` counts all that were found.
    """

    def __init__(self, found: Iterator[str], keep: Callable[[str], bool] = lambda path: True) -> None:
        self._found, self._keep = found, keep
        self._paths: list[tuple[int, str]] = []
        self._more = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="nsnet-discovery", daemon=True).start()

    @property
    def total(self) -> int | None:
        """How many there are, once that is known."""
        return len(self._paths) if self._ended else None

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for at in itertools.count():
            with self._more:
                while len(self._paths) == at and not self._ended:
                    self._more.wait()
                if len(self._paths) == at:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._paths[at]
            yield item

    def _run(self) -> None:
        try:
            for index, path in enumerate(self._found):
                if self._keep(path):
                    with self._more:
                        self._paths.append((index, path))
                        self._more.notify_all()
        except BaseException as error:  # raised where the paths are asked for
            self._error = error
        with self._more:
            self._ended = True
            self._more.notify_all()


def find_pictures(
    inputs: Iterable[str], include: Sequence[str], exclude: Sequence[str], count: WalkCount
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
            try:
                is_folder = entry.is_dir()
            except OSError:
                yield entry.path  # a link in a circle, or into what is closed: a row that says so
                continue
            if is_folder:
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
