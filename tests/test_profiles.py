"""``nsnet calibrate`` and profiles: a threshold with a guarantee, bound to the detector that it was made with."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import textured
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nsnet_cli.errors import UsageError
from nsnet_cli.verdict.calibration import Calibration
from nsnet_cli.verdict.profiles import (
    MadeBy,
    hold_rate,
    load_profile,
    make_profile,
    needed_pictures,
    population,
    save_profile,
)

Run = Callable[..., subprocess.CompletedProcess[bytes]]
MADE_BY = MadeBy("a" * 64, 2, "fp32")


@pytest.fixture(autouse=True)
def own_config_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Profiles of the tests, not of whoever runs them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("platformdirs.user_config_dir", lambda *args, **kwargs: str(tmp_path / "config" / "nsnet"))
    return tmp_path / "config"


@pytest.fixture(scope="module")
def reals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures, one of them twice, one too small to be judged, one unreadable."""
    folder = tmp_path_factory.mktemp("reals")
    for k in range(30):
        Image.fromarray(textured(240, 240, seed=k)).save(folder / f"{k:02d}.png")
    (folder / "again.png").write_bytes((folder / "00.png").read_bytes())
    Image.fromarray(textured(50, 50)).save(folder / "small.png")
    (folder / "torn.png").write_bytes((folder / "00.png").read_bytes()[:2000])
    return folder


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 299), (0.02, 149), (0.05, 59), (0.5, 5)])
def test_too_few_pictures_are_refused_with_the_number_needed(rate: float, needed: int) -> None:
    # (1 - rate)^n < 5 %: that many without a single false alarm would just show the rate.
    assert needed_pictures(rate) == needed and (1 - rate) ** needed <= 0.05 < (1 - rate) ** (needed - 1)
    with pytest.raises(UsageError, match=f"at least {needed} are needed"):
        hold_rate(np.linspace(0, 1, needed - 1).tolist(), rate)
    assert hold_rate(np.linspace(0, 1, needed).tolist(), rate).expected <= rate


@given(st.lists(st.floats(0, 1), min_size=59, max_size=200), st.sampled_from([0.05, 0.1, 0.3]))
def test_no_more_lie_above_than_the_rate_allows(probabilities: list[float], rate: float) -> None:
    n = len(probabilities)
    if sorted(probabilities)[n - math.floor(rate * (n + 1) * (1 + 1e-12))] == 1.0:
        # More are at 1 than the rate allows, and no threshold lies above 1.
        with pytest.raises(UsageError, match="no threshold holds"):
            hold_rate(probabilities, rate)
        return
    held = hold_rate(probabilities, rate)
    above = sum(p >= held.threshold for p in probabilities)
    assert above == held.above <= rate * (n + 1) - 1 + 1e-9
    assert held.low < held.expected < held.high and held.expected <= rate + 1e-12
    # One picture more at or above would be too many: the threshold is the lowest that holds, but for what rounding
    # may do to a picture's probability.
    assert sum(p >= held.threshold - 1.01e-4 for p in probabilities) > rate * (n + 1) - 1


def test_a_threshold_keeps_off_the_pictures_beside_it() -> None:
    # 30 pictures at 20 %: five lie above, and the sixth, as scanned again in another batch, must not join them.
    probabilities = np.linspace(0.01, 0.9, 30)
    held = hold_rate(probabilities.tolist(), 0.2)
    for noise in (-2e-6, 2e-6):
        assert (probabilities + noise >= held.threshold).sum() == held.above == 5


def test_the_next_picture_alarms_at_the_wanted_rate_and_the_interval_covers() -> None:
    rng = np.random.default_rng(0)
    rates, covered = [], []
    for _ in range(2_000):
        held = hold_rate(rng.uniform(size=200).tolist(), 0.05)
        rates.append(1.0 - held.threshold)  # of uniform probabilities the true rate is known
        covered.append(held.low <= rates[-1] <= held.high)
    # 9 of 201 allowed: k = floor(0.05 * 201) - 1 = 9, so (k + 1) / (n + 1) = 10 / 201.
    assert np.mean(rates) == pytest.approx(10 / 201, rel=0.03)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_what_says_nothing_is_left_out_and_counted() -> None:
    rows = [
        {"sha256": "1", "probability": 0.5, "warnings": []},
        {"sha256": "1", "probability": 0.5, "warnings": []},
        {"sha256": "2", "probability": None, "warnings": []},
        {"sha256": "3", "probability": 0.4, "warnings": ["few_patches"]},
        {"sha256": "4", "probability": 0.3, "warnings": ["animated"]},
    ]
    found = population(rows, MADE_BY)
    assert found.probabilities == (0.5, 0.3) and found.left_out == 3


def test_a_profile_moves_t_high_alone_unless_it_lies_below_the_band() -> None:
    weights = Calibration(1.0, 0.0, 0.3, 0.7, 0.02, 0.05, "")
    for top, low, verdicts in (
        (0.9, 0.3, ["real", "uncertain", "uncertain"]),
        (0.2, 0.2, ["real", "generated", "generated"]),
    ):
        rows = ({"sha256": str(k), "probability": p} for k, p in enumerate(np.linspace(0, top, 100)))
        profile = make_profile("x", 0.05, population(rows, MADE_BY))
        used = profile.apply(weights)
        assert used.t_low == pytest.approx(low, abs=0.02) and used.t_high == profile.threshold
        assert [used.verdict(p) for p in (0.1, 0.5, 0.7)] == verdicts


def test_calibrate_scans_a_folder_or_reads_any_results_file(
    run_nsnet: Run, reals: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    options = ("--weights", str(tiny_weights))
    run = run_nsnet("calibrate", str(reals), "--fpr", "0.2", "--name", "folder", *options, "--json")
    assert run.returncode == 0, run.stderr.decode()
    made = json.loads(run.stdout)
    assert made["pictures"] == 30 and made["left_out"] == 3 and made["schema"] == "nsnet.profile/1"
    for suffix in ("json", "jsonl", "csv"):
        rows = tmp_path / f"rows.{suffix}"
        assert run_nsnet("scan", str(reals), "-o", str(rows), *options).returncode == 3
        run = run_nsnet("calibrate", str(rows), "--fpr", "0.2", "--name", suffix, "--fakes", str(rows), "--json")
        assert run.returncode == 0, run.stderr.decode()
        again = json.loads(run.stdout)
        same = ("threshold", "expected_fpr", "fpr_low", "fpr_high", "pictures", "left_out", "weights_sha256")
        assert {k: again[k] for k in same} == pytest.approx({k: made[k] for k in same}, abs=1e-6)
        assert again["missed"]["missed"] == 30 - again["above"]  # here the fakes are the reals
    listed = run_nsnet("profiles", "list").stdout.decode().split("\n")
    assert [line.split("\t")[0] for line in listed[:-1]] == ["csv", "folder", "json", "jsonl"]
    shown = run_nsnet("profiles", "show", "csv").stdout.decode()
    assert "20 % wanted" in shown and "30 real pictures" in shown and max(map(len, shown.splitlines())) <= 80
    assert run_nsnet("profiles", "delete", "csv").returncode == 0
    assert run_nsnet("profiles", "show", "csv").returncode == 2


def test_scan_uses_a_profile_and_refuses_it_for_another_detector(
    run_nsnet: Run, reals: Path, tiny_weights: Path
) -> None:
    options = ("--weights", str(tiny_weights))
    run_nsnet("calibrate", str(reals), "--fpr", "0.2", "--name", "mine", *options)
    profile = json.loads(run_nsnet("profiles", "show", "mine", "--json").stdout)
    document = json.loads(run_nsnet("scan", str(reals), "--profile", "mine", "--json", *options).stdout)
    assert document["model"]["profile"] == "mine" and document["model"]["t_high"] == profile["threshold"]
    assert document["options"]["profile"] == {"name": "mine", "t_high": profile["threshold"]}
    called = {r["path"] for r in document["results"] if r["verdict"] == "generated"}
    assert called == {
        r["path"] for r in document["results"] if not r["warnings"] and (r["probability"] or 0) >= profile["threshold"]
    }
    assert len(called - {str(reals / "again.png")}) == profile["above"]
    plain = json.loads(run_nsnet("scan", str(reals), "--json", *options).stdout)
    assert plain["model"]["profile"] is None
    assert plain["options"]["options_hash"] != document["options"]["options_hash"]
    card = run_nsnet("scan", str(reals / "00.png"), "--profile", "mine", *options).stdout.decode()
    assert "profile mine" in card
    for other, word in (
        (("--views", "3"), b"made with views 2, not 3"),
        (("--precision", "bf16"), b"made with precision fp32, not bf16"),
        (("--threshold", "0.5"), b"brings its own threshold"),
    ):
        run = run_nsnet("scan", str(reals / "00.png"), "--profile", "mine", *options, *other)
        assert run.returncode == 2 and word in run.stderr
    run = run_nsnet("scan", str(reals / "00.png"), "--profile", "mine")
    assert run.returncode == 2 and b"made with weights" in run.stderr


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--fpr", "0.02", "--name", "x"), "33 pictures are too few for this rate: at least 149 are needed"),
        (("--fpr", "0", "--name", "x"), "must lie above 0"),
        (("--fpr", "0.2", "--name", "../x"), "cannot name a profile"),
        (("--fpr", "0.2", "--name", ".x"), "cannot name a profile"),
    ],
)
def test_wrong_usage_is_refused_before_the_scan(run_nsnet: Run, reals: Path, args: tuple[str, ...], word: str) -> None:
    run = run_nsnet("calibrate", str(reals), *args)
    assert run.returncode == 2 and word in run.stderr.decode()


def test_names_are_not_taken_twice_and_damage_is_said(run_nsnet: Run, own_config_folder: Path) -> None:
    rows = [{"sha256": str(k), "probability": k / 100} for k in range(100)]
    profile = make_profile("x", 0.05, population(rows, MADE_BY))
    path = save_profile(profile, overwrite=False)
    assert load_profile("x") == profile
    with pytest.raises(UsageError, match="--force"):
        save_profile(profile, overwrite=False)
    save_profile(profile, overwrite=True)
    for text in (
        "",
        "[]",
        '{"schema": "nsnet.profile/1"}',
        path.read_text().replace('"threshold": 0', '"threshold": 7'),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"x\.json"):
            load_profile("x")
    assert b"x\tdamaged" in run_nsnet("profiles", "list").stdout
    with pytest.raises(UsageError, match="no profile 'y'"):
        load_profile("y")


def test_a_file_that_does_not_say_its_detector_is_refused(run_nsnet: Run, tmp_path: Path) -> None:
    old = tmp_path / "old.csv"
    old.write_text("path,probability\n" + "".join(f"{k},0.{k:03d}\n" for k in range(200)))
    run = run_nsnet("calibrate", str(old), "--fpr", "0.05", "--name", "x")
    assert run.returncode == 2 and b"do not say which weights, views and precision" in run.stderr


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_scores_of_the_fast_precision_make_no_threshold(run_nsnet: Run, tmp_path: Path, suffix: str) -> None:
    made_by = {"weights_sha256": "a" * 64, "views": 2, "precision": "fp32"}
    rows = [
        {"schema": "nsnet.scan/1", "path": f"{k}.jpg", "probability": k / 300, "score_precision": precision, **made_by}
        for k, precision in zip(range(200), ["fp32", "bf16"] * 100, strict=True)
    ]
    path = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        lines = [",".join(map(str, row.values())) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = run_nsnet("calibrate", str(path), "--fpr", "0.05", "--name", "x")
    assert run.returncode == 2 and b"settles verdicts but no threshold" in run.stderr
