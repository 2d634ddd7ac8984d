"""``nsnet inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsnet_cli.cli import options
from nsnet_cli.cli.output import stdout_utf8
from nsnet_cli.cli.state import say, stdout_console
from nsnet_cli.errors import InputError, UsageError
from nsnet_cli.inputs.limits import STDIN, DecodeLimits

if TYPE_CHECKING:
    from nsnet_cli.provenance.inspection import Inspection


def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="One file, or a member of an archive.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON, every manifest whole.")] = False,
    thumbnails: Annotated[
        Path | None, typer.Option("--thumbnails", metavar="DIR", help="Write the pictures within the picture to DIR.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files in DIR.")] = False,
    trust_list: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Certificates whose content credentials are to be trusted.")
    ] = None,
    max_bytes: options.MaxBytes = DecodeLimits.max_bytes,
) -> None:
    """Show everything that a file carries beside its pixels, raw, with places and sizes.

    Nothing is decoded, fetched or run: a file that cannot be scanned can still be looked at.

    Exit codes: 0 done, 2 wrong usage, 3 the file could not be read, 130 interrupted.
    """
    if file == STDIN:
        raise UsageError("inspect needs a file, not standard input; save the picture first")
    if thumbnails is not None and not thumbnails.is_dir():
        raise UsageError(f"{thumbnails}: no such directory")

    from nsnet_cli.inputs.decode import format_of
    from nsnet_cli.inputs.sources import read_source
    from nsnet_cli.provenance import ProvenanceReader
    from nsnet_cli.provenance.inspection import inspect as look

    trusted = ProvenanceReader.with_trust(trust_list).trust_list
    try:
        data = read_source(file, DecodeLimits(max_bytes=max_bytes))
    except InputError as error:
        raise InputError(error.code, f"{file}: {error}") from error
    found = look(data, file, format_of(data), trusted)
    if thumbnails is not None:
        _write(found, thumbnails, Path(file.rsplit("!", 1)[-1]).name, force)
    stdout_utf8()
    if as_json:
        from nsnet_cli.results.escaping import to_json

        typer.echo(to_json(found.document, indent=2))
        return
    from nsnet_cli.report.inspection import print_inspection

    print_inspection(stdout_console(), found.document)


def _write(found: Inspection, folder: Path, name: str, force: bool) -> None:
    from nsnet_cli.provenance.inspection import suffix_of
    from nsnet_cli.report.convert import write_bytes_whole

    targets = [folder / f"{name}.{n}{suffix_of(t.data)}" for n, t in enumerate(found.thumbnails, start=1)]
    there = next((path for path in targets if path.exists() or path.is_symlink()), None)
    if there is not None and not force:
        raise UsageError(f"{there} exists; choose another directory, or overwrite it with --force")
    for target, thumbnail in zip(targets, found.thumbnails, strict=True):
        write_bytes_whole(target, thumbnail.data)
    say(f"{len(targets)} thumbnail{'' if len(targets) == 1 else 's'} written to {folder}")
