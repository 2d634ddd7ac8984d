"""Which device a scan runs on, without importing PyTorch where there is nothing to ask it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from nsnet_cli.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")
# What drivers of NVIDIA, of AMD, and of a GPU below Windows' Linux leave in the file system.
_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/kfd", "/dev/dxg")


def choose_device(name: str) -> str:
    """``cpu``, ``cuda`` or ``mps`` for ``name``, which may be ``auto``.

    Raises `UsageError` for a device that is not there.
    """
    if name not in DEVICES:
        raise UsageError(f"device must be {', '.join(DEVICES[:-1])} or {DEVICES[-1]}, not {name!r}")
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch

    there: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if name == "auto":
        return next((device for device, available in there.items() if available()), "cpu")
    if not there[name]():
        what = "CUDA device" if name == "cuda" else "Apple GPU"
        raise UsageError(f"--device {name}: PyTorch finds no {what} here; use --device cpu, or auto")
    return name


def _may_have_gpu() -> bool:
    """False only where a GPU that PyTorch could use would have left a trace, and has not."""
    if sys.platform == "linux":
        return any(map(os.path.exists, _DRIVERS))
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll").exists()
    return sys.platform != "darwin" or platform.machine() == "arm64"
