"""A line a picture, as wide as the terminal: paths are cut in the middle, and what does not fit stands below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.text import Text

# Filled, half, empty: they tell verdicts apart where there is no colour, and by those who do not see it.
MARKS = {"generated": "■", "uncertain": "◧", "real": "□", "error": "✕"}
# Blue and orange, which all eyes tell apart; bold for what asks for attention.
STYLES = {"generated": "bold orange1", "uncertain": "bold", "real": "deep_sky_blue1", "error": "bold magenta"}
_VERDICT, _PROBABILITY = 11, 5
_GAP = "  "
_LEFT = _VERDICT + _PROBABILITY + 2 * len(_GAP)
# For notes up to so many cells a path is cut, to at least so many; longer ones stand below.
_SHORT_NOTES, _LEAST_PATH = 34, 24


@dataclass(frozen=True)
class Line:
    """What is shown of one picture; ``verdict`` is ``error`` where there is none."""

    verdict: str
    probability: float | None
    path: str
    notes: str


def picture_lines(lines: Sequence[Line], width: int) -> Iterator[Text]:
    """The header and the pictures, no line wider than ``width`` where that leaves room for anything."""
    room = max(_LEAST_PATH, width - _LEFT)
    longest = max((cell_len(line.path) for line in lines), default=0)
    short = max((cell_len(line.notes) for line in lines if cell_len(line.notes) <= _SHORT_NOTES), default=0)
    column = longest
    if short and longest + len(_GAP) + short > room:
        column = max(_LEAST_PATH, room - len(_GAP) - short)
    yield Text(f"{'verdict':<{_VERDICT}}{_GAP}{'prob.':>{_PROBABILITY}}{_GAP}picture", style="bold")
    for line in lines:
        beside = bool(line.notes) and column + len(_GAP) + cell_len(line.notes) <= room
        path = cut_in_the_middle(line.path, column if beside else room)
        probability = "" if line.probability is None else f"{line.probability:.3f}"
        text = Text(no_wrap=True)
        text.append(f"{MARKS[line.verdict]} {line.verdict}".ljust(_VERDICT), style=STYLES[line.verdict])
        text.append(f"{_GAP}{probability:>{_PROBABILITY}}{_GAP}{path}")
        if beside:
            text.append(" " * (column - cell_len(path)) + f"{_GAP}{line.notes}")
        yield text
        if line.notes and not beside:
            for below in textwrap.wrap(line.notes, room - len(_GAP), break_on_hyphens=False):
                yield Text(" " * (_LEFT + len(_GAP)) + below, style="dim", no_wrap=True)


def cut_in_the_middle(path: str, cells: int) -> str:
    """``path`` in so many cells: its end, which tells files apart, keeps more than its beginning."""
    if cell_len(path) <= cells:
        return path
    head = (cells - 1) // 3
    tail = cells - 1 - head
    begin = chop_cells(path, head)[0] if head else ""
    end = "".join(reversed(chop_cells("".join(reversed(path)), tail)[0]))
    return f"{begin}…{end}"


def below_folder(path: str, folder: str | None) -> str:
    """The path below the folder or archive that was named; as it is where it lies elsewhere."""
    if folder:
        for begin in (folder.rstrip("/") + "/", folder + "!"):
            if path.startswith(begin) and len(path) > len(begin):
                return path[len(begin) :]
    return path
