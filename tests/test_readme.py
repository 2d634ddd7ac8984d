"""The README's transcript is what the command prints."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable

import pytest
from conftest import ROOT

from nsnet_cli.safefile import sha256_of
from nsnet_cli.weights_store import DEFAULT_WEIGHTS, find_weights

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
    text = (ROOT / "README.md").read_text("utf-8") + "".join(p.read_text("utf-8") for p in (ROOT / "docs").glob("*.md"))
    for command in ("scan", "evaluate", "explain-warning", "train", "nullspace", "schema", "weights"):
        assert f"nsnet {command}" in text
        assert run_nsnet(command, "--help").returncode == 0


def test_figures_in_the_documents_are_the_measured_ones_of_the_shipped_weights() -> None:
    spec = importlib.util.spec_from_file_location("val", ROOT / "benchmarks" / "val.py")
    assert spec is not None and spec.loader is not None
    val = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(val)
    figures = json.loads(val.RESULTS.read_text("utf-8"))
    assert figures["model"]["weights_sha256"] == sha256_of(find_weights(DEFAULT_WEIGHTS))
    for path in val.DOCUMENTS:
        text = path.read_text("utf-8")
        assert val.with_figures(text, figures, path.name == "MODEL_CARD.md") == text
