"""``nsnet profiles``: the thresholds that ``nsnet calibrate`` made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from nsnet_cli.cli.state import say, stdout_console
from nsnet_cli.errors import UsageError

if TYPE_CHECKING:
    from nsnet_cli.verdict.profiles import Profile

app = typer.Typer(
    help="List, show and delete profiles made by nsnet calibrate.", no_args_is_help=True, rich_markup_mode=None
)
Name = Annotated[str, typer.Argument(metavar="NAME")]


@app.command("list")
def list_profiles() -> None:
    """A line each: name, threshold, wanted rate, pictures behind it, weights."""
    from nsnet_cli.verdict.profiles import load_profile, profile_names, profiles_folder

    names = profile_names()
    if not names:
        say(f"no profiles in {profiles_folder()}; nsnet calibrate makes one")
    for name in names:
        try:
            p = load_profile(name)
        except UsageError as error:
            typer.echo(f"{name}\tdamaged")
            say(str(error))
            continue
        typer.echo(f"{name}\t{p.threshold:.6f}\t{p.wanted_fpr:g}\t{p.pictures}\t{p.weights_sha256[:12]}")


@app.command("show")
def show(
    name: Name, as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False
) -> None:
    """Show what a profile holds, what it rests on, and what it is bound to."""
    from nsnet_cli.verdict.profiles import load_profile

    show_profile(load_profile(name), as_json)


@app.command("delete")
def delete(name: Name) -> None:
    """Delete a profile."""
    from nsnet_cli.verdict.profiles import delete_profile

    delete_profile(name)
    say(f"deleted profile {name}")


def show_profile(profile: Profile, as_json: bool) -> None:
    """A profile for people, or as ``nsnet.profile/1``."""
    from nsnet_cli.verdict.profiles import to_json_data

    if as_json:
        typer.echo(json.dumps(to_json_data(profile), indent=2))
        return
    from rich.table import Table

    p = profile
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("profile", p.name)
    grid.add_row("threshold", f"{p.threshold:.4f}: generated at or above, in place of the weights' own")
    grid.add_row("false alarms", f"{_percent(p.wanted_fpr)} wanted, {_percent(p.expected_fpr)} to be expected")
    grid.add_row("", f"95 % interval of the rate behind it: {_percent(p.fpr_low)} to {_percent(p.fpr_high)}")
    grid.add_row(
        "rests on", f"{p.pictures:,} real pictures, {p.above:,} of them at or above it; {p.left_out:,} left out"
    )
    if p.missed is not None:
        share = _percent(p.missed.missed / p.missed.pictures)
        span = f"{_percent(p.missed.low)} to {_percent(p.missed.high)}"
        grid.add_row("missed", f"{share} ({span}) of {p.missed.pictures:,} generated pictures lie below it")
    grid.add_row("bound to", f"weights {p.weights_sha256[:12]}, {p.views} views, {p.precision}")
    grid.add_row("made", f"{p.created_at} by nsnet {p.tool_version}")
    stdout_console().print(grid)


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"
