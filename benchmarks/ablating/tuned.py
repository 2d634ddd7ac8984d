"""Arms that adapt the tower, as the paper does: few, since each step goes through the whole of it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor

from ablating.judging import Scores, Study
from ablating.ways import PAPER, WAYS
from nsnet_cli.disk import sha256_of
from nsnet_cli.evaluation.labelled import LabelledPicture
from nsnet_cli.inputs.decode import channels_first
from nsnet_cli.judges.head import ViewHeads
from nsnet_cli.tower.file import load_tower, tower_info
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VisionTransformer, VitFeatures
from nsnet_cli.training.batches import FreshBatches
from nsnet_cli.training.fit import Progress, fit_head, score_features, tune
from nsnet_cli.training.recipe import FitConfig, Phase
from nsnet_cli.training.views import read_picture
from nsnet_cli.views.plan import MOSAIC
from nsnet_cli.weights.shapes import Adaptation, HeadConfig
from nsnet_cli.weights.store import TOWER_NAME, find_weights

FOLDS = 3
# The paper's LoRA, by its sister project: q, k, v of the blocks, rank 6, alpha 6.
_LORA = {"rank": 6, "alpha": 6.0, "targets": ("q", "k", "v")}
_BATCH = 16


@dataclass(frozen=True)
class TunedArm:
    """What is adapted, and by which semantics the embedding is projected."""

    adaptation: Adaptation
    semantic: str


# The first is what the others are compared with.
ARMS = {
    "LoRA on all blocks, as it is": TunedArm(Adaptation(**_LORA), "none"),
    "LoRA on all blocks, projected": TunedArm(Adaptation(**_LORA), "rank 100"),
    "LoRA on all blocks, strict null space": TunedArm(Adaptation(**_LORA), "strict"),
    "LoRA on blocks 9-12, projected": TunedArm(Adaptation(**_LORA, first_block=9), "rank 100"),
    "LayerNorms of all blocks, projected": TunedArm(Adaptation(norms=True), "rank 100"),
    "frozen, as it is": TunedArm(Adaptation(), "none"),
    "frozen, projected": TunedArm(Adaptation(), "rank 100"),
    "frozen, strict null space": TunedArm(Adaptation(), "strict"),
}


def tuned_scores(
    arm: TunedArm,
    study: Study,
    features: VitFeatures,
    semantic: Tensor,
    samples: int,
    work: Path,
) -> Scores:
    """Scores ``(n,)`` of the pictures of fold 0 by a fit on the others; nan elsewhere.

    A head on kept ``features`` of the frozen tower comes first, then, unless the arm is frozen, tower and head together
    on ``samples`` pictures, with half of the patches of each (FLIP) but for the last steps.  Goes on after a kill from
    checkpoints below ``work``.
    """
    config = FitConfig(
        probe=Phase(16_000, 128, lr_head=1e-3),
        tune=Phase(samples, _BATCH, lr_head=1e-4, lr_tower=3e-4, warmup=0.1, keep=0.5),
        adaptation=arm.adaptation,
        head=HeadConfig(blocks=()),
        kernel=None,
        selection=PAPER,
        augment=False,
        fresh=True,
    )
    path = find_weights(TOWER_NAME)
    tower, info = load_tower(path).matrices_to(torch.float32), tower_info(path)
    inside, outside = study.inside(0).tolist(), study.outside(0)
    torch.manual_seed(config.seed)
    heads = ViewHeads(tower.config, config.head, semantic, [MOSAIC])
    fit_head(heads.of(MOSAIC), [features], study.pictures, inside, config)
    scores = np.full(len(study.pictures), np.nan)
    if arm.adaptation.frozen:
        scores[outside] = score_features(heads.of(MOSAIC), [features.rows(torch.from_numpy(outside))])
        return scores
    normalise = Normaliser(info.mean, info.std)
    learnt_from = [study.pictures[i] for i in inside]
    batches = FreshBatches([MOSAIC], learnt_from, config, normalise)
    made_by = config.fingerprint(learnt_from) + hashlib.sha256(semantic.double().numpy().tobytes()).hexdigest()
    mark = hashlib.sha256((made_by + sha256_of(path)).encode()).hexdigest()
    tune(tower, heads, batches, config, work / f"{mark[:16]}.checkpoint.safetensors", mark, _shown)
    seen = _look(tower, normalise, [study.pictures[i] for i in outside])
    scores[outside] = score_features(heads.of(MOSAIC), [seen])
    return scores


def _shown(progress: Progress) -> None:
    if progress.step % 10 == 0:
        said = {k: round(v, 3) for k, v in asdict(progress).items() if v is not None}
        print(f"  tuning {json.dumps(said)}", file=sys.stderr, flush=True)


@torch.inference_mode()
def _look(tower: VisionTransformer, normalise: Normaliser, pictures: Sequence[LabelledPicture]) -> VitFeatures:
    """Features of the paper's mosaics by an adapted tower."""
    made = []
    for first in range(0, len(pictures), _BATCH):
        few = pictures[first : first + _BATCH]
        views = [WAYS["mosaic"](channels_first(np.array(read_picture(p.path))), Random(p.name)) for p in few]
        made.append(tower(normalise(torch.from_numpy(np.stack(views)))))
    return VitFeatures.join(made)
