"""Rows for scripts: JSON documents, JSON lines and CSV."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, Protocol, TextIO

from nsnet_cli.provenance.declared import all_contradictions
from nsnet_cli.results.escaping import csv_writer, spreadsheet_cell, to_json

CSV_FIELDS = (
    "path", "verdict", "probability", "score", "format", "width", "height", "bytes", "sha256", "modified_at",
    "warnings", "stability_spread", "stability_low", "stability_high", "frame_time_s",
    "clip_seconds", "clip_frames", "clip_low", "clip_high", "provenance_claims", "c2pa_state",
    "provenance_state", "contradictions", "c2pa_integrity", "c2pa_certificate", "c2pa_trust", "c2pa_signer",
    "declared_generator", "declared_model", "declared_prompt", "declared_source_type",
    "error_code", "error_message", "scanned_at",
    "elapsed_ms", "schema", "weights_sha256", "views", "precision", "options_hash", "input_index", "shard",
    "score_precision",
)  # fmt: skip


class RowWriter(Protocol):
    """Writes rows (`RowContext.row`), each as soon as it is there."""

    def begin(self) -> None: ...
    def write(self, row: dict[str, Any]) -> None: ...


class JsonlWriter:
    """One JSON object a line, flushed line by line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def begin(self) -> None:
        pass

    def write(self, row: dict[str, Any]) -> None:
        self._stream.write(to_json(row) + "\n")
        self._stream.flush()


class CsvWriter:
    """Flat fields; warnings joined by spaces; cells that a spreadsheet would run are quoted with an apostrophe.

    ``mark`` puts a byte-order mark in front, without which Excel takes UTF-8 for something else.
    """

    def __init__(self, stream: TextIO, mark: bool = False) -> None:
        self._stream, self._mark = stream, mark

    def begin(self) -> None:
        if self._mark:
            self._stream.write("\ufeff")
        self._write_cells(CSV_FIELDS)

    def write(self, row: dict[str, Any]) -> None:
        flat = flat_row(row)
        self._write_cells(spreadsheet_cell(flat[name]) for name in CSV_FIELDS)

    def _write_cells(self, cells: Iterable[Any]) -> None:
        line = io.StringIO()
        csv_writer(line).writerow(cells)
        self._stream.write(line.getvalue())
        self._stream.flush()


def flat_row(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of `CSV_FIELDS` of a row; what an older version's row lacks is None."""
    error, stability = row.get("error") or {}, row.get("stability") or {}
    flat = {name: row.get(name) for name in CSV_FIELDS}
    provenance = row.get("provenance") or {}
    flat["provenance_claims"] = " ".join(provenance.get("claims") or ()) or None
    flat |= _declared(provenance)
    flat["contradictions"] = "; ".join(all_contradictions(row.get("verdict"), provenance or None)) or None
    flat |= {"error_code": error.get("code"), "error_message": error.get("message")}
    flat |= {f"stability_{name}": stability.get(name) for name in ("spread", "low", "high")}
    clip = row.get("clip") or {}
    flat |= {"frame_time_s": (row.get("frame") or {}).get("time_s")}
    flat |= {f"clip_{name}": clip.get(name) for name in ("seconds", "frames", "low", "high")}
    return flat | {"warnings": " ".join(row.get("warnings") or ())}


def _declared(provenance: dict[str, Any]) -> dict[str, Any]:
    """What a file says about itself, in columns."""
    c2pa, declared = provenance.get("c2pa") or {}, provenance.get("declared") or {}
    return {
        "provenance_state": provenance.get("state"),
        "c2pa_state": c2pa.get("state"),
        "c2pa_integrity": c2pa.get("integrity"),
        "c2pa_certificate": (c2pa.get("certificate") or {}).get("state"),
        "c2pa_trust": c2pa.get("trust"),
        "c2pa_signer": c2pa.get("signer"),
        **{f"declared_{name}": declared.get(name) for name in ("generator", "model", "prompt", "source_type")},
    }
