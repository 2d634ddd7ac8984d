"""Weights files of detectors: what they say of themselves, and how they are refused.

The format ``nsnet.detector/1`` is a safetensors file.  Its metadata says everything that decides how a picture is seen
and judged; matrices and kernels are in half precision, vectors (norms and their statistics) in float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsnet_cli.detectors.interface import Detector, Eyes
from nsnet_cli.detectors.registry import find_detector
from nsnet_cli.errors import WeightsError
from nsnet_cli.verdict.calibration import Calibration
from nsnet_cli.weights.safefile import read_header, write_safetensors
from nsnet_cli.weights.store import weights_folders

if TYPE_CHECKING:
    from torch import Tensor

    from nsnet_cli.detectors.layers.network import Network

DETECTOR_FORMAT = "nsnet.detector/1"
# Below the folders that weights are searched in.
FOLDER = "baselines"
_SUFFIX = ".safetensors"
# PyTorch counts batches beside its norms; nothing here looks at that.
_COUNTERS = "num_batches_tracked"


@dataclass(frozen=True)
class DetectorInfo:
    """The metadata of a weights file.

    ``detector`` is the name of the method, ``eyes`` and ``shape`` the fields of its eyes and of its network;
    ``held_out`` are figures of grouped folds that were not learnt from.
    """

    name: str
    detector: str
    eyes: Mapping[str, Any]
    shape: Mapping[str, Any]
    tower: str | None
    tower_sha256: str | None
    parameters: int
    calibration: Calibration
    held_out: Mapping[str, float]
    training: Mapping[str, Any]
    licence: str

    def to_metadata(self) -> dict[str, str]:
        return {"format": DETECTOR_FORMAT, **{key: json.dumps(value) for key, value in asdict(self).items()}}

    @staticmethod
    def from_metadata(path: Path, metadata: Mapping[str, str]) -> DetectorInfo:
        """Raises `WeightsError` for a foreign format or an incomplete record."""
        if metadata.get("format") != DETECTOR_FORMAT:
            raise WeightsError(
                f"{path}: expected weights of a detector ({DETECTOR_FORMAT}), found "
                f"{metadata.get('format', 'no format')!r}; make some with `nsnet train --detector NAME`"
            )
        try:
            record = {key: json.loads(value) for key, value in metadata.items() if key != "format"}
            calibration, shape = Calibration(**record["calibration"]), _tuples(record["shape"])
            return DetectorInfo(**{**record, "calibration": calibration, "shape": shape})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{path}: its metadata is incomplete or of another version ({error}); it was altered, or made by "
                "another version of nsnet"
            ) from error


def detector_info(path: Path) -> DetectorInfo:
    """What a weights file says of itself.  Raises `WeightsError`."""
    return DetectorInfo.from_metadata(path, read_header(path).metadata)


def detector_weights(name: str) -> Path | None:
    """The weights of a detector in the known folders, None where there are none."""
    paths = (folder / FOLDER / f"{name}{_SUFFIX}" for folder in weights_folders())
    return next((path for path in paths if path.is_file()), None)


def save_detector(path: Path, network: Network, info: DetectorInfo) -> None:
    """Write a weights file; it appears whole or not at all."""
    write_safetensors(path, stored(network), info.to_metadata())


def stored(network: Network) -> dict[str, Tensor]:
    """The tensors of a network as a file holds them."""
    return {
        name: (value.half() if value.ndim > 1 else value.float()).cpu()
        for name, value in network.state_dict().items()
        if not name.endswith(_COUNTERS)
    }


def load_detector(path: Path) -> tuple[Detector, DetectorInfo, Network]:
    """The detector of a weights file with the eyes that it was trained with, and its network in float32.

    Raises `WeightsError` where what is in the file does not fit.
    """
    from safetensors.torch import load_file

    info = detector_info(path)
    detector = find_detector(info.detector)
    try:
        eyes: Eyes | None = None if detector.eyes is None else replace(detector.eyes, **info.eyes)  # type: ignore[type-var]
        network = detector.network(**info.shape)
    except TypeError as error:
        raise WeightsError(f"{path}: made for another version of {info.detector} ({error})") from error
    tensors = load_file(path)
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith(_COUNTERS)}
    wrong = [f"{name} is missing" for name in sorted(wanted.keys() - tensors.keys())]
    wrong += [f"{name} is unknown" for name in sorted(tensors.keys() - wanted.keys())]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(value.shape)}"
        for name, value in sorted(wanted.items())
        if name in tensors and tensors[name].shape != value.shape
    ]
    if wrong:
        raise WeightsError(f"{path}: the tensors do not fit the network in the metadata: {'; '.join(wrong[:3])}")
    network.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)
    return replace(detector, eyes=eyes, shape=info.shape), info, network.eval()


def _tuples(shape: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in shape.items()}
