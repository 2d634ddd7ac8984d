"""The rules of the house (docs/architecture.md): which room imports which, where libraries load, how long modules are.

What is imported for type checkers alone (`if TYPE_CHECKING`) is exempt: it runs nowhere.  So is the package itself,
`nsnet_cli`, which everyone may ask for ``__version__``.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

import nsnet_cli

PACKAGE = Path(nsnet_cli.__file__).parent
# From the ground up: each may import those that it names, which all stand above it.  A module that may more or less
# than its room has a line of its own.
MAY_IMPORT = {
    "errors": "",
    "arrays": "",
    "disk": "",
    "allocator": "",
    "inputs": "errors",
    "provenance": "errors inputs",
    "views": "errors arrays",
    "results": "errors disk inputs",
    "verdict": "errors disk results",
    "weights": "errors arrays disk views verdict",
    "tower": "errors arrays views weights",
    "judges": "errors arrays disk allocator views weights tower",
    "engines": "errors arrays inputs provenance views results tower.blas",
    "scanner": "errors arrays inputs provenance views results verdict judges engines",
    "detector": "errors arrays views results weights tower judges engines scanner",
    "explain": "errors arrays inputs results judges scanner",
    "engines.on_ray": "errors inputs results engines detector",
    "evaluation": "errors inputs views results verdict weights tower scanner detector",
    "training": "errors arrays disk inputs views verdict weights tower judges evaluation",
    "detectors": "errors arrays disk inputs views verdict weights tower judges engines scanner evaluation training",
    "report": "errors disk inputs provenance results explain evaluation",
    "cli": "errors disk allocator inputs provenance views results verdict weights tower judges engines scanner "
    "detector explain evaluation training detectors report",
    "__main__": "cli",
}
# Where what is not Python's own is imported as soon as a module is; everywhere else, in the function that needs it.
LOADED_AT_ONCE = {
    "numpy": "arrays inputs.formats inputs.sources.video views weights tower judges engines scanner detector explain "
    "evaluation training detectors report",
    "torch": "tower.convert tower.on_onednn tower.on_torch tower.preprocess tower.vit judges.head judges.kernel "
    "judges.nullspace judges.semantics evaluation.drift training detectors",
    "PIL": "views engines.preparing training.views detectors report.overlay report.scan_report",
    "sklearn": "evaluation.metrics evaluation.robustness",
    "rich": "report",
    "typer": "cli",
    "platformdirs": "verdict.profiles weights.store",
    "safetensors": "engines.wire",
    "threadpoolctl": "tower.blas training.features",
}
LONGEST = 400


def _name(path: Path) -> str:
    """``inputs.decode`` of ``inputs/decode.py``, ``inputs`` of ``inputs/__init__.py``, and nothing of the package's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {_name(path): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
del TREES[""]


def _imports(tree: ast.AST, at_once: bool = False) -> Iterator[str]:
    """Full names of what is imported; ``at_once`` leaves out what functions import."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and not node.level, "imports say the whole name of a module"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING") and not (
            at_once and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ):
            yield from _imports(node, at_once)


def _ours(tree: ast.AST) -> set[str]:
    """Modules of the package that are imported, under the names of `TREES`."""
    found = {name.removeprefix("nsnet_cli.") for name in _imports(tree) if name.startswith("nsnet_cli.")}
    ours = {name if name in TREES else name.rpartition(".")[0] for name in found - {"__version__"}}
    assert ours <= TREES.keys(), f"no modules of these names: {found}"
    return ours


def _is_in(name: str, rooms: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms.split())


def _room(name: str) -> str:
    return max((room for room in MAY_IMPORT if _is_in(name, room)), key=len)


def test_the_table_goes_from_the_ground_up() -> None:
    for number, rooms in enumerate(MAY_IMPORT.values()):
        below = list(MAY_IMPORT)[:number]
        assert all(_is_in(room, " ".join(below)) for room in rooms.split()), rooms


@pytest.mark.parametrize("name", TREES)
def test_a_room_imports_what_it_may(name: str) -> None:
    room = _room(name)
    foreign = {other for other in _ours(TREES[name]) if _room(other) != room}
    barred = {other for other in foreign if not _is_in(other, MAY_IMPORT[room])}
    assert not barred, f"{name} may not import {barred}: docs/architecture.md"


def test_no_modules_import_each_other() -> None:
    TopologicalSorter({name: _ours(tree) - {name} for name, tree in TREES.items()}).prepare()


@pytest.mark.parametrize("name", TREES)
def test_libraries_load_where_they_are_needed(name: str) -> None:
    loaded = {full.partition(".")[0] for full in _imports(TREES[name], at_once=True)} - {"nsnet_cli"}
    wrong = {
        library for library in loaded - sys.stdlib_module_names if not _is_in(name, LOADED_AT_ONCE.get(library, ""))
    }
    assert not wrong, f"{name} imports {wrong} at once: import it in the function that needs it"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=_name)
def test_a_module_is_short_and_has_something_of_its_own(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST
    if path.name != "__init__.py":
        body = ast.parse(text).body[1:]
        assert any(not isinstance(node, ast.Import | ast.ImportFrom) for node in body), f"{path} only re-exports"


def test_the_page_names_every_room_and_test_and_its_picture_is_as_drawn() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert all(name.replace(".", "/") in page for name in MAY_IMPORT if name != "__main__")
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page)
    assert named and all(f"def {name}(" in tests for name in named)
    paths = [path for path in re.findall(r"`([a-z_]+/[\w/.-]+\.\w+)`", page) if "NAME" not in path]
    assert len(paths) > 40 and all((PACKAGE / path).exists() or (ROOT / path).exists() for path in paths)
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs" / "draw_architecture.py")
    assert spec is not None and spec.loader is not None
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    assert drawing.PICTURE.read_text("utf-8") == drawing.drawn()
