"""``nsnet train``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsnet_cli.cli.state import STATE, say, stderr_console
from nsnet_cli.errors import UsageError
from nsnet_cli.weights_store import TOWER_NAME, find_weights

if TYPE_CHECKING:
    from nsnet_cli.nullspace import BasisRule
    from nsnet_cli.training.fit import Progress


def train(
    manifest: Annotated[
        Path,
        typer.Argument(metavar="MANIFEST.csv", help="Labelled pictures: path, label, generator, maybe split."),
    ],
    labels: Annotated[
        Path,
        typer.Option(metavar="FILE.npy", help="Text embeddings of class labels, one a row: the semantics."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Weights file to write.")],
    work: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Checkpoints, caches and the log; a killed run goes on from here."),
    ],
    split: Annotated[str, typer.Option(help="Train on rows of this split only; empty for all rows.")] = "train",
    tower: Annotated[str, typer.Option(metavar="NAME|PATH", help="CLIP image tower.")] = TOWER_NAME,
    rule: Annotated[
        str, typer.Option(metavar="KIND=VALUE", help="What counts as semantic: rank=, energy= or tolerance=.")
    ] = "rank=100",
    samples: Annotated[int, typer.Option(min=64, help="Pictures drawn for the final fit, with repetition.")] = 192_000,
    fold_samples: Annotated[int, typer.Option(min=64, help="The same for each fold's fit.")] = 192_000,
    folds: Annotated[int, typer.Option(min=2, max=10, help="Grouped folds for calibration.")] = 3,
    views: Annotated[int, typer.Option(min=1, max=8, help="Mosaics a picture that scores are averaged over.")] = 2,
    batch: Annotated[int, typer.Option(min=4, help="Pictures a step.")] = 128,
    blocks: Annotated[
        str,
        typer.Option(metavar="A-B", help="Blocks whose class tokens join the spine; 'none' is the paper."),
    ] = "7-9",
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Dropout in the head.")] = 0.5,
    lora_rank: Annotated[int, typer.Option(min=0, help="Rank of LoRA; 0 leaves the tower frozen.")] = 0,
    lora_alpha: Annotated[float, typer.Option(help="Scale of LoRA.")] = 16.0,
    lora_first_block: Annotated[int, typer.Option(min=1, help="Lowest block that is adapted.")] = 1,
    lora_mlp: Annotated[bool, typer.Option("--lora-mlp/--no-lora-mlp", help="Adapt the MLPs too.")] = False,
    lr_lora: Annotated[float, typer.Option(help="Peak learning rate of LoRA.")] = 3e-4,
    lr_head: Annotated[float, typer.Option(help="Peak learning rate of the head.")] = 1e-3,
    bce_share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Lambda: share of BCE beside contrastive.")] = 0.5,
    temperature: Annotated[float, typer.Option(help="Temperature of the contrastive loss.")] = 0.1,
    keep: Annotated[float, typer.Option(min=0.05, max=1.0, help="Share of patches that a training step sees.")] = 0.4,
    augment: Annotated[bool, typer.Option("--augment/--no-augment", help="Random deliveries while training.")] = True,
    dc: Annotated[bool, typer.Option("--dc/--no-dc", help="Entropy with the DC term, as in the paper.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16; auto asks the processor.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the weights file.")] = False,
) -> None:
    """Train NS-Net on labelled pictures: folds, calibration, final fit, weights.

    The defaults are the recipe of the shipped weights.
    """
    if output.exists() and not force:
        raise UsageError(f"{output} exists; choose another name, or overwrite it with --force")
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: weights are safetensors; end the name with .safetensors")

    import torch

    from nsnet_cli.head import HeadConfig
    from nsnet_cli.selection import SelectionRecipe
    from nsnet_cli.training import run
    from nsnet_cli.training.fit import FitConfig

    used_device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    used_precision = ("bf16" if _has_fast_bf16(used_device) else "fp32") if precision == "auto" else precision
    request = run.TrainRequest(
        manifest=manifest,
        labels=labels,
        tower=find_weights(tower),
        output=output,
        work=work,
        split=split or None,
        rule=_rule(rule),
        fit=FitConfig(
            samples=samples,
            batch=batch,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            lora_first_block=lora_first_block,
            lora_mlp=lora_mlp,
            lr_lora=lr_lora,
            lr_head=lr_head,
            bce_share=bce_share,
            temperature=temperature,
            keep=keep,
            augment=augment,
            seed=seed,
            head=HeadConfig(blocks=_blocks(blocks), dropout=dropout),
            selection=SelectionRecipe(dc=dc),
        ),
        fold_samples=fold_samples,
        folds=folds,
        views=views,
        precision=used_precision,
        device=used_device,
        command=_command(),
    )
    say(f"training in {used_precision} on {used_device}; progress is kept in {work}")
    with _Shown() as shown:
        info = run.train(request, shown)
    c = info.calibration
    say(f"written {output}: real below {c.t_low:.3f}, generated from {c.t_high:.3f} ({c.fitted_on})")


class _Shown:
    """Progress on stderr: a bar at a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._status = self._console.status("starting")

    def __enter__(self) -> _Shown:
        if self._console.is_terminal and not STATE.quiet:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def __call__(self, name: str, progress: Progress) -> None:
        line = f"{name}: {progress.step}/{progress.steps}, loss {progress.loss:.3f}, {progress.seconds:.0f} s"
        if self._console.is_terminal:
            self._status.update(line)
        elif progress.step % 50 == 0 or progress.step == progress.steps:
            say(line)


def _rule(text: str) -> BasisRule:
    from nsnet_cli.nullspace import BasisRule

    name, _, value = text.partition("=")
    if name == "rank" and value.isdigit():
        return BasisRule("rank", float(value))
    try:
        if name == "energy":
            return BasisRule("energy", float(value))
        if name == "tolerance":
            return BasisRule("tolerance", float(value))
    except ValueError:
        pass
    raise UsageError(f"--rule {text}: expected rank=N, energy=SHARE or tolerance=RATIO")


def _blocks(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    first, dash, last = text.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise UsageError(f"--blocks {text}: expected A-B, one number, or none")
    return tuple(range(int(first), int(last or first) + 1))


def _has_fast_bf16(device: str) -> bool:
    """Where bfloat16 is emulated it is many times slower than float32, so the processor is asked."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported())


def _command() -> str:
    """The command as it was given, with paths cut to their names: a record, not a map of someone's disk."""
    words = ["nsnet", *(word if word.startswith("-") else Path(word).name for word in sys.argv[1:])]
    return shlex.join(words)
