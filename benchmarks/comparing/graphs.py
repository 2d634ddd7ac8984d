"""The tower's blocks as a graph of OpenVINO and as one of ONNX, straight from the tensors of a tower file.

Both take tokens as they enter the first block, in float32, ``(N, length, width)``, and give the class token as each
block leaves it, ``(N, layers, width)``: pixels, whose rounding would be most of all drift, stay outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nsnet_cli.arrays import Floats
from nsnet_cli.weights.shapes import VitConfig

_QUICK = 1.702
State = Mapping[str, Floats]


def openvino_model(config: VitConfig, state: State) -> Any:
    """As `openvino.Model`."""
    import openvino
    from openvino import opset13 as op

    length, width, heads = config.tokens + 1, config.width, config.heads

    def constant(value: Any, kind: Any = np.float32) -> Any:
        return op.constant(np.array(value, kind, order="C"))

    def numbers(*value: int) -> Any:
        return constant(value, np.int64)

    def norm(x: Any, name: str) -> Any:
        even = op.mvn(x, numbers(-1), True, 1e-5, "INSIDE_SQRT")
        return op.add(op.multiply(even, constant(state[f"{name}.weight"])), constant(state[f"{name}.bias"]))

    def linear(x: Any, name: str, joint: str = ".") -> Any:
        product = op.matmul(x, constant(state[f"{name}{joint}weight"]), False, True)
        return op.add(product, constant(state[f"{name}{joint}bias"]))

    tokens = x = op.parameter([-1, length, width], np.float32, "tokens")
    class_tokens = []
    for block in (f"transformer.resblocks.{k}." for k in range(config.layers)):
        qkv = op.split(linear(norm(x, f"{block}ln_1"), f"{block}attn.in_proj", "_"), constant(2, np.int64), 3)
        q, k, v = (
            op.transpose(op.reshape(part, numbers(0, length, heads, width // heads), True), numbers(0, 2, 1, 3))
            for part in qkv.outputs()
        )
        mixed = op.transpose(op.scaled_dot_product_attention(q, k, v), numbers(0, 2, 1, 3))
        x = op.add(x, linear(op.reshape(mixed, numbers(0, length, width), True), f"{block}attn.out_proj"))
        hidden = linear(norm(x, f"{block}ln_2"), f"{block}mlp.c_fc")
        hidden = op.swish(hidden, constant(_QUICK)) if config.quick_gelu else op.gelu(hidden, "erf")
        x = op.add(x, linear(hidden, f"{block}mlp.c_proj"))
        class_tokens.append(op.slice(x, numbers(0), numbers(1), numbers(1), numbers(1)))
    return openvino.Model([op.concat(class_tokens, 1)], [tokens], "tower")


def onnx_model(config: VitConfig, state: State) -> Any:
    """As `onnx.ModelProto`."""
    from onnx import TensorProto, helper, numpy_helper

    length, width, heads = config.tokens + 1, config.width, config.heads
    nodes: list[Any] = []
    held: dict[str, Any] = {}

    def constant(name: str, value: Any) -> str:
        held[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def norm(x: str, name: str) -> str:
        parts = [constant(f"{name}.{part}", state[f"{name}.{part}"]) for part in ("weight", "bias")]
        return node("LayerNormalization", x, *parts, axis=-1, epsilon=1e-5)

    def linear(x: str, name: str, joint: str = ".") -> str:
        weight = constant(f"{name}.weight", state[f"{name}{joint}weight"].T)
        return node("Add", node("MatMul", x, weight), constant(f"{name}.bias", state[f"{name}{joint}bias"]))

    apart = constant("apart", np.array([0, length, 3, heads, width // heads], np.int64))
    joined = constant("joined", np.array([0, length, width], np.int64))
    scale = constant("scale", np.float32((width // heads) ** -0.5))
    quick, first = constant("quick", np.float32(_QUICK)), constant("first", np.array([0], np.int64))
    thirds = [constant(f"third.{k}", np.array(k, np.int64)) for k in range(3)]
    x, class_tokens = "tokens", []
    for block in (f"transformer.resblocks.{k}." for k in range(config.layers)):
        qkv = linear(norm(x, f"{block}ln_1"), f"{block}attn.in_proj", "_")
        qkv = node("Transpose", node("Reshape", qkv, apart), perm=[2, 0, 3, 1, 4])
        q, k, v = (node("Gather", qkv, third, axis=0) for third in thirds)
        alike = node("MatMul", node("Mul", q, scale), node("Transpose", k, perm=[0, 1, 3, 2]))
        mixed = node("Transpose", node("MatMul", node("Softmax", alike, axis=-1), v), perm=[0, 2, 1, 3])
        x = node("Add", x, linear(node("Reshape", mixed, joined), f"{block}attn.out_proj"))
        hidden = linear(norm(x, f"{block}ln_2"), f"{block}mlp.c_fc")
        if not config.quick_gelu:
            raise ValueError("only towers with the quick GELU are compared")
        hidden = node("Mul", hidden, node("Sigmoid", node("Mul", hidden, quick)))
        x = node("Add", x, linear(hidden, f"{block}mlp.c_proj"))
        class_tokens.append(node("Gather", x, first, axis=1))
    nodes.append(helper.make_node("Concat", class_tokens, ["class_tokens"], axis=1))
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["n", length, width])],
        [helper.make_tensor_value_info("class_tokens", TensorProto.FLOAT, ["n", config.layers, width])],
        list(held.values()),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
