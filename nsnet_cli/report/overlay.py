"""The map of an explanation, laid over the picture: one image with scale, legend and verdict."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nsnet_cli.explain import Explanation
from nsnet_cli.report.text import verdict_in_words

# Blue through white to orange: told apart by those who cannot tell red from green, and in grey by the outlines.
_LOW, _MIDDLE, _HIGH = (33, 102, 172), (247, 247, 247), (230, 97, 1)
# Logits beyond this have the full colour.
_FULL = 4.0
# Share of colour over the picture: where the map says nothing, and where it is sure.
_FAINT, _STRONG = 0.10, 0.55
_LONGEST, _SHORTEST = 1280, 640
_MARGIN, _TEXT, _BAR = 16, 18, 16


def overlay(explanation: Explanation) -> Image.Image:
    """The picture, scaled to 640-1280 pixels, under its map; below it the scale, the verdict and what it means."""
    height, width = explanation.pixels.shape[:2]
    factor = min(_LONGEST / max(width, height), max(1.0, _SHORTEST / max(width, height)))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    picture = Image.fromarray(explanation.pixels).resize(size, Image.Resampling.LANCZOS)
    picture = _tinted(picture, explanation, factor)
    draw = ImageDraw.Draw(picture)
    for patch in explanation.result.patches or ():
        box = [patch.x, patch.y, patch.x + patch.width - 1, patch.y + patch.height - 1]
        draw.rectangle([v * factor for v in box], outline=(20, 20, 20) if patch.rank == "high" else (250, 250, 250))
    _outline(draw, explanation, factor)
    lines = _lines(explanation)
    page_width = max(size[0] + 2 * _MARGIN, 720)
    font = ImageFont.load_default(_TEXT)
    wrapped = [part for line in lines for part in _wrapped(line, font, page_width - 2 * _MARGIN)]
    below = _MARGIN + _BAR + 2 * _TEXT + len(wrapped) * round(1.4 * _TEXT) + 2 * _MARGIN
    page = Image.new("RGB", (page_width, _MARGIN + size[1] + below), "white")
    page.paste(picture, ((page_width - size[0]) // 2, _MARGIN))
    top = _scale(page, explanation, 2 * _MARGIN + size[1], font)
    draw = ImageDraw.Draw(page)
    for k, line in enumerate(wrapped):
        draw.text((_MARGIN, top + k * round(1.4 * _TEXT)), line, fill="black", font=font)
    return page


def colours(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB ``(..., 3)`` uint8 of logits: blue below zero, orange above."""
    low, middle, high = (np.array(c, np.float32) for c in (_LOW, _MIDDLE, _HIGH))
    t = np.clip(values / _FULL, -1.0, 1.0)[..., None]
    return np.where(t < 0, middle + (middle - low) * t, middle + (high - middle) * t).astype(np.uint8)


def _tinted(picture: Image.Image, explanation: Explanation, factor: float) -> Image.Image:
    values = explanation.values
    known = ~np.isnan(values)
    shown = np.where(known, values, 0.0).astype(np.float32)
    cell = explanation.cell * factor
    # The map overhangs the picture where the last cells are cut.
    whole = (round(values.shape[1] * cell), round(values.shape[0] * cell))
    smooth = np.asarray(Image.fromarray(shown).resize(whole, Image.Resampling.BILINEAR))
    seen = np.asarray(Image.fromarray(np.float32(known)).resize(whole, Image.Resampling.NEAREST))
    smooth, seen = (np.pad(a, ((0, 2), (0, 2)), "edge")[: picture.height, : picture.width] for a in (smooth, seen))
    strength = (_FAINT + (_STRONG - _FAINT) * np.clip(np.abs(smooth) / _FULL, 0, 1)) * seen
    grey = np.asarray(picture.convert("L").convert("RGB"), np.float32)
    # In grey, so that no colour of the picture is taken for one of the map.
    mixed = grey * (1 - strength[..., None]) + colours(smooth).astype(np.float32) * strength[..., None]
    return Image.fromarray(np.uint8(mixed))


def _outline(draw: ImageDraw.ImageDraw, explanation: Explanation, factor: float) -> None:
    """A line around what is marked, white within black, so that it is seen on everything."""
    marked = np.pad(explanation.values >= explanation.threshold, 1)
    cell = explanation.cell * factor
    for colour, width in ((0, 4), (255, 2)):
        for row, column in zip(*np.nonzero(marked[1:, 1:-1] != marked[:-1, 1:-1]), strict=True):
            draw.line([column * cell, row * cell, (column + 1) * cell, row * cell], fill=(colour,) * 3, width=width)
        for row, column in zip(*np.nonzero(marked[1:-1, 1:] != marked[1:-1, :-1]), strict=True):
            draw.line([column * cell, row * cell, column * cell, (row + 1) * cell], fill=(colour,) * 3, width=width)


def _scale(
    page: Image.Image, explanation: Explanation, top: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> int:
    """The colour bar with the threshold on it; gives where the text goes on."""
    width = page.width - 2 * _MARGIN
    ramp = colours(np.linspace(-_FULL, _FULL, width, dtype=np.float32))
    page.paste(Image.fromarray(np.broadcast_to(ramp, (_BAR, width, 3)).copy()), (_MARGIN, top))
    draw = ImageDraw.Draw(page)
    draw.rectangle([_MARGIN, top, _MARGIN + width, top + _BAR], outline="black")
    at = _MARGIN + round((np.clip(explanation.threshold, -_FULL, _FULL) / _FULL + 1) / 2 * width)
    draw.line([at, top - 4, at, top + _BAR + 4], fill="black", width=3)
    words = (
        ("looks real", _MARGIN, "la"),
        ("marked from here", at, "ma"),
        ("looks generated", page.width - _MARGIN, "ra"),
    )
    for word, x, anchor in words:
        draw.text((x, top + _BAR + 6), word, fill="black", font=font, anchor=anchor)
    return top + _BAR + 6 + 2 * _TEXT


def _lines(explanation: Explanation) -> list[str]:
    from nsnet_cli.report.explanation import meaning, shares

    result = explanation.result
    assert result.verdict is not None and result.probability is not None
    words = verdict_in_words(result.verdict, result.warnings, explanation.model, None)
    return [
        f"{result.verdict.upper()}, probability {result.probability:.3f}: {words}",
        shares(explanation),
        meaning(explanation),
        "Thin frames: patches of the verdict's mosaics, black of highest and white of lowest spectral entropy.",
    ]


def _wrapped(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    out, current = [], ""
    for word in line.split():
        tried = f"{current} {word}".strip()
        if current and font.getlength(tried) > width:
            out.append(current)
            current = word
        else:
            current = tried
    return [*out, current]
