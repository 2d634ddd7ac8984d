"""The README's transcript, and its picture, are what the command prints."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest
from conftest import ROOT

from nsnet_cli.cli.app import app
from nsnet_cli.disk import sha256_of
from nsnet_cli.weights.fast import read_fast
from nsnet_cli.weights.store import DEFAULT_WEIGHTS, find_weights

COMMANDS = [named.name or "" for named in (*app.registered_commands, *app.registered_groups)]
Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def printed(run_nsnet: Run) -> str:
    return run_nsnet("scan", "examples/rocket.jpg").stdout.decode()


def test_the_card_in_the_readme_is_the_card_that_is_printed(printed: str) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = readme.split("$ nsnet scan examples/rocket.jpg\n")[1].split("...")[0]
    number = re.compile(r"0\.\d{3}")
    theirs, ours = number.search(shown), number.search(printed)
    assert theirs and ours
    assert float(ours[0]) == pytest.approx(float(theirs[0]), abs=0.005)
    assert number.sub("#", printed).startswith(number.sub("#", shown))


def test_the_picture_in_the_readme_is_the_card_that_is_printed(printed: str) -> None:
    svg = (ROOT / "docs" / "card.svg").read_text("utf-8")
    drawn = "".join(map(html.unescape, re.findall(r"<text[^>]*>([^<]*)</text>", svg)))
    # Figures may differ by a rounding on another machine, and with them the bar.
    ours, theirs = (re.sub(r"[\s\d.,█░-]", "", text) for text in (printed, drawn))
    assert len(ours) > 400 and ours == theirs
    assert sha256_of(find_weights(DEFAULT_WEIGHTS))[:12] in svg, "draw it anew: python docs/draw_card.py"


def test_every_command_has_help_and_is_documented(run_nsnet: Run) -> None:
    text = (ROOT / "README.md").read_text("utf-8") + "".join(p.read_text("utf-8") for p in (ROOT / "docs").glob("*.md"))
    assert len(COMMANDS) > 10
    for command in COMMANDS:
        assert f"nsnet {command}" in text
        assert run_nsnet(command, "--help").returncode == 0


@pytest.mark.parametrize("name", ["val", "whole", "collected", "robustness", "profiles"])
def test_figures_of_verdicts_are_those_of_the_shipped_weights(name: str) -> None:
    assert _measured_weights(name) == sha256_of(find_weights(DEFAULT_WEIGHTS))


def test_figures_in_the_documents_are_the_measured_ones() -> None:
    documents = [ROOT / "README.md", ROOT / "weights" / "MODEL_CARD.md", *(ROOT / "docs").glob("*.md")]
    texts = {path: path.read_text("utf-8") for path in documents}
    val = _benchmark("val")
    for path in documents[:2]:
        assert val.with_figures(texts[path], path.name != "README.md") == texts[path]
    for name in ("robustness", "profiles", "localisation", "speed", "precisions", "seeds"):
        benchmark = _benchmark(name)
        figures = json.loads(benchmark.RESULT.read_text("utf-8"))
        those = [path for path in documents if f"begin (benchmarks/{name}.py)" in texts[path]]
        assert those
        for path in those:
            whole = (path.name != "README.md",) if name == "robustness" else ()
            assert benchmark.with_figures(texts[path], figures, *whole) == texts[path]
            # What was measured with earlier weights says with which.
            assert _measured_weights(name)[:12] in texts[path]


STUDIES = ["field", "opinions", "learnt", "levers", "aligned", "looking", "steps", "engines", "same_verdicts"]


@pytest.mark.parametrize("name", STUDIES)
def test_tables_of_studies_are_what_was_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark = _benchmark(name)
    figures = json.loads(benchmark.RESULT.read_text("utf-8"))
    text = benchmark.DOCUMENT.read_text("utf-8")
    assert benchmark.with_figures(text, figures) == text


def test_auto_said_what_float32_said() -> None:
    figures = json.loads((ROOT / "benchmarks" / "results" / "same_verdicts.json").read_text("utf-8"))
    processors, shipped = figures["processors"].values(), sha256_of(find_weights(DEFAULT_WEIGHTS))
    # Where no such processor was at hand since, the row is of weights before; the document says which.
    assert shipped in {one["weights_sha256"] for one in processors}
    document = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert all(f"`{one['weights_sha256'][:12]}`" in document for one in processors)
    rows = [row for one in processors for row in one["sets"].values()]
    assert len(rows) >= 4 and not any(row["verdicts"] for row in rows)
    assert all(row["in_bfloat16"] > row["pictures"] / 2 for row in rows)
    # Whatever was seen stays well within what is reckoned with.
    bound = read_fast(find_weights(DEFAULT_WEIGHTS), shipped)
    assert bound is not None and max(row["largest"] for row in rows) < bound.bound / 2


def test_the_field_is_that_of_the_baselines_that_are_shipped_and_says_whose_ours_are() -> None:
    figures = json.loads((ROOT / "benchmarks" / "results" / "field.json").read_text("utf-8"))
    measured = {row["name"]: row["weights_sha256"] for row in figures["detectors"]}
    # To measure the field takes longer than to train: ours may be of the weights before, which the document then says.
    assert measured.pop("ns-net")[:12] in (ROOT / "docs" / "detectors.md").read_text("utf-8")
    assert measured == {path.stem: sha256_of(path) for path in (ROOT / "weights" / "baselines").glob("*.safetensors")}


@pytest.mark.parametrize("name", ["peers", "gpu"])
def test_figures_of_machines_are_those_that_are_kept(name: str) -> None:
    benchmark = _benchmark(name)
    text = benchmark.DOCUMENT.read_text("utf-8")
    assert benchmark.with_figures(text, benchmark.kept()) == text


def _measured_weights(name: str) -> str:
    figures = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))
    sha256: str = figures["weights_sha256"] if "weights_sha256" in figures else figures["model"]["weights_sha256"]
    return sha256


def test_the_plan_for_clusters_is_computed_from_what_was_measured() -> None:
    plan = _benchmark("plan")
    text = plan.DOCUMENT.read_text("utf-8")
    assert plan.with_figures(text) == text
    text = plan.HOURS_DOCUMENT.read_text("utf-8")
    assert plan.with_hours(text) == text


def _benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark  # where dataclasses look for the names in their fields
    spec.loader.exec_module(benchmark)
    return benchmark
