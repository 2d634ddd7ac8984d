"""The objective against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from nsnet_cli.training.losses import nsnet_loss, supervised_contrastive


def plain_supcon(z: list[list[float]], labels: list[int], temperature: float) -> float:
    """Khosla et al., eq. 2, written out."""

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / temperature

    terms = []
    for i in range(len(z)):
        positives = [j for j in range(len(z)) if j != i and labels[j] == labels[i]]
        if not positives:
            continue
        log_total = math.log(sum(math.exp(dot(z[i], z[a])) for a in range(len(z)) if a != i))
        terms.append(-sum(dot(z[i], z[j]) - log_total for j in positives) / len(positives))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("seed", range(4))
def test_supcon_equals_the_plain_formula(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.nn.functional.normalize(torch.randn(9, 5, generator=generator, dtype=torch.float64), dim=1)
    labels = torch.randint(0, 2, (9,), generator=generator)
    ours = supervised_contrastive(z, labels, 0.2)
    assert ours.item() == pytest.approx(plain_supcon(z.tolist(), labels.tolist(), 0.2), rel=1e-9)


def test_a_batch_without_positives_has_no_gradient_but_a_value() -> None:
    z = torch.nn.functional.normalize(torch.randn(2, 4), dim=1).requires_grad_()
    loss = supervised_contrastive(z, torch.tensor([0, 1]), 0.1)
    loss.backward()
    assert loss.item() == 0.0
    assert z.grad is not None and not z.grad.any()


def test_bce_share_one_is_plain_cross_entropy() -> None:
    logit, labels = torch.tensor([2.0, -1.0]), torch.tensor([1, 0])
    z = torch.nn.functional.normalize(torch.randn(2, 4), dim=1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logit, labels.float())
    assert nsnet_loss(logit, z, labels, 1.0, 0.1) == expected
