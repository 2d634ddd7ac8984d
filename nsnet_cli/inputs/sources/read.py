"""From an address to bytes, and to what can be told without reading them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nsnet_cli.errors import InputError, NsnetError
from nsnet_cli.inputs.decode import read_file
from nsnet_cli.inputs.kinds import HEAD, Sort, begins_like_picture, foreign_kind
from nsnet_cli.inputs.limits import STDIN, DecodeLimits
from nsnet_cli.inputs.sources.address import DAMAGED, Address, is_url, looks_like_container
from nsnet_cli.inputs.sources.archives import Archive, open_archive
from nsnet_cli.inputs.sources.remote import open_remote, read_remote, stat_remote
from nsnet_cli.inputs.sources.tables import MAGIC, ParquetPictures
from nsnet_cli.inputs.sources.video import VideoFrames, can_read_video, video_kind, why_not_scanned


@dataclass(frozen=True)
class SourceStat:
    """Size in bytes and time of the last change in nanoseconds, each None where it cannot be told.

    Of a member it is the container's time, and no size.
    """

    size: int | None
    mtime_ns: int | None


Container = Archive | ParquetPictures | VideoFrames


def read_source(text: str, limits: DecodeLimits) -> bytes:
    """The bytes at an address.  Raises `InputError`."""
    address = Address.parse(text)
    if address.member is not None:
        return _containers.read(address.container, address.member, limits.max_bytes)
    if is_url(text):
        return read_remote(text, limits.max_bytes)
    kind = video_kind(text) if os.path.isfile(text) else None  # a FIFO is never opened
    if kind is not None:
        raise why_not_scanned(text, kind, limits)
    return read_file(Path(text), limits)


def stat_source(text: str) -> SourceStat:
    """What can be told of an address.  Raises `OSError`, `ValueError` or `InputError` where nothing can be seen."""
    address = Address.parse(text)
    if is_url(address.container):
        size, mtime_ns = stat_remote(address.container)
    else:
        found = os.stat(address.container)
        size, mtime_ns = found.st_size, found.st_mtime_ns
    return SourceStat(size if address.member is None else None, mtime_ns)


def modified(path: str) -> int | None:
    """When the file, or the archive that it is in, was last changed, in nanoseconds; None where that cannot be told."""
    if path == STDIN:
        return None
    try:
        return stat_source(path).mtime_ns
    except (OSError, ValueError, NsnetError):
        return None


def open_container(path: str) -> Container | None:
    """The archive or table at a path or URL, by its content; None where it is none.  Raises `InputError`.

    None, too, for what cannot be opened.  What begins like a picture is one, whatever comes later in it, unless
    it is named like an archive.
    """
    file: BinaryIO
    named_so = looks_like_container(path)
    try:
        if is_url(path):
            file, size = open_remote(path)
        else:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                return None
            file, size = open(path, "rb"), status.st_size  # noqa: SIM115 - open as long as its container is
        head = file.read(HEAD)
        file.seek(0)
    except (OSError, ValueError):
        return None  # whoever reads it as a picture says why
    kind = foreign_kind(head)
    if kind is not None and kind.sort == Sort.VIDEO and not is_url(path) and can_read_video():
        file.close()
        return VideoFrames(path)
    if not named_so and begins_like_picture(head):
        found: Container | None = None
    else:
        found = ParquetPictures(file) if head.startswith(MAGIC) else open_archive(file, head, size, named_so)
    if found is None:
        file.close()
    return found


def names_in(container: Container, column: str) -> Iterator[tuple[str, bytes | None]]:
    """Names of what a container holds, with the first bytes of each; None where they are not at hand.

    Of the frames of a video none are named: `nsnet_cli.inputs.sources.video.look_through` chooses some.
    """
    if isinstance(container, VideoFrames):
        return
    if isinstance(container, ParquetPictures):
        yield from ((name, None) for name in container.members(column))
    else:
        yield from ((member.name, member.head) for member in container.members())


class _Containers:
    """The container that was read last stays open: pictures of one are asked for one after the other."""

    def __init__(self) -> None:
        self._key: tuple[str, SourceStat | None] | None = None
        self._open: Container | None = None

    def read(self, path: str, member: str, max_bytes: int) -> bytes:
        try:
            container = self._opened(path)
            if member == DAMAGED:
                raise InputError("truncated", "the archive could not be read to its end; what came before is scanned")
            return container.read(member, max_bytes)
        except InputError as error:
            if error.code == "network":
                self._open = None
            raise

    def _opened(self, path: str) -> Container:
        # Of an object that changes while it is scanned nothing good can be said, so it is not asked each time.
        key = (path, None if is_url(path) else _seen(path))
        if self._open is None or key != self._key:
            self._open = None
            self._open, self._key = open_container(path), key
        if self._open is None:
            kind = None if is_url(path) else video_kind(path)
            if kind is not None:
                raise InputError("unsupported_format", kind.refusal)
            raise InputError("unsupported_format", "this is no archive and no Parquet table")
        return self._open


def _seen(path: str) -> SourceStat | None:
    with suppress(OSError, ValueError):
        return stat_source(path)
    return None


_containers = _Containers()
