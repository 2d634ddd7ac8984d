"""Aligned reconstructions: does it help a head to see real pictures that differ by a decoder's trace alone?

Real training crops are sent through a small autoencoder of a real generator's latent space (madebyollin/taesd's
``taef2``, MIT), half of the larger ones scaled down first, and saved at their own JPEG quality with 4:2:0, as most of
them are: "generated" pictures of the same content and, but for a fifth that had been 4:4:4, compression (DDA, B-Free).
The window's contrastive head is fitted in grouped folds that share no repository, without them and with them as one
more generator, hard negatives of the contrastive loss included; held-out AUC of the head, alone and beside the kernel
head, and how far reconstructions move it, with a 95 % interval over draws of groups.

    python benchmarks/aligned.py --autoencoder taef2.safetensors --labels LABELS.npy --work FOLDER
    python benchmarks/aligned.py --write-only       writes docs/looks.md from the kept figures

Features of crops are those that ``nsnet train --work FOLDER`` keeps.  Figures are kept in
``benchmarks/results/aligned.json``.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from documents import RESULTS, between_markers, need_manifest
from looks import DOCUMENT, auc, cell, draws_of, kept_crops
from options import parser_with
from PIL import Image
from torch import Tensor

from nsnet_cli.evaluation.labelled import LabelledPicture, read_manifest
from nsnet_cli.inputs.decode import channels_first, jpeg_quality
from nsnet_cli.judges.head import NullSpaceHead
from nsnet_cli.judges.semantics import load_basis
from nsnet_cli.tower.file import tower_info
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.training.fit import fit_head, score_features
from nsnet_cli.training.folds import grouped_folds, picture_weights, split_fold
from nsnet_cli.training.kernel import fit_kernel
from nsnet_cli.training.recipe import FitConfig
from nsnet_cli.training.views import read_picture, scanned_view
from nsnet_cli.views.plan import WINDOW, View
from nsnet_cli.views.selection import SelectionRecipe
from nsnet_cli.weights.safefile import write_safetensors
from nsnet_cli.weights.store import TOWER_NAME, find_weights

_FOLDS, _A_SOURCE, _BATCH, _SAMPLES = 5, 1, 16, 96_000
# What the kernel head has of the shipped fusion, roughly; not fitted here.
_KERNEL_SHARE = 0.75
OWNER, RESULT = "benchmarks/aligned.py", RESULTS / "aligned.json"
_PLAIN, _WITH, _KERNEL, _BESIDE = "head", "head with reconstructions", "kernel head", ", beside the kernel head"


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--labels", "--work", "--write-only")
    parser.add_argument("--autoencoder", type=Path)
    asked = parser.parse_args()
    if not asked.write_only:
        need_manifest(asked.manifest)
        if None in (asked.autoencoder, asked.labels, asked.work):
            parser.error("--autoencoder, --labels and --work are needed")
        found = measure(read_manifest(asked.manifest, "train"), asked.autoencoder, asked.labels, asked.work)
        RESULT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    document = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), document), "utf-8")


def with_figures(text: str, document: dict[str, Any]) -> str:
    """The document with its figures made new."""
    return between_markers(text, OWNER, render(document))


def render(found: dict[str, Any]) -> str:
    """The table of ``docs/looks.md``."""
    rows = found["rows"]
    lines = [
        f"{found['reconstructions']} real training crops, one a source, reconstructed (mean PSNR {found['psnr']} dB); "
        f"{found['pictures']:,} training crops, five folds that share neither group nor repository.",
        "",
        "| judge | AUC | photo-like | change by reconstructions |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        change = ""
        if name in found["changes"]:
            moved = found["changes"][name]
            change = "{change:+.4f} ({0:+.4f} to {1:+.4f})".format(*moved["interval"], change=moved["change"])
        lines.append(f"| {name} | {cell(row, 'auc')} | {cell(row, 'photo_like')} | {change} |")
    return "\n".join(lines)


class Autoencoder:
    """``taef2``: positions of a plain sequence of convolutions and blocks; pictures ``(N, 3, H, W)`` in [0, 1]."""

    def __init__(self, path: Path) -> None:
        from safetensors.torch import load_file

        self._state = {name: tensor.float() for name, tensor in load_file(path).items()}

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """What is left of pictures whose sides are multiples of 8."""
        latent = self._run("encoder", pictures, strides=True)
        return self._run("decoder", F.relu(self._conv("decoder.1", 3 * torch.tanh(latent / 3))), 3).clamp(0, 1)

    def _run(self, part: str, x: Tensor, first: int = 0, strides: bool = False) -> Tensor:
        numbers = sorted({int(name.split(".")[1]) for name in self._state if name.startswith(f"{part}.")})
        for number in numbers:
            name = f"{part}.{number}"
            if number < first:
                continue
            if f"{name}.conv.0.weight" in self._state:
                x = self._block(name, x)
            elif strides:
                # All but the first and the last convolution of the encoder halve the sides.
                x = self._conv(name, x, 1 if number in (numbers[0], numbers[-1]) else 2)
            else:
                # A convolution without bias follows an upsampling; the last one has a bias and follows none.
                up = f"{name}.bias" not in self._state
                x = self._conv(name, F.interpolate(x, scale_factor=2) if up else x)
        return x

    def _conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self._state[f"{name}.weight"]
        return F.conv2d(x, weight, self._state.get(f"{name}.bias"), stride, padding=weight.shape[-1] // 2)

    def _block(self, name: str, x: Tensor) -> Tensor:
        pool = sorted({int(key.split(".")[3]) for key in self._state if key.startswith(f"{name}.pool.")})
        if pool:
            wide = self._conv(f"{name}.pool.{pool[0]}", x)
            norm = f"{name}.pool.{pool[1]}"
            wide = F.relu(F.group_norm(wide, 4, self._state[f"{norm}.weight"], self._state[f"{norm}.bias"]))
            x = x + self._conv(f"{name}.pool.{pool[2]}", wide)
        y = F.relu(self._conv(f"{name}.conv.0", x))
        y = F.relu(self._conv(f"{name}.conv.2", y))
        return F.relu(self._conv(f"{name}.conv.4", y) + x)


def reconstructed(picture: LabelledPicture, autoencoder: Autoencoder) -> tuple[Image.Image, float]:
    """The picture through the autoencoder, at a random scale, saved again at its own JPEG quality; and its PSNR in dB
    before that."""
    rng, image = Random(picture.name), read_picture(picture.path)
    with Image.open(picture.path) as opened:
        quality = jpeg_quality(getattr(opened, "quantization", {})) or 90
    if min(image.size) > 256 and rng.random() < 0.5:
        factor = rng.uniform(0.6, 1.0)
        image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
    width, height = (side // 8 * 8 for side in image.size)
    pixels = torch.from_numpy(channels_first(np.array(image.crop((0, 0, width, height))))[None] / np.float32(255))
    made = autoencoder(pixels)
    psnr = float(-10 * torch.log10((made - pixels).square().mean()))
    buffer = io.BytesIO()
    Image.fromarray((made[0] * 255).round().byte().permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB"), psnr


def measure(pictures: list[LabelledPicture], autoencoder: Path, labels: Path, work: Path) -> dict[str, object]:
    tower_path, recipe = find_weights(TOWER_NAME), SelectionRecipe()
    info, semantic = tower_info(tower_path), load_basis(labels, None)[0].vectors
    tower, normalise, shown = kept_crops(tower_path, pictures, work)
    twins = _some_real(pictures)
    twin_features, psnr = _twins(work / "aligned.safetensors", pictures, twins, autoencoder, tower, normalise, recipe)
    everyone = [*pictures, *(replace(pictures[i], label=1, group="reconstruction") for i in twins)]
    features = VitFeatures.join([shown[WINDOW], twin_features])
    fold_of, config = grouped_folds(pictures, _FOLDS), FitConfig()
    config = replace(config, probe=replace(config.probe, samples=_SAMPLES))
    scores = {name: np.zeros(len(pictures)) for name in (_PLAIN, _WITH, _KERNEL)}
    for fold in range(_FOLDS):
        inside, outside = split_fold(pictures, fold_of, fold)
        rows = torch.tensor(outside)
        known = set(inside)
        beside = [len(pictures) + k for k, i in enumerate(twins) if i in known]
        for name, those in ((_PLAIN, inside), (_WITH, [*inside, *beside])):
            torch.manual_seed(0)
            head = NullSpaceHead(info.config, config.head, semantic)
            fit_head(head, [features], everyone, those, config)
            scores[name][outside] = score_features(head, [features.rows(rows)])
        few = [pictures[i] for i in inside]
        parts = {kind: [f.rows(torch.tensor(inside))] for kind, f in shown.items()}
        assert config.kernel is not None
        kernel = fit_kernel(
            info.config, config.kernel, semantic, parts, [p.label for p in few], 0, picture_weights(few)
        )
        scores[_KERNEL][outside] = kernel.score({k: [f.rows(rows)] for k, f in shown.items()}).numpy()
        print(f"fold {fold + 1} of {_FOLDS}", flush=True)
    for name in (_PLAIN, _WITH):
        scores[name + _BESIDE] = _KERNEL_SHARE * scores[_KERNEL] + (1 - _KERNEL_SHARE) * scores[name]
    draws = {name: draws_of(pictures, s) for name, s in scores.items()}
    table = {name: auc(pictures, s) for name, s in scores.items()}
    changes = {}
    for beside_it in ("", _BESIDE):
        low, high = np.quantile(draws[_WITH + beside_it] - draws[_PLAIN + beside_it], (0.025, 0.975))
        moved = float(table[_WITH + beside_it]["auc"]) - float(table[_PLAIN + beside_it]["auc"])  # type: ignore[arg-type]
        interval = [round(float(low), 4), round(float(high), 4)]
        changes[_WITH + beside_it] = {"change": round(moved, 4), "interval": interval}
    return {
        "pictures": len(pictures),
        "reconstructions": len(twins),
        "psnr": round(psnr, 1),
        "samples": _SAMPLES,
        "kernel_share": _KERNEL_SHARE,
        "rows": table,
        "changes": changes,
    }


def _some_real(pictures: list[LabelledPicture]) -> list[int]:
    """One real picture of every source, the first in an order by hash."""
    taken: Counter[str] = Counter()
    found = []
    for i in sorted(range(len(pictures)), key=lambda i: hashlib.sha256(pictures[i].name.encode()).digest()):
        if pictures[i].label == 0 and taken[pictures[i].group] < _A_SOURCE:
            taken[pictures[i].group] += 1
            found.append(i)
    return sorted(found)


@torch.inference_mode()
def _twins(path, pictures, twins, autoencoder, tower, normalise, recipe) -> tuple[VitFeatures, float]:  # type: ignore[no-untyped-def]
    """Features of the windows of reconstructions, kept, and their mean PSNR."""
    from safetensors.torch import load_file

    if not path.exists():
        network, parts, psnr = Autoencoder(autoencoder), [], []
        for first in range(0, len(twins), _BATCH):
            views = []
            for i in twins[first : first + _BATCH]:
                image, decibels = reconstructed(pictures[i], network)
                psnr.append(decibels)
                views.append(scanned_view(channels_first(np.array(image)), recipe, View(WINDOW, 0)))
            parts.append(tower(normalise(torch.from_numpy(np.stack(views)))))
            print(f"reconstructions: {first}/{len(twins)}", flush=True)
        made = VitFeatures.join(parts)
        tensors = {"embedding": made.embedding.float(), "class_tokens": made.class_tokens.half()}
        write_safetensors(path, {**tensors, "psnr": torch.tensor(psnr)}, {"rows": str(len(twins))})
    tensors = load_file(path)
    assert len(tensors["embedding"]) == len(twins), f"{path} is of other pictures: remove it"
    return VitFeatures(tensors["embedding"], tensors["class_tokens"]), float(tensors["psnr"].mean())


if __name__ == "__main__":
    main()
