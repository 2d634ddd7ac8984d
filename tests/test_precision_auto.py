"""``--precision auto``: the verdicts of float32 whatever the fast precision does within its bound; faults show."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from conftest import SAMPLE, Call, jsonl_rows, textured
from PIL import Image

from nsnet_cli import Detector, detector
from nsnet_cli.disk import sha256_of
from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.evaluation.drift import TwoScores, bound_of, score_twice
from nsnet_cli.evaluation.labelled import read_manifest
from nsnet_cli.judges.fast_first import FEW_PICTURES, FastFirst
from nsnet_cli.judges.network import Network, Scored
from nsnet_cli.results.document import PictureResult, json_schema
from nsnet_cli.tower.processor import multiplies_bfloat16
from nsnet_cli.verdict.calibration import Calibration
from nsnet_cli.weights.fast import FastScores, fast_path, read_fast, write_fast
from nsnet_cli.weights.store import find_weights

BOUND = FastScores("bf16", bound=0.25, largest=0.125, half=0.02, pictures=2000, measured_on="nothing")
# What a picture scores in one batch and in another may differ by that much (docs/batch.md).
SAME = 1e-6
CALIBRATION = Calibration(0.86, 0.59, 0.175, 0.892, 0.02, 0.05, "nothing")


class Preset:
    """Says of each picture what stands in its first pixel's place: a score."""

    def __init__(self, off: Callable[[float], float] = lambda score: 0.0) -> None:
        self.off, self.asked = off, 0

    def score(self, pictures: Sequence[float], plans: Sequence[object], probes: bool = False) -> list[Scored]:
        self.asked += len(pictures)
        return [Scored(score + self.off(score), np.zeros(1, np.float32)) for score in pictures]


def band(score: float) -> str:
    return CALIBRATION.verdict(CALIBRATION.probability(score))


def cut(threshold: float) -> Callable[[float], str]:
    return lambda score: CALIBRATION.verdict(CALIBRATION.probability(score), threshold)


def adversarial(off: float) -> list[float]:
    """Scores as near to every threshold of `RULES` as floats are, and up to ``off`` and a little more away."""
    thresholds = [CALIBRATION.t_low, CALIBRATION.t_high, 0.5, 0.01, 0.999]
    cuts = [(float(np.log(t / (1 - t))) - CALIBRATION.offset) / CALIBRATION.slope for t in thresholds]
    steps = [0.0, 1e-12, 1e-6, 0.1, 0.5, 0.9, 0.999999, 1.0, 1.000001, 1.5, 2.0, 2.5]
    near = [c + sign * step * off for c in cuts for step in steps for sign in (-1, 1)]
    near += [float(np.nextafter(c, side)) for c in cuts for side in (-99.0, 99.0)]
    return near + list(np.linspace(-8, 8, 161))


RULES = {"band": band, **{f"one cut at {t}": cut(t) for t in (0.0, 0.01, 0.5, 0.999, 1.0)}}


def other_verdicts(rule: Callable[[float], str], off: Callable[[float], float]) -> list[float]:
    """The scores whose verdict is not that of float32 when the fast precision is ``off`` by so much."""
    scores = adversarial(BOUND.bound)
    scorer = FastFirst(Preset(), lambda: Preset(off), BOUND, rule)  # type: ignore[arg-type,return-value]
    scorer.expect(len(scores))
    said = scorer.score(scores, [[]] * len(scores))  # type: ignore[arg-type]
    return [score for score, one in zip(scores, said, strict=True) if rule(one.score) != rule(score)]


WORST = {
    "as far up as may be": lambda score: BOUND.bound,
    "as far down": lambda score: -BOUND.bound,
    "towards the middle": lambda score: -BOUND.bound if score > -0.6 else BOUND.bound,
    "not at all": lambda score: 0.0,
    "by turns": lambda score: BOUND.bound * np.sin(1e6 * score),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("off", WORST)
def test_within_the_bound_no_verdict_changes(rule: str, off: str) -> None:
    assert other_verdicts(RULES[rule], WORST[off]) == []


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_fault_of_twice_the_bound_shows(sign: int) -> None:
    """So the test above can fail."""
    assert other_verdicts(band, lambda score: sign * 2 * BOUND.bound) != []


def test_most_pictures_are_not_scored_again() -> None:
    exact, scores = Preset(), list(np.linspace(-8, 8, 161))
    scorer = FastFirst(exact, lambda: Preset(), BOUND, band)  # type: ignore[arg-type,return-value]
    scorer.expect(len(scores))
    said = scorer.score(scores, [[]] * len(scores))  # type: ignore[arg-type]
    again = sum(one.precision == "fp32" for one in said)
    assert exact.asked == again and 0 < again <= 12  # two thresholds, half a unit of score each


def test_the_first_few_of_a_stream_are_float32_however_they_come() -> None:
    scores = [9.0] * 40

    def precisions(batches: Sequence[int]) -> list[str]:
        scorer, said = FastFirst(Preset(), lambda: Preset(), BOUND, band), []  # type: ignore[arg-type,return-value]
        for size in batches:
            said += scorer.score(scores[:size], [[]] * size)  # type: ignore[arg-type]
        return [one.precision for one in said]

    found = precisions([8] * 5)
    assert found == ["fp32"] * FEW_PICTURES + ["bf16"] * (40 - FEW_PICTURES)
    assert found == precisions([1] * 40) == precisions([3, 30, 7])


def test_a_few_pictures_never_ask_for_the_fast_tower() -> None:
    def never() -> Network:
        raise AssertionError("made for a few pictures")

    scorer = FastFirst(Preset(), never, BOUND, band)  # type: ignore[arg-type]
    scorer.expect(FEW_PICTURES)
    assert {one.precision for one in scorer.score([9.0] * FEW_PICTURES, [[]] * FEW_PICTURES)} == {"fp32"}  # type: ignore[arg-type]


# --- the tower in bfloat16 ---


@pytest.fixture(scope="module")
def bounded(tiny_weights: Path, many_pictures: Path) -> Path:
    """Tiny weights with a bound that was measured on other pictures than those that are scanned."""
    path = tiny_weights.parent / "bounded.safetensors"
    drifts = [
        TwoScores(str(k), exact.score, fast.score)
        for k, (exact, fast) in enumerate(
            zip(*(tiny(tiny_weights, p).scan_many(more_pictures(many_pictures)) for p in ("fp32", "bf16")), strict=True)
        )
        if exact.score is not None and fast.score is not None
    ]
    path.write_bytes(tiny_weights.read_bytes())
    write_fast(fast_path(path), sha256_of(path), bound_of(drifts, [], margin=2.0))
    return path


def bound_beside(weights: Path) -> FastScores | None:
    return read_fast(weights, sha256_of(weights))


def tiny(weights: Path, precision: str, **options: object) -> Detector:
    return Detector.load(str(weights), precision=precision, device="cpu", **{"patches": False, **options})  # type: ignore[arg-type]


def more_pictures(beside: Path) -> list[str]:
    folder = beside.parent / "for-the-bound"
    folder.mkdir(exist_ok=True)
    for k in range(60):
        if not (folder / f"{k}.png").exists():
            Image.fromarray(textured(230, 230, seed=1000 + k)).save(folder / f"{k}.png")
    return [str(path) for path in sorted(folder.glob("*.png"))]


def hundred(folder: Path) -> list[str]:
    """Pictures that nothing was measured on."""
    paths = []
    for k in range(100):
        path = folder / f"{k:03d}.png"
        if not path.exists():
            Image.fromarray(textured(230, 230, seed=2000 + k)).save(path)
        paths.append(str(path))
    return paths


@pytest.fixture
def fast_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the processor: bfloat16 pays."""
    monkeypatch.setattr(detector, "multiplies_bfloat16", lambda: True)


@pytest.mark.parametrize("options", [{}, {"threshold": 0.5}, {"stability": True}], ids=str)
@pytest.mark.usefixtures("fast_here")
def test_auto_gives_the_verdicts_of_float32_on_a_hundred_pictures(
    bounded: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    paths = hundred(tmp_path)
    auto, exact = (list(tiny(bounded, p, **options).scan_many(paths)) for p in ("auto", "fp32"))
    assert len({result.verdict for result in exact}) >= 2
    bound = bound_beside(bounded)
    assert bound is not None
    for one, other in zip(auto, exact, strict=True):
        assert (one.verdict, one.warnings) == (other.verdict, other.warnings)
        assert one.score is not None and other.score is not None
        assert abs(one.score - other.score) <= (SAME if one.score_precision == "fp32" else bound.bound)
        if one.stability is not None and other.stability is not None:
            verdicts = [[d.verdict for d in each.stability.deliveries] for each in (one, other) if each.stability]
            assert verdicts[0] == verdicts[1]
    assert {result.score_precision for result in exact} == {"fp32"}
    assert "bf16" in {result.score_precision for result in auto}


@pytest.mark.usefixtures("fast_here")
def test_a_fault_in_the_fast_path_shows_on_pictures(
    bounded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores off by twice the bound: the comparison above would fail."""
    bound, real = bound_beside(bounded), Network.judged
    assert bound is not None

    def faulty(self: Network, looks: object, plans: object) -> list[Scored]:
        said = real(self, looks, plans)  # type: ignore[arg-type]
        off = 2 * bound.bound if self.precision == "bf16" else 0.0
        return [replace(one, score=one.score + off) for one in said]

    paths = hundred(tmp_path)
    exact = list(tiny(bounded, "fp32").scan_many(paths))
    monkeypatch.setattr(Network, "judged", faulty)
    auto = list(tiny(bounded, "auto").scan_many(paths))
    off = [abs(one.score - other.score) > bound.bound for one, other in zip(auto, exact, strict=True)]  # type: ignore[operator]
    assert sum(off) > 50


@pytest.mark.usefixtures("fast_here")
def test_results_are_the_same_in_any_batch(bounded: Path, tmp_path: Path) -> None:
    paths = hundred(tmp_path)[:40]

    def said(size: int, workers: int = 0) -> list[tuple[float | None, str | None]]:
        found = tiny(bounded, "auto").scan_many(paths, size, workers)
        return [(result.score, result.score_precision) for result in found]

    scores, precisions = zip(*said(1), strict=True)
    for other in (said(8), said(40), said(8, workers=2)):
        assert [score for score, _ in other] == pytest.approx(scores, abs=SAME)
        assert tuple(precision for _, precision in other) == precisions


def test_where_bfloat16_is_slow_or_nothing_is_known_of_it_auto_is_float32(
    bounded: Path, tiny_weights: Path, many_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(path) for path in sorted(many_pictures.rglob("*.png"))]
    for fast, weights in ((False, bounded), (True, tiny_weights)):
        monkeypatch.setattr(detector, "multiplies_bfloat16", lambda fast=fast: fast)
        found = tiny(weights, "auto")
        assert {r.score_precision for r in found.scan_many(paths) if r.error is None} == {"fp32"}
        assert found.model.fast_bound is None


@pytest.mark.usefixtures("fast_here")
def test_local_scores_of_patches_are_those_of_float32(bounded: Path, many_pictures: Path) -> None:
    paths = [str(path) for path in sorted(many_pictures.rglob("0*.png"))]
    assert {r.score_precision for r in tiny(bounded, "auto", patches=True).scan_many(paths)} == {"fp32"}


@pytest.mark.usefixtures("fast_here")
def test_every_output_says_the_precision_of_each_score(
    bounded: Path, many_pictures: Path, tmp_path: Path, call: Call
) -> None:
    args = ("scan", str(many_pictures), "--weights", str(bounded), "--device", "cpu", "--workers", "0")
    outputs = {suffix: tmp_path / f"found{suffix}" for suffix in (".json", ".jsonl", ".csv")}
    for path in outputs.values():
        assert call("--quiet", *args, "-o", str(path))[0] == 3  # one is torn
    document = json.loads(outputs[".json"].read_text("utf-8"))
    jsonschema.validate(document, json_schema())
    with outputs[".csv"].open(newline="") as file:
        cells = [row["score_precision"] or None for row in csv.DictReader(file)]
    said = [row["score_precision"] for row in document["results"]]
    assert said == [row["score_precision"] for row in jsonl_rows(outputs[".jsonl"])] == cells
    assert said.count("fp32") >= FEW_PICTURES and said.count(None) == 1
    assert (document["model"]["precision"], document["options"]["precision"]) == ("fp32", "fp32")
    assert document["model"]["fast_bound"] == bound_beside(bounded).bound  # type: ignore[union-attr]
    fast = said.count("bf16")
    assert fast and f"{fast} scores in bfloat16, verdicts as in float32" in " ".join(call(*args)[1].split())
    result = document["results"][0]
    assert PictureResult.from_dict(result).to_dict() == result


@pytest.mark.usefixtures("fast_here")
def test_a_threshold_of_ones_own_is_made_of_float32_alone(
    bounded: Path, many_pictures: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    rows = tmp_path / "rows.jsonl"
    call("--quiet", "scan", str(many_pictures), "--weights", str(bounded), "--device", "cpu", "-o", str(rows))
    code, _, err = call("calibrate", str(rows), "--fpr", "0.1", "--name", "mine")
    assert code == 2 and "scores are in bf16" in err
    code, out, err = call(
        "calibrate", str(many_pictures), "--fpr", "0.1", "--name", "mine", "--weights", str(bounded), "--json"
    )
    assert code == 0, err
    assert json.loads(out)["precision"] == "fp32"
    code, _, err = call("scan", str(many_pictures), "--weights", str(bounded), "--profile", "mine", "--device", "cpu")
    assert code == 3, err


# --- the bound and its command ---


def test_the_bound_is_measured_and_kept_beside_the_weights(
    tiny_weights: Path, manifest: Path, tmp_path: Path, call: Call
) -> None:
    weights, kept = tiny_weights.parent / "measured.safetensors", tmp_path / "kept.jsonl"
    weights.write_bytes(tiny_weights.read_bytes())
    args = ("weights", "bound", str(manifest), "--weights", str(weights), "--pictures", "20", "--keep", str(kept))
    assert bound_beside(weights) is None
    code, out, err = call(*args, "--margin", "3")
    assert code == 0, err
    fast = bound_beside(weights)
    assert fast is not None and fast.pictures == 20
    assert fast.bound == pytest.approx(3 * fast.largest, abs=1e-5) and json.loads(out)["bound"] == fast.bound
    assert json.loads(call("weights", "info", str(weights))[1])["fast"] == asdict(fast)
    scores = [row["scores"] for row in jsonl_rows(kept)]
    assert fast.largest == pytest.approx(max(abs(a - b) for a, b in scores), abs=1e-6)
    assert call(*args)[0] == 2  # it is there
    assert call(*args, "--force")[0] == 0 and len(jsonl_rows(kept)) == 20  # nothing was scored again
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-20])  # a kill in the middle of its last line
    assert call(*args, "--force")[0] == 0
    assert [row["name"] for row in jsonl_rows(kept)] == [json.loads(line)["name"] for line in whole.splitlines()]
    other = [*args[:-3], "10", "--keep", str(kept)]
    code, _, err = call(*other, "-o", str(tmp_path / "other.json"))
    assert code == 2 and "of other weights or pictures" in err


def test_what_cannot_be_a_bound_is_refused(tiny_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to bound"):
        bound_of([TwoScores("a", 1.0, 1.0)], [])
    with pytest.raises(UsageError, match="1 or more"):
        bound_of([TwoScores("a", 1.0, 1.5)], [], margin=0.5)
    for wrong in ({"bound": 0.1}, {"bound": float("inf")}, {"precision": "int4"}):
        with pytest.raises(ValueError, match="no bound of a fast precision"):
            replace(BOUND, **wrong)  # type: ignore[arg-type]
    weights = tmp_path / "w.safetensors"
    for sha256, changes, said in (
        ("a" * 64, {}, "measured on weights bbbbbbbbbbbb, but w.safetensors is aaaaaaaaaaaa"),
        ("b" * 64, {"format": "nsnet.fast/9"}, "expected nsnet.fast/1, found 'nsnet.fast/9'"),
        ("b" * 64, {"bound": 0.0}, "found something else"),
        ("b" * 64, {"largest": None}, "found something else"),
    ):
        write_fast(fast_path(weights), "b" * 64, BOUND)
        record = json.loads(fast_path(weights).read_text())
        fast_path(weights).write_text(json.dumps(record | changes))
        with pytest.raises(WeightsError, match=said):
            read_fast(weights, sha256)
    fast_path(weights).write_text("[")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_fast(weights, "b" * 64)


# --- the shipped weights, where there are pictures to try them on ---


@pytest.mark.skipif(not multiplies_bfloat16(), reason="bfloat16 is emulated here: minutes for a few pictures")
def test_shipped_weights_drift_less_than_their_bound(shared: Path) -> None:
    pictures = read_manifest(shared / "corpus" / "manifest.csv", "val")[::170]
    scores = score_twice("nsnet-vit-b-16", pictures, None, lambda: None)
    bound = bound_beside(find_weights("nsnet-vit-b-16"))
    if bound is None:
        pytest.skip("the shipped weights have no bound: they are scanned in float32")
    assert 0.0 < max(one.drift for one in scores) <= bound.bound


def test_one_picture_is_scored_in_float32_without_pytorch() -> None:
    assert Detector.load(device="cpu").scan(SAMPLE).score_precision == "fp32"
