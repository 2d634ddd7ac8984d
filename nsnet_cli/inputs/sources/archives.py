"""ZIP and tar archives, read member by member and never unpacked to disk.

Members of a name that cannot be a path inside the archive, encrypted ones, bombs and cut ones are errors of
theirs alone.  Where several have one name, which formats allow and programs resolve in different ways, all are read:
the first under its name, later ones with a number before the suffix, as file managers write it.  In a tar, which is
read forward, a later member whose true name is such a number gets another.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import posixpath
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from nsnet_cli.errors import InputError, UsageError
from nsnet_cli.inputs.kinds import HEAD
from nsnet_cli.inputs.sources.streams import Positioned

# A compressed tar may grow to so many times its size, beyond the first gigabyte: pictures hardly grow at all.
_GROWTH, _FREE = 100, 1 << 30
_PIECE = 1 << 20


@dataclass(frozen=True)
class Member:
    """A regular member, its size as declared, and its first bytes; None where even those cannot be read."""

    name: str
    size: int
    head: bytes | None


class Archive(Protocol):
    """An open archive."""

    def members(self) -> Iterator[Member]:
        """Regular members in the order of the archive, each with a name of its own.  Raises `InputError` for damage."""

    def read(self, name: str, max_bytes: int) -> bytes:
        """A member whole.  Raises `InputError`."""


class ZipArchive:
    """A ZIP archive; its directory lies at its end, so members are found at once."""

    def __init__(self, file: BinaryIO) -> None:
        with _damage("the ZIP archive"):
            self._zip = zipfile.ZipFile(file)
            self._infos: dict[str, zipfile.ZipInfo] = {}
            infos = [info for info in self._zip.infolist() if not info.is_dir()]
            names = _Names(self._infos, reserved={info.filename for info in infos})
            for info in infos:
                self._infos.setdefault(names.own(info.filename), info)

    def members(self) -> Iterator[Member]:
        for name, info in self._infos.items():
            try:
                yield Member(name, info.file_size, self._read(info, HEAD))
            except InputError:
                yield Member(name, info.file_size, None)

    def read(self, name: str, max_bytes: int) -> bytes:
        info = self._infos.get(name)
        _check(name, None if info is None else info.file_size, max_bytes)
        assert info is not None
        data = self._read(info, max_bytes + 1)
        if len(data) > max_bytes:
            raise _too_large(len(data), max_bytes)
        return data

    def _read(self, info: zipfile.ZipInfo, count: int) -> bytes:
        if info.flag_bits & 1:
            raise InputError("permission", "this member is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # The others unpack a piece of any length to one of any length, before anybody can say stop.
            raise InputError("unsupported_format", "this member is neither stored nor deflated")
        with _damage("this member"), self._zip.open(info) as file:
            return file.read(count)


class TarArchive:
    """A tar archive of so many bytes, plain or compressed, read forward: asking in order costs one pass."""

    def __init__(self, file: BinaryIO, size: int | None) -> None:
        with _damage("the tar archive"):
            self._file = _plain(file, size)
            self._tar: Any = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115 - open as long as we are
        # Where a member's bytes are, and how many; a tar may have more members than memory has room for `TarInfo`.
        self._known: dict[str, tuple[int, int]] = {}
        self._with_holes: set[str] = set()
        self._names = _Names(self._known)
        self._began = self._ended = False
        self._failure: InputError | None = None

    def members(self) -> Iterator[Member]:
        yield from map(self._member, list(self._known))
        while (name := self._next()) is not None:
            yield self._member(name)

    def read(self, name: str, max_bytes: int) -> bytes:
        while name not in self._known and self._next() is not None:
            pass
        at, size = self._known.get(name, (0, None))
        _check(name, size, max_bytes)
        assert size is not None
        if name in self._with_holes:
            raise InputError(
                "unsupported_format",
                "this member is stored with holes (tar --sparse); unpack the archive and scan that",
            )
        data = self._read(at, size)
        if len(data) < size:
            raise InputError("truncated", f"the archive ends after {len(data):,} of this member's {size:,} bytes")
        return data

    def _member(self, name: str) -> Member:
        at, size = self._known[name]
        if name in self._with_holes:
            return Member(name, size, None)
        try:
            return Member(name, size, self._read(at, min(HEAD, size)))
        except InputError as error:
            if error.code != "truncated":
                raise
            return Member(name, size, None)

    def _next(self) -> str | None:
        """The name of the next regular member.  Raises `InputError`, every time, for damage."""
        if self._failure is not None:
            raise InputError(self._failure.code, str(self._failure))
        while not self._ended:
            try:
                info = self._header()
            except InputError as error:
                # What the network did may be over by the next time.
                self._failure = None if error.code == "network" else error
                raise
            if info is None:
                self._ended = True
            elif info.isreg() and (name := self._names.own(info.name)) not in self._known:
                self._known[name] = (info.offset_data, info.size)
                if info.issparse():
                    self._with_holes.add(name)
                return name
        return None

    def _header(self) -> tarfile.TarInfo | None:
        """The next header of any kind; None at the mark of the archive's end."""
        with _damage("the tar archive"):
            before = self._tar.offset
            info: tarfile.TarInfo | None = self._tar.next()
            self._tar.members = []  # what is remembered here would grow without end
            if info is None:
                self._file.seek(self._tar.offset)
                block = self._file.read(512)
                if len(block) < 512 or any(block):
                    raise InputError("truncated", "the tar archive is damaged, or ends without the mark of its end")
            elif info.size < 0 or (self._began and self._tar.offset <= before):
                raise InputError("truncated", "the tar archive is damaged: a header that leads backwards")
            self._began = True
            return info

    def _read(self, at: int, count: int) -> bytes:
        with _damage("this member"):
            self._file.seek(at)
            return self._file.read(count)


class _Names:
    """A name of its own for each member, whatever it is called."""

    def __init__(self, given: Container[str], reserved: Container[str] = ()) -> None:
        self._given, self._reserved = given, reserved
        self._times: Counter[str] = Counter()

    def own(self, name: str) -> str:
        """``name``; where a member before it has that, ``stem (2).suffix`` or the next number that is free.

        A name that cannot be a path stays what it is: it is an error under any number.
        """
        if name not in self._given or unsafe(name):
            return name
        stem, suffix = posixpath.splitext(name)
        numbered = name
        while numbered in self._given or numbered in self._reserved:
            self._times[name] += 1
            numbered = f"{stem} ({self._times[name] + 1}){suffix}"
        return numbered


@contextlib.contextmanager
def _damage(what: str) -> Iterator[None]:
    """Whatever libraries raise for a hostile archive, from `struct.error` to `RecursionError`, is its damage."""
    try:
        yield
    except (InputError, UsageError):
        raise
    except Exception as error:
        raise InputError("truncated", f"{what} is damaged: {type(error).__name__}: {error}") from error


def _plain(file: BinaryIO, size: int | None) -> BinaryIO:
    head = file.read(8)
    file.seek(0)
    opener = next((opener for magic, opener in _COMPRESSIONS.items() if head.startswith(magic)), None)
    if opener is None:
        return file
    return io.BufferedReader(_Unpacked(file, opener, max(_FREE, _GROWTH * (size or 0))), _PIECE)


class _Unpacked(Positioned):
    """What a compressed file unpacks to: seekable, where going back begins anew, and not without end."""

    def __init__(self, file: BinaryIO, opener: Callable[[BinaryIO], io.BufferedIOBase], limit: int) -> None:
        self._file, self._opener, self._limit = file, opener, limit
        self._stream = opener(file)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        # As much as comes at once: a cut file gives what is before the cut, where a whole piece would be asked in vain.
        data = self._stream.read1(len(buffer))
        self.at += len(data)
        if self.at > self._limit:
            raise InputError("too_large", f"unpacks to more than {self._limit:,} bytes; it is not read further")
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = offset + (self.at if whence == io.SEEK_CUR else 0)
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the end is not known before it is reached")
        if target < self.at:
            self._file.seek(0)
            self._stream, self.at = self._opener(self._file), 0
        buffer = memoryview(bytearray(_PIECE))
        while self.at < target and self.readinto(buffer[: min(_PIECE, target - self.at)]):
            pass
        return self.at


def open_archive(file: BinaryIO, head: bytes, size: int | None, named_so: bool) -> Archive | None:
    """The archive in a file of ``size`` bytes that begins with ``head`` (512 bytes); None where it is none.

    ``named_so`` decides where the first bytes of a compressed file do not tell.  Raises `InputError` for a
    damaged archive.
    """
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ZipArchive(file)
    if _is_tar(head, named_so):
        return TarArchive(file, size)
    # With something before it, as programs that unpack themselves have: its directory stands at its end.
    if named_so and not is_compressed(head) and zipfile.is_zipfile(file):
        file.seek(0)
        return ZipArchive(file)
    return None


def is_compressed(head: bytes) -> bool:
    """Whether these are the first bytes of what one of tar's companions has compressed."""
    return any(head.startswith(magic) for magic in _COMPRESSIONS)


def _is_tar(head: bytes, named_so: bool) -> bool:
    opener = next((opener for magic, opener in _COMPRESSIONS.items() if head.startswith(magic)), None)
    if opener is None:
        return head[257:262] == b"ustar"
    try:
        inside = opener(io.BytesIO(head)).read(512)
    except UsageError:
        raise
    except Exception:  # its first block is longer than what was read of it, or it is none of theirs
        inside = b""
    return inside[257:262] == b"ustar" if inside else named_so


def unsafe(name: str) -> str | None:
    """Why a member's name cannot be a path inside its archive; None where it can."""
    if not name or "\0" in name:
        return "has no name that can be written"
    if re.match(r"^([/\\]|[A-Za-z]:)", name):
        return "has an absolute name"
    if ".." in re.split(r"[/\\]", name):
        return "has a name that leads out of the archive"
    return None


def _check(name: str, size: int | None, max_bytes: int) -> None:
    why = unsafe(name)
    if why is not None:
        raise InputError("unsafe_name", f"this member {why}")
    if size is None:
        raise InputError("not_found", "no such member in the archive")
    if size > max_bytes:
        raise _too_large(size, max_bytes)
    if size == 0:
        raise InputError("empty", "the member is empty")


def _too_large(size: int, max_bytes: int) -> InputError:
    return InputError("too_large", f"{size:,} bytes, more than --max-bytes {max_bytes:,} allows")


def _open_zstd(file: BinaryIO) -> io.BufferedIOBase:
    try:
        import zstandard
    except ImportError as error:
        raise UsageError("reading .tar.zst needs an extra: pip install 'nsnet-cli[archives]'") from error
    reader: Any = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)
    return reader


_COMPRESSIONS: dict[bytes, Callable[[BinaryIO], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": lambda file: bz2.BZ2File(file),
    b"\xfd7zXZ\x00": lambda file: lzma.LZMAFile(file),  # noqa: SIM115
    b"\x28\xb5\x2f\xfd": _open_zstd,
}
