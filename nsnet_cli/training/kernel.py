"""The fit of the kernel head: principal components, then one linear system.

Its anchors are training pictures as a scan sees them.  What the anchors' coefficients have to meet may be more: the
same pictures after random deliveries, and whole originals at all their looks, each a row of the system and none an
anchor (Nystroem's approximation, Williams and Seeger, 2001).  A weights file and a scan are no larger for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from nsnet_cli.judges.kernel import LEVELS, KernelHead, gaussian_kernel
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.views.plan import ViewKind
from nsnet_cli.weights.quantised import rounded_rows
from nsnet_cli.weights.shapes import KernelConfig, VitConfig

# Targets lie at plus and minus this, so that scores are of the size of logits: sigmoid(4) is 0.98.
_TARGET = 4.0
# Subspace iterations of the randomised PCA: the leading components are as exact as the products after so many.
_ITERATIONS = 6
_JITTER = 1e-6
# Rows of a system that are multiplied out at a time: each is as long as there are anchors.
_ROWS = 4096
_COLUMNS = 4096

# Some of what has to be met: rows of the kernel ``(m, n)``, targets and each one's ridge ``(m,)``, float64.
Met = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Beside:
    """Pictures that the head has to meet and that are none of its anchors.

    ``views`` are features by kind, of each view, a row a picture in the order of ``labels``.  Each is smoothed over
    ``smoothed`` times as much as the mean anchor is.
    """

    views: Mapping[ViewKind, Sequence[VitFeatures]]
    labels: Sequence[int]
    smoothed: Sequence[float]


def fit_kernel(
    tower: VitConfig,
    config: KernelConfig,
    semantic: Tensor,
    features: Mapping[ViewKind, Sequence[VitFeatures]],
    labels: Sequence[int],
    seed: int = 0,
    weights: Sequence[float] | None = None,
    beside: Sequence[Beside] = (),
) -> KernelHead:
    """Kernel ridge regression on pictures with their ``labels`` (1 = generated).

    ``features`` are, by kind, those of each view, a row a picture in the order of ``labels``; the fit runs where they
    are.  A picture's share of the ridge is the larger the less it counts by its ``weights``: of a group of many, each
    need not be met exactly.  Those ``beside`` the anchors are to be met as well.  Components and anchors are rounded to
    int8 with a scale a row, as they are stored (anchors from -63 to 63), before the system is solved.
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
        part.components.copy_(_rounded(part.components / length, LEVELS["components"]))
        described[kind] = head.describe(kind, features[kind])
    head.anchors.copy_(_rounded(torch.cat([described[kind] for kind in kinds], dim=1), LEVELS["anchors"]))
    anchors = head.anchors.double()
    among = gaussian_kernel(anchors, anchors, config.gamma)
    floats = partial(torch.tensor, dtype=torch.float64, device=device)
    smoothed = smoothing(weights) if weights is not None else [1.0] * len(labels)
    targets = _TARGET * (2.0 * floats([*labels, *(label for those in beside for label in those.labels)]) - 1.0)
    ridge = config.ridge * floats([*smoothed, *(times for those in beside for times in those.smoothed)])
    if beside:
        x = torch.cat([anchors, *(head.describe_all(those.views).double() for those in beside)])
        parts = zip(x.split(_ROWS), targets.split(_ROWS), ridge.split(_ROWS), strict=True)
        met = ((gaussian_kernel(some, anchors, config.gamma), aims, ridges) for some, aims, ridges in parts)
        coefficients, offset = nystroem_regression(among, met)
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


def nystroem_regression(among: Tensor, met: Iterable[Met]) -> tuple[Tensor, Tensor]:
    """Coefficients ``a`` ``(n,)`` and offset ``b`` where more is to be met than there are anchors, float64.

    ``among`` is the kernel of the anchors ``(n, n)``.  With the rows of all that is ``met``, the anchors' own too, they
    minimise ``|rows a + b - t|^2`` in the metric of the inverse of the ridge, plus ``a' K a``: what `ridge_regression`
    does where the anchors are the rows.  Rows are gigabytes, so no more of them are held than are given at a time.
    """
    system = among.clone()
    right, sums = among.new_zeros(len(among), 2), among.new_zeros(2)  # of the targets, and of ones
    for rows, targets, ridge in met:
        weights = 1.0 / ridge
        sides = torch.stack([targets, torch.ones_like(targets)], dim=1)
        add_gram(system, rows * weights.sqrt()[:, None])
        right += rows.T @ (weights[:, None] * sides)
        sums += weights @ sides
    # The squared kernel is all but singular; what is added lies far below what rounding to int8 changes.
    system.diagonal().add_(_JITTER)
    solved = torch.cholesky_solve(right, torch.linalg.cholesky(system))
    left_over = sums - right[:, 1] @ solved
    offset = left_over[0] / left_over[1]
    return solved[:, 0] - offset * solved[:, 1], offset


def add_gram(system: Tensor, x: Tensor, columns: int = _COLUMNS) -> None:
    """Add ``x' x`` of ``x`` ``(m, n)`` to ``system`` ``(n, n)``, which is symmetric, in place.

    On a CPU one half of it is multiplied out, so many columns by as many at a time.  (OpenBLAS, which NumPy brings,
    does that by itself, but ends the process where there are more than some 15,000.)
    """
    if x.device.type != "cpu":
        system.addmm_(x.T, x)
        return
    values, into = x.numpy(), system.numpy()
    for left in range(0, x.shape[1], columns):
        for right in range(left, x.shape[1], columns):
            rows, others = slice(left, left + columns), slice(right, right + columns)
            product = values[:, rows].T @ values[:, others]
            into[rows, others] += product
            if left != right:
                into[others, rows] += product.T


def smoothing(weights: Sequence[float], share: float = 1.0) -> list[float]:
    """How much more or less than the mean of them each picture is smoothed over for its weight, times ``1 / share``."""
    inverse = [1.0 / weight for weight in weights]
    mean = sum(inverse) / len(inverse)
    return [value / mean / share for value in inverse]


def whitened(components: Tensor, variances: Tensor, power: float) -> Tensor:
    """``components`` ``(d, k)``, each over that power of its variance ``(k,)``, scaled to the same sum of variances.

    A kernel goes by distance, so by the components that vary most; those that vary less may tell as much.
    """
    scales = variances.clamp_min(torch.finfo(variances.dtype).tiny).pow(-power)
    return components * scales * (variances.sum() / (variances * scales.square()).sum()).sqrt()


def _rounded(matrix: Tensor, largest: int) -> Tensor:
    return torch.from_numpy(rounded_rows(matrix.cpu().numpy(), largest)).to(matrix.device)


def _dimensions(tower: VitConfig, config: KernelConfig, pictures: int) -> int:
    return min(config.dimensions, pictures, tower.embed_dim + tower.width * len(config.blocks))


def _fit_components(head: KernelHead, kind: ViewKind, view: VitFeatures, seed: int) -> None:
    """Means and leading principal components of one kind, scaled by the kind's length beside others."""
    part = head.of(kind)
    raw = part.raw(view)
    part.mean.copy_(raw.mean(0))
    even = part.even(raw)
    part.centre.copy_(even.mean(0))
    centred = even - part.centre
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, _, components = torch.svd_lowrank(centred, q=part.components.shape[1], niter=_ITERATIONS)
    variances = (centred @ components).square().mean(0)
    components = whitened(components, variances, head.config.whitening)
    part.components.copy_(head.config.scale_of(kind) * components)
