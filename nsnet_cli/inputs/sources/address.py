"""Addresses: which part of a text is a file or URL, and which part a member in it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

# Between a container and its member.
MARK = "!"
# In place of a member: the container itself, of which something could not be read.
DAMAGED = ""
# Names of what may have members: where nobody can look, at a URL, the name has to say so.
_CONTAINER = re.compile(r"\.(zip|tar|tgz|tbz2|txz|tzst|tar\.(gz|bz2|xz|zst)|parquet)$", re.IGNORECASE)
# A frame of a clip, behind the clip's path.
_FRAME = re.compile(r"!frame/(\d+\.\d{3})s$")
_URL = re.compile(r"^(s3|s3a|gs|gcs|az|abfs|abfss|https?|hf)://", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """A file or URL, and the member of it that is meant, if any."""

    container: str
    member: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """A file of just this name comes first; then the shortest beginning that is a container by its name, and then,
        where it can be looked for, that is a file at all."""
        remote = is_url(text)
        if MARK not in text or (not remote and os.path.lexists(text)):
            return cls(text)
        pairs = [cls(text[: mark.start()], text[mark.end() :]) for mark in re.finditer(re.escape(MARK), text)]
        there = pairs if remote else [pair for pair in pairs if os.path.isfile(pair.container)]
        named = [pair for pair in there if _CONTAINER.search(pair.container)]
        return next(iter(named or ([] if remote else there)), cls(text))

    def __str__(self) -> str:
        return self.container if self.member is None else f"{self.container}{MARK}{self.member}"


def is_url(text: str) -> bool:
    """Whether an address names the network."""
    return _URL.match(text) is not None


def looks_like_container(name: str) -> bool:
    """By its name alone; a URL's query is no part of it."""
    return _CONTAINER.search(name.partition("?")[0] if is_url(name) else name) is not None


def is_hidden(path: str) -> bool:
    """Whether a part of a path is what walks leave out: names that begin with a dot, and macOS' shadow files."""
    return any(part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in path.split("/"))


def frame_of(path: str) -> tuple[str, float] | None:
    """The clip and the time in seconds of a frame's address; None for any other address."""
    found = _FRAME.search(path)
    return None if found is None else (path[: found.start()], float(found[1]))
