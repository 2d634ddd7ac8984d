"""Matrices held as int8 with one symmetric scale for each row: ``W = q * scale``, beside it as ``NAME.scale``.

A quarter of float32's size, and with a scale for each row next to nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.arrays import Floats

SCALE = ".scale"
_LARGEST = 127


def int8_rows(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """``(n, d)`` float32 as int8 and the scales ``(n,)`` of its rows."""
    scale = np.maximum(np.abs(matrix).max(axis=1), np.float32(1e-12)) / np.float32(_LARGEST)
    return np.rint(matrix / scale[:, None]).clip(-_LARGEST, _LARGEST).astype(np.int8), scale


def rounded_rows(matrix: Floats) -> Floats:
    """What is left of ``(n, d)`` float32 once it has been held as int8."""
    q, scale = int8_rows(matrix)
    return np.multiply(q, scale[:, None], dtype=np.float32)


def multiplied_out(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """``tensors`` with those that have a scale in float32, and without the scales."""
    whole = {}
    for name, values in tensors.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in tensors:
            continue
        scale = tensors.get(name + SCALE)
        whole[name] = values if scale is None else np.multiply(values, scale[:, None], dtype=np.float32)
    return whole
