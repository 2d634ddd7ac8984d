"""``nsnet nullspace``: build the semantic basis, and look at what one takes away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsnet_cli.cli.state import say, stdout_console
from nsnet_cli.errors import UsageError
from nsnet_cli.weights.store import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from nsnet_cli.judges.nullspace import BasisRule

app = typer.Typer(help="Build and inspect the semantic subspace.", no_args_is_help=True, rich_markup_mode=None)

_PROMPT = "a photo of a {}"
# Ranks at which a table of many singular values is shown.
_SHOWN_RANKS = (1, 2, 5, 10, 20, 50, 75, 100, 125, 150, 200, 300)

RuleOption = Annotated[
    str | None,
    typer.Option(
        metavar="KIND=VALUE", help="What counts as semantic: rank=, energy= or tolerance= [default: rank=100]."
    ),
]


@app.command("build")
def build(
    labels: Annotated[
        Path,
        typer.Argument(metavar="LABELS", help="A .npy matrix of text embeddings, or a .txt of labels, one a line."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Basis file to write.")],
    rule: RuleOption = None,
    text_tower: Annotated[
        str | None, typer.Option(metavar="MODEL", help="open_clip model that reads labels given as text.")
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(metavar="TAG|FILE", help="Its weights; a tag is downloaded.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="Text around each label.")] = _PROMPT,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the basis file.")] = False,
) -> None:
    """Compute the semantic basis from class labels and write it, for `nsnet train --labels`."""
    if output.exists() and not force:
        raise UsageError(f"{output} exists; choose another name, or overwrite it with --force")
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: a basis is a safetensors file; end the name with .safetensors")
    if not labels.is_file():
        raise UsageError(f"{labels}: no such file of labels")
    as_text = labels.suffix != ".npy"
    if as_text and (text_tower is None or pretrained is None):
        raise UsageError(f"{labels}: labels as text need --text-tower MODEL and --pretrained; or give a .npy matrix")
    if not as_text and (text_tower or pretrained):
        raise UsageError(f"{labels} holds embeddings; --text-tower and --pretrained are for labels as text")
    used = parse_rule(rule)

    from nsnet_cli.disk import sha256_of
    from nsnet_cli.judges.nullspace import semantic_basis
    from nsnet_cli.judges.semantics import DEFAULT_RULE, BasisOrigin, embed_labels, load_basis, save_basis

    if as_text:
        assert text_tower is not None and pretrained is not None
        matrix = embed_labels(labels, text_tower, pretrained, prompt)
        basis = semantic_basis(matrix, used or DEFAULT_RULE)
        origin = BasisOrigin(labels.name, sha256_of(labels), len(matrix), prompt)
    else:
        basis, origin = load_basis(labels, used)
    save_basis(output, basis, origin)
    say(
        f"written {output}: {basis.rank} semantic directions of {basis.vectors.shape[1]}, "
        f"{basis.null_dimension} left, {100 * basis.energy:.1f} % of the labels' energy removed"
    )


@app.command("inspect")
def inspect(
    source: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="Weights, a basis file, or a .npy matrix of label embeddings.")
    ] = DEFAULT_WEIGHTS,
    rule: RuleOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="All numbers as JSON.")] = False,
) -> None:
    """Show singular values, rank and energy, and how far the artifact directions lie from the semantic subspace."""
    found = _inspected(source, rule)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    _print(found)


def parse_rule(text: str | None) -> BasisRule | None:
    """The rule that an option names, None where it was left out."""
    from nsnet_cli.judges.nullspace import BasisRule

    return None if text is None else BasisRule.parse(text)


def _inspected(source: str, rule: str | None) -> dict[str, Any]:
    from nsnet_cli.judges.nullspace import angles_to_subspace, energy_share, random_angle
    from nsnet_cli.judges.semantics import BASIS_FORMAT, load_basis, load_basis_record
    from nsnet_cli.weights.safefile import read_header
    from nsnet_cli.weights.store import find_weights

    is_matrix = source.endswith(".npy")
    path = Path(source) if is_matrix else find_weights(source)
    angles: dict[str, float] | None = None
    if is_matrix or read_header(path).metadata.get("format") == BASIS_FORMAT:
        basis, origin = load_basis(path, parse_rule(rule))
        labels, sha256 = origin.labels, origin.labels_sha256
    else:
        if rule is not None:
            raise UsageError(f"{source} holds a basis with its own rule; --rule is for a .npy matrix")
        basis, record, directions = load_basis_record(path)
        labels, sha256 = record["labels"], record["labels_sha256"]
        angles = dict(zip(record["directions"], angles_to_subspace(directions, basis.vectors).tolist(), strict=True))
    dimension = basis.vectors.shape[1]
    return {
        "source": str(path),
        "labels": labels,
        "labels_sha256": sha256,
        "rule": {"name": basis.rule.name, "value": basis.rule.value},
        "dimension": dimension,
        "rank": basis.rank,
        "null_dimension": basis.null_dimension,
        "energy": basis.energy,
        "singular_values": basis.singular_values.tolist(),
        "energy_share": energy_share(basis.singular_values).tolist(),
        "random_angle": random_angle(basis.rank, dimension),
        "angles": angles,
    }


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table

    console = stdout_console()
    rank, dimension = found["rank"], found["dimension"]
    console.print(
        f"{found['labels']}, rule {found['rule']['name']}={found['rule']['value']:g}: {rank} semantic directions of "
        f"{dimension}, {found['null_dimension']} left; {100 * found['energy']:.1f} % of the labels' energy removed",
    )
    console.print()
    table = Table("rank", "singular value", "energy up to here", show_edge=False, pad_edge=False)
    values, share = found["singular_values"], found["energy_share"]
    for k in sorted({*(r for r in _SHOWN_RANKS if r <= len(values)), rank, len(values)}):
        mark = " *" if k == rank else ""
        table.add_row(f"{k}{mark}", f"{values[k - 1]:.4f}", f"{100 * share[k - 1]:.2f} %")
    console.print(table)
    if found["angles"] is None:
        return
    console.print()
    console.print(
        f"Angle between artifact directions (before the projection) and the semantic subspace; a random direction: "
        f"{found['random_angle']:.1f} degrees, one that the projection leaves untouched: 90.",
    )
    console.print()
    table = Table("direction", "angle", "kept by the projection", show_edge=False, pad_edge=False)
    for name, angle in found["angles"].items():
        table.add_row(name, f"{angle:.1f}", f"{100 * _kept(angle):.0f} %")
    console.print(table)


def _kept(angle: float) -> float:
    """Share of the squared length that lies in the null space."""
    import math

    return math.sin(math.radians(angle)) ** 2
