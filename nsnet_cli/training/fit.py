"""One fit: a head on kept features, then tower and head together, with checkpoints that resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nsnet_cli.errors import WeightsError
from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.judges.head import HeadOutput, NullSpaceHead, ViewHeads
from nsnet_cli.tower.vit import VisionTransformer, VitFeatures
from nsnet_cli.training.batches import Batches
from nsnet_cli.training.losses import nsnet_loss
from nsnet_cli.training.recipe import FitConfig, Phase, draw
from nsnet_cli.weights.safefile import read_header, write_safetensors

_CHECKPOINT_FORMAT = "nsnet.checkpoint/1"
_CLIP_NORM = 1.0


@dataclass(frozen=True)
class Progress:
    """State of a run after a step, for logs and progress bars."""

    step: int
    steps: int
    loss: float | None = None
    accuracy: float | None = None
    seconds: float | None = None


def fit_head(
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
    phase = config.probe
    inside = [pictures[i] for i in indices]
    order = torch.tensor([indices[k] for k in draw(inside, phase, config.seed)]).view(phase.steps, phase.batch)
    labels = torch.tensor([p.label for p in pictures])
    torch.manual_seed(config.seed)
    groups = [{"params": list(head.parameters()), "peak": phase.lr_head}]
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    head.train()
    for step, rows in enumerate(order):
        _set_rates(optimiser, step, phase)
        output = head(features[step % len(features)].rows(rows).floats_on(device))
        loss, accuracy = _learn(output, labels[rows].to(device), optimiser, config)
        report(Progress(step + 1, phase.steps, loss, accuracy, time.monotonic() - started))
    head.eval()


def tune(
    tower: VisionTransformer,
    heads: ViewHeads,
    batches: Batches,
    config: FitConfig,
    checkpoint: Path,
    fingerprint: str,
    report: Callable[[Progress], None] = lambda _: None,
    checkpoint_every: int = 10,
) -> None:
    """Train ``heads`` and what `config.adaptation` frees in ``tower``, in place.

    Goes on from ``checkpoint`` when it is there and of this run (``fingerprint``); else raises
    `WeightsError`.  ``tower`` holds its matrices in the precision to compute in; what is trained is float32.
    """
    device = next(heads.parameters()).device
    phase = config.tune
    torch.manual_seed(config.seed)
    tower.adapt(config.adaptation, config.lora_dropout)
    tower.to(device)
    parameters = _trainable(tower, heads)
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for n, p in parameters.items() if n.startswith("tower.")], "peak": phase.lr_tower},
            {"params": [p for n, p in parameters.items() if n.startswith("head.")], "peak": phase.lr_head},
        ],
        weight_decay=config.weight_decay,
        betas=(0.9, 0.98),
    )
    first = _restore(checkpoint, fingerprint, parameters, optimiser)
    tower.train()
    heads.train()
    started = time.monotonic()
    for step, batch in enumerate(batches(tower, first), start=first):
        _set_rates(optimiser, step, phase)
        torch.manual_seed(config.seed * 1_000_003 + step)  # dropout, too, goes on as it would have
        output = heads.of(batch.kind)(tower.finish(batch.tokens, batch.lower))
        loss, accuracy = _learn(output, batch.labels, optimiser, config, clip=_CLIP_NORM)
        done = step + 1
        report(Progress(done, phase.steps, loss, accuracy, time.monotonic() - started))
        if done % checkpoint_every == 0 or done == phase.steps:
            _save(checkpoint, fingerprint, done, parameters, optimiser)
    tower.eval()
    heads.eval()


@torch.inference_mode()
def score_features(head: NullSpaceHead, scanned: Sequence[VitFeatures]) -> list[float]:
    """Raw scores of features, the mean over the views in ``scanned``, as a scan gives them."""
    device = next(head.parameters()).device
    logits = [head.eval()(view.floats_on(device)).logit.double() for view in scanned]
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


def _trainable(tower: nn.Module, heads: nn.Module) -> dict[str, nn.Parameter]:
    found = {f"tower.{n}": p for n, p in tower.named_parameters() if p.requires_grad}
    return found | {f"head.{n}": p for n, p in heads.named_parameters()}


def _set_rates(optimiser: torch.optim.Optimizer, step: int, phase: Phase) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * phase.rate(step)


def _save(
    path: Path,
    fingerprint: str,
    step: int,
    parameters: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
) -> None:
    tensors = {name: p.detach() for name, p in parameters.items()}
    for name, p in parameters.items():
        # A head is stepped on its own kind's turns alone: each parameter has its own count, or none yet.
        for key, value in optimiser.state.get(p, {}).items():
            tensors[f"{key}.{name}"] = value
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
    for name, p in parameters.items():
        p.data.copy_(tensors[name])
        if f"exp_avg.{name}" in tensors:
            optimiser.state[p] = {
                "step": tensors[f"step.{name}"],
                "exp_avg": tensors[f"exp_avg.{name}"].to(p.device),
                "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].to(p.device),
            }
    return int(metadata["step"])
