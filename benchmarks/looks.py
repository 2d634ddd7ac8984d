"""Where to look in a picture that is larger than a window: what each look is worth, held out.

The kernel head is fitted in five grouped folds that share no repository, on crops, and scores whole originals of the
fold that is left out (``originals.py`` of the corpus takes them out of public snapshots).  Nothing else changes between
rows: which squares of the original are looked at, at which scale, whether the mosaic is, and whether a picture is saved
as JPEG 90 first.  AUC with 95 % bootstrap intervals over generators and sources.

    python benchmarks/looks.py --whole ORIGINALS.csv --labels LABELS.npy --work FOLDER

Features of crops are those that ``nsnet train --work FOLDER`` keeps.  Writes ``benchmarks/results/looks.json`` and its
section of ``docs/looks.md``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from documents import RESULTS, ROOT, between_markers, need_manifest
from options import parser_with
from PIL import Image
from sklearn.metrics import roc_auc_score

from nsnet_cli.arrays import Pixels
from nsnet_cli.disk import sha256_of
from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash, read_manifest
from nsnet_cli.inputs.decode import channels_first
from nsnet_cli.judges.kernel import KernelHead
from nsnet_cli.judges.semantics import load_basis
from nsnet_cli.tower.file import load_tower, tower_info
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VisionTransformer, VitFeatures
from nsnet_cli.training.features import frozen_features
from nsnet_cli.training.folds import grouped_folds, picture_weights, split_fold
from nsnet_cli.training.kernel import fit_kernel
from nsnet_cli.training.views import Rendering, read_picture, scanned_view
from nsnet_cli.views.plan import MOSAIC, WINDOW, View, ViewKind
from nsnet_cli.views.selection import SelectionRecipe
from nsnet_cli.weights.safefile import read_header, write_safetensors
from nsnet_cli.weights.shapes import KernelConfig
from nsnet_cli.weights.store import TOWER_NAME, find_weights

DOCUMENT = ROOT / "docs" / "looks.md"
_FOLDS, _BATCH, _DRAWS = 5, 16, 400
# A look: short side that the picture is scaled down to (0: none), place along the longer side, JPEG 90 first or not.
Look = tuple[int, float, bool]
LOOKS: dict[str, Look] = {
    "centre, native": (0, 0.5, False),
    "centre at 1024": (1024, 0.5, False),
    "centre at 640": (640, 0.5, False),
    "all of the shorter side (384)": (384, 0.5, False),
    "one end at 640": (640, 0.0, False),
    "other end at 640": (640, 1.0, False),
    "centre at 640 of JPEG 90": (640, 0.5, True),
}
_ENDS = ("one end at 640", "other end at 640")
ROWS: tuple[tuple[str, ...], ...] = (
    *((name,) for name in LOOKS if name not in _ENDS),
    _ENDS,
    (*_ENDS, "all of the shorter side (384)"),
    (*_ENDS, "centre at 640"),
    ("centre at 640", "all of the shorter side (384)", "centre at 1024", "centre, native", *_ENDS),
)


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--whole!", "--labels!", "--work!")
    asked = parser.parse_args()
    need_manifest(asked.manifest)
    found = measure(*(read_manifest(path, "train") for path in (asked.manifest, asked.whole)), asked.labels, asked.work)
    (RESULTS / "looks.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    DOCUMENT.write_text(between_markers(DOCUMENT.read_text("utf-8"), "benchmarks/looks.py", section(found)), "utf-8")


@torch.inference_mode()
def measure(crops: list[LabelledPicture], whole: list[LabelledPicture], labels: Path, work: Path) -> dict[str, object]:
    tower_path, recipe = find_weights(TOWER_NAME), SelectionRecipe()
    info, semantic = tower_info(tower_path), load_basis(labels, None)[0].vectors
    tower, normalise, shown = kept_crops(tower_path, crops, work)
    mark = f"{manifest_hash(whole)}:{sha256_of(tower_path)}:{tower.conv1.weight.dtype}"
    seen = {
        name: kept_look(work / "looks" / f"{n}.safetensors", f"{mark}:{look}", tower, normalise, whole, recipe, look)
        for n, (name, look) in enumerate([("mosaic", None), *LOOKS.items()])
    }
    fold_of = grouped_folds([*crops, *whole], _FOLDS)
    rows = [(looks, mosaic) for looks in ROWS for mosaic in (False, True)]
    scores = np.zeros((len(rows), len(whole)))
    of_crop = {mosaic: np.zeros(len(crops)) for mosaic in (False, True)}
    for fold in range(_FOLDS):
        inside, outside = split_fold([*crops, *whole], fold_of, fold)
        inside = [i for i in inside if i < len(crops)]
        left_out = [i for i in outside if i < len(crops)]
        beside = torch.tensor([i - len(crops) for i in outside if i >= len(crops)])
        for mosaic in (False, True):
            head = _fitted(info.config, semantic, shown, crops, inside, mosaic)
            part = {kind: [shown[kind].rows(torch.tensor(left_out))] for kind in (MOSAIC, WINDOW)}
            of_crop[mosaic][left_out] = head.score(part).numpy()
            for n, (looks, with_mosaic) in enumerate(rows):
                if with_mosaic == mosaic and len(beside):
                    views = {WINDOW: [seen[look].rows(beside) for look in looks], MOSAIC: [seen["mosaic"].rows(beside)]}
                    scores[n, beside.numpy()] = head.score(views).numpy()
        print(f"fold {fold + 1} of {_FOLDS}", flush=True)
    return {
        "pictures": len(whole),
        "real": sum(p.label == 0 for p in whole),
        "groups": len({(p.label, p.group) for p in whole}),
        "crops": {("with" if mosaic else "without") + " mosaic": auc(crops, s) for mosaic, s in of_crop.items()},
        "rows": [
            {"looks": list(looks), "mosaic": mosaic, **auc(whole, scores[n])} for n, (looks, mosaic) in enumerate(rows)
        ],
    }


def kept_crops(
    tower_path: Path, crops: list[LabelledPicture], work: Path
) -> tuple[VisionTransformer, Normaliser, dict[ViewKind, VitFeatures]]:
    """The frozen tower, in bfloat16 where the processor has it, its normalisation, and what it shows of ``crops`` by
    kind of view, as ``nsnet train`` keeps it in ``work``."""
    info, sha256 = tower_info(tower_path), sha256_of(tower_path)
    tower, normalise = load_tower(tower_path).eval(), Normaliser(info.mean, info.std)
    if torch.cpu._is_avx512_bf16_supported():
        tower.matrices_to(torch.bfloat16)

    def kept(kind: ViewKind) -> VitFeatures:
        rendering = Rendering(View(kind, 0))
        return frozen_features(
            tower, crops, SelectionRecipe(), normalise, work / "features", rendering, sha256
        ).features

    return tower, normalise, {kind: kept(kind) for kind in (MOSAIC, WINDOW)}


def _fitted(tower, semantic, shown, crops, inside, mosaic: bool) -> KernelHead:  # type: ignore[no-untyped-def]
    config = KernelConfig() if mosaic else replace(KernelConfig(), kinds=(WINDOW,))
    rows = torch.tensor(inside)
    features = {kind: [shown[kind].rows(rows)] for kind in config.kinds}
    few = [crops[i] for i in inside]
    return fit_kernel(tower, config, semantic, features, [p.label for p in few], 0, picture_weights(few))


def kept_look(
    path: Path,
    mark: str,
    tower: VisionTransformer,
    normalise: Normaliser,
    whole: list[LabelledPicture],
    recipe: SelectionRecipe,
    look: Look | None,
) -> VitFeatures:
    """Features ``(len(whole), ...)`` of one look at each picture, of its mosaic for None; kept."""
    from safetensors.torch import load_file

    if not path.exists() or read_header(path).metadata.get("mark") != mark:
        parts = []
        for first in range(0, len(whole), _BATCH):
            views = np.stack([_view(p.path, recipe, look) for p in whole[first : first + _BATCH]])
            parts.append(tower(normalise(torch.from_numpy(views))))
            print(f"{look}: {first}/{len(whole)}", flush=True)
        features = VitFeatures.join(parts)
        tensors = {"embedding": features.embedding.float(), "class_tokens": features.class_tokens.half()}
        write_safetensors(path, tensors, {"mark": mark})
    tensors = load_file(path)
    return VitFeatures(tensors["embedding"], tensors["class_tokens"])


def _view(path: Path, recipe: SelectionRecipe, look: Look | None) -> Pixels:
    image = read_picture(path)
    if look is None:
        return scanned_view(channels_first(np.array(image)), recipe, View(MOSAIC, 0))
    scale, along, saved = look
    if saved:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        image = Image.open(buffer).convert("RGB")
    one = replace(recipe, looks=((scale, along),))
    return scanned_view(channels_first(np.array(image)), one, View(WINDOW, 0))


def auc(pictures: Sequence[LabelledPicture], scores: np.ndarray) -> dict[str, object]:
    """AUC of all and of photo-like ones, with intervals over draws of generators and sources."""
    labels = np.array([p.label for p in pictures])
    photo = np.array([p.photo_like == "yes" for p in pictures])
    found: dict[str, object] = {}
    for name, those in (("auc", np.ones(len(labels), bool)), ("photo_like", photo)):
        some = [p for p, taken in zip(pictures, those, strict=True) if taken]
        low, high = np.quantile(draws_of(some, scores[those]), (0.025, 0.975))
        found[name] = round(float(roc_auc_score(labels[those], scores[those])), 4)
        found[f"{name}_interval"] = [round(float(low), 4), round(float(high), 4)]
    return found


def draws_of(pictures: Sequence[LabelledPicture], scores: np.ndarray) -> np.ndarray:
    """AUC of draws of generators and sources with repetition, the same draws whatever the scores."""
    y, keys = np.array([p.label for p in pictures]), [(p.label, p.group) for p in pictures]
    of = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    group, drawn = np.array([of[key] for key in keys]), np.random.default_rng(0)
    draws = []
    for _ in range(_DRAWS):
        times = np.bincount(drawn.integers(0, len(of), len(of)), minlength=len(of))[group]
        if len(set(y[times > 0])) == 2:
            draws.append(roc_auc_score(y, scores, sample_weight=times))
    return np.array(draws)


def cell(row: dict[str, object], name: str) -> str:
    """A figure of `auc` with its interval."""
    low, high = row[f"{name}_interval"]  # type: ignore[misc]
    return f"{row[name]:.3f} ({low:.3f}–{high:.3f})"


def section(found: dict[str, object]) -> str:
    """The table of ``docs/looks.md``."""
    rows = found["rows"]
    assert isinstance(rows, list)
    lines = [
        f"{found['pictures']} originals of training groups ({found['real']} real; {found['groups']} groups), scored by "
        "folds that share neither group nor repository; kernel head alone, on crops "
        f"{found['crops']['without mosaic']['auc']:.3f} without the mosaic and "  # type: ignore[index]
        f"{found['crops']['with mosaic']['auc']:.3f} with it.",  # type: ignore[index]
        "",
        "| windows | AUC | photo-like | with the native mosaic | photo-like |",
        "|---|---|---|---|---|",
    ]
    for plain, beside in zip(rows[::2], rows[1::2], strict=True):
        cells = [cell(row, name) for row in (plain, beside) for name in ("auc", "photo_like")]
        lines.append(f"| {' + '.join(plain['looks'])} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
