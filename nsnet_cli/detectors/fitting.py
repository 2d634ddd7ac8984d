"""One fit of a detector's network: draw, step, average, look at what is held out, stop; with checkpoints."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor, nn

from nsnet_cli.detectors.interface import Detector, Recipe
from nsnet_cli.detectors.layers.network import LocalNetwork, Network
from nsnet_cli.detectors.store import Store
from nsnet_cli.errors import WeightsError
from nsnet_cli.training.folds import picture_weights
from nsnet_cli.weights.safefile import read_header, write_safetensors

_CHECKPOINT_FORMAT = "nsnet.detector.checkpoint/1"
_CLIP_NORM = 1.0
_WARMUP = 0.05
# Seconds of work that a kill may cost.
_SAVE_EVERY = 30.0


@dataclass(frozen=True)
class Batch:
    """What a step learns from; see `Network`."""

    pixels: Tensor
    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Supply:
    """The batches of a fit; batch ``k`` is the same whenever it is asked for.

    Of ``pictures[i]`` for ``i`` in ``indices`` half of every batch is generated; groups are drawn by their weight, and
    of each picture any of its kept renderings.  ``embeddings`` are `kept_embeddings`.
    """

    detector: Detector
    store: Store
    indices: Sequence[int]
    recipe: Recipe
    seed: int
    embeddings: Tensor | None = None

    def order(self) -> list[int]:
        """The pictures of the whole fit."""
        rng = Random(f"order:{self.seed}")
        inside = [self.store.pictures[i] for i in self.indices]
        weights = picture_weights(inside)
        sides = []
        for label in (0, 1):
            there = [k for k, picture in enumerate(inside) if picture.label == label]
            drawn = rng.choices(there, [weights[k] for k in there], k=self.recipe.steps * self.recipe.batch // 2)
            sides.append([self.indices[k] for k in drawn])
        return [index for pair in zip(*sides, strict=True) for index in pair]

    def batch(self, order: Sequence[int], step: int) -> Batch:
        """The batch of a step, of the pictures in ``order``."""
        first = step * self.recipe.batch
        rows = order[first : first + self.recipe.batch]
        eyes, views, features = self.detector.eyes, [], []
        for k, row in enumerate(rows, start=first):
            rng = Random(f"view:{self.seed}:{k}")
            rendering = rng.randrange(self.store.renderings)
            if eyes is not None:
                views.append(np.ascontiguousarray(eyes.draw(self.store.picture(rendering, row), rng)))
            if self.embeddings is not None:
                features.append(self.embeddings[rendering, row])
        nothing = torch.zeros(len(rows), 0)
        return Batch(
            torch.from_numpy(np.stack(views)) if views else nothing,
            torch.stack(features) if features else nothing,
            torch.tensor([self.store.pictures[row].label for row in rows]),
        )


@dataclass(frozen=True)
class Step:
    """State of a fit after a step, for logs and progress; ``score`` is the last look at what is held out."""

    step: int
    steps: int
    loss: float
    seconds: float
    score: float | None = None


class Fit:
    """A fit of ``network``, in place, that goes on from ``checkpoint`` where that is of this very fit (``mark``).

    ``judge`` gives a network's figure on what is held out, the higher the better; without one nothing stops the fit.
    """

    def __init__(
        self,
        network: Network,
        supply: Supply,
        checkpoint: Path,
        mark: str,
        judge: Callable[[Network], float] | None = None,
        teacher: LocalNetwork | None = None,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        self.supply, self.recipe, self.judge, self.teacher = supply, supply.recipe, judge, teacher
        self.checkpoint, self.mark, self.device, self.precision = checkpoint, mark, device, precision
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(network).eval()
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=self.recipe.rate, weight_decay=self.recipe.weight_decay
        )
        self.done = self.best_step = self.misses = 0
        self.best_score: float | None = None
        self.best: dict[str, Tensor] = {}

    def run(self, report: Callable[[Step], None] = lambda step: None) -> int:
        """Train; the network is left with the best average of weights.  The steps that it took are given back."""
        recipe = self.recipe
        self._restore()
        order = self.supply.order()
        look_every = max(1, recipe.look_every // recipe.batch)
        began, first = time.monotonic(), self.done
        saved = began
        with ThreadPoolExecutor(1) as ahead:  # the next batch is made while this one is learnt from
            coming = ahead.submit(self.supply.batch, order, first)
            while self.done < recipe.steps and not self._enough:
                batch = coming.result()
                coming = ahead.submit(self.supply.batch, order, self.done + 1)
                loss = self._step(batch)
                self.done += 1
                score = None
                settled = self.done >= recipe.settled * recipe.steps
                if (settled and self.done % look_every == 0) or self.done == recipe.steps:
                    score = self._look()
                if score is not None or self.done == recipe.steps or time.monotonic() - saved > _SAVE_EVERY:
                    self._save()
                    saved = time.monotonic()
                report(Step(self.done, recipe.steps, loss, time.monotonic() - began, score))
        self.network.load_state_dict(self.best or self.averaged.state_dict(), strict=False)
        self.network.eval()
        return self.best_step or self.done

    @property
    def _enough(self) -> bool:
        return self.misses >= self.recipe.patience

    def _step(self, batch: Batch) -> float:
        recipe, device = self.recipe, self.device
        rate = recipe.rate * min(1.0, (self.done + 1) / max(1, round(_WARMUP * recipe.steps)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(self.supply.seed * 1_000_003 + self.done)  # dropout, too, goes on as it would have
        self.network.train()
        pixels, features, labels = batch.pixels.to(device), batch.features.to(device), batch.labels.to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=self.precision == "bf16"):
            taught = None
            if self.teacher is not None:
                with torch.no_grad():
                    taught = self.teacher.local(pixels)
            loss = self.network.loss(pixels, features, labels, taught)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP_NORM)
        self.optimiser.step()
        self._average()
        return float(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        """The running average of weights and of the norms' statistics; young averages forget faster."""
        keep = min(self.recipe.average, (1 + self.done) / (10 + self.done))
        for mean, value in zip(_floats(self.averaged), _floats(self.network), strict=True):
            mean.lerp_(value, 1 - keep)

    def _look(self) -> float | None:
        if self.judge is None:
            return None
        score = self.judge(self.averaged)
        gained = self.best_score is None or score > self.best_score
        self.misses = 0 if gained else self.misses + 1
        if gained or score == self.best_score:  # of equals the later one, which has seen more
            self.best_score, self.best_step = score, self.done
            self.best = {name: value.clone() for name, value in self.averaged.state_dict().items()}
        return score

    def _save(self) -> None:
        tensors = {f"live.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in self.averaged.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for name, parameter in self.network.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"{key}.{name}"] = value
        state = {
            "done": self.done,
            "best_step": self.best_step,
            "best_score": self.best_score,
            "misses": self.misses,
        }
        # Tensors that share memory cannot be written, so all are copied.
        write_safetensors(
            self.checkpoint,
            {name: value.detach().clone() for name, value in tensors.items()},
            {"format": _CHECKPOINT_FORMAT, "mark": self.mark, "state": json.dumps(state)},
        )

    def _restore(self) -> None:
        if not self.checkpoint.exists():
            return
        metadata = read_header(self.checkpoint).metadata
        if metadata.get("format") != _CHECKPOINT_FORMAT or metadata.get("mark") != self.mark:
            raise WeightsError(f"{self.checkpoint}: a checkpoint of another run; use another --work folder")
        from safetensors.torch import load_file

        tensors = load_file(self.checkpoint, device=self.device)

        def below(part: str) -> dict[str, Tensor]:
            return {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}

        self.network.load_state_dict(below("live."))
        self.averaged.load_state_dict(below("averaged."))
        self.best = below("best.")
        for name, parameter in self.network.named_parameters():
            if f"exp_avg.{name}" in tensors:
                self.optimiser.state[parameter] = {
                    "step": tensors[f"step.{name}"].cpu(),
                    "exp_avg": tensors[f"exp_avg.{name}"],
                    "exp_avg_sq": tensors[f"exp_avg_sq.{name}"],
                }
        state = json.loads(metadata["state"])
        self.done, self.best_step, self.misses = state["done"], state["best_step"], state["misses"]
        self.best_score = state["best_score"]


def _floats(network: nn.Module) -> list[Tensor]:
    return [value for value in network.state_dict().values() if value.is_floating_point()]
