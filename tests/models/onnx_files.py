"""Small ONNX files, written by the onnx package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
from onnx import TensorProto, helper  # after the check that it is there


def tensor(name: str, *dims: int, kind: int = TensorProto.FLOAT) -> Any:
    size = int(np.prod(dims))
    if kind in (TensorProto.INT4, TensorProto.UINT4):
        return helper.make_tensor(name, kind, dims, bytes((size + 1) // 2), raw=True)
    return helper.make_tensor(name, kind, dims, np.arange(size) % 2)


def save(path: Path, nodes: list[Any], initializers: list[Any] = (), **options: Any) -> Path:  # type: ignore[assignment]
    """A model with the input x (?x4) and the output y."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    functions = options.pop("functions", [])
    graph = helper.make_graph(nodes, "g", [x], [y], list(initializers), **options)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def linear(tmp_path: Path) -> Path:
    weights = [tensor("w", 4, 3), tensor("b", 3)]
    return save(
        tmp_path / "linear.onnx", [helper.make_node("Gemm", ["x", "w", "b"], ["y"])], weights
    )
