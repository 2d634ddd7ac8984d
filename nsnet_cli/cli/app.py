"""The application: global options, the commands, and what every error ends as."""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import Annotated

import typer

from nsnet_cli import __version__
from nsnet_cli.allocator import keep_freed_memory
from nsnet_cli.cli import (
    calibrate,
    detectors,
    evaluate,
    explain,
    inspect,
    nullspace,
    profiles,
    report,
    robustness,
    rows,
    scan,
    train,
    weights,
)
from nsnet_cli.cli.state import STATE, nobody_reads
from nsnet_cli.cli.usage import say_what_was_expected, with_options_everywhere, with_whole_sentences
from nsnet_cli.errors import ExitCode, NsnetError

app = typer.Typer(
    name="nsnet",
    help="Tell AI-generated pictures from real ones, and say how sure that is and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("scan")(scan.scan)
app.command("explain")(explain.explain)
app.command("inspect")(inspect.inspect)
app.command("report")(report.report)
app.command("merge")(rows.merge)
app.command("convert")(rows.convert)
app.command("evaluate")(evaluate.evaluate)
app.command("robustness")(robustness.robustness)
app.command("calibrate")(calibrate.calibrate)
app.command("train")(train.train)
app.command("detectors")(detectors.detectors)
app.add_typer(profiles.app, name="profiles")
app.add_typer(nullspace.app, name="nullspace")
app.add_typer(weights.app, name="weights")


# A full disk, or a full share of one, where the system tells the two apart.
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"nsnet {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show full tracebacks.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks on stderr.")] = False,
) -> None:
    """Global options."""
    STATE.debug, STATE.quiet = debug, quiet


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of the result document."""
    from nsnet_cli.results.document import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command("explain-warning")
def explain_warning(
    code: Annotated[str | None, typer.Argument(metavar="CODE", help="A code from a result's warnings.")] = None,
) -> None:
    """Say what a warning means and what to do about it; without CODE list them all."""
    from nsnet_cli.report.text import WARNINGS
    from nsnet_cli.report.text import explain_warning as explain

    if code is not None:
        typer.echo(explain(code))
        return
    for name, short in WARNINGS.items():
        typer.echo(f"{name}\t{short}")


def main() -> None:
    """Entry point of the console script."""
    keep_freed_memory()
    if sys.stderr is None:  # else a file of ours would get its number, and what libraries in C write there
        _fill_standard_descriptors()
    if sys.stdout is None:  # closed by who called us: there is nobody to write to
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if os.environ.get("COLUMNS", "").strip() == "0":
        del os.environ["COLUMNS"]  # some shells say so of a window that they do not know; nothing would be shown
    sys.exit(_run())


def _fill_standard_descriptors() -> None:
    """Let the first three that were closed by who called us lead nowhere, for processes that are begun here as well."""
    while (lowest := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(lowest, True)
    os.close(lowest)


def _run() -> int:
    group = with_whole_sentences(with_options_everywhere(typer.main.get_command(app)))
    try:
        code = group(prog_name="nsnet", standalone_mode=False)
        sys.stdout.flush()
        return int(code or ExitCode.OK)
    except BrokenPipeError:
        # Whoever read our output has had enough: end quietly, also when Python flushes at exit.
        nobody_reads(sys.stdout)
        return ExitCode.OK
    except SystemExit as ended:
        # Typer turns a closed pipe into exit code 1 before we see it.
        if isinstance(ended.__context__, BrokenPipeError):
            return ExitCode.OK
        raise
    except KeyboardInterrupt:
        _complain("interrupted")
        return ExitCode.INTERRUPTED
    except NsnetError as error:
        if STATE.debug:
            raise
        _complain(str(error))
        return error.exit_code
    except PermissionError as error:
        if STATE.debug:
            raise
        _complain(f"{error.filename}: no permission ({error.strerror})")
        return ExitCode.USAGE
    except OSError as error:
        if STATE.debug or error.errno not in _FULL:
            return _internal(error)
        _complain(f"{error.strerror}: not all that was found could be written")
        return ExitCode.INTERNAL
    except Exception as error:
        # Typer brings click as a dependency or inside itself, by version; its errors are known by their form.
        if type(error).__name__ == "Abort":
            _complain("interrupted")
            return ExitCode.INTERRUPTED
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error, err=True)
            return ExitCode.USAGE
        if callable(getattr(error, "format_message", None)):
            _complain(say_what_was_expected(error, group))
            return ExitCode.USAGE
        return _internal(error)


def _internal(error: Exception) -> int:
    if STATE.debug:
        raise error
    _complain(f"internal error: {type(error).__name__}: {error} (run again with --debug and report it)")
    return ExitCode.INTERNAL


def _complain(text: str) -> None:
    from nsnet_cli.results.escaping import printable

    try:
        print("nsnet: " + "\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)
    except BrokenPipeError:
        nobody_reads(sys.stderr)  # the exit code still says it
