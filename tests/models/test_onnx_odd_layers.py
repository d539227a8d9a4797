"""Layers of odd ONNX graphs: names, text, functions, branches, and what is no work of its own."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx_files
import onnxruntime
import pytest
from onnx_graphs import branches, opened, save

from greenai_core import ModelError
from greenai_plugins.models.onnx_format import OnnxModel

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  # after the check that it is there


def nameless(path, taken=""):
    """Products without names in a branch, too; ONNX Runtime calls the first one MatMul_0."""
    more = {"then_branch": ("t", 1), "else_branch": ("e", 2)}
    branch = {}
    for side, (name, count) in more.items():
        chain = ["a", *(f"{name}{step}" for step in range(1, count)), name]
        steps = [helper.make_node("MatMul", [given, "w"], [made])
                 for given, made in itertools.pairwise(chain)]  # fmt: skip
        branch[side] = helper.make_graph(
            steps, side, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
        )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("If", ["yes"], ["b"], **branch),
        helper.make_node("MatMul", ["b", "wide"], ["c"], name=taken),
        helper.make_node("MatMul", ["c", "back"], ["y"]),
    ]
    stored = [
        numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"),
        numpy_helper.from_array(np.ones((4, 32), np.float32), "wide"),
        numpy_helper.from_array(np.ones((32, 4), np.float32), "back"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4]),
            helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("taken", ["", "MatMul_0", "MatMul_3", "n0", "n1/0"])
def test_multiplications_are_with_the_node_that_does_them_whatever_it_is_called(tmp_path, taken):
    _, layered, _ = opened(nameless(tmp_path / "m.onnx", taken))
    x = {"x": np.ones((2, 4), np.float32), "yes": np.bool_(False)}
    macs = layered.macs({name: np.asarray(value) for name, value in x.items()})
    assert macs == {"a": 32, "b": 2 * 32, taken or "c": 2 * 4 * 32, "y": 2 * 4 * 32}


def test_names_of_tensors_that_look_like_ours(tmp_path):
    nodes = [
        helper.make_node("Tanh", ["x"], ["h"], name="n1/again0"),
        helper.make_node("Sin", ["h"], ["h/again0"], name="n0"),
        helper.make_node("Cos", ["h/again0"], ["h/again1"], name='/a "b"/é\n:0/[c]'),
        helper.make_node("Add", ["h", "h/again1"], ["y"], name="n0/again0"),
    ]
    model, layered, prepared = opened(save(tmp_path / "m.onnx", nodes))
    expected = model.fetch(model.predict(prepared))["y"]
    names = [layer.name for layer in layered.layers()]
    assert names == [node.name for node in nodes]
    for name in names:
        again = model.fetch(layered.repeated(prepared, name, 4)())
        np.testing.assert_array_equal(again["y"], expected)


@pytest.mark.parametrize("linked", [False, True])
def test_multiplications_are_counted_with_weights_in_another_file(tmp_path, linked):
    """Download caches keep all files of a model as links to one folder, under other names."""
    kept, shown = tmp_path / "kept", tmp_path / "shown ü"
    kept.mkdir()
    shown.mkdir()
    model = onnx.load(nameless(tmp_path / "m.onnx"))
    folder = kept if linked else shown
    onnx.save_model(
        model, folder / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    if linked:
        for name, other in (("m.onnx", "1f"), ("w.bin", "2e")):
            (kept / name).rename(kept / other)
            (shown / name).symlink_to(kept / other)
    layered = OnnxModel(shown / "m.onnx", device="cpu").as_layered()
    macs = layered.macs({"x": np.ones((2, 4), np.float32), "yes": np.asarray(True)})
    assert macs == {"a": 32, "b": 32, "c": 2 * 4 * 32, "y": 2 * 4 * 32}


def test_a_repeated_node_really_runs_so_often(tmp_path, monkeypatch):
    """Though its twins compute the same, and no one uses what they compute."""
    _, layered, prepared = opened(branches(tmp_path / "b.onnx", turned=False))
    layered.repeated(prepared, "y", 1)  # opens the plain session
    profiled = []
    real = onnxruntime.InferenceSession

    def session(path, sess_options, providers):
        sess_options.enable_profiling = True
        sess_options.profile_file_prefix = str(tmp_path / "profile")
        profiled.append(real(path, sess_options=sess_options, providers=providers))
        return profiled[-1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    work = layered.repeated(prepared, "/one/up/MatMul", 4)
    work()
    events = json.loads(Path(profiled[0].end_profiling()).read_text())
    ran = Counter(e["args"]["op_name"] for e in events if e["name"].endswith("_kernel_time"))
    passes = sum(e["name"] == "model_run" for e in events)
    assert ran["MatMul"] == passes * (4 + 3)
    assert ran["Tanh"] == passes


def test_what_only_gives_its_input_another_shape_is_not_measured_as_a_copy(tmp_path):
    """In the pass its output lies where its input does; by itself or once more it cannot."""
    nodes = [
        helper.make_node("Tanh", ["x"], ["h"], name="tanh"),
        helper.make_node("Flatten", ["h"], ["f"], name="flat", axis=0),
        helper.make_node("Sin", ["f"], ["y"], name="sin"),
    ]
    _, layered, prepared = opened(save(tmp_path / "m.onnx", nodes))
    assert [call.layer for call in layered.calls(prepared)] == ["tanh", "sin"]
    with pytest.raises(ModelError, match="copy"):
        layered.repeated(prepared, "flat", 2)
    assert "flat" in [call.layer for call in layered.profiled(prepared, 1)[0].calls]


def test_handing_a_model_over_is_measured_without_a_node(tmp_path):
    """A node in it would be taken off each layer, which has one of its own."""
    path = branches(tmp_path / "b.onnx", turned=False)
    _, layered, _ = opened(path)
    opens = layered._graph._open

    def profiled(file, change):
        def both(options):
            change(options)
            options.enable_profiling = True
            options.profile_file_prefix = str(tmp_path / "profile")

        return opens(file, both)

    layered._graph._open = profiled
    session = layered._graph.nothing()
    number = np.array([7], np.float32)
    assert session.run(None, {"number": number})[0] == 7
    events = json.loads(Path(session.end_profiling()).read_text())
    assert not [event for event in events if event.get("cat") == "Node"]
    with_a_node = layered._graph.nothing(on_gpu=True)
    assert with_a_node.run(None, {"number": number})[0] == 7
    with_a_node.end_profiling()


def test_a_branch_that_was_not_taken_may_not_fit_what_the_other_one_was_given(tmp_path):
    """As one for images is, where volumes are given: it is checked only while shapes are known."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["x"], ["s"], name="shape"),
            helper.make_node("Gather", ["s", "one"], ["size"], name="size"),
            helper.make_node("Equal", ["size", "unit"], ["is_one"], name="is one"),
            helper.make_node("Tanh", ["x"], ["h"], name="tanh"),
            helper.make_node(
                "If",
                ["is_one"],
                ["y"],
                name="branch",
                then_branch=helper.make_graph(
                    [helper.make_node("Squeeze", ["h", "axis"], ["t"])],
                    "then", [], [value("t", TensorProto.FLOAT, None)],
                ),
                else_branch=helper.make_graph(
                    [helper.make_node("Sin", ["h"], ["e"])],
                    "else", [], [value("e", TensorProto.FLOAT, None)],
                ),
            ),
        ],
        "g",
        [value("x", TensorProto.FLOAT, ["n", "m"])],
        [value("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.int64(1), "one"),
            numpy_helper.from_array(np.int64(1), "unit"),
            numpy_helper.from_array(np.array([1]), "axis"),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    layered = OnnxModel(path, device="cpu").as_layered()
    x = np.ones((2, 3), np.float32)
    (branch,) = [call for call in layered.calls({"x": x}) if call.layer == "branch"]
    np.testing.assert_allclose(branch.replay().copy_outputs_to_cpu()[0], np.sin(np.tanh(x)))


def test_text_is_measured_in_the_pass_and_what_takes_none_of_it_by_itself(tmp_path):
    nodes = [
        helper.make_node("StringConcat", ["x", "x"], ["twice"], name="concat"),
        helper.make_node("StringNormalizer", ["twice"], ["z"], name="norm"),
        helper.make_node("Shape", ["z"], ["s"], name="shape"),
        helper.make_node("Cast", ["s"], ["f"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Tanh", ["f"], ["y"], name="tanh"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]),
         helper.make_tensor_value_info("z", TensorProto.STRING, ["n"])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path = tmp_path / "text.onnx"
    path.write_bytes(model.SerializeToString())
    library = OnnxModel(path, device="cpu")
    layered = library.as_layered()
    prepared = library.prepare({"x": np.array(["a", "b"], object)})
    assert [call.layer for call in layered.calls(prepared)] == ["cast", "tanh"]
    assert len(layered.profiled(prepared, 1)[0].calls) == 6
    for name in ("concat", "norm"):
        assert layered.repeated(prepared, name, 3)()[1].tolist() == ["aa", "bb"]


def test_a_model_that_gives_a_sequence_of_different_shapes(tmp_path):
    nodes = [
        helper.make_node("Tanh", ["x"], ["h"], name="tanh"),
        helper.make_node("Flatten", ["h"], ["f"], name="flat", axis=0),
        helper.make_node("SequenceConstruct", ["h", "f"], ["y"], name="both"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    _, layered, prepared = opened(path)
    (sequence,) = layered.repeated(prepared, "tanh", 2)()
    assert [one.shape for one in sequence] == [(2, 4), (1, 8)]


def test_nodes_of_a_function_are_under_the_node_that_calls_it(tmp_path):
    """ONNX Runtime puts them in its place, under names of its own."""
    two = helper.make_function(
        "mine",
        "Two",
        ["a", "w"],
        ["c"],
        [helper.make_node("MatMul", ["a", "w"], ["b"]), helper.make_node("Tanh", ["b"], ["c"])],
        [helper.make_opsetid("", 21)],
    )
    nodes = [
        helper.make_node("Two", ["x", "w"], ["h"], name="/net/first", domain="mine"),
        helper.make_node("MatMul", ["h", "w"], ["m"], name="/net/mul"),
        helper.make_node("Two", ["m", "w"], ["y"], name="/net/second", domain="mine"),
    ]
    weights = [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")]
    path = onnx_files.save(tmp_path / "m.onnx", nodes, weights, functions=[two])
    _, layered, _ = opened(path)
    assert [(layer.name, layer.type, layer.parent) for layer in layered.layers()] == [
        ("net", "scope", None),
        ("net/first", "scope", "net"),
        ("/net/first/MatMul", "MatMul", "net/first"),
        ("/net/first/Tanh", "Tanh", "net/first"),
        ("/net/mul", "MatMul", "net"),
        ("net/second", "scope", "net"),
        ("/net/second/MatMul", "MatMul", "net/second"),
        ("/net/second/Tanh", "Tanh", "net/second"),
    ]
    macs = layered.macs({"x": np.ones((2, 4), np.float32)})
    assert macs == {"/net/mul": 32}, "of a function only all its multiplications are known"
