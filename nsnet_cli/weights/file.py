"""NS-Net weights files: where they are found, what they say of themselves, and how they are refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsnet_cli.disk import sha256_of
from nsnet_cli.errors import WeightsError
from nsnet_cli.verdict.calibration import Calibration
from nsnet_cli.views.plan import ViewKind, kinds_of, plan_views
from nsnet_cli.views.selection import SelectionRecipe
from nsnet_cli.weights.fast import FastScores, fast_path, read_fast
from nsnet_cli.weights.plausible import faults
from nsnet_cli.weights.quantised import HeldTensor, held
from nsnet_cli.weights.safefile import mapped, read_header, write_safetensors
from nsnet_cli.weights.shapes import Adaptation, HeadConfig, KernelConfig, SeveralLooks
from nsnet_cli.weights.store import TOWER_NAME, find_weights

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FORMAT = "nsnet.weights/5"
# Weights of the first format have no kernel head, and mean the same without one; those of the second hold it in half
# precision, not as int8; those of the third know no `SeveralLooks`; those of the fourth hold anchors row by row.
_WITHOUT_KERNEL = "nsnet.weights/1"
_READABLE = (_WITHOUT_KERNEL, *(f"nsnet.weights/{n}" for n in (2, 3, 4)), WEIGHTS_FORMAT)
SEMANTIC = "semantic"
# Tensors that no scan needs: what the basis was cut from, and what `nsnet nullspace inspect` measures.
SINGULAR_VALUES = "inspect.singular_values"
DIRECTIONS = "inspect.directions"


@dataclass(frozen=True)
class WeightsInfo:
    """The metadata of a weights file: all that decides how a picture is prepared and judged."""

    name: str
    tower: str
    tower_sha256: str
    selection: SelectionRecipe
    head: HeadConfig
    kernel: KernelConfig | None
    adaptation: Adaptation
    basis: dict[str, Any]
    views: int
    fusion: dict[str, float]
    several: SeveralLooks
    calibration: Calibration
    training: dict[str, Any]
    licence: str

    @property
    def kinds(self) -> list[ViewKind]:
        """The kinds of view that the weights have a head for."""
        return kinds_of(plan_views(self.selection, 2))

    def to_metadata(self) -> dict[str, str]:
        record = {
            key: json.dumps(value) if not isinstance(value, str) else value for key, value in asdict(self).items()
        }
        return {"format": WEIGHTS_FORMAT, **record}

    @staticmethod
    def from_metadata(path: Path, metadata: dict[str, str]) -> WeightsInfo:
        """Raises `WeightsError` for a foreign format or an incomplete record: nothing is guessed."""
        if metadata.get("format") not in _READABLE:
            raise WeightsError(
                f"{path}: expected NS-Net weights ({WEIGHTS_FORMAT}), found {metadata.get('format', 'no format')!r}; "
                "make weights with `nsnet train`, or leave --weights out to use the shipped ones"
            )
        try:
            info = WeightsInfo._parsed(metadata)
            fault = next(faults(info), None)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WeightsError(
                f"{path}: the recipe in its metadata is incomplete or of another version ({error}); "
                "it was altered, or made by another version of nsnet"
            ) from error
        if fault is not None:
            raise WeightsError(f"{path}: the recipe in its metadata cannot be: {fault}; get the original file")
        return info

    @staticmethod
    def _parsed(metadata: dict[str, str]) -> WeightsInfo:
        kernel = json.loads(metadata["kernel"]) if metadata["format"] != _WITHOUT_KERNEL else None
        return WeightsInfo(
            name=metadata["name"],
            tower=metadata["tower"],
            tower_sha256=metadata["tower_sha256"],
            # Weights that do not say where windows lie, or at which scales, are older than the choice.
            selection=SelectionRecipe(
                **{"window_by": "centre", "looks": (), **_tuples(json.loads(metadata["selection"]))}
            ),
            # What does not say which kinds of view it is for is older than the choice: for all.
            head=HeadConfig(**_tuples(json.loads(metadata["head"]))),
            # Nor what the kernel head met beside its anchors, or how far its components were evened out.
            kernel=KernelConfig(**{"whitening": 0.0, "delivered_share": 0.0, "whole_share": 0.0, **_tuples(kernel)})
            if kernel
            else None,
            adaptation=Adaptation(**_tuples(json.loads(metadata["adaptation"]))),
            basis=json.loads(metadata["basis"]),
            views=int(metadata["views"]),
            fusion={str(judge): float(share) for judge, share in json.loads(metadata["fusion"]).items()},
            several=SeveralLooks(**json.loads(metadata.get("several", "{}"))),
            calibration=Calibration(**json.loads(metadata["calibration"])),
            training=json.loads(metadata["training"]),
            licence=metadata["licence"],
        )


def _tuples(record: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""

    def hard(value: Any) -> Any:
        return tuple(map(hard, value)) if isinstance(value, list) else value

    return {key: hard(value) for key, value in record.items()}


@dataclass(frozen=True)
class NsnetWeights:
    """A weights file, mapped.

    ``tensors`` are those of the contrastive heads under ``head.``, of the kernel head under ``kernel.``, and what was
    adapted under ``tower.``; what the file holds as int8 stays so.  ``fast`` is the bound that is kept beside the file,
    if one is.
    """

    path: Path
    sha256: str
    info: WeightsInfo
    tensors: dict[str, HeldTensor]
    tower_path: Path
    fast: FastScores | None = None

    def below(self, part: str) -> dict[str, HeldTensor]:
        """The tensors of one part, ``head``, ``kernel`` or ``tower``, by their names within it."""
        return {k.removeprefix(f"{part}."): v for k, v in self.tensors.items() if k.startswith(f"{part}.")}


def is_weights(metadata: dict[str, str]) -> bool:
    """Whether a file of that ``metadata`` says that it holds weights, of whatever version."""
    return metadata.get("format", "").startswith(WEIGHTS_FORMAT.split("/")[0] + "/")


def weights_info(path: Path) -> WeightsInfo:
    """Read the metadata of a weights file alone."""
    return WeightsInfo.from_metadata(path, read_header(path).metadata)


def load_weights(name_or_path: str) -> NsnetWeights:
    """Read weights and find the tower that they were trained on.

    Raises `WeightsError` when either is missing, damaged or when the tower's SHA-256 is not the one that
    the weights name.
    """
    path = find_weights(name_or_path)
    info = weights_info(path)
    beside = path.parent / f"{info.tower}.safetensors"
    tower_path = beside if beside.is_file() else find_weights(info.tower or TOWER_NAME)
    with ThreadPoolExecutor() as pool:
        found, own = pool.map(sha256_of, (tower_path, path))
    if found != info.tower_sha256:
        raise WeightsError(
            f"{tower_path}: SHA-256 is {found}, but {path.name} was trained on {info.tower_sha256}; "
            "restore the original file (`nsnet weights verify` checks all)"
        )
    return NsnetWeights(path, own, info, held(mapped(path).tensors), tower_path, read_fast(path, own))


def save_weights(path: Path, tensors: dict[str, Tensor], info: WeightsInfo) -> None:
    """Write a weights file; it appears whole or not at all.  The bound of what it replaces goes."""
    fast_path(path).unlink(missing_ok=True)
    write_safetensors(path, tensors, info.to_metadata())
