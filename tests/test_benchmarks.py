"""The table of benchmarks (benchmarks/README.md) has a row for each script, and none for one that is gone."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if "\ndef main(" in path.read_text("utf-8"))
TEXT = (FOLDER / "README.md").read_text("utf-8")


def test_every_script_has_its_row() -> None:
    rows = [line.split(" | ") for line in TEXT.splitlines() if line.startswith("| `")]
    assert sorted(row[0].strip("| `") for row in rows) == SCRIPTS
    assert all(len(row) == 4 and all(cell.strip("| ") for cell in row) for row in rows)


def test_what_is_no_script_is_named_as_well() -> None:
    others = {path.name for path in FOLDER.glob("*.py")} - set(SCRIPTS)
    folders = {path.parent.name + "/" for path in FOLDER.glob("*/__init__.py")}
    assert others and folders and all(f"`{name}`" in TEXT for name in others | folders)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_how_it_is_run(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    assert text.startswith('"""') and f"python benchmarks/{name}" in text.split('"""')[1]


def test_options_that_are_shared_are_said_once() -> None:
    shared = re.findall(r'^    "(--[a-z-]+)": {', (FOLDER / "options.py").read_text("utf-8"), re.MULTILINE)
    assert "--manifest" in shared
    for name in SCRIPTS:
        own = re.findall(r'add_argument\("(--[a-z-]+)"', (FOLDER / name).read_text("utf-8"))
        again = set(own) & set(shared)
        assert not again, f"{name} says {again} anew"
