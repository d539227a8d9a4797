"""Layers of ONNX models: the nodes that ONNX Runtime runs, under the names of the file."""

from __future__ import annotations

import gc
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx_files
import onnxruntime
import pytest
from onnx_graphs import branches, opened, save

from greenai_core import ModelError, ProfiledLayered, RepeatableLayered, TimedLayered
from greenai_plugins.models import onnx_format
from greenai_plugins.models.onnx_format import OnnxModel
from greenai_plugins.models.onnx_origins import Op, origins
from greenai_plugins.models.onnx_rows import layers_of, rows_of

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  # after the check that it is there

CNN = Path(__file__).parents[2] / "examples" / "models" / "small_cnn.onnx"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def op(name, kind, inputs, outputs, **more):
    return Op(name or outputs[0], name, kind, tuple(inputs), tuple(outputs), **more)


def labels(file, run, stored=frozenset()):
    """For each node that runs the labels of what it was made of."""
    found = origins(file, run, set(stored))
    return [[file[place].label for place in one.made_of] for one in found]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary files go."""
    made = tmp_path / "temporary"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    return made


# What runs, in the words of the file


FILE = [
    op("a/conv", "Conv", ["x", "w"], ["c"]),
    op("a/norm", "BatchNormalization", ["c", "s"], ["n"]),
    op("a/act", "Relu", ["n"], ["r"]),
    op("", "Transpose", ["w2"], ["w2t"]),
    op("b/mul", "MatMul", ["r", "w2t"], ["y"]),
]
STORED = {"w", "s", "w2"}


def test_a_fused_node_is_all_that_lies_between_its_ends():
    run = [op("other name", "FusedConv", ["x", "w"], ["r"]), op("z", "MatMul", ["r", "k"], ["y"])]
    assert labels(FILE, run, STORED) == [["a/conv", "a/norm", "a/act"], ["b/mul"]]


def test_what_was_computed_beforehand_is_no_work_but_its_parameters_are_there():
    run = [op("a/conv", "Conv", ["x", "w"], ["r"]), op("b/mul", "MatMul", ["r", "k"], ["y"])]
    (_, product) = origins(FILE, run, STORED)
    assert (product.made_of, product.folded) == ((4,), (3,))


def test_nodes_on_blocked_images_are_known_by_what_they_are_named_after():
    run = [
        op("r_nchwc", "Conv", ["x", "w"], ["reorder_token_0"]),
        op("ReorderOutput", "ReorderOutput", ["reorder_token_0"], ["r"]),
        op("", "MatMul", ["r", "k"], ["y"]),
    ]
    assert labels(FILE, run, STORED) == [["a/conv", "a/norm", "a/act"], [], ["b/mul"]]
    names = [row.name for row in rows_of(FILE, run, origins(FILE, run, STORED))]
    assert names == ["a/conv + a/norm + a/act", "ReorderOutput", "b/mul"]


def test_no_node_of_the_file_is_in_two():
    run = [
        op("n_bn_nchwc", "Conv", ["x"], ["t0"]),
        op("r_nchwc", "Relu", ["t0"], ["r"]),
        op("r again", "Relu", ["n"], ["r"]),
    ]
    assert labels(FILE, run, STORED) == [["a/conv", "a/norm"], ["a/act"], []]


def test_many_together_are_named_after_the_first_and_the_last():
    file = [op(f"n{i}", "Add", [f"t{i}"], [f"t{i + 1}"]) for i in range(6)]
    run = [op("fused", "Big", ["t0"], ["t6"])]
    (row,) = rows_of(file, run, origins(file, run, set()))
    assert (row.name, row.type) == ("n0 + … + n5 (6 nodes)", "Big")


def test_scopes_hold_more_than_one_and_say_something_new():
    names = ["/net/l1/conv/Conv", "/net/l1/act/Relu", "/net/l2/fc/Gemm", "other"]
    file = [
        op(name, "X", [f"t{i}"], [f"t{i + 1}"], scopes=tuple(name.strip("/").split("/")[:-1]))
        for i, name in enumerate(names)
    ]
    layers = layers_of(rows_of(file, file, origins(file, file, set())), [1, 2, 3, 4])
    assert [(layer.name, layer.parent, layer.parameters) for layer in layers] == [
        ("net", None, 0), ("net/l1", "net", 0), ("/net/l1/conv/Conv", "net/l1", 1),
        ("/net/l1/act/Relu", "net/l1", 2), ("/net/l2/fc/Gemm", "net", 3), ("other", None, 4),
    ]  # fmt: skip


def test_a_scope_and_a_node_of_one_name_stay_apart():
    names = ["dense", "dense/a", "dense/b", "dense"]
    file = [
        op(name, "X", [f"t{i}"], [f"t{i + 1}"], scopes=tuple(name.split("/")[:-1]))
        for i, name in enumerate(names)
    ]
    layers = layers_of(rows_of(file, file, origins(file, file, set())), [0] * 4)
    names = [layer.name for layer in layers]
    assert len(set(names)) == len(names)
    assert layers[2].parent == "dense/"


# Real models


def test_a_small_network():
    _, layered, prepared = opened(CNN)
    assert isinstance(layered, (ProfiledLayered, RepeatableLayered))
    assert not isinstance(layered, TimedLayered), "ONNX Runtime cannot watch one pass"
    by_name = {layer.name: layer for layer in layered.layers()}
    assert {"flat", "logits"} <= set(by_name)
    assert sum(layer.parameters for layer in by_name.values()) == 53_626
    macs = layered.macs(prepared)
    assert sum(macs.values()) == OnnxModel(CNN).count_macs().macs
    assert macs["logits"] == 96 * 10


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v1"])
def test_architectures_lose_no_parameter_and_no_multiplication(name):
    model, layered, prepared = opened(LIGHT / f"light_{name}.onnx")
    summed = sum(layer.parameters for layer in layered.layers())
    assert summed == model.count_parameters().total
    assert sum(layered.macs(prepared).values()) == model.count_macs().macs
    calls = layered.calls(prepared)
    in_pass = [call.layer for call in layered.profiled(prepared, 1)[0].calls if call.layer]
    assert len(in_pass) == len(layered._graph.ops)
    assert [call.layer for call in calls] == [
        name
        for name, op in zip(in_pass, layered._graph.ops, strict=True)
        if op.type not in ("Reshape", "Dropout", "Flatten")
    ]
    calls[-1].replay()


def test_the_nodes_of_a_pass_are_those_of_the_models_own_session(tmp_path):
    """Operator by operator, in the order in which they run."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "own")
    path = LIGHT / "light_squeezenet.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    _, layered, prepared = opened(path)
    session.run(None, prepared)
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = [e["args"]["op_name"] for e in events if e["name"].endswith("_kernel_time")]
    assert [node.op_type for node in layered._graph.model.graph.node] == ran
    (one,) = layered.profiled(prepared, 1)
    assert [call.layer for call in one.calls[1:]] == [row.name for row in layered._rows]


def test_the_order_of_independent_nodes_in_the_file_does_not_matter(tmp_path):
    facts = []
    for turned in (False, True):
        path = branches(tmp_path / f"{turned}.onnx", turned=turned)
        _, layered, prepared = opened(path)
        layers = {(x.name, x.type, x.parameters, x.parent) for x in layered.layers()}
        facts.append((layers, layered.macs(prepared)))
    assert facts[0] == facts[1]
    names = {layer[0] for layer in facts[0][0]}
    assert {"one", "two", "/one/up/MatMul", "y"} <= names


def test_nodes_without_names_are_called_by_what_they_make(tmp_path):
    weights = [numpy_helper.from_array(np.eye(4, dtype=np.float32), name) for name in "uv"]
    nodes = [
        helper.make_node("MatMul", ["x", "u"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "v"], ["y"]),
    ]
    _, layered, prepared = opened(save(tmp_path / "m.onnx", nodes, weights))
    assert [(layer.name, layer.parameters) for layer in layered.layers()] == [
        ("h", 16), ("t", 0), ("y", 16),
    ]  # fmt: skip
    assert layered.macs(prepared) == {"h": 32, "t": 0, "y": 32}


def control(path):
    """A branch and a loop, whose bodies use tensors from outside."""
    add = helper.make_node("Add", ["h", "bias"], ["then"], name="inner/add")
    sub = helper.make_node("Sub", ["h", "bias"], ["else"], name="inner/sub")
    value = lambda name, kind, shape: helper.make_tensor_value_info(name, kind, shape)  # noqa: E731
    yes = helper.make_graph([add], "yes", [], [value("then", TensorProto.FLOAT, [2, 4])])
    no = helper.make_graph([sub], "no", [], [value("else", TensorProto.FLOAT, [2, 4])])
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "w"], ["next"], name="body/mul"),
            helper.make_node("Identity", ["cond"], ["again"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("cond", TensorProto.BOOL, []),
            value("state", TensorProto.FLOAT, [2, 4]),
        ],
        [value("again", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [2, 4])],
    )
    nodes = [
        helper.make_node("Tanh", ["x"], ["h"], name="tanh"),
        helper.make_node("ReduceSum", ["h"], ["sum"], name="sum", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["which"], name="greater"),
        helper.make_node("If", ["which"], ["b"], name="branch", then_branch=yes, else_branch=no),
        helper.make_node("Loop", ["three", "true", "b"], ["y"], name="loop", body=body),
    ]
    stored = [
        numpy_helper.from_array(np.full(4, 0.5, np.float32), "bias"),
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.int64(3), "three"),
        numpy_helper.from_array(np.bool_(True), "true"),
        numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"),
    ]
    return save(path, nodes, stored)


def test_graphs_inside_nodes_belong_to_them(tmp_path):
    model, layered, prepared = opened(control(tmp_path / "control.onnx"))
    layers = {layer.name: layer.parameters for layer in layered.layers()}
    assert set(layers) >= {"tanh", "sum", "branch", "loop"}
    assert (layers["branch"], layers["loop"]) == (4, 16)
    assert sum(layers.values()) == model.count_parameters().total
    assert layered.macs(prepared)["loop"] == 3 * 2 * 4 * 4, "it goes round three times"
    for call in layered.calls(prepared):
        call.replay()
    for one in layered.profiled(prepared, 2):
        assert [call.layer for call in one.calls[1:]] == [row.name for row in layered._rows]
    for name in ("branch", "loop"):
        outputs = model.fetch(layered.repeated(prepared, name, 3)())
        np.testing.assert_array_equal(outputs["y"], model.fetch(model.predict(prepared))["y"])


def test_what_takes_sequences_is_repeated_in_the_pass_only(tmp_path):
    nodes = [
        helper.make_node("Tanh", ["x"], ["h"], name="tanh"),
        helper.make_node("SequenceConstruct", ["x", "h"], ["s"], name="sequence"),
        helper.make_node("ConcatFromSequence", ["s"], ["y"], name="joined", axis=1),
    ]
    model, layered, prepared = opened(save(tmp_path / "m.onnx", nodes))
    assert [call.layer for call in layered.calls(prepared)] == ["tanh", "sequence"]
    again = model.fetch(layered.repeated(prepared, "joined", 2)())
    np.testing.assert_array_equal(again["y"], model.run(prepared)["y"])


def test_what_cannot_be_repeated_is_refused(tmp_path):
    random = [
        helper.make_node("RandomNormalLike", ["x"], ["r"], name="draw"),
        helper.make_node("Add", ["x", "r"], ["y"], name="add"),
    ]
    _, layered, prepared = opened(save(tmp_path / "random.onnx", random))
    with pytest.raises(ModelError, match="other outputs"):
        layered.repeated(prepared, "draw", 2)
    _, layered, prepared = opened(branches(tmp_path / "b.onnx", turned=False))
    with pytest.raises(ModelError, match="not a node"):
        layered.repeated(prepared, "one", 2)


def test_weights_beside_the_file(tmp_path):
    weights = np.random.default_rng(0).random((4, 3), np.float32)
    path = onnx_files.save(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="mul")],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save_model(
        onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    _, layered, _ = opened(path)
    x = {"x": np.ones((2, 4), np.float32)}
    np.testing.assert_allclose(layered.repeated(x, "mul", 2)()[0], x["x"] @ weights, rtol=1e-6)
    (call,) = layered.calls(x)
    np.testing.assert_allclose(call.replay().copy_outputs_to_cpu()[0], x["x"] @ weights, rtol=1e-6)


def test_shapes_that_the_file_leaves_open(tmp_path):
    _, layered, _ = opened(onnx_files.linear(tmp_path))
    for size in (1, 5):
        x = {"x": np.ones((size, 4), np.float32)}
        (call,) = layered.calls(x)
        assert call.replay().copy_outputs_to_cpu()[0].shape == (size, 3)
        assert layered.macs(x) == {call.layer: size * 12}


def test_all_sessions_compute_as_the_models_own_does(tmp_path, monkeypatch):
    threads = []
    real = onnxruntime.InferenceSession

    def session(path, sess_options, providers):
        threads.append((sess_options.intra_op_num_threads, tuple(providers)))
        return real(path, sess_options=sess_options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    _, layered, prepared = opened(branches(tmp_path / "b.onnx", turned=False), threads=1)
    layered.profiled(prepared, 1)
    layered.repeated(prepared, "y", 2)
    layered.calls(prepared)[0].replay()
    assert len(threads) == 7
    assert set(threads) == {(1, ("CPUExecutionProvider",))}


# Nothing stays behind


def test_no_file_stays_behind(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = branches(tmp_path / "b.onnx", turned=False)
    before = sorted(tmp_path.iterdir())
    model, layered, prepared = opened(path)
    layered.profiled(prepared, 2)
    with pytest.raises(ModelError, match="ONNX Runtime"):
        layered.profiled({"x": np.ones((3, 3, 3), np.float32)}, 2)
    with pytest.raises(ModelError, match="ONNX Runtime"):
        layered.calls({"x": np.ones((3, 3, 3), np.float32)})
    left = [file.name for file in folder.rglob("*") if file.is_file()]
    assert not [name for name in left if name.endswith((".json", ".onnx"))], left
    replay = layered.calls(prepared)[0].replay
    replay()
    del layered, model, replay
    gc.collect()
    assert not list(folder.iterdir())
    assert sorted(tmp_path.iterdir()) == before


def test_a_graph_that_cannot_be_written_leaves_nothing(folder, tmp_path, monkeypatch):
    model = OnnxModel(branches(tmp_path / "b.onnx", turned=False), device="cpu")
    model.load()

    def fails(*args, **kwargs):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fails)
    with pytest.raises(ModelError, match="the disk is full"):
        model.as_layered()
    assert not list(folder.iterdir())


def test_without_the_onnx_package_it_says_which_extra(monkeypatch):
    monkeypatch.setattr(onnx_format, "LAYERS", {"no_such_library": "onnx-layers"})
    model = OnnxModel(CNN, device="cpu")
    ability = model.abilities()["layers"]
    assert not ability.possible
    assert "onnx-layers" in ability.reason
    with pytest.raises(ModelError, match="onnx-layers"):
        model.as_layered()
