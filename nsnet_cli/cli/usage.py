"""Options where people type them, and what is said of those that are not understood."""

from __future__ import annotations

import copy
import difflib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nsnet_cli.cli.state import STATE

# Options of the whole program that every command takes, too.
_EVERYWHERE = ("quiet", "debug")
# What the library that checks values says, and what people say.
_PLAINER = (
    (r"'[^']*' is not a valid int(eger)?( range)?$", "expected a whole number"),
    (r"'[^']*' is not a valid float( range)?$", "expected a number"),
    (r"\S+ is not in the range (\S+)<=x<=(\S+)$", r"expected \1 to \2"),
    (r"\S+ is not in the range x>=(\S+)$", r"expected at least \1"),
    (r"\S+ is not in the range x<=(\S+)$", r"expected at most \1"),
)


def with_options_everywhere(group: Any) -> Any:
    """The command line, where ``-q``, ``--quiet`` and ``--debug`` stand before a command or behind it."""
    shared = [parameter for parameter in group.params if parameter.name in _EVERYWHERE]
    for command in _commands(group):
        for parameter in shared:
            mine = copy.copy(parameter)
            mine.expose_value, mine.callback = False, _remember
            command.params.append(mine)
    return group


def with_whole_sentences(group: Any) -> Any:
    """The command line, whose lists of commands give the first sentence of each whole: cut off, it helps nobody."""
    for command in group.commands.values():
        command.short_help = " ".join((command.help or "").split()).partition(". ")[0].rstrip(".") + "."
        if hasattr(command, "commands"):
            with_whole_sentences(command)
    return group


def say_what_was_expected(error: Any, group: Any) -> str:
    """The message for an error of the command line's parser: what was found, what was expected, what to type."""
    context = getattr(error, "ctx", None)
    command = "nsnet" if context is None else _path_of(context)
    text = " ".join(str(error.format_message()).split()).rstrip(".")
    text = re.sub(r" ?\(Possible options?: .*\)$", "", text)
    for theirs, ours in _PLAINER:
        text = re.sub(theirs, ours, text)
    kind, option = type(error).__name__, getattr(error, "option_name", None)
    if kind == "NoSuchOption" and option and context is not None:
        text = f"{text}{_nearest(option, context.command, group)}"
    elif (unknown := re.match(r"No such command '([^']*)'", text)) is not None and _like_a_file(unknown[1]):
        text = f"{unknown[0]}. Did you mean nsnet scan {shlex.quote(unknown[1])}?"
    elif kind == "MissingParameter" and context is not None:
        text = f"{text}; expected {context.get_usage().removeprefix('Usage: ')}"
    elif kind == "BadParameter" and (found := _given(error)) is not None and repr(found) not in text:
        text = f"{text}, found {found!r}"
    return f"{text}\n{command} -h lists what can be typed"


def _nearest(option: str, command: Any, group: Any) -> str:
    """The option of this command that looks most like ``option``; else the commands that have it."""
    mine = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    elsewhere = [
        other.name for other in _commands(group) if any(option in parameter.opts for parameter in other.params)
    ]
    starting = [name for name in mine if len(option) > 3 and name.startswith(option)]
    close = starting or difflib.get_close_matches(option, mine, n=1, cutoff=0.6)
    if close and not (elsewhere and not starting):
        return f". Did you mean {close[0]}?"
    return f". It is an option of nsnet {' and nsnet '.join(elsewhere[:3])}" if elsewhere else ""


def _like_a_file(word: str) -> bool:
    """Whether a word that stands where a command belongs is a file's or a folder's name."""
    return Path(word).exists() or "." in word or "/" in word


def _given(error: Any) -> str | None:
    """What was typed as the value of the option that ``error`` is about."""
    for name in getattr(getattr(error, "param", None), "opts", ()):
        for at, word in enumerate(sys.argv):
            if word == name and at + 1 < len(sys.argv):
                return sys.argv[at + 1]
            if name.startswith("--") and word.startswith(f"{name}="):
                return word.partition("=")[2]
    return None


def _path_of(context: Any) -> str:
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(["nsnet", *names])


def _commands(group: Any) -> Iterator[Any]:
    for command in group.commands.values():
        if hasattr(command, "commands"):
            yield from _commands(command)
        else:
            yield command


def _remember(context: Any, parameter: Any, value: Any) -> Any:
    if value:
        setattr(STATE, str(parameter.name), True)
    return value
