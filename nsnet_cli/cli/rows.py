"""``nsnet merge`` and ``nsnet convert``: what becomes of rows after a scan."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from nsnet_cli.cli import options
from nsnet_cli.cli.output import check_outputs
from nsnet_cli.cli.state import say
from nsnet_cli.errors import UsageError

_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet")
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help=".jsonl, .csv or .parquet.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite FILE.")]


def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSONL outputs of one scan: its shards, say.")],
    output: Output,
    expect: Annotated[
        list[str] | None,
        typer.Option(metavar="INPUT", help="A picture or directory that was scanned: every picture must have a row."),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Write what is there though some is missing.")] = False,
    force: Force = False,
    csv_bom: options.CsvBom = False,
) -> None:
    """Make one output of several, in the order of the inputs.

    Refused, and said: rows of other weights or options, inputs with two rows, and inputs or shards without
    any (unless --partial).

    Exit codes: 0 done, 2 wrong usage or a refusal.
    """
    check_outputs([output], _SUFFIXES, force)
    options.check_csv_bom(csv_bom, output.suffix.lower() == ".csv")
    if output.exists() and any(output.samefile(path) for path in files if path.exists()):
        raise UsageError(f"{output} is one of the files to be merged")

    from nsnet_cli.inputs.discover import WalkCount, WalkOptions, find_pictures
    from nsnet_cli.results.merging import merge as look

    expected = list(find_pictures(expect, WalkOptions(), WalkCount())) if expect else None
    merged = look(files, expected)
    if merged.doubles:
        raise UsageError("; ".join([*merged.doubles, *merged.gaps]))
    if merged.gaps and not partial:
        raise UsageError("; ".join(merged.gaps) + " (--partial writes what is there)")
    for gap in merged.gaps:
        say(f"warning: {gap}")
    _write(merged.rows(), output, csv_bom)
    say(f"{len(merged.places):,} rows of {len(files)} {'file' if len(files) == 1 else 'files'} written to {output}")


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .json or .jsonl output of a scan, or its journal.")],
    output: Output,
    force: Force = False,
    csv_bom: options.CsvBom = False,
) -> None:
    """Make CSV, Parquet or JSON lines of the rows of a scan, finished or not."""
    check_outputs([output], _SUFFIXES, force)
    options.check_csv_bom(csv_bom, output.suffix.lower() == ".csv")
    if not file.is_file():
        raise UsageError(f"{file}: no such file; expected the .json or .jsonl output of a scan")
    if output.exists() and output.samefile(file):
        raise UsageError(f"{output} is the file to be converted: name another")

    from nsnet_cli.results.files import scan_rows

    _write(scan_rows(file), output, csv_bom)
    say(f"written to {output}")


def _write(rows: Iterable[dict[str, Any]], output: Path, csv_bom: bool = False) -> None:
    suffix = output.suffix.lower()
    if suffix == ".csv":
        from nsnet_cli.report.convert import write_csv

        write_csv(rows, output, csv_bom)
    elif suffix == ".parquet":
        from nsnet_cli.report.convert import write_parquet

        write_parquet(rows, output)
    else:
        from nsnet_cli.results.journal import rewrite

        try:
            rewrite(output, rows)
        except OSError as error:
            raise UsageError(f"{output}: {error.strerror}") from error
