"""One training run: LoRA on the tower, the head on top, NS-Net's objective, checkpoints that resume."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nsnet_cli.errors import WeightsError
from nsnet_cli.head import HeadConfig, HeadOutput, NullSpaceHead
from nsnet_cli.labelled import LabelledPicture, manifest_hash
from nsnet_cli.preprocess import Normaliser
from nsnet_cli.safefile import read_header, write_safetensors
from nsnet_cli.selection import SelectionRecipe
from nsnet_cli.training.folds import picture_weights
from nsnet_cli.training.losses import nsnet_loss
from nsnet_cli.training.views import Mosaics, Rendering
from nsnet_cli.vit import VisionTransformer, VitFeatures

_CHECKPOINT_FORMAT = "nsnet.checkpoint/1"


@dataclass(frozen=True)
class FitConfig:
    """The recipe of one run.

    ``samples`` pictures are drawn in all, with replacement, by `picture_weights`.  ``keep`` is the share
    of mosaic patches that the tower sees while training (FLIP); the last ``full_share`` of the run sees
    all of them, as inference does.  ``bce_share`` is NS-Net's lambda.
    """

    samples: int = 192_000
    batch: int = 128
    lora_rank: int = 0
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    lora_first_block: int = 1
    lora_mlp: bool = False
    lr_lora: float = 3e-4
    lr_head: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    bce_share: float = 0.5
    temperature: float = 0.1
    keep: float = 0.4
    full_share: float = 0.15
    augment: bool = True
    frozen_augmented: int = 2
    seed: int = 0
    head: HeadConfig = field(default_factory=HeadConfig)
    selection: SelectionRecipe = field(default_factory=SelectionRecipe)

    @property
    def steps(self) -> int:
        return self.samples // self.batch

    def fingerprint(self, pictures: Sequence[LabelledPicture]) -> str:
        """Hash of recipe and data: a checkpoint continues only the run that wrote it."""
        text = json.dumps(asdict(self), sort_keys=True) + manifest_hash(list(pictures))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Progress:
    """State of a run after a step, for logs and progress bars."""

    step: int
    steps: int
    loss: float
    accuracy: float
    seconds: float


def fit(
    tower: VisionTransformer,
    head: NullSpaceHead,
    pictures: Sequence[LabelledPicture],
    config: FitConfig,
    normalise: Normaliser,
    checkpoint: Path,
    report: Callable[[Progress], None] = lambda _: None,
    checkpoint_every: int = 25,
    workers: int = 1,
) -> None:
    """Train ``head``, and LoRA factors in ``tower``, in place; go on from ``checkpoint`` when it is there.

    ``tower`` holds its matrices in the precision to compute in; factors and head are float32.
    """
    device = next(head.parameters()).device
    torch.manual_seed(config.seed)
    if config.lora_rank:
        blocks = range(config.lora_first_block - 1, tower.config.layers)
        tower.add_lora(blocks, config.lora_rank, config.lora_alpha, config.lora_dropout, config.lora_mlp)
        tower.to(device)
    parameters = _trainable(tower, head)
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for n, p in parameters.items() if n.startswith("tower.")], "peak": config.lr_lora},
            {"params": [p for n, p in parameters.items() if n.startswith("head.")], "peak": config.lr_head},
        ],
        weight_decay=config.weight_decay,
        betas=(0.9, 0.98),
    )
    fingerprint = config.fingerprint(pictures)
    first = _restore(checkpoint, fingerprint, parameters, optimiser)
    order = _draw(pictures, config)
    data = Mosaics(pictures, order, config.selection, Rendering(config.augment, config.seed), first * config.batch)
    loader = DataLoader(data, batch_size=config.batch, num_workers=workers, prefetch_factor=4 if workers else None)
    tower.train()
    head.train()
    started = time.monotonic()
    for step, (mosaics, labels) in enumerate(loader, start=first):
        _set_rates(optimiser, step, config)
        labels = labels.to(device)
        keep = _kept_tokens(len(mosaics), step, config, tower.config.tokens).to(device)
        torch.manual_seed(config.seed * 1_000_003 + step)  # dropout, too, goes on as it would have
        output = head(tower(normalise(mosaics.to(device)), keep))
        loss, accuracy = _learn(output, labels, optimiser, config, clip=1.0)
        done = step + 1
        report(Progress(done, config.steps, loss, accuracy, time.monotonic() - started))
        if done % checkpoint_every == 0 or done == config.steps:
            _save(checkpoint, fingerprint, done, parameters, optimiser)
    tower.eval()
    head.eval()


def frozen_renderings(config: FitConfig, views: int) -> list[Rendering]:
    """What a frozen tower is asked for: each view as a scan makes it, then ``frozen_augmented`` random ones."""
    scanned = [Rendering(augment=False, view=view) for view in range(views)]
    augmented = config.frozen_augmented if config.augment else 0
    first_seed = 1_000 * config.seed + 1
    return scanned + [Rendering(augment=True, seed=first_seed + k) for k in range(augmented)]


def fit_frozen(
    head: NullSpaceHead,
    features: Sequence[VitFeatures],
    pictures: Sequence[LabelledPicture],
    indices: Sequence[int],
    config: FitConfig,
    report: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Train ``head`` alone, in place, on kept ``features``, one entry for each rendering of all ``pictures``.

    Only ``pictures[i]`` for ``i`` in ``indices`` are learnt from; each step takes the next rendering.  This
    takes a minute and is not checkpointed.
    """
    started = time.monotonic()
    device = next(head.parameters()).device
    inside = [pictures[i] for i in indices]
    order = torch.tensor([indices[k] for k in _draw(inside, config)]).view(config.steps, config.batch)
    labels = torch.tensor([p.label for p in pictures])
    torch.manual_seed(config.seed)
    groups = [{"params": list(head.parameters()), "peak": config.lr_head}]
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    head.train()
    for step, rows in enumerate(order):
        _set_rates(optimiser, step, config)
        output = head(_rows(features[step % len(features)], rows, device))
        loss, accuracy = _learn(output, labels[rows].to(device), optimiser, config)
        report(Progress(step + 1, config.steps, loss, accuracy, time.monotonic() - started))
    head.eval()


@torch.inference_mode()
def score_frozen(head: NullSpaceHead, scanned: Sequence[VitFeatures], indices: Sequence[int]) -> list[float]:
    """Raw scores of kept features, the mean over the views in ``scanned``, as a scan gives them."""
    device = next(head.parameters()).device
    rows = torch.tensor(list(indices))
    logits = [head.eval()(_rows(view, rows, device)).logit.double() for view in scanned]
    scores: list[float] = torch.stack(logits).mean(0).tolist()
    return scores


def _learn(
    output: HeadOutput,
    labels: Tensor,
    optimiser: torch.optim.Optimizer,
    config: FitConfig,
    clip: float | None = None,
) -> tuple[float, float]:
    """One gradient step; loss and accuracy of the batch before it.  ``clip`` bounds the gradient's norm."""
    loss = nsnet_loss(output.logit, output.contrast, labels, config.bce_share, config.temperature)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip)
    optimiser.step()
    accuracy = ((output.logit > 0) == (labels > 0)).float().mean()
    return float(loss.detach()), float(accuracy)


def _rows(features: VitFeatures, rows: Tensor, device: torch.device) -> VitFeatures:
    return VitFeatures(features.embedding[rows].to(device), features.class_tokens[rows].float().to(device))


def _trainable(tower: nn.Module, head: nn.Module) -> dict[str, nn.Parameter]:
    found = {f"tower.{n}": p for n, p in tower.named_parameters() if p.requires_grad}
    return found | {f"head.{n}": p for n, p in head.named_parameters()}


def _set_rates(optimiser: torch.optim.Optimizer, step: int, config: FitConfig) -> None:
    """Learning rates are a function of the step alone, so that a resumed run needs no scheduler's state."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * _cosine(step, config)


def _cosine(step: int, config: FitConfig) -> float:
    warm = max(1, round(config.warmup * config.steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, config.steps - warm)))


def _draw(pictures: Sequence[LabelledPicture], config: FitConfig) -> list[int]:
    """The pictures of the whole run: each class half of every batch, groups by their weight."""
    rng = Random(f"order:{config.seed}")
    weights = picture_weights(list(pictures))
    sides = []
    for label in (0, 1):
        indices = [i for i, p in enumerate(pictures) if p.label == label]
        sides.append(rng.choices(indices, [weights[i] for i in indices], k=config.steps * config.batch // 2))
    return [index for pair in zip(*sides, strict=True) for index in pair]


def _kept_tokens(n: int, step: int, config: FitConfig, tokens: int) -> Tensor:
    """Tokens to keep, ``(n, k)``: those of a random share of whole mosaic patches."""
    grid = config.selection.grid
    across = math.isqrt(tokens)
    per_side = across // grid
    share = 1.0 if step >= config.steps * (1.0 - config.full_share) else config.keep
    kept = max(1, round(share * grid * grid))
    generator = torch.Generator().manual_seed(config.seed * 7_919 + step)
    tiles = torch.rand(n, grid * grid, generator=generator).argsort(dim=1)[:, :kept]
    inner = torch.arange(per_side)
    offsets = (inner[:, None] * across + inner[None, :]).flatten()
    corners = (tiles // grid) * per_side * across + (tiles % grid) * per_side
    return (corners[:, :, None] + offsets).flatten(1)


def _save(
    path: Path,
    fingerprint: str,
    step: int,
    parameters: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
) -> None:
    tensors = {name: p.detach() for name, p in parameters.items()}
    for name, p in parameters.items():
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key}.{name}"] = optimiser.state[p][key]
    metadata = {"format": _CHECKPOINT_FORMAT, "fingerprint": fingerprint, "step": str(step)}
    write_safetensors(path, tensors, metadata)


def _restore(
    path: Path, fingerprint: str, parameters: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer
) -> int:
    """Load a checkpoint of this very run; the step to go on with, 0 when there is none."""
    if not path.exists():
        return 0
    metadata = read_header(path).metadata
    if metadata.get("format") != _CHECKPOINT_FORMAT or metadata.get("fingerprint") != fingerprint:
        raise WeightsError(f"{path}: a checkpoint of another run (recipe or data differ); move it away first")
    from safetensors.torch import load_file

    tensors = load_file(path)
    step = int(metadata["step"])
    for name, p in parameters.items():
        p.data.copy_(tensors[name])
        optimiser.state[p] = {
            "step": torch.tensor(float(step)),
            "exp_avg": tensors[f"exp_avg.{name}"].to(p.device),
            "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].to(p.device),
        }
    return step
