"""ONNX files that reach outside their folder, or claim what no machine holds."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
import onnx_files  # after the check that onnx is there
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper

from greenai_core import ModelLoadError
from greenai_plugins.models.onnx_format import OnnxModel

WEIGHTS = np.arange(12, dtype=np.float32)


def external(name: str, location: str) -> TensorProto:
    tensor = TensorProto(
        name=name, data_type=TensorProto.FLOAT, dims=[4, 3], data_location=TensorProto.EXTERNAL
    )
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return tensor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with its weights, a file outside it, and links to both."""
    (tmp_path / "secret.bin").write_bytes(WEIGHTS.tobytes())
    home = tmp_path / "model"
    (home / "data").mkdir(parents=True)
    (home / "data" / "w.bin").write_bytes(WEIGHTS.tobytes())
    (home / "out").symlink_to(tmp_path)
    (home / "out.bin").symlink_to(tmp_path / "secret.bin")
    (home / "in.bin").symlink_to("data/w.bin")
    return home


def gemm(folder: Path, location: str) -> Path:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"])
    return onnx_files.save(
        folder / "m.onnx", [node], [external("w", location), onnx_files.tensor("b", 3)]
    )


OUTSIDE = (
    "../secret.bin", "data/../../secret.bin", "/etc/passwd", "../../../../../../etc/passwd",
    "out.bin", "out/secret.bin", "C:\\secret.bin", "*/_ORT_MEM_ADDR_/*", "..",
)  # fmt: skip


@pytest.mark.parametrize("location", OUTSIDE)
def test_data_outside_the_folder_are_reported_and_never_opened(folder, location, caplog):
    model = OnnxModel(gemm(folder, location), device="cpu")
    with caplog.at_level(logging.WARNING):
        assert model.count_parameters().total == 15
    assert repr(location) in caplog.text
    ability = model.abilities()["run"]
    assert not ability.possible
    assert repr(location) in ability.reason
    with pytest.raises(ModelLoadError, match="outside its own folder") as caught:
        model.run()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("location", ["data/w.bin", "./data/w.bin"])
def test_data_inside_the_folder_are_read(folder, location, caplog):
    model = OnnxModel(gemm(folder, location), device="cpu")
    assert model.abilities()["run"].possible
    output = model.run(np.ones((1, 4), np.float32))["y"]
    np.testing.assert_allclose(output[0], np.array([0, 1, 0]) + WEIGHTS.reshape(4, 3).sum(0))
    assert not caplog.records


def test_a_link_inside_the_folder_is_no_escape(folder):
    assert OnnxModel(gemm(folder, "in.bin")).abilities()["run"].possible


def test_links_of_a_download_cache_are_no_escape(folder, tmp_path):
    """There model and data are links from one folder into another that holds both."""
    stored, shown = tmp_path / "stored", tmp_path / "shown"
    stored.mkdir()
    shown.mkdir()
    gemm(folder, "w.bin").rename(stored / "1f")
    (folder / "data" / "w.bin").rename(stored / "2e")
    (shown / "m.onnx").symlink_to("../stored/1f")
    (shown / "w.bin").symlink_to("../stored/2e")
    assert OnnxModel(shown / "m.onnx").abilities()["run"].possible


def places(bad: TensorProto) -> dict[str, ModelProto]:
    """Models with the tensor in each place where the schema allows one."""
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    constant = helper.make_node("Constant", [], ["c"], value=bad)
    inner = helper.make_graph([constant], "inner", [], [value])
    several = NodeProto(op_type="Custom", domain="mine", output=["y"])
    several.attribute.add(name="t", type=AttributeProto.TENSORS).tensors.append(bad)
    twice = NodeProto(op_type="Constant", output=["y"])
    attribute = twice.attribute.add(name="value", type=AttributeProto.TENSOR)
    attribute.t.CopyFrom(bad)
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    function = helper.make_function(
        "mine", "f", [], ["c"], [constant], [helper.make_opsetid("", 21)]
    )
    sparse = helper.make_sparse_tensor(bad, helper.make_tensor("i", 7, [12], range(12)), [4, 3])

    def model(*nodes: NodeProto, functions=(), **graph) -> ModelProto:
        body = helper.make_graph(list(nodes), "g", [], [value], **graph)
        opsets = [helper.make_opsetid("", 21)]
        return helper.make_model(body, opset_imports=opsets, functions=list(functions))

    return {
        "initializer": model(initializer=[bad]),
        "constant": model(constant),
        "branch": model(branch),
        "tensors of an attribute": model(several),
        "function": model(functions=[function]),
        "sparse": model(sparse_initializer=[sparse]),
    }


@pytest.mark.parametrize("place", list(places(external("w", "../secret.bin"))))
def test_data_outside_are_found_in_every_place(folder, place):
    content = places(external("w", "../secret.bin"))[place].SerializeToString()
    (folder / "m.onnx").write_bytes(content)
    assert "secret.bin" in OnnxModel(folder / "m.onnx").cannot_run()


def test_a_graph_given_twice_hides_nothing(folder):
    """Protocol buffers merge two graphs into one, so both are looked into."""
    good = onnx_files.linear(folder).read_bytes()
    bad = places(external("w", "../secret.bin"))["initializer"].SerializeToString()
    for content in (good + bad, bad + good):
        (folder / "m.onnx").write_bytes(content)
        assert "secret.bin" in OnnxModel(folder / "m.onnx").cannot_run()


# Absurd sizes


@pytest.mark.parametrize("dims", [[2**62], [2**31, 2**31], [-1, 4], [2**62] * 60, [2] * 70])
def test_absurd_shapes_are_refused(tmp_path, dims):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = onnx_files.save(tmp_path / "m.onnx", [node], [tensor])
    with pytest.raises(ModelLoadError, match="dimensions"):
        OnnxModel(path).count_parameters()


@pytest.mark.parametrize("dims", [[2**62], [2**40, 2**40], [-4]])
def test_absurd_generated_shapes_are_refused(tmp_path, dims):
    shape = helper.make_tensor("s", TensorProto.INT64, [len(dims)], dims)
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    path = onnx_files.save(tmp_path / "m.onnx", nodes, [shape])
    with pytest.raises(ModelLoadError, match="dimensions"):
        OnnxModel(path).count_parameters()


def message(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds a message."""
    size, length = len(content), bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def test_graphs_nested_without_end_are_refused(tmp_path):
    graph = b""
    for _ in range(5000):  # the graph of an attribute of a node of a graph of ...
        graph = message(1, message(5, message(6, graph)))
    model = b"\x08\x08" + message(7, graph) + message(8, b"\x10\x15")
    (tmp_path / "m.onnx").write_bytes(model)
    with pytest.raises(ModelLoadError, match="nested more than"):
        OnnxModel(tmp_path / "m.onnx").count_parameters()


def test_long_chains_of_names_take_no_square_of_time(tmp_path):
    """20,000 nodes that pass one tensor on, each used: seconds if every use walks the chain."""
    steps = 20_000
    nodes = [helper.make_node("Identity", [f"t{i}"], [f"t{i + 1}"]) for i in range(steps)]
    nodes += [helper.make_node("Relu", [f"t{i}"], [f"r{i}"]) for i in range(0, steps, 2)]
    weights = helper.make_tensor("t0", TensorProto.FLOAT, [2], [1.0, 2.0])
    path = onnx_files.save(tmp_path / "m.onnx", nodes, [weights])
    begin = time.process_time()
    assert OnnxModel(path).count_parameters().total == 2
    assert time.process_time() - begin < 5
