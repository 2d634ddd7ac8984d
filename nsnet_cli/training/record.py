"""What a training run leaves on record, whatever it trains."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from nsnet_cli import __version__
from nsnet_cli.disk import write_whole
from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash


def made_from(pictures: Sequence[LabelledPicture], command: str, precision: str, device: str) -> dict[str, Any]:
    """What the metadata of weights says of how they were made, and of which pictures."""
    return {
        "command": command,
        "version": __version__,
        "torch": torch.__version__,
        "precision": precision,
        "device": device,
        **made_of(pictures),
    }


def made_of(pictures: Sequence[LabelledPicture]) -> dict[str, Any]:
    """Which pictures, and how many of how many groups, by label."""
    labels = (0, 1)
    return {
        "data_sha256": manifest_hash(list(pictures)),
        "pictures": {str(label): sum(p.label == label for p in pictures) for label in labels},
        "groups": {str(label): len({p.group for p in pictures if p.label == label}) for label in labels},
    }


def write_held_out(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A line a picture of what the fold that did not know it said; the file appears whole or not at all."""
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))
