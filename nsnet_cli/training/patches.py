"""``nsnet train-patches``: patch heads for weights that have none, taught by composites.

Composites are drawn from the training pictures, both parts from the same grouped fold, so that folds hold out whole
generators and sources here as everywhere.  The tower is the weights' own and stays as it is; so does the verdict.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nsnet_cli import __version__
from nsnet_cli.decode import pixels_to_tensor
from nsnet_cli.errors import UsageError, WeightsError
from nsnet_cli.labelled import LabelledPicture, manifest_hash, read_manifest
from nsnet_cli.network import Network
from nsnet_cli.patch_head import PatchHead, PatchHeadConfig, PatchHeads
from nsnet_cli.safefile import read_header, sha256_of, write_safetensors
from nsnet_cli.selection import Selection, SelectionRecipe, build_mosaic, cut_patches, select_patches
from nsnet_cli.training.composites import Composite, compose
from nsnet_cli.training.fit import Progress
from nsnet_cli.training.folds import grouped_folds, picture_weights
from nsnet_cli.training.views import read_picture
from nsnet_cli.views import MOSAIC, ViewKind, scale_window
from nsnet_cli.vit import VitConfig
from nsnet_cli.weights import NsnetWeights, PatchHeadRecord, WeightsInfo, load_weights, save_weights

_CACHE_FORMAT = "nsnet.composites/2"
_SHARD = 100
# Labels of base and of what is pasted into it (None: nothing), and how often.
_MIX: tuple[tuple[int, int | None, float], ...] = (
    (1, 0, 0.3),
    (0, 1, 0.3),
    (0, 0, 0.1),
    (1, 1, 0.1),
    (0, None, 0.1),
    (1, None, 0.1),
)
# Share of windows that show all of a composite; others are as small as the network's own input.
_WHOLE_WINDOWS = 0.6
# At most this share of the cells of held-out real pictures lies at or above the threshold.
FALSE_MARKS = 0.05
# Cells on the border of a region are neither: they are learnt from, but not counted.
_MOSTLY, _HARDLY = 0.75, 0.25


@dataclass(frozen=True)
class PatchRecipe:
    """The recipe: ``composites`` pictures, each step draws ``batch`` of them; rates fall along half a cosine."""

    composites: int = 2_400
    steps: int = 1_200
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.05
    folds: int = 5
    seed: int = 0
    config: PatchHeadConfig = field(default_factory=PatchHeadConfig)


@dataclass(frozen=True)
class PatchTraining:
    """What is trained on what; ``work`` keeps what a killed run goes on with."""

    manifest: Path
    weights: str
    output: Path
    work: Path
    split: str | None
    recipe: PatchRecipe
    precision: str
    device: str
    command: str


@dataclass(frozen=True)
class TaughtCells:
    """Views of one kind, of ``n`` composites.

    ``probes`` ``(n, blocks, cells, width)`` float16; ``generated`` and ``pasted`` ``(n, cells)`` float32 in
    [0, 1]; ``fold`` ``(n,)``; ``labels`` ``(n, 2)`` of base and of what was pasted, -1 where nothing was.
    """

    probes: Tensor
    generated: Tensor
    pasted: Tensor
    fold: Tensor
    labels: Tensor


def train_patches(request: PatchTraining, report: Callable[[str, Progress], None]) -> PatchHeadRecord:
    """Fit patch heads and write the weights with them; the record in their metadata is returned."""
    weights = load_weights(request.weights)
    recipe, info = request.recipe, weights.info
    pictures = read_manifest(request.manifest, request.split)
    network = Network.of_weights(weights).to(torch.device(request.device), request.precision)
    tower = network.tower.config
    if not all(1 <= block <= tower.layers for block in recipe.config.blocks):
        raise UsageError(f"the patch head looks at blocks that a tower of {tower.layers} has not")
    taught = _taught(request, weights, network, pictures, report)
    heads = PatchHeads(tower, recipe.config, info.kinds)
    figures = {}
    thresholds = {}
    for kind in info.kinds:
        cells = taught[kind]
        logits = torch.zeros_like(cells.generated)
        for fold in range(recipe.folds):
            inside, outside = (torch.nonzero((cells.fold == fold) == same).squeeze(1) for same in (False, True))
            if len(inside) and len(outside):
                head = _fit(tower, recipe, cells, inside, lambda p, f=fold, k=kind: report(f"fold-{f} {k}", p))  # type: ignore[misc]
                logits[outside] = _logits(head, cells, outside)
        figures[kind] = localisation(logits.numpy(), cells)
        thresholds[kind] = _threshold(logits, cells)
        everything = torch.arange(len(cells.fold))
        head = _fit(tower, recipe, cells, everything, lambda p, k=kind: report(f"final {k}", p))  # type: ignore[misc]
        heads[kind] = head
    record = PatchHeadRecord(
        config=recipe.config,
        threshold=thresholds[info.kinds[-1]],
        false_marks=FALSE_MARKS,
        training={
            "command": request.command,
            "version": __version__,
            "torch": torch.__version__,
            "precision": request.precision,
            "data_sha256": manifest_hash(pictures),
            "recipe": asdict(recipe),
            "out_of_fold": figures,
        },
    )
    tensors = {k: v for k, v in weights.tensors.items() if not k.startswith("patch.")}
    tensors |= {f"patch.{k}": v.detach().cpu() for k, v in heads.state_dict().items()}
    save_weights(request.output, tensors, replace(info, name=request.output.stem, patch_head=record))
    return record


def localisation(logits: NDArray[np.float32], cells: TaughtCells) -> dict[str, float]:
    """How well ``logits`` ``(n, cells^2)`` find what a generator made.

    ``mixed``: mean over composites of real and generated of the AUC within each, so that nothing but the place
    counts.  ``control``: the same for real pasted into real, pasted cells against the rest; 0.5 is right.
    ``pooled``: AUC over the cells of all pictures.
    """
    from sklearn.metrics import roc_auc_score

    labels, generated, pasted = cells.labels.numpy(), cells.generated.numpy(), cells.pasted.numpy()

    def within(rows: NDArray[np.bool_], truth: NDArray[np.float32]) -> float:
        found = []
        for row in np.nonzero(rows)[0]:
            clear = (truth[row] >= _MOSTLY) | (truth[row] <= _HARDLY)
            sides = truth[row][clear] >= _MOSTLY
            if 0 < sides.sum() < len(sides):
                found.append(roc_auc_score(sides, logits[row][clear]))
        return round(float(np.mean(found)), 4) if found else float("nan")

    clear = (generated >= _MOSTLY) | (generated <= _HARDLY)
    mixed = (labels[:, 1] >= 0) & (labels[:, 0] != labels[:, 1])
    return {
        "mixed": within(mixed, generated),
        "control": within((labels == 0).all(1), pasted),
        "pooled": round(float(roc_auc_score(generated[clear] >= _MOSTLY, logits[clear])), 4),
    }


def _fit(
    tower: VitConfig, recipe: PatchRecipe, cells: TaughtCells, rows: Tensor, report: Callable[[Progress], None]
) -> PatchHead:
    """A head for one kind of view, fitted to the composites ``rows``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        head = PatchHead(tower, recipe.config)
        _principal_components(head, cells.probes, rows)
        reduced = torch.cat([head.reduce(cells.probes[few]) for few in rows.split(100)])
        wanted = cells.generated[rows]
        optimiser = torch.optim.AdamW(head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
        for step in range(recipe.steps):
            drawn = torch.randint(len(rows), (recipe.batch,))
            loss = F.binary_cross_entropy_with_logits(head.decide(reduced[drawn]), wanted[drawn])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if (step + 1) % 100 == 0 or step + 1 == recipe.steps:
                report(Progress(step + 1, recipe.steps, float(loss.detach())))
    return head.eval().requires_grad_(False)


@torch.no_grad()
def _principal_components(head: PatchHead, probes: Tensor, rows: Tensor) -> None:
    """Set what the head reduces probes by: of each block the leading directions in which those of ``rows`` differ.

    Each is scaled to a mean square of one over all of a block's, so that no block drowns the others.
    """
    for block in range(probes.shape[1]):
        total = torch.zeros(probes.shape[-1], dtype=torch.float64)
        moments = torch.zeros(len(total), len(total), dtype=torch.float64)
        for few in rows.split(200):
            tokens = F.layer_norm(probes[few, block].float(), probes.shape[-1:]).flatten(0, 1).double()
            total += tokens.sum(0)
            moments += tokens.T @ tokens
        count = len(rows) * probes.shape[2]
        head.mean[block] = total / count
        values, vectors = torch.linalg.eigh(moments / count - torch.outer(total, total) / count**2)
        kept = vectors[:, -head.config.reduced :].flip(1)
        head.components[block] = kept / values[-head.config.reduced :].mean().sqrt()


@torch.no_grad()
def _logits(head: PatchHead, cells: TaughtCells, rows: Tensor) -> Tensor:
    return torch.cat([head(cells.probes[few]) for few in rows.split(100)])


def _threshold(logits: Tensor, cells: TaughtCells) -> float:
    """Where `FALSE_MARKS` of the cells of pictures that are real all over lie above."""
    real = (cells.labels <= 0).all(1)
    return round(float(np.quantile(logits[real].numpy(), 1.0 - FALSE_MARKS)), 4)


# --- composites and their tokens ---


def _taught(
    request: PatchTraining,
    weights: NsnetWeights,
    network: Network,
    pictures: Sequence[LabelledPicture],
    report: Callable[[str, Progress], None],
) -> dict[ViewKind, TaughtCells]:
    """Probes of all composites, by kind of view; kept in shards, so that a killed run goes on."""
    from safetensors.torch import load_file

    recipe, info = request.recipe, weights.info
    draw = _Drawn(pictures, info.selection, recipe)
    mark = _mark(recipe, info, weights, pictures, request.precision)
    shards = []
    for first in range(0, recipe.composites, _SHARD):
        path = request.work / "composites" / f"{first:06d}.safetensors"
        if path.exists():
            metadata = read_header(path).metadata
            if metadata.get("format") != _CACHE_FORMAT or metadata.get("mark") != mark:
                raise WeightsError(f"{path}: composites of another recipe or other data; use another --work folder")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            made = [draw(k) for k in range(first, min(first + _SHARD, recipe.composites))]
            write_safetensors(path, _probed(network, recipe, made, info.kinds), {"format": _CACHE_FORMAT, "mark": mark})
        shards.append(load_file(path))
        report("composites", Progress(min(first + _SHARD, recipe.composites), recipe.composites))
    return {
        kind: TaughtCells(
            *(torch.cat([s[f"{kind}.{name}"] for s in shards]) for name in ("probes", "generated", "pasted")),
            *(torch.cat([s[name] for s in shards]) for name in ("fold", "labels")),
        )
        for kind in info.kinds
    }


@dataclass(frozen=True)
class Taught:
    """One composite as the network sees it, by kind: the view, and of each cell how much is generated and pasted."""

    views: Mapping[ViewKind, Tensor]
    generated: Mapping[ViewKind, Tensor]
    pasted: Mapping[ViewKind, Tensor]
    fold: int
    labels: tuple[int, int]


class _Drawn:
    """The ``k``-th composite, which depends on the recipe, the pictures and ``k`` alone."""

    def __init__(self, pictures: Sequence[LabelledPicture], selection: SelectionRecipe, recipe: PatchRecipe) -> None:
        self._pictures, self._selection, self._recipe = pictures, selection, recipe
        self._weights = picture_weights(list(pictures))
        self._fold = grouped_folds(list(pictures), recipe.folds)
        # Parts of one size, so that all of both can be used; what is too small for a whole mosaic teaches nothing.
        self._pools: dict[tuple[int, int, tuple[int, int]], list[int]] = defaultdict(list)
        self._sizes = [self._cut(read_picture(picture.path).size) for picture in pictures]
        for i, (picture, size) in enumerate(zip(pictures, self._sizes, strict=True)):
            if min(size) >= selection.size:
                self._pools[picture.label, self._fold[i], size].append(i)
        if {label for label, _, _ in self._pools} != {0, 1}:
            raise UsageError(f"composites need real and generated pictures of {selection.size} pixels a side or more")

    def _cut(self, size: tuple[int, int]) -> tuple[int, int]:
        longest = self._selection.window or self._selection.size
        return min(size[0], longest), min(size[1], longest)

    def __call__(self, k: int) -> Taught:
        rng = Random(f"composite:{self._recipe.seed}:{k}")
        base_label, other_label = rng.choices([m[:2] for m in _MIX], [m[2] for m in _MIX])[0]
        base = self._pick([key for key in self._pools if key[0] == base_label], rng)
        other = None
        if other_label is not None:
            key = (other_label, self._fold[base], self._sizes[base])
            other = self._pick([key], rng) if self._pools.get(key) else None
        made = compose(self._read(base, rng), None if other is None else self._read(other, rng), rng)
        labels = (base_label, -1 if other is None or other_label is None else other_label)
        return teach(made, labels, self._fold[base], self._selection, self._recipe.config, rng)

    def _pick(self, keys: Sequence[tuple[int, int, tuple[int, int]]], rng: Random) -> int:
        indices = [i for key in keys for i in self._pools[key]]
        return rng.choices(indices, [self._weights[i] for i in indices])[0]

    def _read(self, i: int, rng: Random) -> Image.Image:
        image = read_picture(self._pictures[i].path)
        width, height = self._cut(image.size)
        left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
        return image.crop((left, top, left + width, top + height))


def teach(
    made: Composite,
    labels: tuple[int, int],
    fold: int,
    selection: SelectionRecipe,
    config: PatchHeadConfig,
    rng: Random,
) -> Taught:
    """Views of a composite and what is true of their cells: the mosaic of a scan, and a window of random size."""
    pixels = pixels_to_tensor(made.pixels)
    grid = cut_patches(pixels, selection)
    chosen = select_patches(grid, selection)[0]
    views: dict[ViewKind, Tensor] = {MOSAIC: build_mosaic(grid, chosen, selection)}
    places = {MOSAIC: _patches(chosen)}
    if selection.window:
        side = longest = min(made.pixels.shape[:2])
        if rng.random() >= _WHOLE_WINDOWS:
            side = rng.randint(selection.size, longest)
        left, top = rng.randint(0, longest - side), rng.randint(0, longest - side)
        views["window"] = scale_window(pixels, selection, left, top, side)
        places["window"] = window_cells(left, top, side, config.window.cells)
    generated = made.generated(labels[0], max(0, labels[1]))
    return Taught(
        views,
        {kind: _means(generated, where) for kind, where in places.items()},
        {kind: _means(made.pasted, where) for kind, where in places.items()},
        fold,
        labels,
    )


Box = tuple[int, int, int, int]


def window_cells(left: int, top: int, side: int, cells: int) -> list[Box]:
    """Boxes ``(left, top, right, bottom)`` of the cells of a window, row by row."""
    edges = [round(k * side / cells) for k in range(cells + 1)]
    return [
        (left + edges[x], top + edges[y], left + edges[x + 1], top + edges[y + 1])
        for y in range(cells)
        for x in range(cells)
    ]


def _patches(selection: Selection) -> list[Box]:
    corners = [selection.corner(k) for k in range(len(selection.indices))]
    return [(x, y, x + selection.patch, y + selection.patch) for x, y in corners]


def _means(values: NDArray[np.float32], boxes: Sequence[Box]) -> Tensor:
    return torch.tensor([float(values[top:bottom, left:right].mean()) for left, top, right, bottom in boxes])


def _probed(
    network: Network, recipe: PatchRecipe, made: Sequence[Taught], kinds: Sequence[ViewKind]
) -> dict[str, Tensor]:
    """What a shard of the cache holds."""
    out = {"fold": torch.tensor([t.fold for t in made]), "labels": torch.tensor([t.labels for t in made])}
    for kind in kinds:
        few = torch.stack([t.views[kind] for t in made]).split(8)
        out[f"{kind}.probes"] = torch.cat([network.probes(v, kind, recipe.config)[2].half().cpu() for v in few])
        out[f"{kind}.generated"] = torch.stack([t.generated[kind] for t in made])
        out[f"{kind}.pasted"] = torch.stack([t.pasted[kind] for t in made])
    return out


def _mark(
    recipe: PatchRecipe,
    info: WeightsInfo,
    weights: NsnetWeights,
    pictures: Sequence[LabelledPicture],
    precision: str,
) -> str:
    """Of all that the probes of composites depend on."""
    of_recipe = {k: v for k, v in asdict(recipe).items() if k in ("folds", "seed", "composites")}
    of_config = {k: v for k, v in asdict(recipe.config).items() if k in ("blocks", "mosaic", "window")}
    # Composites have windows of their own, at random places.
    selection = {k: v for k, v in asdict(info.selection).items() if k != "window_by"}
    tower = sha256_of(weights.tower_path) if info.adaptation.frozen else weights.sha256
    text = json.dumps([of_recipe, of_config, selection, tower, precision, _MIX], sort_keys=True)
    return hashlib.sha256((text + manifest_hash(list(pictures))).encode()).hexdigest()
