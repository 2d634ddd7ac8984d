"""``nsnet robustness`` and ``scan --stability``: honest figures, and rows that outlive a kill."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from conftest import ROOT, textured
from PIL import Image
from sklearn.metrics import roc_auc_score

from nsnet_cli import Detector
from nsnet_cli.evaluation.labelled import LabelledPicture, LabelledSet
from nsnet_cli.evaluation.robustness import AS_IS, Row, measure, take_sample
from nsnet_cli.results.document import DeliveredResult, json_schema
from nsnet_cli.verdict.stability import is_unstable, stability_of
from nsnet_cli.views.deliveries import MILD, Delivery

Run = Callable[..., subprocess.CompletedProcess[bytes]]
DELIVERED = ("--deliver", "jpeg:50", "--deliver", "noise:9", "--deliver", "resize:0.5")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures, one of which is none."""
    root = tmp_path_factory.mktemp("delivered")
    for k in range(20):
        path = root / ("0_real", "1_fake")[k % 2] / f"{k:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(textured(260, 240, seed=k)).save(path)
    (root / "1_fake" / "broken.png").write_bytes((root / "1_fake" / "01.png").read_bytes()[:3000])
    return root


def _document(run: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert run.returncode == 3, run.stderr.decode()
    document: dict[str, Any] = json.loads(run.stdout)
    del document["command"]
    return document


def test_a_killed_run_ends_with_the_same_table(
    run_nsnet: Run, dataset: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    command = ["robustness", str(dataset), "--weights", str(tiny_weights), "--json", *DELIVERED, "--batch-size", "1"]
    undisturbed = _document(run_nsnet(*command))
    rows = tmp_path / "rows.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "nsnet_cli", *command, "--rows", str(rows)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not rows.exists() or rows.read_bytes().count(b"\n") < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = rows.read_bytes()
    with rows.open("ab") as file:
        file.write(kept.splitlines()[-1][:40])  # a row that was being written
    assert _document(run_nsnet(*command, "--rows", str(rows))) == undisturbed
    lines = rows.read_text().splitlines()
    assert rows.read_bytes().startswith(kept) and len(lines) == 1 + 21
    paths = [json.loads(line)["path"] for line in lines[1:]]
    assert len(set(paths)) == 21
    # A third run looks at nothing, and rows of other deliveries are another measurement.
    assert _document(run_nsnet(*command, "--rows", str(rows))) == undisturbed
    other = run_nsnet(*command, "--deliver", "blur:1", "--rows", str(rows))
    assert other.returncode == 2 and b"other deliveries" in other.stderr
    assert rows.read_text().splitlines() == lines


def test_rows_are_not_written_into_a_foreign_file(
    run_nsnet: Run, dataset: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    for text in ("precious\n", "precious"):
        (tmp_path / "notes.jsonl").write_text(text)
        run = run_nsnet(
            "robustness", str(dataset), "--weights", str(tiny_weights), "--rows", str(tmp_path / "notes.jsonl")
        )
        assert run.returncode == 2 and b"not a file of nsnet.robustness-rows/1" in run.stderr
        assert (tmp_path / "notes.jsonl").read_text() == text


def test_a_delivered_picture_scores_as_its_file_would(dataset: Path, tiny_weights: Path, tmp_path: Path) -> None:
    deliveries = [Delivery.parse(spec) for spec in ("jpeg:50", "resize:0.5:box+mirror", "crop:9")]
    detector = Detector.load(str(tiny_weights), deliveries=deliveries)
    path = dataset / "0_real" / "02.png"
    (seen,) = detector.observe_many([str(path)])
    assert seen.result.score == pytest.approx(detector.scan(path).score, abs=1e-5)
    for delivery, delivered in zip(deliveries, seen.delivered, strict=True):
        delivery(Image.open(path), "").save(tmp_path / "delivered.png")
        scanned = detector.scan(tmp_path / "delivered.png")
        assert delivered.delivery == delivery.spec and delivered.verdict == scanned.verdict
        assert delivered.score == pytest.approx(scanned.score, abs=1e-5)


def test_figures_are_paired_and_signed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    before = (0.3 + 0.3 * labels + rng.uniform(-0.3, 0.3, 60)).clip(0.01, 0.99)
    after = (before + np.where(labels == 1, -0.05, 0.2)).clip(0, 1)
    pictures = tuple(LabelledPicture(tmp_path, f"{k}", int(label), "g", "", "") for k, label in enumerate(labels))
    rows = [
        Row(
            f"{k}",
            {
                AS_IS: DeliveredResult(AS_IS, b, 0.0, "uncertain"),
                "blur:1": DeliveredResult("blur:1", a, 0.0, "uncertain"),
                "crop:8": DeliveredResult("crop:8", b, 0.0, "uncertain"),
                "fit:99": DeliveredResult("fit:99"),
            },
        )
        for k, (b, a) in enumerate(zip(before.tolist(), after.tolist(), strict=True))
    ]
    deliveries = [Delivery.parse(spec) for spec in ("blur:1", "crop:8", "fit:99")]
    found = measure(LabelledSet("x", "manifest", None, pictures), rows, deliveries, {}, "", None)
    worse, same, impossible = found["deliveries"]
    assert worse["auc"] == pytest.approx(roc_auc_score(labels, after))
    assert worse["auc_change"] == pytest.approx(roc_auc_score(labels, after) - roc_auc_score(labels, before))
    assert worse["auc_change_interval"]["low"] < worse["auc_change"] < worse["auc_change_interval"]["high"] < 0
    assert worse["drift_real"] == pytest.approx((after - before)[labels == 0].mean()) and worse["drift_real"] > 0.1
    assert worse["drift_generated"] == pytest.approx((after - before)[labels == 1].mean())
    assert worse["flipped_real"] == pytest.approx(((before >= 0.5) != (after >= 0.5))[labels == 0].mean())
    assert same["auc_change"] == 0 and same["auc_change_interval"] == {"low": 0.0, "high": 0.0}
    # What no picture survives is no measurement of the others: every score is missing, and counts as such.
    assert impossible["missing"] == 60 and impossible["drift_real"] is None and impossible["auc"] == 0
    assert found["stability"] is None


def test_a_sample_is_always_the_same_and_keeps_the_proportion(tmp_path: Path) -> None:
    pictures = [LabelledPicture(tmp_path, f"{k}", int(k % 4 == 0), "g", "", "") for k in range(400)]
    sample = take_sample(pictures, 100)
    assert len(sample) == 100 and sum(p.label for p in sample) == 25
    assert set(take_sample(pictures[::-1], 100)) == set(sample) and set(take_sample(pictures, 50)) <= set(sample)
    assert take_sample(pictures, None) == tuple(pictures)


def test_table_csv_and_plot(run_nsnet: Run, dataset: Path, tiny_weights: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    files = [tmp_path / name for name in ("r.json", "r.csv", "r.svg")]
    asked = ["robustness", str(dataset), "--weights", str(tiny_weights), "--rows", str(rows), *DELIVERED]
    run = run_nsnet(*asked, *(arg for path in files for arg in ("-o", str(path))))
    assert run.returncode == 3
    text = run.stdout.decode()
    assert max(map(len, text.splitlines())) <= 80 and "1 without a score" in text.replace("\n", "")
    assert all(word in text for word in ("as is", "jpeg:50", "resize:0.5", "towards generated", "worst: "))
    document = json.loads(files[0].read_text())
    table = list(csv.DictReader(io.StringIO(files[1].read_text())))
    assert [row["delivery"] for row in table] == ["as is", "jpeg:50", "noise:9", "resize:0.5"]
    assert float(table[1]["auc"]) == document["deliveries"][0]["auc"] and document["as_is"]["missing"] == 1
    assert files[2].read_text().startswith("<svg") and "<text" not in files[2].read_text()  # text as shapes
    assert run_nsnet(*asked, "-o", str(files[0])).returncode == 2


def test_neither_the_manifest_nor_a_missing_folder_is_written_to(run_nsnet: Run, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,label\na.jpg,1\nb.jpg,0\n")
    for more, said in (
        (("-o", str(manifest), "--force"), b"it would be overwritten"),
        (("--rows", str(manifest)), b"it would be overwritten"),
        (("--rows", str(tmp_path / "none" / "r.jsonl")), b"no directory"),
    ):
        run = run_nsnet("robustness", str(manifest), "--deliver", "jpeg:75", *more)
        assert run.returncode == 2 and said in run.stderr, run.stderr


def test_stability_never_moves_the_verdict_and_warns_where_it_would(
    run_nsnet: Run, dataset: Path, tiny_weights: Path
) -> None:
    detector = Detector.load(str(tiny_weights))
    checked = Detector.load(str(tiny_weights), stability=True)
    paths = sorted(str(p) for p in dataset.glob("*/*.png"))
    warned = set()
    for plain, result in zip(detector.scan_many(paths), checked.scan_many(paths), strict=True):
        assert (plain.verdict, plain.error) == (result.verdict, result.error) and plain.stability is None
        if result.error is not None:
            assert result.stability is None
            continue
        assert result.score == pytest.approx(plain.score, abs=1e-5)
        assert result.probability is not None and result.stability is not None
        known = [result.probability, *(d.probability for d in result.stability.deliveries)]
        assert [d.delivery for d in result.stability.deliveries] == [d.spec for d in MILD]
        assert (result.stability.low, result.stability.high) == (min(known), max(known))
        assert result.stability.spread == pytest.approx(float(np.std(known)))
        verdicts = {checked.calibration.verdict(p) for p in known}
        assert ("unstable" in result.warnings) == (len(verdicts) > 1)
        warned.add("unstable" in result.warnings)
    assert warned == {True, False}
    run = run_nsnet("scan", *paths[:3], "--weights", str(tiny_weights), "--stability", "--json")
    document = json.loads(run.stdout)
    jsonschema.validate(document, json_schema())
    assert document["options"]["stability"] is True and len(document["results"][0]["stability"]["deliveries"]) == 4
    rows = list(
        csv.DictReader(
            io.StringIO(
                run_nsnet(
                    "scan", *paths[:3], "--weights", str(tiny_weights), "--stability", "--format", "csv"
                ).stdout.decode()
            )
        )
    )
    assert float(rows[0]["stability_low"]) == pytest.approx(document["results"][0]["stability"]["low"], abs=1e-6)


def test_a_picture_that_cannot_be_delivered_so_keeps_its_verdict(tiny_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    Image.fromarray(textured(17000, 64)).save(path)  # WebP ends at 16,383 pixels
    result = Detector.load(str(tiny_weights), stability=True).scan(path)
    assert result.error is None and result.stability is not None
    missing = [d.delivery for d in result.stability.deliveries if d.probability is None]
    assert missing == ["webp:85"]


def test_verdicts_are_compared_over_the_whole_range() -> None:
    stability = stability_of(0.2, [DeliveredResult("a", 0.4), DeliveredResult("b"), DeliveredResult("c", 0.1)])
    assert (stability.low, stability.high) == (0.1, 0.4)
    assert is_unstable(stability, lambda p: "real" if p < 0.3 else "uncertain")
    assert not is_unstable(stability, lambda p: "real" if p < 0.5 else "uncertain")


def test_the_corpus_rows_hold_no_machine_path(
    dataset: Path, tiny_weights: Path, run_nsnet: Run, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    run_nsnet("robustness", str(dataset), "--weights", str(tiny_weights), "--rows", str(rows), "--deliver", "blur:1")
    assert str(dataset) not in rows.read_text() and os.sep + "tmp" not in rows.read_text()
