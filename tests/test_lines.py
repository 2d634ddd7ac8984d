"""The table of many pictures at the width of a terminal."""

from __future__ import annotations

import pytest
from conftest import Call, textured
from PIL import Image
from rich.cells import cell_len

from nsnet_cli.report.lines import MARKS, Line, below_folder, cut_in_the_middle, picture_lines

LONG = "/mnt/archive/2024/a folder with a long name/another folder/and a picture 0001.jpg"


def shown(lines: list[Line], width: int = 80) -> list[str]:
    return [line.plain for line in picture_lines(lines, width)][1:]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    notes = ["", "few_patches", "animated mostly_unseen", "unsupported_format: a sentence that goes on and on " * 3]
    paths = ["a.jpg", LONG, "写真/とても長い名前の写真がここにあります/さらに長い名前の写真0001.jpg", LONG * 3]
    lines = [Line("real", 0.01234, path, note) for path in paths for note in notes]
    text = shown(lines, width)
    assert max(map(cell_len, text)) <= width
    # Those with short notes, or none, take one line.
    assert sum(line.startswith("□") for line in text) == len(lines)
    assert len(text) - len(lines) == sum(line.startswith(" ") for line in text)
    short = shown([Line("real", 0.5, path, note) for path in paths for note in notes[:3]], width)
    assert width < 80 or len(short) == 12


def test_a_path_is_cut_in_the_middle_so_that_files_stay_apart() -> None:
    cut = cut_in_the_middle(LONG, 40)
    assert cell_len(cut) == 40 and cut.startswith("/mnt/archive/") and cut.endswith("picture 0001.jpg") and "…" in cut
    assert cut_in_the_middle("short.jpg", 40) == "short.jpg"


def test_verdicts_differ_without_colour() -> None:
    assert len(set(MARKS.values())) == len(MARKS) == 4
    generated, error = shown([Line("generated", 0.987, "a.jpg", ""), Line("error", None, "b.jpg", "empty: no bytes")])
    assert generated == "■ generated  0.987  a.jpg" and error.startswith("✕ error             b.jpg")


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [("/a/b/c.jpg", "/a", "b/c.jpg"), ("/a/b/c.jpg", "/a/", "b/c.jpg"), ("/ab/c.jpg", "/a", "/ab/c.jpg"),
     ("x.zip!d/e.jpg", "x.zip", "d/e.jpg"), ("/a", "/a", "/a"), ("c.jpg", None, "c.jpg")],
)  # fmt: skip
def test_paths_are_shown_below_what_was_named(path: str, folder: str | None, expected: str) -> None:
    assert below_folder(path, folder) == expected


def test_a_folder_is_named_once_and_a_file_keeps_every_path_whole(tmp_path, tiny_weights, call: Call) -> None:  # type: ignore[no-untyped-def]
    deep = tmp_path / ("a very long name of a folder " * 4).strip()
    deep.mkdir()
    for k in range(2):
        Image.fromarray(textured(240, 240)).save(deep / f"{k}.png")
    weights = ("--weights", str(tiny_weights))
    code, out, _ = call("scan", str(deep), *weights)
    assert code == 0 and out.splitlines()[0].startswith("in ") and f"  {'0.png'}" in out
    assert max(map(len, out.splitlines())) <= 80
    assert call("scan", str(deep), "-o", str(tmp_path / "table.txt"), *weights)[0] == 0
    assert str(deep) in (tmp_path / "table.txt").read_text("utf-8")
