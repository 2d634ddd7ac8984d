"""Which pictures are meant: files as named, directories walked in sorted order, archives and buckets listed."""

from __future__ import annotations

import hashlib
import itertools
import os
import posixpath
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from nsnet_cli.errors import InputError, UsageError
from nsnet_cli.inputs.kinds import MISNAMED, has_picture_suffix, why_no_picture, why_passed_over
from nsnet_cli.inputs.limits import DEFAULT_FRAMES, STDIN, DecodeLimits
from nsnet_cli.inputs.sources.address import DAMAGED, Address, frame_of, is_hidden, is_url, looks_like_container
from nsnet_cli.inputs.sources.archives import unsafe
from nsnet_cli.inputs.sources.read import Container, names_in, open_container
from nsnet_cli.inputs.sources.remote import walk_remote
from nsnet_cli.inputs.sources.tables import NoSuchColumnError, ParquetPictures
from nsnet_cli.inputs.sources.video import Clip, VideoFrames, frame_name, look_through, video_kind


@dataclass(frozen=True)
class Skipped:
    """A file that was met and is no picture, and ``what`` it is as far as its first bytes tell."""

    path: str
    what: str


@dataclass
class WalkCount:
    """Files met on a walk that are no pictures, by content; ``listed`` where ``keep`` asks for their names.

    ``takes`` leaves out what another shard counts.  ``clips`` are the videos that were looked through, by path.
    """

    keep: bool = False
    takes: Callable[[str], bool] = lambda path: True
    skipped: int = 0
    misnamed: int = 0
    listed: list[Skipped] = field(default_factory=list)
    clips: dict[str, Clip] = field(default_factory=dict)

    def add(self, path: str, what: str) -> None:
        if not self.takes(path):
            return
        self.skipped += 1
        self.misnamed += what == MISNAMED
        if self.keep:
            self.listed.append(Skipped(path, what))


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
        frame = frame_of(path)  # frames go with their clip, whose row needs them all
        digest = hashlib.sha256(os.fsencode(path if frame is None else frame[0])).digest()
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


@dataclass(frozen=True)
class WalkOptions:
    """What of directories, archives, tables and buckets is meant.

    ``include`` and ``exclude`` are globs on the name or on the path below the directory; ``column`` is that of
    tables; with ``archives`` those that are met on a walk are opened, too, not only those that were named, and with
    ``videos`` clips.  Of a clip at most ``frames`` are looked at.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    column: str = "image"
    archives: bool = False
    videos: bool = False
    frames: int = DEFAULT_FRAMES
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    def takes(self, relative: str) -> bool:
        """Whether a picture of this path below what was named is meant."""
        return (not self.include or _matches(relative, self.include)) and not self.leaves_out(relative)

    def leaves_out(self, relative: str) -> bool:
        """Whether it is not meant, nor, if it is an archive, anything in it."""
        return _matches(relative, self.exclude)


def _matches(relative: str, globs: Sequence[str]) -> bool:
    name = os.path.basename(relative)
    return any(fnmatch(name, glob) or fnmatch(relative, glob) for glob in globs)


def find_pictures(inputs: Iterable[str], wanted: WalkOptions, count: WalkCount) -> Iterator[str]:
    """Addresses (`nsnet_cli.inputs.sources`) of every named file and every picture in what was named, in input order.

    Hidden files, and links to directories that were already visited, are left out of walks.
    """
    for given in inputs:
        if given == STDIN:
            yield given
        elif is_url(given):
            yield from _remote(given, wanted, count)
        elif os.path.isdir(given):
            yield from _walk(given, wanted, count)
        elif os.path.isfile(given) and (inside := _members(given, wanted, count)) is not None:
            yield from _of_named(given, inside, wanted)
        else:
            yield given


def names_many(given: str) -> bool:
    """Whether an input may be more than one picture."""
    if is_url(given):
        return given.endswith("/") or any(sign in given for sign in "*[") or looks_like_container(given)
    if not os.path.isfile(given):
        return os.path.isdir(given)
    try:
        return open_container(given) is not None
    except InputError:
        return True  # a damaged archive is no picture


def _members(container: str, wanted: WalkOptions, count: WalkCount) -> Iterator[str] | None:
    """Pictures in an archive or a table; None for any other file."""
    try:
        found = open_container(container)
    except InputError:
        return iter((str(Address(container, DAMAGED)),))  # becomes a row that says what is wrong
    if isinstance(found, VideoFrames):
        return _frames_of(container, wanted, count)
    return None if found is None else _pictures_in(container, found, wanted, count)


def _frames_of(path: str, wanted: WalkOptions, count: WalkCount) -> Iterator[str]:
    """The chosen frames of a clip, and then the clip itself, whose row sums them up, or says what was wrong."""
    try:
        count.clips[path] = clip = look_through(path, wanted.frames, wanted.limits)
        yield from (str(Address(path, frame_name(time))) for time in clip.times)
    except InputError:
        pass  # its row says so
    yield path


def _of_named(container: str, inside: Iterator[str], wanted: WalkOptions) -> Iterator[str]:
    """What is inside of what somebody named: a table without the column becomes a row that says so."""
    try:
        yield from inside
    except NoSuchColumnError:
        yield str(Address(container, f"{wanted.column}/0"))


def _met(container: str, what: str, wanted: WalkOptions, count: WalkCount) -> Iterator[str]:
    """The same for what nobody named: a table without the column, or a package that is missing, ends no walk."""
    try:
        inside = _members(container, wanted, count)
        if inside is None:
            count.add(container, what)
        else:
            yield from inside
    except UsageError as error:
        count.add(container, str(error))


def _pictures_in(container: str, found: Container, wanted: WalkOptions, count: WalkCount) -> Iterator[str]:
    named = not isinstance(found, ParquetPictures)  # a table's cells have no names that globs could be for
    said = False
    try:
        for name, head in names_in(found, wanted.column):
            # A name that leads out of the archive is no hidden one: somebody should hear of it.
            if named and unsafe(name) is None and (is_hidden(name) or not wanted.takes(posixpath.normpath(name))):
                continue
            said = head is None
            what = None if head is None else why_no_picture(head, name)
            if what is None:
                yield str(Address(container, name))
            else:
                count.add(str(Address(container, name)), what)
    except InputError:
        # Said by the member that was cut, if one was; else nobody would know that something is missing.
        if not said:
            yield str(Address(container, DAMAGED))


def _remote(url: str, wanted: WalkOptions, count: WalkCount) -> Iterator[str]:
    try:
        below = None if Address.parse(url).member is not None else walk_remote(url)
        if below is None:
            inside = _members(url, wanted, count) if looks_like_container(url) else None
            yield from (url,) if inside is None else _of_named(url, inside, wanted)
            return
        for address, relative in below:
            if is_hidden(relative) or wanted.leaves_out(relative):
                continue
            # Looking at first bytes would cost a request for each object.
            if has_picture_suffix(relative):
                if wanted.takes(relative):
                    yield address
            elif wanted.archives and looks_like_container(relative):
                yield from _met(address, "archive", wanted, count)
            elif wanted.takes(relative):
                count.add(address, "not named like a picture")
    except InputError:
        yield url  # becomes a row that says why it could not be listed


def _walk(root: str, wanted: WalkOptions, count: WalkCount) -> Iterator[str]:
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
                relative = os.path.relpath(entry.path, root)
                if wanted.takes(relative):
                    yield entry.path  # a link in a circle, or into what is closed: a row that says so
                continue
            if is_folder:
                below.append(entry.path)
                continue
            relative = os.path.relpath(entry.path, root)
            if wanted.leaves_out(relative):
                continue
            what = why_passed_over(Path(entry.path))
            if what is None:
                if wanted.takes(relative):
                    yield entry.path
            elif wanted.videos and video_kind(entry.path) is not None:
                if wanted.takes(relative):
                    yield from _members(entry.path, wanted, count) or (entry.path,)
            elif wanted.archives and not what.startswith("video"):
                yield from _met(entry.path, what, wanted, count)
            elif wanted.takes(relative):
                count.add(entry.path, what)
        stack.extend(reversed(below))
