"""Where weights live: shipped with the package or the checkout, or in the user's data folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import platformdirs

from nsnet_cli.errors import WeightsError

DEFAULT_WEIGHTS = "nsnet-vit-b-16"
TOWER_NAME = "clip-vit-b-16"
_SUFFIX = ".safetensors"


def weights_folders() -> list[Path]:
    """Folders that are searched, first match wins: the user's own, the wheel's, the checkout's."""
    package = Path(__file__).resolve().parent.parent
    folders = [package / "weights", package.parent / "weights"]
    with suppress(RuntimeError):  # whoever runs this has no home
        folders.insert(0, Path(platformdirs.user_data_dir("nsnet", appauthor=False)) / "weights")
    return folders


def find_weights(name_or_path: str) -> Path:
    """A weights file by path, or by name in the known folders.  Raises `WeightsError` saying where it looked."""
    as_path = Path(name_or_path)
    with suppress(RuntimeError):  # of a user who is not known here
        as_path = as_path.expanduser()
    if as_path.suffix == _SUFFIX or len(as_path.parts) > 1:
        if as_path.is_file():
            return as_path
        raise WeightsError(f"{name_or_path}: no such weights file")
    for folder in weights_folders():
        candidate = folder / f"{name_or_path}{_SUFFIX}"
        if candidate.is_file():
            return candidate
    if as_path.is_file():
        return as_path  # whatever it is called: reading it says what it is
    searched = "\n  ".join(str(folder) for folder in weights_folders())
    raise WeightsError(
        f"no weights named {name_or_path!r}; looked in\n  {searched}\n"
        "reinstall the package, clone the whole repository, or give a path with --weights"
    )


def all_weights() -> list[Path]:
    """Every weights file in the known folders."""
    return [path for folder in weights_folders() if folder.is_dir() for path in sorted(folder.glob(f"*{_SUFFIX}"))]
