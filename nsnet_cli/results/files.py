"""Rows of a scan from whatever file it was written to: JSON lines, a journal, or one JSON document."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nsnet_cli.errors import UsageError
from nsnet_cli.results.document import SCHEMA, RowContext
from nsnet_cli.results.journal import parse_row, read_journal

_FOREIGN = {".csv": "a table already", ".parquet": "a table already", ".html": "a page"}


def scan_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows as JSON lines have them (`RowContext.row`).  Raises `UsageError`."""
    suffix = path.suffix.lower()
    if suffix in _FOREIGN:
        raise UsageError(f"{path} is {_FOREIGN[suffix]}: convert the .json or .jsonl of the scan")
    with path.open("rb") as file:
        first = file.readline()
    if parse_row(first) is not None or not first.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
        return read_journal(path)
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError):
        return read_journal(path)  # which says what is wrong, and where
    return _of_document(path, document)


def _of_document(path: Path, document: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or "results" not in document:
        raise UsageError(f"{path}: expected a document {SCHEMA} with results, as nsnet scan --json writes it")
    try:
        model, options = document["model"], document["options"]
        context = RowContext(model["weights_sha256"], model["views"], model["precision"], options["options_hash"])
        # A document does not say of which shard it is: its results are taken for those of all inputs.
        rows = [
            {"schema": SCHEMA, **result, "input_index": index, **asdict(context)}
            for index, result in enumerate(document["results"])
        ]
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a whole document of a scan (no {error})") from error
    return iter(rows)
