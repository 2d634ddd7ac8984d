"""What cannot both be right is told everywhere, and no score moves by it; what could not be read is counted."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from carriers import A1111, encoded, exif_block, user_comment, with_exif, with_segment
from credentials import AI, Signer

from nsnet_cli import Detector
from nsnet_cli.provenance.declared import (
    BROKEN_CREDENTIALS,
    CAMERA_AND_GENERATOR,
    GENERATED_AND_SIGNED_CAPTURE,
    REAL_AND_GENERATED,
    all_contradictions,
)
from nsnet_cli.results.document import PictureResult

CAPTURE = [{"action": "c2pa.created", "digitalSourceType": AI.replace("trainedAlgorithmicMedia", "digitalCapture")}]
CAMERA = {0x010F: "Canon", 0x0110: "Canon EOS R5"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same pixels with different words about them."""
    folder, signer = tmp_path_factory.mktemp("contradictions"), Signer()
    broken = bytearray(signer.sign(encoded(), CAPTURE))
    at = broken.rindex(b"c2pa.hash.data")
    broken[at + 120] ^= 0xFF  # the hashes, not the pixels
    made = {
        "plain": encoded(),
        "declared": with_exif("JPEG", user_comment(A1111)),
        "camera": with_exif("JPEG", exif_block(CAMERA, {})),
        "both": with_exif("JPEG", exif_block(CAMERA | {0x0131: "Midjourney"}, {})),
        "broken": bytes(broken),
        "signed": signer.sign(encoded(), CAPTURE),
        "hostile": with_segment(encoded(), 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x"),
    }
    paths = {}
    for name, data in made.items():
        paths[name] = folder / f"{name}.jpg"
        paths[name].write_bytes(data)
    return paths


def scanned(files: dict[str, Path], weights: Path, threshold: float) -> dict[str, PictureResult]:
    detector = Detector.load(str(weights), threshold=threshold)
    return {name: detector.scan(path) for name, path in files.items()}


@pytest.mark.parametrize(("threshold", "verdict"), [(1.0, "real"), (0.0, "generated")])
def test_a_warning_where_both_cannot_be_right(
    files: dict[str, Path], tiny_weights: Path, threshold: float, verdict: str
) -> None:
    results = scanned(files, tiny_weights, threshold)
    assert {r.verdict for r in results.values()} == {verdict} and len({r.score for r in results.values()}) == 1
    reasons = {name: all_contradictions(r.verdict, r.provenance) for name, r in results.items()}
    declared = [REAL_AND_GENERATED] if verdict == "real" else []
    assert reasons == {
        "plain": [],
        "declared": declared,
        "camera": [],
        "both": [CAMERA_AND_GENERATOR, *declared],
        "broken": [BROKEN_CREDENTIALS],
        "signed": [GENERATED_AND_SIGNED_CAPTURE] if verdict == "generated" else [],
        "hostile": [],
    }
    for name, result in results.items():
        assert ("contradiction" in result.warnings) == bool(reasons[name])


def test_table_csv_page_and_stderr_tell_it(
    run_nsnet: Callable[..., Any], files: dict[str, Path], tiny_weights: Path, tmp_path: Path
) -> None:
    options = ("--weights", str(tiny_weights), "--threshold", "1.0")
    names = [str(path) for path in files.values()]
    table = run_nsnet("scan", *names, *options)
    assert b"contradiction" in table.stdout and b"1 file has metadata that could not be read" in table.stderr
    said = run_nsnet("scan", *names, "--format", "csv", *options)
    assert b"nsnet inspect FILE says why" in said.stderr
    rows = {Path(row["path"]).stem: row for row in csv.DictReader(io.StringIO(said.stdout.decode()))}
    assert rows["declared"]["declared_prompt"] == "a lighthouse" and rows["declared"]["declared_model"] == "dreams"
    assert rows["declared"]["contradictions"] == REAL_AND_GENERATED and "contradiction" in rows["declared"]["warnings"]
    signed = rows["signed"]
    assert (signed["c2pa_state"], signed["c2pa_integrity"], signed["c2pa_trust"]) == (
        "untrusted_signer",
        "intact",
        "no_list",
    )
    assert (signed["c2pa_signer"], signed["declared_source_type"]) == ("Test Signer", "digitalCapture")
    assert rows["hostile"]["provenance_state"] == "not_read" and rows["hostile"]["provenance_claims"] == "not_read"
    claiming = sum("generated" in row["provenance_claims"] for row in rows.values())
    assert f"{claiming} files say of themselves that they are generated".encode() in said.stderr and claiming > 1
    assert rows["plain"]["provenance_claims"] == "unknown" and rows["plain"]["contradictions"] == ""
    page = tmp_path / "page.html"
    assert run_nsnet("scan", *names, "-o", str(page), *options).returncode == 0
    text = page.read_text("utf-8")
    assert text.count('data-said="contradiction') == 3 and REAL_AND_GENERATED in text and 'data-said="not_read"' in text
    card = " ".join(run_nsnet("scan", names[1], *options).stdout.decode().replace("│", " ").split())
    assert f"cannot both be right: {REAL_AND_GENERATED}" in card
    without = json.loads(run_nsnet("scan", names[1], "--json", "--no-provenance", *options).stdout)
    assert without["results"][0]["provenance"] is None and without["results"][0]["warnings"] == []


def test_what_older_documents_lack_is_no_fault(tmp_path: Path, files: dict[str, Path], tiny_weights: Path) -> None:
    from nsnet_cli.report.rows import flat_row

    old = {"claims": ["unknown"], "findings": [], "c2pa": None, "errors": []}
    row = {"path": "a", "verdict": "real", "provenance": old, "warnings": []}
    assert flat_row(row)["provenance_claims"] == "unknown" and flat_row(row)["declared_prompt"] is None
