"""Random chains of deliveries, alike for both classes: what training pictures go through on their way to a view."""

from __future__ import annotations

import hashlib
from random import Random

from nsnet_cli.views.deliveries import (
    EDITS,
    KERNELS,
    Avif,
    Blur,
    Delivery,
    Denoise,
    Jpeg,
    Mirror,
    Noise,
    Operation,
    Resize,
    Sharpen,
    Webp,
)


def random_chain(rng: Random, size: tuple[int, int]) -> list[Operation]:
    """Draw a training augmentation: an edit, rescaling, what cameras and editors do to detail, re-encoding once or
    twice, mirroring; each sometimes."""
    chain: list[Operation] = []
    if rng.random() < 0.3:
        # Half of a doubling each way: beyond it a picture looks wrong to its editor, too.
        chain += [kind(2.0 ** rng.uniform(-0.6, 0.6)) for kind in rng.sample(EDITS, rng.choice((1, 1, 2)))]
    if rng.random() < 0.15:
        chain.append(_codec(rng))  # as it was first saved, before it was scaled and saved again
    smallest = min(size)
    if rng.random() < 0.5:
        # Not below 8 x 7 patches' worth of pixels: a mosaic should not have to repeat itself.
        low = max(0.5, 232 / smallest) if smallest > 232 else 1.0
        factor = rng.uniform(low, 1.5)
        chain.append(Resize(factor, rng.choice(list(KERNELS)[1:])))
    detail = rng.random()
    if detail < 0.08:
        chain.append(Blur(rng.uniform(0.3, 1.2)))
    elif detail < 0.16:
        chain.append(Sharpen(rng.randint(30, 150), rng.uniform(0.5, 2.0)))
    elif detail < 0.22:
        chain.append(Denoise(rng.uniform(0.3, 1.0)))
    if rng.random() < 0.08:
        chain.append(Noise(rng.uniform(0.5, 5.0), rng.getrandbits(32)))
    if rng.random() < 0.75:
        chain.append(_codec(rng))
    if rng.random() < 0.5:
        chain.append(Mirror())
    return chain


def _codec(rng: Random) -> Operation:
    draw = rng.random()
    if draw < 0.5:
        return Jpeg(rng.randint(35, 97), rng.choice((444, 420)))
    return Webp(rng.randint(40, 95)) if draw < 0.9 else Avif(rng.randint(40, 90))


def random_chain_mark() -> str:
    """A mark of what `random_chain` draws, so that features, checkpoints and weights can say what they learnt from."""
    drawn = (Delivery(tuple(random_chain(Random(f"mark:{k}"), (384, 384)))).spec for k in range(64))
    return hashlib.sha256("\n".join(drawn).encode()).hexdigest()[:12]
