"""The fit of the kernel head: principal components, then one linear system.

Its anchors are training pictures as a scan sees them.  What the anchors' coefficients have to meet may be more: the
same pictures after random deliveries as well, each a row of the system and none an anchor (Nystroem's approximation,
Williams and Seeger, 2001).  A weights file and a scan are no larger for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nsnet_cli.judges.kernel import KernelHead, gaussian_kernel
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.views.plan import ViewKind
from nsnet_cli.weights.quantised import rounded_rows
from nsnet_cli.weights.shapes import KernelConfig, VitConfig

# Targets lie at plus and minus this, so that scores are of the size of logits: sigmoid(4) is 0.98.
_TARGET = 4.0
# Subspace iterations of the randomised PCA: the leading components are as exact as the products after so many.
_ITERATIONS = 6
_JITTER = 1e-6


def fit_kernel(
    tower: VitConfig,
    config: KernelConfig,
    semantic: Tensor,
    features: Mapping[ViewKind, Sequence[VitFeatures]],
    labels: Sequence[int],
    seed: int = 0,
    weights: Sequence[float] | None = None,
    delivered: Sequence[Mapping[ViewKind, VitFeatures]] = (),
) -> KernelHead:
    """Kernel ridge regression on pictures with their ``labels`` (1 = generated).

    ``features`` are, by kind, those of each view, a row a picture in the order of ``labels``; the fit runs where they
    are.  A picture's share of the ridge is the larger the less it counts by its ``weights``: of a group of many, each
    need not be met exactly.  ``delivered`` are features of the same pictures in the same order, each element after
    random deliveries of its own; they are to be met as well, each as a picture that counts
    ``config.delivered_share`` of what it counts as it came.  Components and anchors are rounded to int8 with a scale
    a row, as they are stored, before the system is solved.
    """
    kinds = config.looked_at(list(features))
    features = {kind: features[kind] for kind in kinds}
    device = features[kinds[0]][0].embedding.device
    dimensions = [_dimensions(tower, config, len(labels))] * len(kinds)
    head = KernelHead(tower, config, semantic, kinds, len(labels), dimensions).to(device)
    described = {}
    for kind, views in features.items():
        _fit_components(head, kind, views[0], seed)
        described[kind] = head.describe(kind, views)
    length = torch.cat(list(described.values()), dim=1).square().sum(1).mean().sqrt()
    for kind in kinds:
        part = head.of(kind)
        part.components.copy_(_rounded(part.components / length))
        described[kind] = head.describe(kind, features[kind])
    head.anchors.copy_(_rounded(torch.cat([described[kind] for kind in kinds], dim=1)))
    targets = _TARGET * (2.0 * torch.tensor(labels, dtype=torch.float64, device=device) - 1.0)
    ridge = config.ridge * _shares(weights, targets)
    anchors = head.anchors.double()
    among = gaussian_kernel(anchors, anchors, config.gamma)
    if delivered:
        rows = [head.describe_all({kind: [seen[kind]] for kind in kinds}).double() for seen in delivered]
        coefficients, offset = nystroem_regression(
            among,
            torch.cat([among, *(gaussian_kernel(row, anchors, config.gamma) for row in rows)]),
            targets.repeat(1 + len(rows)),
            torch.cat([ridge, (ridge / config.delivered_share).repeat(len(rows))]),
        )
    else:
        coefficients, offset = ridge_regression(among, targets, ridge)
    head.coefficients.copy_(coefficients)
    head.offset.copy_(offset)
    return head.eval()


def ridge_regression(kernel: Tensor, targets: Tensor, ridge: Tensor | float) -> tuple[Tensor, Tensor]:
    """Coefficients ``a`` ``(n,)`` and offset ``b`` of ``K a + b``, for ``K`` ``(n, n)`` and targets ``(n,)``, float64.

    With ``R`` the diagonal matrix of each picture's ``ridge`` ``(n,)``, or of one for all, they minimise
    ``|K a + b - t|^2`` in the metric of its inverse, plus ``a' K a``, with ``b`` free: ``a = (K + R)^-1 (t - b)``,
    ``sum(a) = 0``.
    """
    factor = torch.linalg.cholesky(kernel + torch.diag(ridge * torch.ones_like(targets)))
    ones = torch.ones_like(targets)
    of_targets, of_ones = torch.cholesky_solve(torch.stack([targets, ones], dim=1), factor).unbind(1)
    offset = of_targets.sum() / of_ones.sum()
    return of_targets - offset * of_ones, offset


def nystroem_regression(among: Tensor, rows: Tensor, targets: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients ``a`` ``(n,)`` and offset ``b`` where more is to be met than there are anchors, float64.

    ``among`` is the kernel of the anchors ``(n, n)``, ``rows`` that of all that is to be met with them ``(m, n)``, with
    ``targets`` and each one's ``ridge`` ``(m,)``.  They minimise ``|rows a + b - t|^2`` in the metric of the inverse of
    the ridge, plus ``a' K a``: what `ridge_regression` does where the anchors are the rows.
    """
    weights = 1.0 / ridge
    ones = torch.ones_like(targets)
    system = rows.T @ (rows * weights[:, None]) + among
    # The squared kernel is all but singular; what is added lies far below what rounding to int8 changes.
    factor = torch.linalg.cholesky(system + _JITTER * torch.eye(len(system), dtype=system.dtype, device=system.device))
    right = rows.T @ (weights[:, None] * torch.stack([targets, ones], dim=1))
    of_targets, of_ones = torch.cholesky_solve(right, factor).unbind(1)
    offset = weights @ (targets - rows @ of_targets) / (weights @ (ones - rows @ of_ones))
    return of_targets - offset * of_ones, offset


def _shares(weights: Sequence[float] | None, like: Tensor) -> Tensor:
    """How much more or less than the mean picture each is smoothed over, ``(n,)``, with a mean of one."""
    if weights is None:
        return torch.ones_like(like)
    inverse = 1.0 / torch.tensor(weights, dtype=like.dtype, device=like.device)
    return inverse / inverse.mean()


def _rounded(matrix: Tensor) -> Tensor:
    return torch.from_numpy(rounded_rows(matrix.cpu().numpy())).to(matrix.device)


def _dimensions(tower: VitConfig, config: KernelConfig, pictures: int) -> int:
    return min(config.dimensions, pictures, tower.embed_dim + tower.width * len(config.blocks))


def _fit_components(head: KernelHead, kind: ViewKind, view: VitFeatures, seed: int) -> None:
    """Means and leading principal components of one kind, scaled by the kind's length beside others."""
    part = head.of(kind)
    raw = part.raw(view)
    part.mean.copy_(raw.mean(0))
    even = part.even(raw)
    part.centre.copy_(even.mean(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, _, components = torch.svd_lowrank(even - part.centre, q=part.components.shape[1], niter=_ITERATIONS)
    part.components.copy_(head.config.scale_of(kind) * components)
