"""``nsnet evaluate``: layouts, figures, controls, saved predictions, and what a stranger's data set may hold."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLE, textured
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from nsnet_cli.errors import UsageError
from nsnet_cli.evaluation.controls import (
    _mean_auc,
    _ranked_by_fold,
    containers,
    format_control,
    thumbnail_control,
    thumbnails,
)
from nsnet_cli.evaluation.evaluate import Evaluation, evaluate
from nsnet_cli.evaluation.labelled import LabelledPicture, LabelledSet, find_labelled
from nsnet_cli.evaluation.metrics import Scored, balanced_ece, figures
from nsnet_cli.evaluation.predictions import NO_PREDICTION, Prediction, match_predictions, read_predictions
from nsnet_cli.inputs.decode import decode, read_file, thumbnail_of
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.report.evaluation_files import evaluation_csv, evaluation_html, evaluation_json
from nsnet_cli.verdict.rates import wilson

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, int]]:
    """Twelve small pictures, six of either label."""
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    for k in range(12):
        path = folder / f"p{k:02d}.jpg"
        Image.fromarray(textured(96, 96, seed=k)).save(path, quality=90)
        made.append((path, k % 2))
    return made


def _probability(name: str) -> float:
    return (int(Path(name).stem[1:]) * 7 % 12) / 11


def _lay_out(root: Path, pictures: list[tuple[Path, int]], folders: tuple[str, str]) -> Path:
    for path, label in pictures:
        target = root / folders[label] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return root


def _measure(dataset: LabelledSet) -> Evaluation:
    found = [Prediction(_probability(p.name), verdict="real") for p in dataset.pictures]
    return evaluate(dataset, found, {})


def test_every_layout_and_a_manifest_give_the_same_figures(pictures: list[tuple[Path, int]], tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    with manifest.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "generator"])
        rows.writerows([[str(path), label, "x"] for path, label in pictures])
    sets = [
        find_labelled(manifest),
        find_labelled(_lay_out(tmp_path / "a", pictures, ("0_real", "1_fake"))),
        find_labelled(_lay_out(tmp_path / "b", pictures, ("horse/0_real", "horse/1_fake"))),
        find_labelled(_lay_out(tmp_path / "c", pictures, ("nature", "ai"))),
        find_labelled(_lay_out(tmp_path / "d", pictures, ("val/Real", "val/Fake"))),
        find_labelled(
            _lay_out(tmp_path / "e", pictures, ("reals", "gans/g1")) / "gans", None, tmp_path / "e" / "reals"
        ),
    ]
    totals = [_measure(dataset).to_dict()["total"] for dataset in sets]
    assert totals[0]["real"] == totals[0]["generated"] == 6
    assert all({k: v for k, v in t.items() if k != "intervals"} == {
        k: v for k, v in totals[0].items() if k != "intervals"} for t in totals[1:])  # fmt: skip


def test_groups_are_the_folders_that_benchmarks_use(pictures: list[tuple[Path, int]], tmp_path: Path) -> None:
    dataset = find_labelled(_lay_out(tmp_path, pictures, ("progan/car/0_real", "progan/car/1_fake")))
    assert {p.group for p in dataset.pictures} == {"progan"}
    _lay_out(tmp_path / "x", pictures, ("real/phone", "fake/sdxl"))
    dataset = find_labelled(tmp_path / "x")
    assert {(p.label, p.group) for p in dataset.pictures} == {(0, "phone"), (1, "sdxl")}


def test_a_directory_of_no_known_layout_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"0_real/1_fake.*--real-dir.*manifest"):
        find_labelled(tmp_path)


# Few distinct values, so that ties are the rule; both labels always there.
_scores = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=60).map(
    lambda rows: [*rows, (0, 3), (1, 5)]
)


@given(_scores)
def test_figures_are_scikit_learns(rows: list[tuple[int, int]]) -> None:
    y, p = np.array([label for label, _ in rows]), np.array([value / 8 for _, value in rows])
    f = figures(Scored.of(y.tolist(), [Prediction(v) for v in p.tolist()]), resamples=5)
    fpr, tpr, _ = roc_curve(y, p)
    assert f.auc == pytest.approx(roc_auc_score(y, p))
    assert f.ap == pytest.approx(average_precision_score(y, p))
    assert f.tpr_at_5 == pytest.approx(max(t for a, t in zip(fpr, tpr, strict=True) if a <= 0.05))
    assert f.r_acc == pytest.approx(np.mean(p[y == 0] < 0.5))
    assert f.f_acc == pytest.approx(np.mean(p[y == 1] >= 0.5))
    fold = np.zeros(len(y), dtype=int)
    assert _mean_auc(y, _ranked_by_fold(p, fold), np.ones(len(y))) == pytest.approx(roc_auc_score(y, p))
    counts = np.arange(len(y)) % 3 + 1.0
    weighed = roc_auc_score(y, p, sample_weight=counts)
    assert _mean_auc(y, _ranked_by_fold(p, fold), counts) == pytest.approx(weighed)


def test_calibration_error_weighs_the_labels_equally() -> None:
    # One real picture at 0.1 and 99 generated ones at 0.9: both bins hold half of the weight.
    y, p = np.array([0] + [1] * 99), np.array([0.1] + [0.9] * 99)
    assert balanced_ece(y, p) == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)
    assert balanced_ece(y, np.where(y == 1, 1.0, 0.0)) == 0.0


def test_intervals_hold_the_figure_and_shrink() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (40, 4000):
        y = np.arange(n) % 2
        p = np.clip(0.5 + 0.2 * (y - 0.5) + rng.normal(0, 0.2, n), 0, 1)
        f = figures(Scored.of(y.tolist(), [Prediction(v) for v in p.tolist()]))
        for name in ("auc", "bacc", "tpr_at_5", "r_acc", "f_acc"):
            interval = f.intervals[name]
            assert interval.low <= getattr(f, name) <= interval.high
        widths.append(f.intervals["auc"].high - f.intervals["auc"].low)
    assert widths[1] < widths[0] / 4
    assert wilson(0, 10).low == 0.0 and 0.2 < wilson(0, 10).high < 0.35


def _set(labels: list[int], **changes: str) -> LabelledSet:
    made = [LabelledPicture(Path(f"p{k}.jpg"), f"p{k}.jpg", y, f"g{y}", "", "") for k, y in enumerate(labels)]
    return LabelledSet("made", "manifest", None, tuple(made))


def test_a_missing_score_counts_against_the_detector() -> None:
    perfect = [Prediction(0.0), Prediction(1.0)] * 4  # as sure as can be: no tie may soften it
    lacking = [NO_PREDICTION, NO_PREDICTION, *perfect[2:]]
    whole, partly = evaluate(_set([0, 1] * 4), perfect, {}), evaluate(_set([0, 1] * 4), lacking, {})
    assert whole.total.auc == 1.0 and whole.total.bacc == 1.0
    assert partly.total.missing == 2
    assert partly.total.r_acc == partly.total.f_acc == 0.75
    assert partly.total.auc == pytest.approx(9 / 16)
    assert "missing_scores" in {r.code for r in partly.remarks}


@pytest.mark.parametrize("labels", [[0, 0, 0], [1], [0, 1]])
def test_one_label_and_tiny_sets_are_reported_not_a_crash(labels: list[int]) -> None:
    e = evaluate(_set(labels), [Prediction(0.4)] * len(labels), {})
    document = e.to_dict()
    json.loads(evaluation_json(document))
    assert evaluation_csv(document).count("\n") >= 3
    assert "<h1>" in evaluation_html(document)
    assert (document["total"]["auc"] is None) == (len(set(labels)) < 2)
    assert ("one_class" in {r.code for r in e.remarks}) == (len(set(labels)) < 2)
    assert document["format_control"]["auc"] is None and document["format_control"]["reason"]


def test_a_planted_format_bias_is_found_and_said(tmp_path: Path) -> None:
    for biased in (True, False):
        root = tmp_path / str(biased)
        for k in range(40):
            label = k % 2
            suffix = ("jpg", "png")[label] if biased else ("jpg", "png")[k // 2 % 2]
            path = root / ("real", "fake")[label] / f"group{k // 2 % 4}" / f"{k}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(textured(64, 64, seed=k)).save(path)
        dataset = find_labelled(root)
        e = evaluate(dataset, [Prediction(0.5 + 0.1 * p.label) for p in dataset.pictures], {})
        assert e.format_control.auc is not None
        assert (e.format_control.auc > 0.95) == biased
        assert ("format_leak" in {r.code for r in e.remarks}) == biased


def test_whether_the_corpus_gives_labels_away_by_format_is_measured_and_said(shared: Path) -> None:
    dataset = find_labelled(shared / "corpus" / "manifest.csv", "val")
    e = evaluate(dataset, [Prediction(0.5)] * len(dataset.pictures), {})
    assert e.format_control.auc is not None and 0.3 < e.format_control.auc < 0.7
    within = e.format_within is not None and e.format_within.leaks
    assert ("format_leak" in {r.code for r in e.remarks}) == (e.format_control.leaks or within)
    assert set(e.cuts) == {"photo_like", "not_photo_like", "without_shared_repositories"}


def test_predictions_made_elsewhere_are_matched_by_the_end_of_their_path(tmp_path: Path) -> None:
    dataset = _set([0, 1])
    by_path = {"/another/machine/p0.jpg": Prediction(0.1), "./p1.jpg": Prediction(0.9)}
    assert [q.probability for q in match_predictions(dataset.pictures, by_path)] == [0.1, 0.9]
    with pytest.raises(UsageError, match="equally well"):
        match_predictions(dataset.pictures, {"/a/p0.jpg": Prediction(0.1), "/b/p0.jpg": Prediction(0.2)})
    nested = [LabelledPicture(tmp_path / d / "1.png", f"{d}/1.png", 0, "g", "", "") for d in ("cat", "dog")]
    assert match_predictions(nested, {"elsewhere/cat/1.png": Prediction(0.3)})[1] is NO_PREDICTION
    both = {"cat/1.png": Prediction(0.3), "1.png": Prediction(0.4)}
    whole = [nested[0], LabelledPicture(tmp_path / "1.png", "1.png", 0, "g", "", "")]
    assert [q.probability for q in match_predictions(whole, both)] == [0.3, 0.4]
    with pytest.raises(UsageError, match="disagree"):
        match_predictions(dataset.pictures, {"./p0.jpg": Prediction(0.1), "p0.jpg": Prediction(0.2)})
    with pytest.raises(UsageError, match="more than one picture"):
        match_predictions(nested, {"1.png": Prediction(0.3)})


def test_rows_of_a_killed_scan_are_read_up_to_the_last_whole_one(tmp_path: Path) -> None:
    rows = [json.dumps({"schema": "nsnet.scan/1", "path": f"{k}.jpg", "probability": 0.5}) for k in range(3)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows)[:-9])
    assert sorted(read_predictions(path).by_path) == ["0.jpg", "1.jpg"]
    path.write_text("\n".join(rows))
    assert len(read_predictions(path).by_path) == 3
    path.write_bytes("\n".join(rows).encode() + '\n{"path": "日'.encode()[:-1])
    assert len(read_predictions(path).by_path) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,probability\na.jpg,7.5\n", "no probability"),
        ("path,probability\na.jpg,high\n", "expected a number"),
        ("name,value\na.jpg,0.5\n", "expected columns path and probability"),
        ("path,score\na.jpg,0.5\na.jpg,0.6\n", "disagree"),
        ('{"schema": "other", "path": "a"}\n', "expected rows of nsnet.scan/1"),
        ('{"schema": "nsnet.evaluation/1", "predictions": [0.1]}', "expected rows"),
        ('{"schema": "nsnet.scan/1", "results": null}', "with a list of results"),
        ("path,probability,weights_sha256\na.jpg,0.5,x\nb.jpg,0.5,y\n", "different weights"),
    ],
)
def test_predictions_that_make_no_sense_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_predictions(path)


def test_controls_follow_the_decode_policy(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    Image.fromarray(textured(64, 64)).save(tmp_path / "icon.icns")
    names = ["pipe.jpg", "icon.icns", "gone.jpg"]
    made = [LabelledPicture(tmp_path / name, name, 1, "g", "", "") for name in names]
    assert thumbnails(made) == [None, None, None]
    assert format_control(made, containers(made)).auc is None  # and neither hangs


def test_thumbnails_from_files_are_those_of_a_scan(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth = Image.fromarray(textured(8, 6)).resize((256, 192), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    smooth.save(tmp_path / "plain.jpg", quality=95)
    smooth.convert("RGBA").resize((90, 90)).save(tmp_path / "clear.png")
    for name in ("turned.jpg", "plain.jpg", "clear.png"):
        (found,) = thumbnails([LabelledPicture(tmp_path / name, name, 0, "g", "", "")])
        pixels = decode(read_file(tmp_path / name, DecodeLimits()), DecodeLimits()).pixels
        assert found is not None and pixels is not None
        assert np.abs(found.astype(int) - thumbnail_of(pixels).astype(int)).mean() < 4, name


@pytest.mark.parametrize(
    ("reals", "fakes", "said"),
    [
        (3, 3, "keep generators and sources whole"),
        (1, 3, "keep generators whole, real pictures one by one"),
        (3, 1, "keep sources whole, generated pictures one by one"),
        (1, 1, "of single pictures"),
    ],
)
def test_a_control_says_what_its_folds_keep_whole(reals: int, fakes: int, said: str) -> None:
    # A pattern for each group, which says nothing of another group's label.
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 255, (2, 3, 32, 32, 3)).astype(np.uint8)
    made = [
        LabelledPicture(Path(f"{label}{k}"), f"{label}{k}", label, f"g{k % (reals, fakes)[label]}", "", "")
        for label in (0, 1)
        for k in range(30)
    ]
    control = thumbnail_control(made, [patterns[p.label, int(p.group[1:])] for p in made])
    assert control.auc is not None and control.trained_on.endswith(said)
    if reals == fakes:  # with groups on one side alone a control knows half of what it is tested on
        assert control.leaks == (reals == 1)


def test_names_of_any_kind_go_through_every_output(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    made = tuple(
        LabelledPicture(tmp_path / f"{k}{odd}.png", f"{k}{odd}.png", k % 2, ("$\\foo$", odd)[k % 2], "", "")
        for k in range(4)
    )
    e = evaluate(LabelledSet(odd, "manifest", None, made), [Prediction(0.5)] * 4, {"predictions": odd}, odd)
    document = e.to_dict()
    for render in (evaluation_json, evaluation_csv, evaluation_html):
        assert render(document).encode("utf-8", "backslashreplace")
    path = tmp_path / "again.json"
    path.write_text(evaluation_json(document), "utf-8")
    assert NO_PREDICTION not in match_predictions(made, read_predictions(path).by_path)


def test_an_unreadable_folder_and_mixed_up_reals_are_refused(
    pictures: list[tuple[Path, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _lay_out(tmp_path / "set", pictures, ("0_real", "1_fake/sdxl"))
    with pytest.raises(UsageError, match="would count as real"):
        find_labelled(root / "1_fake", None, root)
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith(("sdxl", "secret")):
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    dataset = find_labelled(root)
    assert [(p.label, p.group) for p in dataset.pictures if p.label] == [(1, "sdxl")]
    (root / "secret").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        find_labelled(root)


def test_other_splits_of_a_manifest_need_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("path,label,generator,split\na.jpg,1,g,val\nb.jpg,,g,test\n")
    assert len(find_labelled(path, "val").pictures) == 1
    path.write_text("path,label,split\na.jpg,0\nb.jpg,1,train\n")
    for asked in ("val", "none"):
        with pytest.raises(UsageError, match=r"split '\w+'; its splits are train$"):
            find_labelled(path, asked)


def test_a_manifest_without_splits_is_all_to_learn_from(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("path,label\na.jpg,1\nb.jpg,0\n")
    assert len(find_labelled(path, "train").pictures) == len(find_labelled(path).pictures) == 2
    with pytest.raises(UsageError, match="lacks the columns split"):
        find_labelled(path, "val")


def test_the_html_page_is_self_contained_and_escapes_everything(pictures: list[tuple[Path, int]]) -> None:
    evil = "<script>alert(1)</script>"
    made = tuple(LabelledPicture(path, path.name, label, evil, "", "") for path, label in pictures)
    page = evaluation_html(_measure(LabelledSet(evil, "manifest", None, made)).to_dict())
    assert evil not in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert page.count("<svg") == 7
    data = re.search(r'<script type="application/json" id="evaluation">(.*)</script>', page)
    assert data is not None
    assert json.loads(data[1])["by_generator"][0]["name"] == evil


def test_from_pictures_and_from_rows_of_a_scan_alike(run_nsnet: Run, tmp_path: Path) -> None:
    for label, side in enumerate(("real", "fake")):
        (tmp_path / "set" / side).mkdir(parents=True)
        with Image.open(SAMPLE) as image:
            image.crop((40 * label, 0, 40 * label + 256, 256)).save(tmp_path / "set" / side / "a.png")
    (tmp_path / "set" / "fake" / "broken.jpg").write_bytes(SAMPLE.read_bytes()[:5000])
    (tmp_path / "set" / "fake" / "notes.txt").write_text("not a picture")
    run = run_nsnet("evaluate", "set", "--json", "-o", "rows.jsonl", "-o", "page.html", cwd=tmp_path)
    assert run.returncode == 3, run.stderr  # the broken picture has no score
    scanned = json.loads(run.stdout)
    assert scanned["total"]["missing"] == 1 and scanned["dataset"]["skipped"] == 1
    assert scanned["model"]["weights_sha256"] and scanned["command"].startswith("nsnet evaluate set")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert [row["error"] is None for row in rows] == [True, False, True]
    again = run_nsnet("evaluate", "set", "--predictions", "rows.jsonl", "--json", cwd=tmp_path)
    assert again.returncode == 3, again.stderr
    assert json.loads(again.stdout)["total"] == scanned["total"]
    plain = run_nsnet("scan", "set", "--format", "jsonl", cwd=tmp_path)
    assert [json.loads(line)["score"] for line in plain.stdout.splitlines()] == [row["score"] for row in rows]
    table = run_nsnet("evaluate", "set", "--predictions", "rows.jsonl", cwd=tmp_path).stdout.decode()
    assert max(map(len, table.splitlines())) <= 80 and "missing_scores" in table


def test_outputs_are_refused_before_the_scan(run_nsnet: Run, tmp_path: Path) -> None:
    (tmp_path / "there.json").write_text("{}")
    for name, said in (("there.json", b"exists"), ("x.pdf", b"suffix"), ("no/x.csv", b"no directory")):
        run = run_nsnet("evaluate", str(SAMPLE.parent), "-o", str(tmp_path / name))
        assert run.returncode == 2 and said in run.stderr
    two = run_nsnet("evaluate", str(SAMPLE.parent), "-o", str(tmp_path / "a.jsonl"), "-o", str(tmp_path / "b.jsonl"))
    assert two.returncode == 2 and b"one .jsonl" in two.stderr
