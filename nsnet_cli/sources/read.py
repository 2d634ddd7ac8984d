"""From an address to bytes, and to what can be told without reading them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from nsnet_cli.decode import DecodeLimits, read_file
from nsnet_cli.errors import InputError
from nsnet_cli.sources.address import Address, is_url
from nsnet_cli.sources.archives import Archive, open_archive
from nsnet_cli.sources.remote import open_remote, read_remote, stat_remote
from nsnet_cli.sources.tables import MAGIC, ParquetPictures


@dataclass(frozen=True)
class SourceStat:
    """Size in bytes and time of the last change in nanoseconds, each None where it cannot be told.

    Of a member it is the container's time, and no size.
    """

    size: int | None
    mtime_ns: int | None


Container = Archive | ParquetPictures
_HEAD = 512


def read_source(text: str, limits: DecodeLimits) -> bytes:
    """The bytes at an address.  Raises `InputError`."""
    address = Address.parse(text)
    if address.member is not None:
        return _containers.open(address.container).read(address.member, limits.max_bytes)
    if is_url(text):
        return read_remote(text, limits.max_bytes)
    data = read_file(Path(text), limits)
    if data.startswith(MAGIC) or open_archive(BytesIO(data), data[:_HEAD], len(data)) is not None:
        raise InputError("truncated", "this archive could not be read to its end: what was found before is scanned")
    return data


def stat_source(text: str) -> SourceStat:
    """What can be told of an address.  Raises `OSError`, `ValueError` or `InputError` where nothing can be seen."""
    address = Address.parse(text)
    if is_url(address.container):
        size, mtime_ns = stat_remote(address.container)
    else:
        found = os.stat(address.container)
        size, mtime_ns = found.st_size, found.st_mtime_ns
    return SourceStat(size if address.member is None else None, mtime_ns)


def open_container(path: str) -> Container | None:
    """The archive or table at a path or URL, by its content; None where it is none.  Raises `InputError`."""
    try:
        size = None if is_url(path) else os.stat(path).st_size
        file = open_remote(path) if is_url(path) else open(path, "rb")  # noqa: SIM115 - open as long as its container is
        head = file.read(_HEAD)
        file.seek(0)
    except OSError as error:
        raise InputError("decode_failed", f"could not be read: {error}") from error
    found = ParquetPictures(file) if head.startswith(MAGIC) else open_archive(file, head, size)
    if found is None:
        file.close()
    return found


def names_in(container: Container, column: str) -> Iterator[tuple[str, bytes | None]]:
    """Names of what a container holds, with the first bytes of each where they are at hand."""
    if isinstance(container, ParquetPictures):
        yield from ((name, None) for name in container.members(column))
    else:
        yield from ((member.name, member.head) for member in container.members())


class _Containers:
    """The container that was read last stays open: pictures of one are asked for one after the other."""

    def __init__(self) -> None:
        self._key: tuple[str, SourceStat | None] | None = None
        self._open: Container | None = None

    def open(self, path: str) -> Container:
        # Of an object that changes while it is scanned nothing good can be said, so it is not asked each time.
        key = (path, None if is_url(path) else _seen(path))
        if self._open is None or key != self._key:
            self._open, self._key = open_container(path), key
        if self._open is None:
            raise InputError("unsupported_format", "this is no archive and no Parquet table")
        return self._open


def _seen(path: str) -> SourceStat | None:
    with suppress(OSError, ValueError):
        return stat_source(path)
    return None


_containers = _Containers()
