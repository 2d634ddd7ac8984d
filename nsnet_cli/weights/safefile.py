"""Safetensors files, read with suspicion and written so that a kill leaves the old file or the new one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nsnet_cli.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself before any tensor is read."""

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


def read_header(path: Path) -> Header:
    """Read names, shapes and metadata.  Raises `WeightsError` where the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            return Header(file.metadata() or {}, shapes)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}); it may have been cut short, fetch it again"
        ) from error


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write beside the target, then rename: nobody ever sees half a file."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file({name: t.contiguous() for name, t in tensors.items()}, partial, metadata=metadata)
        os.chmod(partial, 0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
