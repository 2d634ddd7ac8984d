"""``--skipped FILE``: what a walk met that is no picture, by name, so that every file can be accounted for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nsnet_cli.cli.output import check_output
from nsnet_cli.cli.state import say
from nsnet_cli.errors import UsageError

if TYPE_CHECKING:
    from nsnet_cli.inputs.discover import Skipped, WalkCount


def check_skipped(path: Path | None, output: Path | None, overwrite: bool, inputs: Sequence[str | None] = ()) -> None:
    """Refuse now what could not be written at the end.  Raises `UsageError`."""
    if path is None:
        return
    if str(path) == "-":
        raise UsageError("--skipped -: results go to standard output; name a file for the list")
    if output is not None and os.path.realpath(path) == os.path.realpath(output):
        raise UsageError(f"--skipped {path} is the file of the results, too: name another one")
    if path.exists() and not overwrite:
        raise UsageError(f"--skipped {path} exists: choose another name, or overwrite it with --force")
    if not path.parent.is_dir():
        raise UsageError(f"--skipped {path}: there is no directory {path.parent}; make it, or name another")
    check_output(path, inputs)


def write_skipped(path: Path | None, count: WalkCount) -> None:
    """Write the list, and say where something was passed over that its owner may miss.  Raises `UsageError`."""
    if path is not None:
        from nsnet_cli.report.convert import write_bytes_whole

        write_bytes_whole(path, _rendered(count.listed, path.suffix.lower()))
        say(f"{count.skipped:,} skipped file{'s are' if count.skipped != 1 else ' is'} listed in {path}")
    if count.misnamed:
        where = "" if path is not None else "; --skipped FILE lists them"
        many = "1 skipped file is" if count.misnamed == 1 else f"{count.misnamed:,} skipped files are"
        say(f"{many} named like a picture, but empty, zeroed or of another kind by content{where}")


def _rendered(listed: Sequence[Skipped], suffix: str) -> bytes:
    import io

    from nsnet_cli.results.escaping import csv_writer, printable, spreadsheet_cell, to_json

    if suffix in (".jsonl", ".ndjson"):
        lines = [to_json({"path": item.path, "what": item.what}) + "\n" for item in listed]
        return "".join(lines).encode("utf-8")
    if suffix == ".csv":
        table = io.StringIO()
        writer = csv_writer(table)
        writer.writerow(("path", "what"))
        writer.writerows((spreadsheet_cell(item.path), item.what) for item in listed)
        return table.getvalue().encode("utf-8")
    return "".join(f"{printable(item.path)}\t{item.what}\n" for item in listed).encode("utf-8")
