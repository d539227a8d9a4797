"""What tracing leaves behind in a file is no parameter, and buffers are not trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from greenai_core import factory

onnx = pytest.importorskip("onnx")
np = pytest.importorskip("numpy")


def written(path: Path, nodes: list[Any], initializers: dict[str, Any]) -> Path:
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, ["n", 4]), value("m", TensorProto.BOOL, ["n", 4])]
    outputs = [value("y", TensorProto.FLOAT, None)]
    held = [numpy_helper.from_array(tensor, name) for name, tensor in initializers.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, held)
    onnx.save(helper.make_model(graph), path)
    return path


def constant(name: str, *numbers: float) -> Any:
    from onnx import helper, numpy_helper

    tensor = numpy_helper.from_array(np.array(numbers, np.float32))
    return helper.make_node("Constant", [], [name], value=tensor)


def counted(path: Path) -> tuple[int, int]:
    count = factory.load(path).count_parameters()
    return count.trainable, count.non_trainable


@pytest.mark.parametrize("operator", ["Where", "Pow", "Equal", "Expand"])
def test_a_number_that_masks_or_compares_is_a_setting(tmp_path: Path, operator: str) -> None:
    from onnx import helper

    inputs = {
        "Where": ["m", "c", "x"], "Pow": ["x", "c"], "Equal": ["x", "c"], "Expand": ["c", "s"],
    }[operator]  # fmt: skip
    nodes = [constant("c", -np.inf), helper.make_node(operator, inputs, ["y"])]
    held = {"s": np.array([3, 4], np.int64)} if operator == "Expand" else {}
    assert counted(written(tmp_path / "a.onnx", nodes, held)) == (0, 0)


@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_the_bias_of_one_output_is_a_parameter(tmp_path: Path, operator: str) -> None:
    from onnx import helper

    nodes = [constant("c", 0.5), helper.make_node(operator, ["x", "c"], ["y"])]
    assert counted(written(tmp_path / "a.onnx", nodes, {})) == (1, 0)


def test_a_weight_of_one_element_that_is_expanded_is_a_parameter(tmp_path: Path) -> None:
    """As the class embedding of a vision transformer is: an initializer, not a constant."""
    from onnx import helper

    held = {"token": np.zeros(1, np.float32), "s": np.array([3, 4], np.int64)}
    nodes = [helper.make_node("Expand", ["token", "s"], ["y"])]
    assert counted(written(tmp_path / "a.onnx", nodes, held)) == (1, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("/model/rotary_emb/Constant_1_output_0", (0, 0)), ("/model/other/Constant", (4, 0))],
)
def test_frequencies_of_a_rotary_embedding(
    tmp_path: Path, name: str, expected: tuple[int, int]
) -> None:
    from onnx import helper

    nodes = [constant(name, 1, 2, 3, 4), helper.make_node("Mul", ["x", name], ["y"])]
    assert counted(written(tmp_path / "a.onnx", nodes, {})) == expected


def test_a_named_buffer_is_not_trained(tmp_path: Path) -> None:
    from onnx import helper

    held = {"model.final_logits_bias": np.zeros((1, 4), np.float32), "b": np.zeros(4, np.float32)}
    nodes = [
        helper.make_node("Add", ["x", "model.final_logits_bias"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["y"]),
    ]
    assert counted(written(tmp_path / "a.onnx", nodes, held)) == (4, 4)


@pytest.mark.torch
def test_the_same_buffer_in_a_state_dict(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = {"final_logits_bias": torch.zeros(1, 4), "head.weight": torch.zeros(2, 3)}
    torch.save(state, tmp_path / "a.pt")
    assert counted(tmp_path / "a.pt") == (6, 4)


@pytest.mark.parametrize(("reshaped", "expected"), [(True, (8, 0)), (False, (12, 0))])
def test_ones_and_zeros_of_a_group_normalisation_are_none(
    tmp_path: Path, reshaped: bool, expected: tuple[int, int]
) -> None:
    """PyTorch writes it as a normalisation of instances between two reshapes."""
    from onnx import helper

    node = helper.make_node
    nodes = [
        constant("ones", 1, 1),
        constant("zeros", 0, 0),
        node("Reshape" if reshaped else "Relu", ["x", "s"] if reshaped else ["x"], ["groups"]),
        node("InstanceNormalization", ["groups", "ones", "zeros"], ["even"]),
        node("Reshape", ["even", "s"], ["back"]),
        node("Mul", ["back", "w"], ["scaled"]),
        node("Add", ["scaled", "b"], ["y"]),
    ]
    held = {"w": np.ones(4, np.float32), "b": np.zeros(4, np.float32), "s": np.array([0, 2, -1])}
    assert counted(written(tmp_path / "a.onnx", nodes, held)) == expected
