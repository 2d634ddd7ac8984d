"""Text as people's tools write it: lists and tables in UTF-8 or UTF-16, by their mark, with whatever line ends."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nsnet_cli.errors import UsageError

# Byte-order marks, the longer before those that they begin with; UTF-8's is only left out.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Between cells; of those that fit equally well the first.
_DELIMITERS = (",", ";", "\t", "|")
_QUOTES = ('"', "'", "“”")


def listed_paths(pieces: Iterable[bytes], null: bool) -> Iterator[str]:
    """Paths of a list that comes in pieces, each as soon as it is there.  Raises `UsageError`.

    Without a mark they are the bytes that they are; with ``null`` all of the list is.  Quotes around a path go where
    no file has them in its name.
    """
    end, left = b"\0" if null else b"\n", b""
    for piece in pieces if null else _as_utf8(pieces):
        *whole, left = (left + piece).split(end)
        yield from filter(None, (_path(line, null) for line in whole))
    last = _path(left, null)
    if last:
        yield last


def read_text(path: Path) -> str:
    """A text file whole, in UTF-8 or in what its mark says.  Raises `UnicodeDecodeError` and `OSError`."""
    data = path.read_bytes()
    mark, encoding = _mark_of(data)
    return data[mark:].decode(encoding or "utf-8")


def read_table(text: str, known: Sequence[str]) -> csv.DictReader[str]:
    """Rows of a table whose cells lie between commas, semicolons, tabs or bars, whichever gives most ``known`` columns.

    Column names lose the blanks around them.
    """
    header = text.partition("\n")[0]

    def columns(delimiter: str) -> list[str]:
        cells = next(csv.reader(io.StringIO(header), delimiter=delimiter), [])
        return [cell.strip() for cell in cells]

    best = max(_DELIMITERS, key=lambda delimiter: (len(set(known) & set(columns(delimiter))), len(columns(delimiter))))
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=best)
    reader.fieldnames = columns(best)
    next(reader.reader, None)  # the header: names that are given are not looked for
    return reader


def _mark_of(head: bytes) -> tuple[int, str | None]:
    """Length of the byte-order mark in front, and the encoding that it says; None without one."""
    return next(((len(mark), encoding) for mark, encoding in _MARKS if head.startswith(mark)), (0, None))


def _as_utf8(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in UTF-8 and without a mark; without one in front, the same bytes."""
    more, head = iter(pieces), b""
    while not head or any(mark != head and mark.startswith(head) for mark, _ in _MARKS):
        piece = next(more, None)
        if piece is None:
            break
        head += piece
    mark, encoding = _mark_of(head)
    if encoding is None or encoding == "utf-8":
        yield head[mark:]
        yield from more
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for piece in itertools.chain((head[mark:],), more):
        yield decoder.decode(piece).encode("utf-8")
    yield decoder.decode(b"", True).encode("utf-8")


def _path(line: bytes, null: bool) -> str:
    if null:
        return os.fsdecode(line)
    if b"\0" in line:
        raise UsageError(
            "the list holds NUL bytes: if they end its paths, add --null; if it is UTF-16, write it with a "
            "byte-order mark or as UTF-8 (PowerShell: Out-File -Encoding utf8)"
        )
    path = os.fsdecode(line.removesuffix(b"\r"))
    if not path.strip():
        return ""
    bare = path.strip()
    quoted = len(bare) > 2 and any(bare[0] == quote[0] and bare[-1] == quote[-1] for quote in _QUOTES)
    if quoted and not os.path.lexists(path):
        return bare[1:-1].replace('""', '"') if bare[0] == '"' else bare[1:-1]
    return path
