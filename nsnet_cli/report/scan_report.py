"""Results as one HTML page to hand on: self-contained, printable, whole without a script."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

from nsnet_cli import __version__
from nsnet_cli.inputs.decode import decode, facts_of
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.inputs.sources import read_source
from nsnet_cli.inputs.sources.address import is_url
from nsnet_cli.provenance.declared import CONTRADICTION, all_contradictions
from nsnet_cli.report.colours import css_colour
from nsnet_cli.report.statements import statements_of
from nsnet_cli.report.text import WARNINGS, verdict_in_words
from nsnet_cli.results.document import ModelInfo, PictureResult, Summary
from nsnet_cli.results.escaping import printable

_THUMBNAIL, _STRIP = 320, 4
_SCRIPT = "scan.js"
_FIELDS = tuple(field.name for field in fields(PictureResult))


def report_html(document: dict[str, Any], command: str) -> str:
    """``nsnet.scan/1`` as a page.

    Pictures are read again for their thumbnails, and shown only where the file still has the SHA-256 of its
    row.  ``model`` may lack thresholds (rows of JSONL): then nothing is said of error rates.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    document = {
        "versions": None,
        "options": None,
        **document,
        # A document of an older version lacks what has been added since.
        "results": [{**dict.fromkeys(_FIELDS), "warnings": [], **result} for result in document["results"]],
        "summary": {**Summary().to_dict(), **document["summary"]},
    }
    options = document["options"] or {}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "printable": printable,
        "words": lambda code: WARNINGS.get(code, ""),
        "colour": css_colour,
    }
    package = resources.files("nsnet_cli.report")
    # Only this very script may run: whatever a file's name or metadata smuggles in may not.
    script = package.joinpath(_SCRIPT).read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    model = _model(document["model"])
    limits = DecodeLimits(
        options.get("max_pixels") or DecodeLimits.max_pixels, options.get("max_bytes") or DecodeLimits.max_bytes
    )
    threshold = options.get("threshold")
    return environment.from_string(package.joinpath("scan.html.j2").read_text("utf-8")).render(
        d=document,
        model=model,
        threshold=threshold,
        command=printable(command),
        cards=[_card(number, result, model, threshold, limits) for number, result in enumerate(document["results"])],
        script=Markup(script),
        script_hash=digest,
        made_by=__version__,
    )


def _model(data: dict[str, Any]) -> ModelInfo | None:
    try:
        return ModelInfo(**data)
    except TypeError:
        return None


def _card(
    number: int, result: dict[str, Any], model: ModelInfo | None, threshold: float | None, limits: DecodeLimits
) -> dict[str, Any]:
    verdict = result["verdict"] or "error"
    card: dict[str, Any] = {"number": number, "verdict": verdict, "result": result, "picture": None, "strip": None}
    card["name"] = printable(result["path"])
    card["said"] = statements_of(result["provenance"]) if result["provenance"] else []
    card["contradictions"] = all_contradictions(result["verdict"], result["provenance"])
    card["said_kinds"] = " ".join(_kinds_said(result))
    card["words"] = (
        f"{result['error']['code']}: {printable(result['error']['message'])}"
        if result["error"]
        else verdict_in_words(verdict, result["warnings"], model, threshold)
    )
    if result["error"] is not None:
        card["why_no_picture"] = "could not be scanned"
        return card
    if result["clip"]:
        card["why_no_picture"] = "a clip: its frames have cards of their own"
        return card
    image = _picture(result, limits)
    if image is None:
        card["why_no_picture"] = "the file is gone, or is no longer the one that was scanned"
        return card
    card["strip"] = _patches_enlarged(image, result["patches"] or [])
    scale = min(1.0, _THUMBNAIL / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    card["picture"] = {
        "data": _jpeg(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0), 80),
        "width": image.width,
        "height": image.height,
        "stroke": max(1.0, max(image.size) / 220),
    }
    return card


def _kinds_said(result: dict[str, Any]) -> list[str]:
    """By what the page can be filtered."""
    provenance = result["provenance"] or {}
    kinds = ["contradiction"] if CONTRADICTION in result["warnings"] else []
    kinds += ["not_read"] if provenance.get("state") == "not_read" else []
    claims = set(provenance.get("claims") or ())
    if claims & {"generated", "partly_generated", "possibly_generated"}:
        kinds.append("generated")
    return [*kinds, *(claim for claim in ("captured", "edited", "unknown") if claim in claims)]


def _picture(result: dict[str, Any], limits: DecodeLimits) -> Image.Image | None:
    if is_url(result["path"]):
        return None  # whoever opens somebody's results must not call somebody's server
    with suppress(Exception):  # no picture is worth the page
        data = read_source(result["path"], limits)
        if facts_of(data).sha256 == result["sha256"]:
            pixels = decode(data, limits).pixels
            return None if pixels is None else Image.fromarray(pixels)
    return None


def _patches_enlarged(image: Image.Image, patches: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Patches of the first mosaic, side by side in one picture.

    Those that look most generated, then those that look most real; without scores the lowest, then the highest
    entropies.
    """
    first = [p for p in patches if p["view"] == 0]
    scored = bool(first) and all(p["score"] is not None for p in first)
    if scored:
        order = sorted(first, key=lambda p: -p["score"])
        left, right = order[:_STRIP], order[: -_STRIP - 1 : -1]
    else:
        left = sorted((p for p in first if p["rank"] == "low"), key=lambda p: p["entropy"])[:_STRIP]
        right = sorted((p for p in first if p["rank"] == "high"), key=lambda p: -p["entropy"])[:_STRIP]
    if not (left and right):
        return None
    chosen = [*left, *right]
    side = chosen[0]["width"]
    strip = np.zeros((side, side * len(chosen), 3), dtype=np.uint8)
    for k, p in enumerate(chosen):
        cut = np.asarray(image.crop((p["x"], p["y"], p["x"] + side, p["y"] + side)))
        strip[:, k * side : (k + 1) * side] = cut
    said = ("looking most generated", "looking most real") if scored else ("of lowest entropy", "of highest entropy")
    return {
        "data": _jpeg(Image.fromarray(strip), 90),
        "scored": scored,
        "what": f"the {len(left)} patches {said[0]} and the {len(right)} {said[1]}",
    }


def _jpeg(image: Image.Image, quality: int) -> str:
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=quality)
    return base64.b64encode(out.getvalue()).decode("ascii")
