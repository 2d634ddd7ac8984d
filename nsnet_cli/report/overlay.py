"""The map of an explanation, laid over the picture: one image with scale, legend and verdict."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nsnet_cli.explain import Explanation
from nsnet_cli.report.colours import FULL, colours
from nsnet_cli.report.text import verdict_in_words

# Share of colour over the picture: where the map says nothing, and where it is sure.
_FAINT, _STRONG = 0.10, 0.55
_LONGEST, _SHORTEST = 1280, 640
_FRAMES = "Thin frames: patches of the verdict's mosaics, black of highest and white of lowest spectral entropy."
_MARGIN, _TEXT, _LINE, _BAR = 16, 18, 25, 16


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
    lines = _lines(explanation)
    page_width = max(size[0] + 2 * _MARGIN, 720)
    font = ImageFont.load_default(_TEXT)
    wrapped = [part for line in lines for part in _wrapped(line, font, page_width - 2 * _MARGIN)]
    below = _MARGIN + _BAR + 2 * _LINE + _TEXT + len(wrapped) * _LINE + 2 * _MARGIN
    page = Image.new("RGB", (page_width, _MARGIN + size[1] + below), "white")
    page.paste(picture, ((page_width - size[0]) // 2, _MARGIN))
    top = _scale(page, explanation, 2 * _MARGIN + size[1], font)
    draw = ImageDraw.Draw(page)
    for k, line in enumerate(wrapped):
        draw.text((_MARGIN, top + k * _LINE), line, fill="black", font=font)
    return page


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
    strength = (_FAINT + (_STRONG - _FAINT) * np.clip(np.abs(smooth) / FULL, 0, 1)) * seen
    grey = np.asarray(picture.convert("L").convert("RGB"), np.float32)
    # In grey, so that no colour of the picture is taken for one of the map.
    mixed = grey * (1 - strength[..., None]) + colours(smooth).astype(np.float32) * strength[..., None]
    return Image.fromarray(np.uint8(mixed))


def _scale(
    page: Image.Image, explanation: Explanation, top: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> int:
    """The colour bar with the whole picture's score on it; gives where the text goes on."""
    width = page.width - 2 * _MARGIN
    ramp = colours(np.linspace(-FULL, FULL, width, dtype=np.float32))
    page.paste(Image.fromarray(np.broadcast_to(ramp, (_BAR, width, 3)).copy()), (_MARGIN, top))
    draw = ImageDraw.Draw(page)
    draw.rectangle([_MARGIN, top, _MARGIN + width, top + _BAR], outline="black")
    assert explanation.result.score is not None
    at = _MARGIN + round((np.clip(explanation.result.score, -FULL, FULL) / FULL + 1) / 2 * width)
    draw.line([at, top - 4, at, top + _BAR + 4], fill="black", width=3)
    ends = (
        (f"looks real ({-FULL:+.0f})", _MARGIN, "la"),
        (f"looks generated ({FULL:+.0f})", page.width - _MARGIN, "ra"),
    )
    for word, x, anchor in ends:
        draw.text((x, top + _BAR + 6), word, fill="black", font=font, anchor=anchor)
    # On a line of its own, so that it can stand below its mark wherever that is.
    anchor = "la" if at < page.width / 3 else "ra" if at > page.width * 2 / 3 else "ma"
    draw.text((at, top + _BAR + 6 + _LINE), "the whole picture", fill="black", font=font, anchor=anchor)
    return top + _BAR + 6 + 2 * _LINE + _TEXT // 2


def _lines(explanation: Explanation) -> list[str]:
    from nsnet_cli.report.explanation import extent, meaning

    result = explanation.result
    assert result.verdict is not None and result.probability is not None
    words = verdict_in_words(result.verdict, result.warnings, explanation.model, None)
    return [
        f"{result.verdict.upper()}, probability {result.probability:.3f}: {words}",
        f"Map: {extent(explanation)}.",
        meaning(explanation),
        *([_FRAMES] if result.patches else []),
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
