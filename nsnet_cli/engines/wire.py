"""A prepared picture as bytes, JSON and safetensors: what comes from a process that met a hostile file is only data.

``length of the JSON (8 bytes, little-endian) | JSON | safetensors``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from nsnet_cli.engines.preparing import DeliveredViews, Prepared
from nsnet_cli.inputs.decode import FileFacts, Picture
from nsnet_cli.results.document import ErrorInfo
from nsnet_cli.views.plan import View
from nsnet_cli.views.selection import Selection


def to_bytes(prepared: Prepared) -> bytes:
    """``prepared`` for `from_bytes`; its pixels must have been let go, as `Preparer` does."""
    tensors: dict[str, NDArray[Any]] = {}
    if prepared.views is not None:
        tensors["views"] = prepared.views
    if prepared.beside is not None:
        tensors["beside"] = prepared.beside
    if prepared.thumbnail is not None:
        tensors["thumbnail"] = prepared.thumbnail
    for view, selection in prepared.selections.items():
        for name in ("indices", "is_high", "entropy"):
            tensors[f"selection.{view}.{name}"] = getattr(selection, name)
    for k, delivered in enumerate(prepared.delivered):
        if delivered.views is not None:
            tensors[f"delivered.{k}"] = delivered.views
        if delivered.beside is not None:
            tensors[f"delivered.{k}.beside"] = delivered.beside
    picture = prepared.picture
    said = {
        "path": prepared.path,
        "facts": None if prepared.facts is None else asdict(prepared.facts),
        "mtime_ns": prepared.mtime_ns,
        "picture": None if picture is None else [picture.size, picture.format, picture.warnings],
        "selections": {view: [s.columns, s.patch] for view, s in prepared.selections.items()},
        "windows": prepared.windows,
        "plan": [astuple(view) for view in prepared.plan],
        "warnings": prepared.warnings,
        "provenance": prepared.provenance,
        "delivered": [[d.delivery, [astuple(view) for view in d.plan], d.weak] for d in prepared.delivered],
        "error": None if prepared.error is None else asdict(prepared.error),
        "seconds": prepared.seconds,
    }
    head = json.dumps(said).encode()
    return len(head).to_bytes(8, "little") + head + save({k: np.ascontiguousarray(t) for k, t in tensors.items()})


def from_bytes(data: bytes) -> Prepared:
    """The picture behind `to_bytes`.  Raises what JSON and safetensors raise on anything else."""
    end = 8 + int.from_bytes(data[:8], "little")
    said: dict[str, Any] = json.loads(data[8:end])
    tensors = load(data[end:])
    picture = said["picture"]
    return Prepared(
        path=said["path"],
        facts=None if said["facts"] is None else FileFacts(**said["facts"]),
        mtime_ns=said["mtime_ns"],
        picture=None if picture is None else Picture(tuple(picture[0]), picture[1], tuple(picture[2]), None),
        views=tensors.get("views"),
        selections={
            int(view): Selection(
                indices=tensors[f"selection.{view}.indices"],
                is_high=tensors[f"selection.{view}.is_high"],
                entropy=tensors[f"selection.{view}.entropy"],
                columns=columns,
                patch=patch,
            )
            for view, (columns, patch) in said["selections"].items()
        },
        windows={int(view): (x, y, side) for view, (x, y, side) in said["windows"].items()},
        plan=tuple(View(*view) for view in said["plan"]),
        warnings=tuple(said["warnings"]),
        thumbnail=tensors.get("thumbnail"),
        provenance=said["provenance"],
        delivered=tuple(
            DeliveredViews(
                delivery,
                tensors.get(f"delivered.{k}"),
                tuple(View(*view) for view in plan),
                weak,
                tensors.get(f"delivered.{k}.beside"),
            )
            for k, (delivery, plan, weak) in enumerate(said["delivered"])
        ),
        error=None if said["error"] is None else ErrorInfo(**said["error"]),
        seconds=said["seconds"],
        beside=tensors.get("beside"),
    )
