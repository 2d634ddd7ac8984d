"""The README's transcript is what the command prints."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from conftest import ROOT

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def test_the_card_in_the_readme_is_the_card_that_is_printed(run_nsnet: Run) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    printed = run_nsnet("scan", "examples/rocket.jpg").stdout.decode()
    shown = readme.split("$ nsnet scan examples/rocket.jpg\n")[1].split("...")[0]
    number = re.compile(r"0\.\d{3}")
    theirs, ours = number.search(shown), number.search(printed)
    assert theirs and ours
    assert float(ours[0]) == pytest.approx(float(theirs[0]), abs=0.005)
    assert number.sub("#", printed).startswith(number.sub("#", shown))


def test_every_command_has_help_and_is_documented(run_nsnet: Run) -> None:
    text = (ROOT / "README.md").read_text("utf-8") + (ROOT / "docs" / "training.md").read_text("utf-8")
    for command in ("scan", "train", "schema", "weights"):
        assert f"nsnet {command}" in text
        assert run_nsnet(command, "--help").returncode == 0
