"""Options that every command with a detector has: one wording, one range."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nsnet_cli.errors import UsageError

Weights = Annotated[str, typer.Option(metavar="NAME|PATH", help="Weights to use.")]
Detector = Annotated[
    str | None,
    typer.Option("--detector", metavar="NAME|PATH", help="Ask this one of `nsnet detectors` instead of NS-Net."),
]
Detectors = Annotated[
    list[str] | None,
    typer.Option(
        "--detector",
        metavar="NAME|PATH",
        help="Measure this one of `nsnet detectors` instead; several (ns-net among them) side by side; repeatable.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16; auto: the verdicts of fp32, as fast as can be.")]
BatchSize = Annotated[int, typer.Option(min=1, max=1024, help="Pictures sent through the network together.")]
Views = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=16,
        help="Views a picture: mosaics and windows in turn, so 2 or more; of a large picture the first window is two "
        "looks [default: as calibrated].",
    ),
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse larger pictures.")]
MaxBytes = Annotated[int, typer.Option(min=1, help="Refuse larger files.")]

CsvBom = Annotated[bool, typer.Option("--csv-bom", help="Begin CSV with a byte-order mark, for Excel.")]

# Of commands that measure on labelled pictures (`nsnet_cli.evaluation.labelled`).
Dataset = Annotated[Path, typer.Argument(metavar="DATASET", help="A manifest CSV, or a directory with class folders.")]
Split = Annotated[str | None, typer.Option(help="Rows of this split of a manifest only.")]
RealDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Real pictures; DATASET is then a folder of generators.")
]


def check_csv_bom(wanted: bool, csv: bool) -> None:
    """Raises `UsageError` where there is no CSV to mark."""
    if wanted and not csv:
        raise UsageError("--csv-bom is for CSV: add --format csv, or name an output that ends in .csv")


class Format(StrEnum):
    """How results of a scan are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    HTML = "html"


class SortKey(StrEnum):
    """The order of their rows."""

    PATH = "path"
    PROBABILITY = "probability"
