"""Deliveries: what happens to a picture on its way to the reader, as seeded operations with a short name.

A delivery is one operation or a chain of them, written as a spec: ``jpeg:75``, ``resize:0.75:lanczos``,
``fit:1080+jpeg:80``.  Training draws random chains alike for both classes, so that neither format nor quality
can give the label away (`nsnet_cli.training.chains`); ``nsnet robustness`` and ``nsnet scan --stability`` apply chains
by name.

Every operation takes and returns an RGB `PIL.Image.Image`.  The same picture, spec and seed give the same pixels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from random import Random
from typing import Any, ClassVar, Protocol

from PIL import Image, ImageEnhance, ImageFilter

from nsnet_cli.errors import UsageError

Image_ = Image.Image
KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}


class Operation(Protocol):
    """One step of a delivery.  Its spec is ``name`` and its fields, joined by colons."""

    name: ClassVar[str]

    def __call__(self, image: Image_, rng: Random) -> Image_: ...


@dataclass(frozen=True)
class Jpeg:
    """Encode as JPEG and decode again; ``subsampling`` 444 or 420."""

    name: ClassVar[str] = "jpeg"
    quality: int
    subsampling: int = 420

    def __post_init__(self) -> None:
        _require(1 <= self.quality <= 100 and self.subsampling in (420, 444), "jpeg:QUALITY[:420|444], QUALITY 1-100")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        return _through(image, format="JPEG", quality=self.quality, subsampling=0 if self.subsampling == 444 else 2)


@dataclass(frozen=True)
class Webp:
    """Encode as lossy WebP and decode again."""

    name: ClassVar[str] = "webp"
    quality: int

    def __post_init__(self) -> None:
        _require(1 <= self.quality <= 100, "webp:QUALITY, 1-100")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        return _through(image, format="WEBP", quality=self.quality, method=2)


@dataclass(frozen=True)
class Avif:
    """Encode as lossy AVIF and decode again."""

    name: ClassVar[str] = "avif"
    quality: int

    def __post_init__(self) -> None:
        _require(1 <= self.quality <= 100, "avif:QUALITY, 1-100")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        # One thread and a fixed speed: the same bytes on every machine.
        return _through(image, format="AVIF", quality=self.quality, speed=8, max_threads=1)


def _scaled(image: Image_, factor: float, kernel: str) -> Image_:
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), KERNELS[kernel])


@dataclass(frozen=True)
class Resize:
    """Scale both sides by ``factor``."""

    name: ClassVar[str] = "resize"
    factor: float
    kernel: str = "bicubic"

    def __post_init__(self) -> None:
        _require(0.05 <= self.factor <= 8 and self.kernel in KERNELS, "resize:FACTOR[:KERNEL], FACTOR 0.05-8")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        return _scaled(image, self.factor, self.kernel)


@dataclass(frozen=True)
class Fit:
    """Scale down until the longer side is ``longest`` pixels, as platforms do; smaller pictures stay."""

    name: ClassVar[str] = "fit"
    longest: int
    kernel: str = "bicubic"

    def __post_init__(self) -> None:
        _require(16 <= self.longest <= 20_000 and self.kernel in KERNELS, "fit:LONGEST[:KERNEL], LONGEST 16-20000")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        factor = self.longest / max(image.size)
        return image if factor >= 1 else _scaled(image, factor, self.kernel)


@dataclass(frozen=True)
class Crop:
    """Cut ``margin`` pixels off at the left and at the top: shifts the grids of codecs and of patches."""

    name: ClassVar[str] = "crop"
    margin: int

    def __post_init__(self) -> None:
        _require(0 <= self.margin <= 10_000, "crop:MARGIN, 0-10000 pixels")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        width, height = image.size
        left, top = min(self.margin, width - 1), min(self.margin, height - 1)
        return image.crop((left, top, width, height))


@dataclass(frozen=True)
class Cutout:
    """Keep a rectangle of ``share`` of both sides, at a random place."""

    name: ClassVar[str] = "cutout"
    share: float

    def __post_init__(self) -> None:
        _require(0.05 <= self.share <= 1, "cutout:SHARE, 0.05-1")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        width, height = (max(1, round(side * self.share)) for side in image.size)
        left, top = rng.randint(0, image.size[0] - width), rng.randint(0, image.size[1] - height)
        return image.crop((left, top, left + width, top + height))


@dataclass(frozen=True)
class Blur:
    """Gaussian blur of ``radius`` pixels."""

    name: ClassVar[str] = "blur"
    radius: float

    def __post_init__(self) -> None:
        _require(0 <= self.radius <= 50, "blur:RADIUS, 0-50 pixels")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        return image.filter(ImageFilter.GaussianBlur(self.radius))


@dataclass(frozen=True)
class Sharpen:
    """Unsharp mask of ``radius`` pixels: ``percent`` of the difference to the blurred picture is added."""

    name: ClassVar[str] = "sharpen"
    percent: int
    radius: float = 1.0

    def __post_init__(self) -> None:
        _require(0 <= self.percent <= 500 and 0 <= self.radius <= 50, "sharpen:PERCENT[:RADIUS], PERCENT 0-500")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        return image.filter(ImageFilter.UnsharpMask(self.radius, self.percent, threshold=0))


@dataclass(frozen=True)
class Denoise:
    """Noise reduction as in phones: the median of 3x3 pixels, mixed in by ``strength``; edges stay, grain goes."""

    name: ClassVar[str] = "denoise"
    strength: float

    def __post_init__(self) -> None:
        _require(0 <= self.strength <= 1, "denoise:STRENGTH, 0-1")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        return Image.blend(image, image.filter(ImageFilter.MedianFilter(3)), self.strength)


@dataclass(frozen=True)
class Noise:
    """Add independent Gaussian noise of ``sigma`` grey levels to each channel; ``seed`` fixes it for any picture."""

    name: ClassVar[str] = "noise"
    sigma: float
    seed: int | None = None

    def __post_init__(self) -> None:
        seeded = self.seed is None or self.seed >= 0
        _require(0 <= self.sigma <= 128 and seeded, "noise:SIGMA[:SEED], 0-128 grey levels, SEED 0 or more")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        import numpy as np

        drawn = np.random.default_rng(rng.getrandbits(32) if self.seed is None else self.seed)
        pixels = np.asarray(image, dtype=np.float32)
        pixels = pixels + drawn.normal(0.0, self.sigma, pixels.shape).astype(np.float32)
        return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Brightness:
    """Multiply every value by ``factor``, clipped."""

    name: ClassVar[str] = "brightness"
    factor: float

    def __post_init__(self) -> None:
        _require(0.1 <= self.factor <= 10, "brightness:FACTOR, 0.1-10")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        return ImageEnhance.Brightness(image).enhance(self.factor)


@dataclass(frozen=True)
class Contrast:
    """Move every value away from the mean grey (``factor`` over 1) or towards it, clipped."""

    name: ClassVar[str] = "contrast"
    factor: float

    def __post_init__(self) -> None:
        _require(0.1 <= self.factor <= 10, "contrast:FACTOR, 0.1-10")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        return ImageEnhance.Contrast(image).enhance(self.factor)


@dataclass(frozen=True)
class Saturation:
    """Move every colour away from its grey (``factor`` over 1) or towards it (0 is a grey picture), clipped."""

    name: ClassVar[str] = "saturation"
    factor: float

    def __post_init__(self) -> None:
        _require(0 <= self.factor <= 10, "saturation:FACTOR, 0-10")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        return ImageEnhance.Color(image).enhance(self.factor)


@dataclass(frozen=True)
class Gamma:
    """Raise every value, as a share of full white, to the power ``exponent``; below 1 the shadows open."""

    name: ClassVar[str] = "gamma"
    exponent: float

    def __post_init__(self) -> None:
        _require(0.1 <= self.exponent <= 10, "gamma:EXPONENT, 0.1-10")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        return image.point([round(255 * (value / 255) ** self.exponent) for value in range(256)] * 3)


@dataclass(frozen=True)
class Screenshot:
    """As a viewer shows it on a screen: scaled by ``factor`` with a plain kernel, flat bars above and below."""

    name: ClassVar[str] = "screenshot"
    factor: float = 0.8

    def __post_init__(self) -> None:
        _require(0.05 <= self.factor <= 4, "screenshot[:FACTOR], 0.05-4")

    def __call__(self, image: Image_, rng: Random) -> Image_:
        shown = Resize(self.factor, "bilinear")(image, rng)
        bar = max(1, round(0.08 * shown.height))
        screen = Image.new("RGB", (shown.width, shown.height + 2 * bar), (32, 33, 36))
        screen.paste(shown, (0, bar))
        return screen


@dataclass(frozen=True)
class Mirror:
    """Exchange left and right."""

    name: ClassVar[str] = "mirror"

    def __call__(self, image: Image_, rng: Random) -> Image_:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


_OPERATIONS: dict[str, Any] = {
    kind.name: kind
    for kind in (
        *(Jpeg, Webp, Avif, Resize, Fit, Crop, Cutout, Blur, Sharpen, Denoise, Noise),
        *(Brightness, Contrast, Saturation, Gamma, Screenshot, Mirror),
    )
}
EDITS: tuple[Any, ...] = (Brightness, Contrast, Saturation, Gamma)


@dataclass(frozen=True)
class Delivery:
    """A chain of operations."""

    operations: tuple[Operation, ...]

    @classmethod
    def parse(cls, spec: str) -> Delivery:
        """Read a spec such as ``resize:0.5+jpeg:80``.  Raises `UsageError` saying what was expected."""
        return cls(tuple(_parse(part.strip(), spec) for part in spec.split("+")))

    @property
    def spec(self) -> str:
        """The canonical spec: parses to an equal delivery."""
        return "+".join(map(_spec, self.operations))

    def __call__(self, image: Image_, seed: str) -> Image_:
        """The delivered picture.  What is random in it depends on ``seed`` and the spec alone."""
        rng = Random(f"{seed}:{self.spec}")
        for operation in self.operations:
            image = operation(image, rng)
        return image


def specs(deliveries: Sequence[Delivery]) -> list[str]:
    """Their specs, in order.  Raises `UsageError` where one is given twice."""
    found = [delivery.spec for delivery in deliveries]
    twice = next((spec for k, spec in enumerate(found) if spec in found[:k]), None)
    if twice is not None:
        raise UsageError(f"the delivery {twice} is given twice")
    return found


def _spec(operation: Any) -> str:
    values = [getattr(operation, field.name) for field in fields(operation)]
    while values and values[-1] == fields(operation)[len(values) - 1].default:
        values.pop()
    return ":".join([operation.name, *map(_text, values)])


def _text(value: object) -> str:
    """Short where that loses nothing: a spec parses to the very operation that wrote it."""
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def _parse(part: str, spec: str) -> Operation:
    name, *given = part.split(":")
    kind = _OPERATIONS.get(name)
    if kind is None:
        raise UsageError(f"delivery {spec!r}: {name!r} is none of {', '.join(_OPERATIONS)}")
    wanted = fields(kind)
    needed = sum(field.default is MISSING for field in wanted)
    if not needed <= len(given) <= len(wanted):
        usage = ":".join([name, *(field.name.upper() for field in wanted)])
        raise UsageError(f"delivery {spec!r}: expected {usage}")
    read = {"int": int, "float": float, "str": str}
    try:
        values = (read[str(f.type).split()[0]](text) for f, text in zip(wanted, given, strict=False))
        operation: Operation = kind(*values)
    except ValueError as error:
        raise UsageError(f"delivery {spec!r}: {error}") from error
    return operation


def _require(holds: bool, usage: str) -> None:
    if not holds:
        raise ValueError(f"expected {usage}")


def _through(image: Image_, **options: object) -> Image_:
    buffer = io.BytesIO()
    image.save(buffer, **options)  # type: ignore[arg-type]
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")


# Mild enough that nobody would call the result another picture; `nsnet scan --stability` looks at these.
MILD = tuple(map(Delivery.parse, ("jpeg:85", "webp:85", "resize:0.9", "crop:8")))
# What `nsnet robustness` tries unless told otherwise.
GRID = tuple(map(Delivery.parse, (
    "jpeg:95", "jpeg:85", "jpeg:75", "jpeg:50", "jpeg:30", "webp:85", "webp:80", "webp:50",
    "resize:0.9", "resize:0.75", "resize:0.5", "resize:1.5", "crop:8", "cutout:0.7", "blur:1", "noise:4",
    "brightness:1.25", "screenshot", "fit:1080+jpeg:70", "resize:0.75+jpeg:80+jpeg:70",
)))  # fmt: skip
