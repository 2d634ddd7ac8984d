"""Objects at a URL, through fsspec.  Only whoever names such an address reaches the network.

Credentials are those of the environment, as each file system of fsspec looks for them.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

from nsnet_cli.errors import InputError, UsageError
from nsnet_cli.inputs.sources.streams import Positioned

_T = TypeVar("_T")
_SIGNS = ("*", "[")
# Containers up to this size are fetched whole; of larger ones so many bytes at a time.
_WHOLE, _RANGE = 1 << 26, 1 << 18
# Pauses in seconds before another try; the file systems' own retries come on top of it.
_PAUSES = (0.5, 1.0, 2.0)
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure",
           "http": "http", "https": "http", "hf": "hf"}  # fmt: skip


def open_remote(url: str) -> tuple[BinaryIO, int | None]:
    """The object as a seekable file, and its size; small ones are fetched at once.  Raises `InputError`."""
    fs, path = file_system(url)
    size = trying(lambda: fs.info(path).get("size"))
    if size is not None and size <= _WHOLE:
        return io.BytesIO(read_remote(url, _WHOLE)), size
    # Without a cache of its own: it would fetch megabytes for every header.
    opened = trying(lambda: fs.open(path, "rb", cache_type="none"))
    if not opened.seekable():
        raise InputError("network", "this server does not give parts of a file; fetch the archive first")
    return io.BufferedReader(_Retried(opened), _RANGE), size


class _Retried(Positioned):
    """A remote file of which every read is tried again where the network may be at fault."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self._file.size}[whence]
        self.at = base + offset
        return self.at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        def read() -> bytes:
            self._file.seek(self.at)
            return bytes(self._file.read(len(buffer)))

        data = trying(read)
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def read_remote(url: str, max_bytes: int) -> bytes:
    """An object whole.  Raises `InputError`."""
    fs, path = file_system(url)

    def read() -> bytes:
        # Opening asks for the size; to ask before would be one more way to the server and back for each picture.
        with fs.open(path, "rb") as file:
            size = getattr(file, "size", None)
            if size is not None and size > max_bytes:
                raise InputError("too_large", f"{size:,} bytes, more than --max-bytes {max_bytes:,} allows")
            data: bytes = file.read(max_bytes + 1)
        if size is not None and len(data) < min(size, max_bytes):
            raise ConnectionError(f"{len(data):,} of {size:,} bytes came")
        return data

    data = trying(read)
    if len(data) > max_bytes:
        raise InputError("too_large", f"more than --max-bytes {max_bytes:,} allows")
    if not data:
        raise InputError("empty", "the object is empty")
    return data


def stat_remote(url: str) -> tuple[int | None, int | None]:
    """Size in bytes and time of the last change in nanoseconds, where the file system says so."""
    fs, path = file_system(url)
    info = trying(lambda: fs.info(path))
    changed = info.get("LastModified") or info.get("last_modified") or info.get("mtime") or info.get("updated")
    try:
        stamp = changed.timestamp() if hasattr(changed, "timestamp") else float(changed)
    except (TypeError, ValueError):
        stamp = None
    return info.get("size"), None if stamp is None else int(stamp * 1e9)


def walk_remote(url: str) -> Iterator[tuple[str, str]] | None:
    """All objects below a URL in sorted order, or those that its pattern matches; None where it is one object.

    Each with its address and its path below the folder, or below the part of the pattern that is no pattern.
    Raises `InputError` where it cannot be listed.
    """
    fs, path = file_system(url)
    if url.partition("://")[0].lower() in ("http", "https"):
        return None
    if any(sign in path for sign in _SIGNS) and not trying(lambda: fs.exists(path)):
        names = iter(trying(lambda: sorted(map(str, fs.glob(path)))))
        folder_url, folder = _before_signs(url), _before_signs(path)
    elif url.endswith("/") or trying(lambda: fs.isdir(path)):
        folder_url, folder = url.rstrip("/"), path.rstrip("/")
        names = _below(fs, folder)
    else:
        return None
    # Not what the file system calls it, which may be another scheme than was asked for.
    below = (name.removeprefix(folder).lstrip("/") for name in names)
    return ((f"{folder_url}/{relative}", relative) for relative in below)


def _before_signs(text: str) -> str:
    """The folders before the first one that is a pattern."""
    first = min(text.index(sign) for sign in _SIGNS if sign in text)
    return text[:first].rpartition("/")[0]


def _below(fs: Any, path: str) -> Iterator[str]:
    """A folder at a time: a bucket may hold more names than memory does."""
    entries = trying(lambda: fs.ls(path, detail=True))
    for entry in sorted(entries, key=lambda entry: str(entry["name"])):
        if entry["name"].rstrip("/") == path.rstrip("/"):
            continue
        if entry["type"] == "directory":
            yield from _below(fs, entry["name"])
        else:
            yield str(entry["name"])


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path in it.  Raises `UsageError` where its package is missing, and
    `InputError` for an address that is none."""
    scheme = url.partition("://")[0].lower()
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        # Schemes may be spelt in any case (RFC 3986, 3.1); fsspec knows one.
        fs, path = url_to_fs(scheme + url[len(scheme) :])
    except ImportError as error:
        raise UsageError(
            f"{scheme}:// needs an extra: pip install 'nsnet-cli[{_EXTRAS.get(scheme, scheme)}]' ({error})"
        ) from error
    except ValueError as error:
        raise InputError("not_found", f"no address that can be read: {error}") from error
    return fs, path


def trying(what: Callable[[], _T]) -> _T:
    """``what()``, again after a pause where the network may be at fault.  Raises `InputError` in the end."""
    for pause in (*_PAUSES, None):
        try:
            return what()
        except InputError:
            raise
        except Exception as caught:  # every file system has errors of its own for what the network does
            error = _reason(caught)
            if isinstance(error, FileNotFoundError):
                raise InputError("not_found", f"no such object: {error}") from error
            if isinstance(error, PermissionError):
                raise InputError("permission", f"access denied: {error}") from error
            if pause is None:
                raise InputError("network", f"could not be read: {type(error).__name__}: {error}") from error
            time.sleep(pause)
    raise AssertionError


def _reason(error: Exception) -> Exception:
    """What is behind ``error``: fsspec says of whatever an HTTP server did that there is no such file.

    Other file systems say so of what is not there, whatever the cause that they give.
    """
    try:
        from aiohttp import ClientError
    except ImportError:
        return error
    behind = error.__cause__
    if not isinstance(error, FileNotFoundError) or not isinstance(behind, ClientError | TimeoutError):
        return error
    status = getattr(behind, "status", None)
    if status in (404, 410):
        return error
    return PermissionError(str(behind)) if status in (401, 403) else behind
