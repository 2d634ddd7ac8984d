"""Deliveries: what happens to a picture on its way to the reader, as seeded, describable operations.

Each takes and returns an RGB `PIL.Image.Image`.  Training draws random chains of them, alike for both
classes, so that neither format nor quality can give the label away.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from random import Random

from PIL import Image, ImageFilter

Image_ = Image.Image
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}


def jpeg(image: Image_, quality: int, subsampling: int = 2) -> Image_:
    """Encode as JPEG and decode again; ``subsampling`` 0 is 4:4:4, 2 is 4:2:0."""
    return _through(image, format="JPEG", quality=quality, subsampling=subsampling)


def webp(image: Image_, quality: int) -> Image_:
    """Encode as lossy WebP and decode again."""
    return _through(image, format="WEBP", quality=quality, method=2)


def resize(image: Image_, factor: float, kernel: str = "bicubic") -> Image_:
    """Scale both sides by ``factor`` with one of Pillow's kernels."""
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), _FILTERS[kernel])


def blur(image: Image_, radius: float) -> Image_:
    """Gaussian blur of ``radius`` pixels."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def noise(image: Image_, sigma: float, seed: int) -> Image_:
    """Add independent Gaussian noise of ``sigma`` grey levels to each channel."""
    import numpy as np

    pixels = np.asarray(image, dtype=np.float32)
    pixels = pixels + np.random.default_rng(seed).normal(0.0, sigma, pixels.shape).astype(np.float32)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def crop(image: Image_, left: int, top: int, width: int, height: int) -> Image_:
    """Cut out a rectangle."""
    return image.crop((left, top, left + width, top + height))


def mirror(image: Image_) -> Image_:
    """Exchange left and right."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def random_chain(rng: Random, size: tuple[int, int]) -> list[Callable[[Image_], Image_]]:
    """Draw a training augmentation: rescaling, blur or noise, re-encoding, mirroring; each sometimes."""
    chain: list[Callable[[Image_], Image_]] = []
    smallest = min(size)
    if rng.random() < 0.5:
        # Not below 8 x 7 patches' worth of pixels: a mosaic should not have to repeat itself.
        low = max(0.5, 232 / smallest) if smallest > 232 else 1.0
        factor = rng.uniform(low, 1.5)
        kernel = rng.choice(list(_FILTERS)[1:])
        chain.append(lambda image: resize(image, factor, kernel))
    if rng.random() < 0.1:
        radius = rng.uniform(0.3, 1.2)
        chain.append(lambda image: blur(image, radius))
    if rng.random() < 0.1:
        sigma, seed = rng.uniform(0.5, 5.0), rng.getrandbits(32)
        chain.append(lambda image: noise(image, sigma, seed))
    draw = rng.random()
    if draw < 0.45:
        quality, subsampling = rng.randint(50, 97), rng.choice((0, 2))
        chain.append(lambda image: jpeg(image, quality, subsampling))
    elif draw < 0.65:
        quality = rng.randint(50, 95)
        chain.append(lambda image: webp(image, quality))
    if rng.random() < 0.5:
        chain.append(mirror)
    return chain


def _through(image: Image_, **options: object) -> Image_:
    buffer = io.BytesIO()
    image.save(buffer, **options)  # type: ignore[arg-type]
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
