"""Text that came from files made harmless where it goes out: to a terminal, into JSON, into a spreadsheet."""

from __future__ import annotations

import csv
import json
import unicodedata
from typing import Any, Protocol

# A spreadsheet takes a cell that begins like this for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """A path or message with every control, format and surrogate character written as an escape."""
    return "".join(
        c
        if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in text
    )


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON in UTF-8; a path that is not UTF-8 is escaped, so that the text always encodes."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, ensure_ascii=True, indent=indent, allow_nan=False)
    return text


class _Stream(Protocol):
    def write(self, text: str, /) -> object: ...


class _Lines:
    """Rows of CSV that end in LF alone: the module quotes what may break a row, a lone CR, by the ends of its rows."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def write(self, row: str) -> object:
        return self._stream.write(row.removesuffix("\r\n") + "\n")


def csv_writer(stream: _Stream) -> Any:
    """A `csv.writer` whose rows are one each for every reader, whatever stands in their cells."""
    return csv.writer(_Lines(stream), lineterminator="\r\n")


def spreadsheet_cell(value: Any) -> Any:
    """Text that a spreadsheet will not run as a formula, and that always encodes."""
    if isinstance(value, str):
        value = value.encode("utf-8", "backslashreplace").decode("utf-8")
        if value.startswith(FORMULA_STARTS):
            return "'" + value
    return value
