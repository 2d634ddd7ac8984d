"""Scores for labelled pictures: from a scan that runs now, or from a file of an earlier one."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nsnet_cli.errors import UsageError
from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.inputs.written_text import read_table
from nsnet_cli.results.document import EVALUATION_SCHEMA, SCHEMA, PictureResult
from nsnet_cli.results.escaping import FORMULA_STARTS

_PATH_COLUMNS = ("path", "file", "file_name", "filename", "image")
_SCORE_COLUMNS = ("probability", "score", "prob", "prediction", "p_fake")


@dataclass(frozen=True)
class Prediction:
    """What a detector says of one picture.

    ``probability`` is P(generated), None where there is none; ``verdict`` is None for detectors that
    give none.  ``error`` says why a score is missing.
    """

    probability: float | None
    score: float | None = None
    verdict: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Predictions:
    """Predictions by the path that they were made for, and who made them where that is known."""

    by_path: dict[str, Prediction]
    model: dict[str, Any]


NO_PREDICTION = Prediction(None, error="no row for this picture")


def prediction_of(result: PictureResult) -> Prediction:
    """The prediction in a row of a scan."""
    error = None if result.error is None else f"{result.error.code}: {result.error.message}"
    return Prediction(result.probability, result.score, result.verdict, error)


def read_predictions(path: Path) -> Predictions:
    """Read a results file of ``nsnet scan`` (JSON, JSONL, CSV) or ``nsnet evaluate`` (JSON), or any CSV.

    A foreign CSV needs a column ``path`` and one of ``probability`` or ``score`` that holds P(generated)
    in [0, 1].  Raises `UsageError` for anything else, for rows of different weights, and for two rows of
    one path that disagree.
    """
    rows, model = read_rows(path)
    weights = {row["weights_sha256"] for row in rows if row.get("weights_sha256")}
    if len(weights) > 1:
        raise UsageError(f"{path}: rows of {len(weights)} different weights; evaluate them one by one")
    if weights:
        model = {"weights_sha256": weights.pop(), **model}
    found: dict[str, Prediction] = {}
    for number, row in enumerate(rows, start=1):
        prediction = _prediction(row, f"{path}: row {number}")
        name = row["path"]
        if found.setdefault(name, prediction) != prediction:
            raise UsageError(f"{path}: two rows of {name!r} that disagree")
    return Predictions(found, model)


def read_rows(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of a results file as they stand there, and the model that made them where the file says.

    Of CSV cells only what rows of a scan have in common with JSON is made alike.  Raises `UsageError`.
    """
    try:
        text = _text(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file of predictions") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({error})") from error
    if not text.strip():
        raise UsageError(f"{path}: there are no rows in it")
    if text.lstrip().startswith("{"):
        return _json_rows(path, text)
    return _csv_rows(path, text), {}


def match_predictions(pictures: Sequence[LabelledPicture], by_path: dict[str, Prediction]) -> list[Prediction]:
    """The prediction of each picture, `NO_PREDICTION` where there is none.

    Files are scanned from other folders and on other machines, so paths need not be equal: the picture's
    name within its data set must end the prediction's path, or that path the picture's.  Raises
    `UsageError` where this leaves a choice, because a wrong pairing would be worse than none.
    """
    by_name: dict[str, dict[tuple[str, ...], Prediction]] = defaultdict(dict)
    for path, prediction in by_path.items():
        parts = _parts(path)
        if by_name[parts[-1] if parts else ""].setdefault(parts, prediction) != prediction:
            raise UsageError(f"two predictions for {path!r} that disagree")
    taken: dict[tuple[str, ...], tuple[str, ...]] = {}
    matched = []
    for picture in pictures:
        full, name = _parts(os.path.abspath(picture.path)), _parts(picture.name)
        known = by_name[full[-1]]
        # The file itself, its name in the data set, the longest part of its path; else a path elsewhere.
        ends = sorted((parts for parts in known if _ends(full, parts)), key=len)
        fitting = [p for p in (full, name) if p in known][:1] or ends[-1:] or [p for p in known if _ends(p, name)]
        if len(fitting) > 1:
            listed = " and ".join("/".join(parts) for parts in fitting[:2])
            raise UsageError(f"{picture.name}: predictions for {listed} fit equally well")
        if fitting and taken.setdefault(fitting[0], full) != full:
            raise UsageError(
                f"the prediction for {'/'.join(fitting[0])} fits more than one picture, {picture.name} among them"
            )
        matched.append(known[fitting[0]] if fitting else NO_PREDICTION)
    return matched


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # A kill can cut a row inside a character; what follows the last line end is no row.
        return data[: data.rfind(b"\n") + 1].decode("utf-8-sig")


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in os.path.normpath(path).replace("\\", "/").split("/") if part not in ("", ".", ".."))


def _ends(path: tuple[str, ...], end: tuple[str, ...]) -> bool:
    return len(end) <= len(path) and path[len(path) - len(end) :] == end


def _json_rows(path: Path, text: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        *lines, last = text.split("\n")
        # A last line without its end that is no JSON was being written when the scan was killed.
        try:
            rows = [json.loads(line) for line in lines if line.strip()]
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}: neither JSON nor JSON lines ({error})") from error
        with suppress(ValueError, RecursionError):
            rows.append(json.loads(last))
        return _known(path, rows), {}
    model = document.get("model")
    model = dict(model) if isinstance(model, dict) else {}
    for key, schema in (("results", SCHEMA), ("predictions", EVALUATION_SCHEMA)):
        if key in document:
            if document.get("schema") != schema or not isinstance(document[key], list):
                raise UsageError(f"{path}: expected a document {schema} with a list of {key}")
            return _known(
                path, [{"schema": SCHEMA, **row} if isinstance(row, dict) else row for row in document[key]]
            ), model
    return _known(path, [document]), {}


def _known(path: Path, rows: list[Any]) -> list[dict[str, Any]]:
    for row in rows:
        if not isinstance(row, dict) or row.get("schema") != SCHEMA or not isinstance(row.get("path"), str):
            raise UsageError(f"{path}: expected rows of {SCHEMA}, as written by nsnet scan")
    return rows


def _csv_rows(path: Path, text: str) -> list[dict[str, Any]]:
    reader = read_table(text, (*_PATH_COLUMNS, *_SCORE_COLUMNS))
    names = list(reader.fieldnames or ())
    path_column = next((n for n in _PATH_COLUMNS if n in names), None)
    score_column = next((n for n in _SCORE_COLUMNS if n in names), None)
    if path_column is None or score_column is None:
        raise UsageError(f"{path}: expected columns path and probability (or score), found {', '.join(names)}")
    ours = "schema" in names
    rows = []
    try:
        read = list(reader)
    except csv.Error as error:
        raise UsageError(f"{path}: not a CSV file ({error})") from error
    for row in read:
        name = row[path_column] or ""
        rows.append(
            {
                "path": _unquoted(name) if ours else name,
                "probability": row[score_column] or None,
                "score": (row.get("score") or None) if ours else None,
                "verdict": (row.get("verdict") or None) if ours else None,
                "error": (row.get("error_code") or None) if ours else None,
                "weights_sha256": row.get("weights_sha256"),
                **({key: row.get(key) for key in ("sha256", "precision", "score_precision")} if ours else {}),
                **({"views": _number(row.get("views"), str(path))} if ours else {}),
                **({"warnings": (row.get("warnings") or "").split()} if ours else {}),
            }
        )
    return rows


def _unquoted(cell: str) -> str:
    """A path as it was before our CSV quoted it for spreadsheets and escaped what is no UTF-8."""
    if cell[:1] == "'" and cell[1:].startswith(FORMULA_STARTS):
        cell = cell[1:]
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), cell)


def _prediction(row: dict[str, Any], where: str) -> Prediction:
    error = row.get("error")
    if isinstance(error, dict):
        error = f"{error.get('code')}: {error.get('message')}"
    probability = _number(row.get("probability"), where)
    if probability is not None and not 0.0 <= probability <= 1.0:
        raise UsageError(
            f"{where}: {probability:g} is no probability; scores must be P(generated) in [0, 1], because 0.5 decides"
        )
    if probability is None and not error:
        error = "no score in its row"
    return Prediction(probability, _number(row.get("score"), where), row.get("verdict"), error)


def _number(value: Any, where: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: expected a number, found {value!r}") from error
    return number if math.isfinite(number) else None


def missing(predictions: Iterable[Prediction]) -> int:
    """How many have no probability."""
    return sum(p.probability is None for p in predictions)
