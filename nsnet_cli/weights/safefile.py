"""Safetensors files, read with suspicion and written so that a kill leaves the old file or the new one."""

from __future__ import annotations

import json
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.disk import appearing
from nsnet_cli.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor


_LENGTH = 8  # bytes that say how long the header is
_TYPES = {
    "I8": np.int8,
    "U8": np.uint8,
    "I32": np.int32,
    "I64": np.int64,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
}


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
    if not os.access(path, os.R_OK):
        raise WeightsError(f"{path}: no permission to read it")
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            return Header(file.metadata() or {}, shapes)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}); it may have been cut short, fetch it again"
        ) from error


@dataclass(frozen=True)
class Mapped:
    """The ``tensors`` of a file as it holds them: mapped, to be read and not written, and none of them copied.

    What nobody touches is never read, and processes share what they read.
    """

    tensors: dict[str, NDArray[Any]]
    file: mmap.mmap

    def let_go(self) -> None:
        """Do not count what was read any longer: who touches it again finds it as before."""
        if hasattr(self.file, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            self.file.madvise(mmap.MADV_DONTNEED)


def mapped(path: Path) -> Mapped:
    """Raises `WeightsError` where the file is missing or damaged, or holds tensors of a type that NumPy has not."""
    read_header(path)  # safetensors' own reader sees that all tensors lie within the file, one after the other
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    found = {}
    for name, entry in json.loads(data[_LENGTH:start]).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _TYPES:
            raise WeightsError(f"{path}: {name} is of type {entry['dtype']}, which is not among {', '.join(_TYPES)}")
        first, last = entry["data_offsets"]
        kind = np.dtype(_TYPES[entry["dtype"]])
        flat = np.frombuffer(data, kind, (last - first) // kind.itemsize, start + first)
        found[name] = flat.reshape(entry["shape"])
    return Mapped(found, data)


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write beside the target, then rename: nobody ever sees half a file."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with appearing(path) as partial:
        save_file({name: t.contiguous() for name, t in tensors.items()}, partial, metadata=metadata)
        os.chmod(partial, 0o644)
