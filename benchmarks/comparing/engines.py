"""The engines by name: what each imports, how it is made, and what it makes of views."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from comparing.graphs import onnx_model, openvino_model
from nsnet_cli.arrays import Floats, Pixels
from nsnet_cli.tower.features import Features, ViewBatch
from nsnet_cli.tower.file import tower_info, tower_state
from nsnet_cli.tower.on_numpy import NumpyTower, _Vit

See = Callable[[Pixels], Features]


@dataclass(frozen=True)
class Engine:
    """``package`` is what it needs beside NumPy; ``make`` gives what sees views, with so many threads."""

    package: str | None
    make: Callable[[Path, int], See]


def _numpy(path: Path, threads: int) -> See:
    tower = NumpyTower(tower_info(path), tower_state(path), threads)
    return lambda views: tower.encode([ViewBatch(views)])[0].features


def _torch(precision: str) -> Callable[[Path, int], See]:
    def make(path: Path, threads: int) -> See:
        from nsnet_cli.tower.on_torch import TorchTower

        tower = TorchTower(tower_info(path), tower_state(path), "cpu", precision, threads)
        return lambda views: tower.encode([ViewBatch(views)])[0].features

    return make


def _onednn(path: Path, threads: int) -> See:
    from nsnet_cli.tower.on_onednn import OnednnTower

    tower = OnednnTower(tower_info(path), tower_state(path), threads)
    return lambda views: tower.encode([ViewBatch(views)])[0].features


def _openvino(precision: str) -> Callable[[Path, int], See]:
    def make(path: Path, threads: int) -> See:
        import openvino

        info, state = tower_info(path), tower_state(path)
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(openvino_model(info.config, state), "CPU", settings)
        asking = compiled.create_infer_request()
        return _around(_Vit(info, state), lambda tokens: np.array(asking.infer([tokens])[0]))

    return make


def _onnxruntime(int8: bool) -> Callable[[Path, int], See]:
    def make(path: Path, threads: int) -> See:
        import onnx
        import onnxruntime

        info, state = tower_info(path), tower_state(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tower.onnx"
            onnx.save(onnx_model(info.config, state), str(file))
            if int8:
                from onnxruntime.quantization import QuantType, quantize_dynamic

                whole, file = file, Path(folder) / "int8.onnx"
                quantize_dynamic(whole, file, per_channel=True, weight_type=QuantType.QInt8)
            session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
        return _around(_Vit(info, state), lambda tokens: session.run(None, {"tokens": tokens})[0])

    return make


def _around(network: Any, blocks: Callable[[Floats], Floats]) -> See:
    """``blocks`` between what NumPy makes of pixels and what it makes of class tokens."""

    def see(views: Pixels) -> Features:
        found: Features = network._features(blocks(np.stack([network._embed(view) for view in views])))
        return found

    return see


ENGINES = {
    "NumPy, float32": Engine(None, _numpy),
    "PyTorch, float32": Engine("torch", _torch("fp32")),
    "PyTorch, bfloat16 as before": Engine("torch", _torch("bf16")),
    "oneDNN by PyTorch, bfloat16": Engine("torch", _onednn),
    "OpenVINO, float32": Engine("openvino", _openvino("f32")),
    "OpenVINO, bfloat16": Engine("openvino", _openvino("bf16")),
    "ONNX Runtime, float32": Engine("onnxruntime", _onnxruntime(int8=False)),
    "ONNX Runtime, int8": Engine("onnxruntime", _onnxruntime(int8=True)),
}
