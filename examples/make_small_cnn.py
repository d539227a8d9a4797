"""Write examples/models/small_cnn.onnx, the network of the demo.

A convolutional classifier of 128 x 128 images, with fixed random weights. Needs
the package `onnx`; the file it writes is part of the repository, so nobody has
to run this to try greenai.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = (3, 24, 48, 96)
SIDE = 128
CLASSES = 10


def build() -> onnx.ModelProto:
    """Three strided convolutions, global pooling and a linear layer."""
    rng = np.random.default_rng(7)
    weights, nodes = [], []

    def weight(name: str, *shape: int) -> str:
        scale = 1 / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 1)
        values = rng.normal(0, scale, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, name))
        return name

    current = "image"
    for index, (before, after) in enumerate(pairwise(CHANNELS)):
        inputs = [current, weight(f"conv{index}.weight", after, before, 3, 3)]
        inputs.append(weight(f"conv{index}.bias", after))
        nodes.append(
            helper.make_node(
                "Conv",
                inputs,
                [f"conv{index}"],
                strides=[2, 2],
                pads=[1, 1, 1, 1],
                name=f"conv{index}",
            )
        )
        nodes.append(helper.make_node("Relu", [f"conv{index}"], [f"relu{index}"]))
        current = f"relu{index}"
    nodes.append(helper.make_node("GlobalAveragePool", [current], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    inputs = ["flat", weight("fc.weight", CLASSES, CHANNELS[-1]), weight("fc.bias", CLASSES)]
    nodes.append(helper.make_node("Gemm", inputs, ["logits"], transB=1))
    graph = helper.make_graph(
        nodes,
        "small_cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="greenai-example"
    )
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    target = Path(__file__).parent / "models" / "small_cnn.onnx"
    target.parent.mkdir(exist_ok=True)
    onnx.save(build(), target)
