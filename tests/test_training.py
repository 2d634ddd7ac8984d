"""Training on a tiny tower: folds, resuming, and weights that a scan can use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Call, labelled, textured
from PIL import Image
from safetensors.torch import load_file

from nsnet_cli.disk import sha256_of
from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.evaluation.labelled import read_manifest, read_manifests
from nsnet_cli.judges.nullspace import BasisRule
from nsnet_cli.judges.semantics import load_basis
from nsnet_cli.tower.file import load_tower
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.training.directions import artifact_directions
from nsnet_cli.training.fit import Progress
from nsnet_cli.training.fitter import Fitter, Parts
from nsnet_cli.training.recipe import FitConfig, Phase, kept_renderings
from nsnet_cli.training.run import TrainRequest, train
from nsnet_cli.training.whole import WHOLE_KINDS
from nsnet_cli.views.plan import KERNEL, WINDOW, fuse
from nsnet_cli.views.selection import SelectionRecipe
from nsnet_cli.weights.file import weights_info
from nsnet_cli.weights.shapes import Adaptation, HeadConfig, KernelConfig, SeveralLooks

LORA = Adaptation(rank=2, last_block=2, norms=True)
FIT = FitConfig(
    probe=Phase(640, 8, lr_head=0.01),
    tune=Phase(112, 8, lr_head=1e-3, lr_tower=1e-3, keep=0.5),
    adaptation=LORA,
    head=HeadConfig(blocks=(1, 2), reduced=8, hidden=8),
    kernel=KernelConfig(blocks=(1, 2), dimensions=6),
    renderings=1,
    seed=3,
)


def request(manifest: Path, tower: Path, work: Path, **changes: object) -> TrainRequest:
    labels = work.parent / "labels.npy"
    np.save(labels, np.random.default_rng(0).normal(size=(12, 24)).astype(np.float32))
    base = TrainRequest(
        manifests=(manifest,), labels=labels, tower=tower, output=work / "tiny-nsnet.safetensors", work=work,
        split="train", rule=BasisRule("rank", 5), fit=FIT, folds=2, views=2, precision="fp32",
        device="cpu", command="nsnet train",
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_killed_run_ends_with_the_same_weights(fresh: bool, manifest: Path, tiny_tower: Path, tmp_path: Path) -> None:
    config = replace(FIT, fresh=fresh, adaptation=replace(LORA, first_block=2))

    def run(work: Path, stop_at: int | None = None, config: FitConfig = config) -> dict[str, torch.Tensor]:
        def report(name: str, progress: Progress) -> None:
            if name == "final tuning" and progress.step == stop_at:
                raise KeyboardInterrupt

        asked = request(manifest, tiny_tower, work, fit=config)
        train(asked, report)
        return load_file(asked.output)

    whole = run(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", stop_at=13)  # the last checkpoint was after step 10
    assert len(list((tmp_path / "b").glob("fold-*.scores.json"))) == 2
    resumed = run(tmp_path / "b")
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.allclose(tensor, resumed[name], atol=1e-6), name
    with pytest.raises(WeightsError, match="another recipe"):
        run(tmp_path / "b", config=replace(config, temperature=0.5))


@pytest.mark.parametrize(
    "changes",
    [
        {"adaptation": Adaptation()},
        {"adaptation": LORA},
        {"adaptation": Adaptation(rank=2, first_block=2, last_block=2, targets=("q", "v", "fc", "proj"))},
        {"adaptation": Adaptation(norms=True, last_block=2), "probe_first": False, "fresh": True},
        {"adaptation": replace(LORA, kinds=("mosaic",)), "probe_first": False},
        {
            "adaptation": replace(LORA, kinds=("mosaic",)),
            "kernel": replace(FIT.kernel, kinds=("window",)),
            "fresh": True,
        },
        {
            "adaptation": LORA,
            "selection": SelectionRecipe(window=0),
            "head": HeadConfig(blocks=(), reduced=8, hidden=8),
            "kernel": None,
        },
    ],
    ids=["frozen", "lora", "upper block", "norms, fresh", "mosaics alone", "a kind each", "paper"],
)
def test_train_writes_weights_that_scan_as_they_were_trained(
    manifest: Path, tiny_tower: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    work = tmp_path / "work"
    config = replace(FIT, bce_share=1.0, augment=False, **changes)  # type: ignore[arg-type]
    asked = request(manifest, tiny_tower, work, fit=config)
    train(asked, lambda name, progress: None)
    info = weights_info(asked.output)
    assert info.tower_sha256 == sha256_of(tiny_tower) and info.basis["rank"] == 5
    assert info.adaptation == config.adaptation and sum(info.fusion.values()) == pytest.approx(1.0)
    judges = {"mosaic", "window"} if config.selection.window else {"mosaic"}
    assert set(info.fusion) == judges | ({KERNEL} if config.kernel else set())
    assert info.kernel == config.kernel
    assert info.training["pictures"] == {"0": 20, "1": 20}
    events = [json.loads(line)["event"] for line in (work / "log.jsonl").read_text().splitlines()]
    assert events[0] == "start" and events[-1] == "written"

    from nsnet_cli import Detector

    (work / tiny_tower.name).write_bytes(tiny_tower.read_bytes())
    detector = Detector.load(str(asked.output))
    result = detector.scan(manifest.parent / "3.png")
    assert result.error is None and result.score is not None
    # The same picture through the training code: kept features of an unmerged tower, and the heads.
    pictures = read_manifest(manifest, "train")
    basis, _ = load_basis(asked.labels, asked.rule)
    fitter = Fitter(
        tiny_tower, pictures, basis.vectors, config, asked.views, "fp32", "cpu", work, lambda name, progress: None
    )
    fitted = fitter.fit("final", range(len(pictures)))
    normalise = Normaliser((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    views = detector.prepare(str(manifest.parent / "3.png")).views
    assert views is not None
    with torch.inference_mode():
        plain = load_tower(tiny_tower)
        seen = {
            kind: (fitted.tower if config.adaptation.of(kind) else plain)(normalise(torch.from_numpy(views[[view]])))
            for view, kind in enumerate(fitter.kinds)
        }
        parts = {kind: [float(fitted.heads.of(kind)(features).logit)] for kind, features in seen.items()}
    if fitted.kernel is not None:
        parts[KERNEL] = [float(fitted.kernel.score({kind: [features] for kind, features in seen.items()}))]
    if config.selection.window:
        assert result.score == pytest.approx(fuse(parts, info.fusion), abs=1e-3)


# Large enough to be looked at in two places.
SEVERAL = [f"whole-{k}" for k in range(6)]


def test_whole_pictures_are_scored_as_a_scan_scores_them_calibrated_on_and_met(
    manifest: Path, tiny_tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsnet_cli.training.run._FEWEST", 2)
    whole = tmp_path / "whole.csv"
    lines = ["path,label,generator,split"]
    for k in range(8):
        pixels = textured(*((700, 500) if k < 6 else (300, 300)), seed=100 + k) // (1 + 3 * (k % 2))
        name = f"whole-{k}.{'png' if k % 3 else 'jpg'}"
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name)
        lines.append(f"{name},{k % 2},{'gen' if k % 2 else 'cam'}{'abcd'[k // 2]}-x,train")
    whole.write_text("\n".join(lines))
    work = tmp_path / "work"
    config = replace(FIT, adaptation=Adaptation(), augment=False)
    asked = request(manifest, tiny_tower, work, fit=config, whole=(whole,))
    train(asked, lambda name, progress: None)
    info = weights_info(asked.output)
    assert "8 of them of whole pictures" in info.calibration.fitted_on
    assert info.training["pictures"] == {"0": 20, "1": 20}
    assert info.training["whole"]["pictures"] == {"0": 4, "1": 4}
    assert info.several != SeveralLooks()
    held_out = {row["name"]: row for row in map(json.loads, (work / "held_out.jsonl").read_text().splitlines())}
    assert len(held_out) == 48 and {row["fold"] for row in held_out.values()} == {0, 1}
    for name, row in held_out.items():
        fused = fuse({judge: [said] for judge, said in row["judges"].items()}, info.fusion)
        assert row["score"] == pytest.approx(info.several.of(fused) if name[:7] in SEVERAL else fused)

    from nsnet_cli import Detector

    (work / tiny_tower.name).write_bytes(tiny_tower.read_bytes())
    result = Detector.load(str(asked.output)).scan(tmp_path / "whole-5.png")
    assert result.windows is not None and len(result.windows) == 2
    pictures, beside = read_manifest(manifest, "train"), read_manifest(whole, "train")
    basis, _ = load_basis(asked.labels, asked.rule)
    fitter = Fitter(
        tiny_tower, pictures, basis.vectors, config, 2, "fp32", "cpu", work, lambda name, progress: None, beside
    )
    all_of_it = Parts(range(len(pictures)), [0], range(len(beside)), [5])
    said = fitter.held_out("again", all_of_it)["whole-5.png"]
    fused = fuse({judge: [x] for judge, x in said.items()}, info.fusion)
    assert result.score == pytest.approx(info.several.of(fused), abs=2e-2)
    assert config.kernel is not None
    unmet = Parts(range(len(pictures)), [0], [], range(len(beside)))
    met = Parts(range(len(pictures)), [0], range(len(beside)), range(len(beside)))
    errors = [
        np.mean([(scores[p.name][KERNEL] - (8.0 * p.label - 4.0)) ** 2 for p in beside])
        for scores in (fitter.held_out("unmet", unmet), fitter.held_out("met", met))
    ]
    assert errors[1] < 0.8 * errors[0]
    relabelled = replace(fitter, whole=[replace(p, label=1 - p.label) for p in beside])
    assert relabelled.held_out("met", met) != fitter.held_out("met", met)
    seen = fitter._whole_features
    (several, views), (single, one) = sorted(seen.alike(range(8)), key=lambda part: -len(part[0]))
    assert (several, single) == ([0, 1, 2, 3, 4, 5], [6, 7])
    assert (len(views[WINDOW]), len(one[WINDOW])) == (2, 1)
    for n in several:
        rows = torch.nonzero((seen.owner == n) & (seen.kind == WHOLE_KINDS.index(WINDOW)))[:, 0]
        assert torch.equal(seen.features.embedding[rows], torch.stack([v.embedding[n] for v in views[WINDOW]]))
    assert [seen.is_lossless(n) for n in range(8)] == [False, True, True, False, True, True, False, True]
    other_order = replace(fitter, whole=beside[::-1])
    assert other_order.of_several_looks() == fitter.of_several_looks()
    assert [other_order._whole_features.is_lossless(7 - n) for n in range(8)] == [seen.is_lossless(n) for n in range(8)]
    with pytest.raises(UsageError, match="--whole is for a tower that stays frozen"):
        train(replace(asked, fit=FIT, output=tmp_path / "o.safetensors"), lambda name, progress: None)


def test_the_manifest_is_checked(tmp_path: Path) -> None:
    bad = tmp_path / "m.csv"
    bad.write_text("path,generator\na.png,x\n")
    with pytest.raises(UsageError, match="lacks the columns label"):
        read_manifest(bad, None)
    bad.write_text("path,label,generator\na.png,fake,x\n")
    with pytest.raises(UsageError, match=r"m\.csv:2: label must be 0 \(real\) or 1 \(generated\), found 'fake'"):
        read_manifest(bad, None)


def test_several_manifests_are_one_set_and_no_picture_is_in_two(manifest: Path) -> None:
    header, *rows = manifest.read_text().splitlines()
    halves = []
    for k in range(2):
        halves.append(manifest.with_name(f"half-{k}.csv"))
        halves[k].write_text("\n".join([header, *rows[20 * k : 20 * (k + 1)]]) + "\n")
    assert read_manifests(halves, "train") == read_manifest(manifest, "train")
    with pytest.raises(UsageError, match=r"manifest\.csv: 0\.png is in another manifest, too"):
        read_manifests([halves[0], manifest], "train")
    halves[1].write_text("\n".join([header, *(f"{manifest.parent}/{row}" for row in rows[:20])]) + "\n")
    with pytest.raises(UsageError, match=r"half-1\.csv: \S+0\.png is in another manifest, too"):
        read_manifests(halves, "train")
    beside = manifest.parent / "beside"
    beside.mkdir()
    (beside / "0.png").write_bytes((manifest.parent / "0.png").read_bytes())
    (beside / "m.csv").write_text("\n".join([header, rows[0]]) + "\n")
    with pytest.raises(UsageError, match=r"m\.csv: another manifest calls another picture 0\.png, too"):
        read_manifests([halves[0], beside / "m.csv"], "train")
    halves[1].write_text("\n".join([header, *rows[20:40], rows[30]]) + "\n")
    with pytest.raises(UsageError, match=r"half-1\.csv: 30\.png is in it twice"):
        read_manifests(halves, "train")
    halves[1].write_text("\n".join([header, "gone.png,1,gen,train"]) + "\n")
    with pytest.raises(UsageError, match=r"half-1\.csv: 1 pictures are not there, the first is gone\.png"):
        read_manifests(halves, "train")


@pytest.mark.parametrize(
    ("fit_changes", "request_changes", "said"),
    [
        ({"head": HeadConfig(blocks=(2, 3))}, {}, "--blocks must lie within 1-2"),
        ({"kernel": KernelConfig()}, {}, "give --no-kernel"),
        ({"adaptation": Adaptation(rank=2, last_block=12)}, {}, "--tuned-blocks must lie within 1-2"),
        ({"adaptation": Adaptation(rank=2, first_block=0, last_block=1)}, {}, "--tuned-blocks"),
        ({"kernel": KernelConfig(blocks=(1,), kinds=())}, {}, "--kernel-views"),
        (
            {"adaptation": replace(LORA, kinds=("window",)), "selection": SelectionRecipe(window=0), "kernel": None},
            {},
            "--tuned-views",
        ),
        ({}, {"views": 1}, "--views 1 has no window"),
        ({"probe": Phase(4, 8, 0.01)}, {}, "at least one batch"),
        ({"tune": Phase(64, 7, 0.01)}, {}, "must be even"),
        ({}, {"folds": 9}, "too few generators or sources"),
    ],
)
def test_what_cannot_work_is_refused_before_it_costs_time(
    manifest: Path, tiny_tower: Path, tmp_path: Path, fit_changes: dict, request_changes: dict, said: str
) -> None:
    asked = request(manifest, tiny_tower, tmp_path / "work", fit=replace(FIT, **fit_changes), **request_changes)
    with pytest.raises(UsageError, match=said):
        train(asked, lambda name, progress: None)
    assert not (tmp_path / "work" / "features").exists()


def test_folds_of_a_frozen_tower_are_not_fitted_twice_unless_the_data_are_others(
    manifest: Path, tiny_tower: Path, tmp_path: Path
) -> None:
    asked = request(manifest, tiny_tower, tmp_path / "work", fit=replace(FIT, adaptation=Adaptation()))
    seen: list[str] = []

    def run(**changes: object) -> dict[str, torch.Tensor]:
        seen.clear()
        train(replace(asked, **changes), lambda name, progress: seen.append(name.split()[0]))
        return load_file(asked.output)

    first = run()
    assert {"fold-0", "fold-1", "final"} <= set(seen)
    again = run()
    assert "final" in seen and not {"fold-0", "fold-1"} & set(seen)
    assert all(torch.equal(first[name], again[name]) for name in first)
    header, *rows = manifest.read_text().splitlines()
    fewer = manifest.with_name("fewer.csv")
    learnt_from = next(row for row in rows if ",train" in row)
    fewer.write_text("\n".join([header, *(row for row in rows if row != learnt_from)]) + "\n")
    run(manifests=(fewer,))
    assert {"fold-0", "fold-1", "final"} <= set(seen)


def test_semantics_in_the_space_of_another_tower_are_refused(
    manifest: Path, tiny_tower: Path, tmp_path: Path, call: Call
) -> None:
    # Those of the shipped weights, where none are named.
    made, work = tmp_path / "made.safetensors", tmp_path / "work"
    code, _, err = call("train", str(manifest), "-o", str(made), "--work", str(work), "--tower", str(tiny_tower))
    assert code == 2 and "the semantics are those of openai/clip-vit-base-patch16, the tower is" in err
    assert "give --labels" in err and not (work / "features").exists()
    code, _, err = call("train", str(manifest), "-o", str(made), "--work", str(manifest))
    assert code == 2 and "is a file; name a folder" in err


def test_scores_of_another_order_or_semantics_are_not_taken_for_ours(
    manifest: Path, tiny_tower: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    asked = request(manifest, tiny_tower, work)
    train(asked, lambda name, progress: None)
    with pytest.raises(WeightsError, match="another recipe"):
        train(replace(asked, rule=BasisRule("rank", 6)), lambda name, progress: None)
    header, *rows = manifest.read_text().splitlines()
    turned = manifest.with_name("turned.csv")
    turned.write_text("\n".join([header, *reversed(rows)]) + "\n")
    with pytest.raises(WeightsError, match="another recipe or other data"):
        train(replace(asked, manifests=(turned,)), lambda name, progress: None)


def test_kept_renderings_honour_seed_and_no_augment() -> None:
    config = replace(FIT, renderings=2, seed=0)
    names = {kind: [r.name for r in kept_renderings(config, 3, kind)] for kind in ("mosaic", "window")}
    assert names["mosaic"] == ["mosaic-0", "mosaic-1", "mosaic-delivered-1", "mosaic-delivered-2"]
    assert names["window"] == ["window-0", "window-delivered-1", "window-delivered-2"]
    other = {r.name for r in kept_renderings(replace(config, seed=1), 2, "window")}
    assert other & set(names["window"]) == {"window-0"}
    assert [r.name for r in kept_renderings(replace(config, augment=False), 2, "mosaic")] == ["mosaic-0"]


def test_artifact_directions_find_what_tells_the_classes_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = [labelled(str(k), k % 2, f"{'gen' if k % 2 else 'cam'}-{k % 4 // 2}") for k in range(200)]
    embeddings = torch.randn(200, 16, generator=generator)
    embeddings[1::2, 3] += 6.0
    directions, names = artifact_directions(embeddings, pictures)
    assert names == ["linear probe", "all generators", "gen-0", "gen-1"]
    assert directions.norm(dim=1).tolist() == pytest.approx([1.0] * 4)
    assert (directions[:, 3] > 0.8).all()


def test_the_commands_defaults_are_the_recipes() -> None:
    import inspect

    from nsnet_cli.cli.train import train as command

    given = {name: p.default for name, p in inspect.signature(command).parameters.items()}
    assert given["tuned_views"].split(",") == list(Adaptation().kinds)
    assert given["kernel_views"].split(",") == list(KernelConfig().kinds)
    assert given["head_views"].split(",") == list(FitConfig().head.kinds)
    recipe, request_defaults = FitConfig(), {"blocks": "5-10", "tuned_blocks": "1-12", "lora_targets": "q,k,v,out"}
    for name in given.keys() & vars(recipe).keys() - {"kernel"}:
        assert given[name] == getattr(recipe, name), name
    assert {name: given[name] for name in request_defaults} == request_defaults
    assert given.pop("kernel") is True and recipe.kernel == KernelConfig()
    assert recipe.head.blocks == (5, 6, 7, 8, 9, 10) and recipe.adaptation == Adaptation()
    assert (given["samples"], given["batch"], given["lr_head"]) == (
        recipe.probe.samples, recipe.probe.batch, recipe.probe.lr_head,
    )  # fmt: skip
    tune = Phase(
        given["tune_samples"], given["tune_batch"], given["lr_tuned_head"], given["lr_tower"], 0.1, given["keep"]
    )
    assert tune == recipe.tune
    assert given["dropout"] == recipe.head.dropout
    assert (given["dc"], given["window"]) == (recipe.selection.dc, recipe.selection.window)
