"""What commands that train have in common: where they compute, how far they are, and how they were called."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nsnet_cli.cli.state import STATE, say, stderr_console
from nsnet_cli.errors import UsageError

if TYPE_CHECKING:
    from nsnet_cli.training.fit import Progress


def check_weights_output(output: Path, force: bool) -> None:
    """Refuse now what would otherwise be refused after hours.  Raises `UsageError`."""
    if output.exists() and not force:
        raise UsageError(f"{output} exists; choose another name, or overwrite it with --force")
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: weights are safetensors; end the name with .safetensors")


def where_to_compute(device: str, precision: str) -> tuple[str, str]:
    """Device and precision that are meant by what was asked for.  Raises `UsageError`."""
    import torch

    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"precision must be auto, fp32 or bf16, not {precision!r}")
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise UsageError(f"--device {device}: expected auto or cpu, or cuda where PyTorch finds one")
    used_device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    used_precision = ("bf16" if _has_fast_bf16(used_device) else "fp32") if precision == "auto" else precision
    return used_device, used_precision


class Steps:
    """Progress on stderr: a bar at a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._status = self._console.status("starting")

    def __enter__(self) -> Steps:
        if self._console.is_terminal and not STATE.quiet:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def __call__(self, name: str, progress: Progress) -> None:
        line = f"{name}: {progress.step}/{progress.steps}"
        if progress.loss is not None:
            line += f", loss {progress.loss:.3f}"
        if progress.seconds is not None:
            line += f", {progress.seconds:.0f} s"
        if self._console.is_terminal:
            self._status.update(line)
        elif progress.loss is None or progress.step % 50 == 0 or progress.step == progress.steps:
            say(line)


def _has_fast_bf16(device: str) -> bool:
    """Where bfloat16 is emulated it is many times slower than float32, so the processor is asked."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported())


def command_given() -> str:
    """The command as it was given, with paths cut to their names: a record, not a map of someone's disk."""
    words = ["nsnet", *(word if word.startswith("-") else Path(word).name for word in sys.argv[1:])]
    return shlex.join(words)
