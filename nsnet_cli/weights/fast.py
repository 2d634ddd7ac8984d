"""How far a score in a faster precision may lie from that in float32: measured, and kept beside the weights.

``NAME.fast.json`` beside ``NAME.safetensors`` names the weights that it is of by their SHA-256.  It is a file of its
own because it is no part of what the weights say: they can be measured again, on more pictures or by another processor,
and stay the same weights.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from nsnet_cli.disk import write_whole
from nsnet_cli.errors import WeightsError

FAST_FORMAT = "nsnet.fast/1"
# What `Detector` can compute in before float32.
_PRECISIONS = ("bf16",)


@dataclass(frozen=True)
class FastScores:
    """Scores of ``pictures`` in ``precision`` lay at most ``largest`` from those in float32; ``bound``, further out, is
    what is reckoned with.  ``half`` of them lay no further than that.  ``measured_on`` says on which pictures, with
    which processor and software (``nsnet weights bound``)."""

    precision: str
    bound: float
    largest: float
    half: float
    pictures: int
    measured_on: str

    def __post_init__(self) -> None:
        if self.precision not in _PRECISIONS or not (math.isfinite(self.bound) and 0.0 < self.largest <= self.bound):
            raise ValueError(f"no bound of a fast precision: {self}")


def fast_path(weights: Path) -> Path:
    """Where the bound of a weights file is kept."""
    return weights.with_suffix(".fast.json")


def read_fast(weights: Path, weights_sha256: str) -> FastScores | None:
    """What is known of the fast precision of a weights file; None where nothing is, and scores are float32.

    Raises `WeightsError` for a bound of other weights, or one that cannot be.
    """
    path = fast_path(weights)
    try:
        record = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read ({error}); make it anew with `nsnet weights bound`") from error
    try:
        found, of = record.pop("format"), record.pop("weights_sha256")
        fast = FastScores(**record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: expected the bound of a fast precision ({FAST_FORMAT}), found something else ({error}); make it "
            "anew with `nsnet weights bound`"
        ) from error
    if found != FAST_FORMAT:
        raise WeightsError(f"{path}: expected {FAST_FORMAT}, found {found!r}; make it with `nsnet weights bound`")
    if of != weights_sha256:
        raise WeightsError(
            f"{path}: measured on weights {str(of)[:12]}, but {weights.name} is {weights_sha256[:12]}; remove it, or "
            "make it anew with `nsnet weights bound`"
        )
    return fast


def write_fast(path: Path, weights_sha256: str, fast: FastScores) -> None:
    """Write a bound; the file appears whole or not at all."""
    record = {"format": FAST_FORMAT, "weights_sha256": weights_sha256, **asdict(fast)}
    write_whole(path, json.dumps(record, indent=1) + "\n")
