"""What a scan writes where: decided before anything is scanned, so that nothing is overwritten; and opening it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from nsnet_cli.cli.options import Format
from nsnet_cli.cli.output import check_output
from nsnet_cli.cli.state import say
from nsnet_cli.disk import real_path, sync_folder
from nsnet_cli.errors import UsageError
from nsnet_cli.results.writer import only_writer

_JOURNAL_SUFFIX = ".journal.jsonl"


@dataclass(frozen=True)
class Target:
    """What is written where.  With a ``journal`` rows go there first, so that nothing reported is ever lost."""

    style: Format
    output: Path | None
    journal: Path | None

    @classmethod
    def of(
        cls,
        style: Format,
        output: Path | None,
        force: bool,
        resume: bool,
        some_only: bool,
        inputs: Sequence[str | None] = (),
    ) -> Target:
        """Decide it.  Raises `UsageError` for what would overwrite something, or could not be resumed."""
        if output is None:
            if resume:
                raise UsageError("--resume goes on with a file; name it with --output")
            if style in (Format.PARQUET, Format.HTML):
                raise UsageError(f"{style} goes to a file: name one with --output")
            return cls(style, None, None)
        if style == Format.PARQUET:
            from nsnet_cli.report.convert import need_pyarrow

            need_pyarrow()
        check_output(output, inputs)
        output = real_path(output)
        journal: Path | None = None
        if not (style == Format.TABLE or (style == Format.JSONL and some_only)):
            journal = output if style == Format.JSONL else output.with_name(output.name + _JOURNAL_SUFFIX)
        elif resume:
            raise UsageError("--resume needs every row in the file: .jsonl without --only, .csv, .json or .parquet")
        if journal is not None:
            check_output(journal, inputs)
        if output.is_dir() and style != Format.PARQUET:
            raise UsageError(f"{output} is a directory; name a file in it")
        if style == Format.PARQUET and output.is_file() and not output.suffix:
            raise UsageError(f"{output} is a file, and {style} under a name without a suffix is a directory of parts")
        there = output.exists()
        if style == Format.PARQUET and output.is_dir():
            from nsnet_cli.report.convert import parquet_parts

            there = bool(parquet_parts(output))
        if resume and there and journal is not None and not journal.exists():
            raise UsageError(f"{output} is finished, and its journal is gone; scan to a .jsonl file to go on later")
        if resume and force:
            raise UsageError("--resume goes on with what is there, --force overwrites it: give one of them")
        if not (resume or force):
            if there:
                going_on = ", or --resume it" if journal is not None and journal.exists() else ""
                raise UsageError(f"{output} exists; choose another name, or overwrite it with --force{going_on}")
            if journal is not None and journal.exists():
                raise UsageError(f"{journal} is there from a scan that was stopped: --resume it, or --force")
        return cls(style, output, journal)

    @property
    def in_parts(self) -> bool:
        """Whether it is a directory of Parquet files: by its name, without a suffix, or because it is one."""
        output = self.output
        return self.style == Format.PARQUET and output is not None and (output.is_dir() or not output.suffix)


@contextlib.contextmanager
def opened(output: Path | None, stdout: TextIO, quiet: bool = False) -> Iterator[TextIO]:
    """Standard output, or a file that appears when it is whole; on Ctrl-C with what is done."""
    if output is None:
        yield stdout
        return
    partial = output.with_name(f".{output.name}.partial")
    try:
        with only_writer(output):
            try:
                with partial.open("w", encoding="utf-8", newline="") as stream:
                    try:
                        yield stream
                    except KeyboardInterrupt:
                        stream.flush()
                        partial.replace(output)
                        raise
                    stream.flush()
                    os.fsync(stream.fileno())
                partial.replace(output)
                sync_folder(output)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}") from error
    if not quiet:
        say(f"written to {output}")
