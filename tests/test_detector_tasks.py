"""No detector is weaker than its idea by a bug: it learns a task that its idea must solve.

Of made-up pictures it sees some dozens of batches; on others of the kind it has to reach an AUC of 0.95.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import torch
from sklearn.metrics import roc_auc_score
from toy_detectors import (
    NAMES,
    examples,
    learnt,
    quantised,
    scene,
    with_grid,
)

from nsnet_cli.detectors.methods.ladeda import PATCH
from nsnet_cli.detectors.scorer import Scorer


@pytest.mark.parametrize("name", NAMES)
def test_each_solves_the_task_that_its_idea_is_for(name: str) -> None:
    pictures, features, labels = examples(name, 60, seed=2)
    scores = learnt(name).logits(pictures, features)
    assert roc_auc_score(labels, scores) > 0.95


@pytest.mark.parametrize("name", ["ladeda", "tiny-ladeda"])
def test_scores_of_patches_say_where_a_generated_patch_was_pasted(name: str) -> None:
    rng = np.random.default_rng(5)
    for top, left in ((16, 56), (64, 8), (40, 40)):
        x = scene(rng, 128)
        x[:, top : top + 48, left : left + 48] = with_grid(x, rng)[:, top : top + 48, left : left + 48]
        scores = Scorer(learnt(name).detector, learnt(name).network).local(quantised(x)[None])[0]
        step = (128 - PATCH) // (len(scores) - 1)
        corners = np.arange(len(scores)) * step
        rows = (corners >= top) & (corners + PATCH <= top + 48)
        columns = (corners >= left) & (corners + PATCH <= left + 48)
        within = np.zeros(scores.shape, bool)
        within[np.ix_(rows, columns)] = True
        assert roc_auc_score(within.ravel(), scores.ravel()) > 0.7
        # A ninth of the patches is inside; the best 32x32 pixels are, too.
        smooth = scipy.ndimage.uniform_filter(scores, 32 // step + 1)
        assert within.flat[smooth.argmax()]


# --- found, and described ---


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("univfd", "vib-net")])
def test_half_precision_says_nearly_the_same(name: str) -> None:
    pictures, features, _ = examples(name, 8, seed=3)
    detector, network = learnt(name).detector, learnt(name).network
    views = torch.from_numpy(np.stack([detector.eyes.look(p)[0] for p in pictures]))  # type: ignore[union-attr]
    beside = features if detector.tower else torch.zeros(8, 0)
    with torch.inference_mode():
        exact = network(views, beside)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(views, beside)
    assert (exact - rough).abs().max() < 0.1 * exact.abs().max() + 0.1


# --- how pictures are seen ---
