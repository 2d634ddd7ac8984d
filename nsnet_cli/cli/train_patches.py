"""``nsnet train-patches``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nsnet_cli.cli.state import say
from nsnet_cli.cli.training import Steps, check_weights_output, command_given, where_to_compute
from nsnet_cli.weights_store import DEFAULT_WEIGHTS


def train_patches(
    manifest: Annotated[
        Path,
        typer.Argument(metavar="MANIFEST.csv", help="Labelled pictures: path, label, generator, maybe split."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Weights file to write.")],
    work: Annotated[Path, typer.Option(metavar="DIR", help="What is computed; a killed run goes on from here.")],
    weights: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Weights to add patch heads to; their verdicts stay as they are.")
    ] = DEFAULT_WEIGHTS,
    split: Annotated[str, typer.Option(help="Train on rows of this split only; empty for all rows.")] = "train",
    composites: Annotated[int, typer.Option(min=100, help="Pictures to make, most of them generated in part.")] = 2_400,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16; auto asks the processor.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the weights file.")] = False,
) -> None:
    """Teach weights to say where in a picture traces are, from pictures made of real and generated ones.

    The defaults are the recipe of the shipped weights.
    """
    check_weights_output(output, force)
    used_device, used_precision = where_to_compute(device, precision)

    from nsnet_cli.training import patches

    request = patches.PatchTraining(
        manifest=manifest,
        weights=weights,
        output=output,
        work=work,
        split=split or None,
        recipe=patches.PatchRecipe(composites=composites, seed=seed),
        precision=used_precision,
        device=used_device,
        command=command_given(),
    )
    say(f"training in {used_precision} on {used_device}; progress is kept in {work}")
    with Steps() as shown:
        record = patches.train_patches(request, shown)
    for kind, figures in record.training["out_of_fold"].items():
        said = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        say(f"held-out AUC of {kind} cells: {said}")
    say(f"written {output}")
