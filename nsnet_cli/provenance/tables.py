"""JPEG's quantisation tables: the quality of the last save, and whether libjpeg made it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

from nsnet_cli.inputs.decode import FORMATS, jpeg_quality
from nsnet_cli.provenance.findings import Finding


def read_tables(data: bytes) -> Iterator[Finding]:
    """Said of JPEG alone."""
    from PIL import Image

    with contextlib.suppress(OSError, SyntaxError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            tables: Mapping[int, Any] = getattr(image, "quantization", None) or {}
            progressive = ", progressive" if image.info.get("progressive") else ""
            quality = jpeg_quality(tables)
            if image.format in ("JPEG", "MPO") and quality is not None:
                own = "libjpeg's tables" if _is_ijg(tables, quality) else "tables of another encoder, closest to"
                yield Finding("jpeg", "quantisation", f"{own} quality {quality}{progressive}")


def _is_ijg(tables: Mapping[int, Any], quality: int) -> bool:
    """Whether the tables are those that libjpeg makes for a quality near ``quality``."""
    mine = {k: list(v) for k, v in tables.items()}
    near = range(max(1, quality - 2), min(100, quality + 2) + 1)
    return any(mine == {k: table for k, table in _ijg_tables(q).items() if k in mine} for q in near)


def _ijg_tables(quality: int) -> dict[int, list[int]]:
    from PIL import Image

    out = BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", quality=quality)
    with Image.open(out) as image:
        tables: Mapping[int, Any] = image.quantization  # type: ignore[attr-defined]
        return {k: list(v) for k, v in tables.items()}
