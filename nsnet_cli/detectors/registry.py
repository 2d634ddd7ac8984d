"""Which detectors there are: every file in `nsnet_cli.detectors.methods` that says so.

A file's ``ABOUT`` is read out of its source, as its literals stand there: its network would import PyTorch, which takes
longer than to list them all.  What is found by name is imported.
"""

from __future__ import annotations

import ast
import pkgutil
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.util import find_spec

from nsnet_cli.detectors import methods
from nsnet_cli.detectors.interface import About, Detector
from nsnet_cli.errors import UsageError


def all_detectors() -> list[About]:
    """What there is, oldest first."""
    return sorted(_modules(), key=lambda about: (about.year, about.title))


def find_detector(name: str) -> Detector:
    """The detector of a name, imported.  Raises `UsageError` naming those that there are."""
    modules = _modules()
    for about, module in modules.items():
        if about.name == name:
            detector: Detector = import_module(module).DETECTOR
            return detector
    there = ", ".join(sorted(about.name for about in modules))
    raise UsageError(f"no detector is called {name!r}; there are {there}")


def _modules() -> dict[About, str]:
    """The module of each detector."""
    found: dict[About, str] = {}
    for module in pkgutil.iter_modules(methods.__path__, f"{methods.__name__}."):
        spec = find_spec(module.name)
        loader = None if spec is None else spec.loader
        source = loader.get_source(module.name) if isinstance(loader, InspectLoader) else None
        if source is None:  # shipped without sources
            about: About | None = getattr(import_module(module.name), "ABOUT", None)
        else:
            about = read_about(source, module.name)
        if about is not None:
            found[about] = module.name
    return found


def read_about(source: str, module: str) -> About | None:
    """The ``ABOUT`` in the source of a module, None where there is none.

    Raises `TypeError` where it is not `About` called with literals by name.
    """
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign) or [t.id for t in node.targets if isinstance(t, ast.Name)] != ["ABOUT"]:
            continue
        call = node.value
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == About.__name__):
            raise TypeError(f"{module}: ABOUT must be About(...), written out")
        try:
            return About(**{str(k.arg): ast.literal_eval(k.value) for k in call.keywords})
        except (ValueError, TypeError) as error:
            raise TypeError(f"{module}: ABOUT must be About(...) with literals by name ({error})") from error
    return None
