"""Small graphs of ONNX, opened layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenai_plugins.models.onnx_format import OnnxModel

pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # after the check that it is there


def opened(path: Path, **options: Any) -> tuple[OnnxModel, Any, Any]:
    """The model, its layers, and inputs for it."""
    model = OnnxModel(path, device="cpu", **options)
    return model, model.as_layered(), model.prepare(model.make_inputs())


def save(
    path: Path,
    nodes: list[Any],
    initializers: Any = (),
    inputs: Any = (("x", [2, 4]),),
    outputs: Any = ("y",),
) -> Path:
    """A model of these nodes."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def branches(path: Path, *, turned: bool) -> Path:
    """Two independent branches, and the larger of both; ``turned`` writes the second one first."""
    weights = [
        numpy_helper.from_array(np.full((4, size), 0.5, np.float32), name)
        for name, size in (("w1", 8), ("w2", 16), ("v1", 4), ("v2", 4))
    ]
    weights[2] = numpy_helper.from_array(np.full((8, 4), 0.1, np.float32), "v1")
    weights[3] = numpy_helper.from_array(np.full((16, 4), 0.1, np.float32), "v2")
    first = [
        helper.make_node("MatMul", ["x", "w1"], ["a1"], name="/one/up/MatMul"),
        helper.make_node("Tanh", ["a1"], ["t1"], name="/one/act/Tanh"),
        helper.make_node("MatMul", ["t1", "v1"], ["b1"], name="/one/down/MatMul"),
    ]
    second = [
        helper.make_node("MatMul", ["x", "w2"], ["a2"], name="/two/up/MatMul"),
        helper.make_node("Sigmoid", ["a2"], ["t2"], name="/two/act/Sigmoid"),
        helper.make_node("MatMul", ["t2", "v2"], ["b2"], name="/two/down/MatMul"),
    ]
    both = [*second, *first] if turned else [*first, *second]
    return save(path, [*both, helper.make_node("Max", ["b1", "b2"], ["y"])], weights)
