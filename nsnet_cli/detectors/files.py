"""What a trained detector says of files: a row each, whatever becomes of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nsnet_cli.detectors.scorer import Scorer
from nsnet_cli.detectors.weights import detector_info
from nsnet_cli.disk import sha256_of
from nsnet_cli.errors import InputError, WeightsError
from nsnet_cli.inputs.decode import channels_first, decode, read_file
from nsnet_cli.inputs.limits import DecodeLimits

SCHEMA = "nsnet.detector-score/1"


def score_files(weights: Path, paths: Iterable[str], limits: DecodeLimits) -> Iterator[dict[str, Any]]:
    """Rows of ``paths`` in their order: score, probability and verdict by the weights' own calibration, or an error.

    Raises `WeightsError` where the weights are missing, damaged, or look through another tower than the one here.
    """
    if not weights.is_file():
        raise WeightsError(f"{weights}: no such file; `nsnet train --detector NAME` makes weights")
    info, scorer, sha256 = detector_info(weights), Scorer.load(weights), sha256_of(weights)
    for path in paths:
        row: dict[str, Any] = {
            "schema": SCHEMA,
            "path": path,
            "detector": info.detector,
            "weights_sha256": sha256,
            "verdict": None,
            "probability": None,
            "score": None,
            "error": None,
        }
        try:
            pixels = decode(read_file(Path(path), limits), limits).pixels
        except InputError as error:
            yield row | {"error": {"code": error.code, "message": str(error)}}
            continue
        assert pixels is not None
        score = scorer.score([channels_first(pixels)])[0]
        probability = info.calibration.probability(score)
        yield row | {"score": score, "probability": probability, "verdict": info.calibration.verdict(probability)}
