"""Text that came from files made harmless where it goes out: to a terminal, into JSON, into a spreadsheet."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

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


def spreadsheet_cell(value: Any) -> Any:
    """Text that a spreadsheet will not run as a formula, and that always encodes."""
    if isinstance(value, str):
        value = value.encode("utf-8", "backslashreplace").decode("utf-8")
        if value.startswith(FORMULA_STARTS):
            return "'" + value
    return value
