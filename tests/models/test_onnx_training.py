"""Training of ONNX models through PyTorch, and back into their own graphs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenai_core import ModelError, ModelInputError, ModelLoadError, PluginUnavailable, Session
from greenai_core.testing import SimulatedCounterProfiler
from greenai_plugins.models import onnx_conversion, onnx_training
from greenai_plugins.models.onnx_format import OnnxModel

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
if importlib.util.find_spec("onnx2torch") is None:  # importing it takes torchvision
    pytest.skip("onnx2torch is not installed", allow_module_level=True)
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64

node = helper.make_node
RNG = np.random.default_rng(4)


def values(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def write(
    path: Path, nodes: list[Any], weights: dict[str, Any], shape: list[Any], **options: Any
) -> Path:
    """A model with the input x, of ``shape``, and the output y."""
    opset, kind = options.pop("opset", 17), options.pop("kind", FLOAT)
    outputs = options.pop("outputs", {"y": FLOAT})
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    ir_version = options.pop("ir_version", 8)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, **options)
    helper.set_model_props(model, {"author": "somebody"})
    onnx.save(model, path)
    return path


def opened(path: Path, **options: Any) -> OnnxModel:
    return OnnxModel(path, device="cpu", **options)


def weights(path: Path) -> dict[str, Any]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def learning(model: OnnxModel) -> set[tuple[int, ...]]:
    """Shapes of what the optimiser changes."""
    trainable: Any = model.as_trainable()
    return {tuple(p.shape) for p in trainable._module.parameters() if p.requires_grad}


def taught(path: Path, target: Path, x: Any, y: Any, steps: int = 3, **options: Any) -> Any:
    model = opened(path, **options)
    trainable = model.as_trainable()
    batch = trainable.prepare_batch({"x": x}, y)
    for _ in range(steps):
        trainable.step(batch)
    trainable.save(target)
    return trainable


def by_hand(network: Any, x: Any, y: Any, steps: int = 3) -> Any:
    """The same in plain PyTorch; the network gives scores of classes."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(torch.tensor(x)), torch.tensor(y)).backward()
        optimizer.step()
    return network.eval()


class Cnn(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)
        self.hidden = torch.nn.Linear(4, 8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.head(torch.relu(self.hidden(x)))


CNN = {
    "conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "norm.weight": (4,), "norm.bias": (4,),
    "norm.running_mean": (4,), "norm.running_var": (4,), "hidden.weight": (4, 8),
    "hidden.bias": (8,), "head.weight": (8, 3), "head.bias": (3,),
}  # fmt: skip
NODES = [
    node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], name="conv"),
    node(
        "BatchNormalization",
        ["c", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"],
        ["n"],
    ),
    node("Relu", ["n"], ["r"]),
    node("GlobalAveragePool", ["r"], ["p"]),
    node("Flatten", ["p"], ["f"]),
    node("Gemm", ["f", "hidden.weight", "hidden.bias"], ["h"], name="hid.den"),
    node("Relu", ["h"], ["hr"]),
    node("MatMul", ["hr", "head.weight"], ["m"]),
    node("Add", ["m", "head.bias"], ["logits"]),
    node("Softmax", ["logits"], ["y"]),
]


@pytest.fixture
def cnn(tmp_path: Path) -> tuple[Path, Any]:
    """An ONNX file, and the same network in plain PyTorch."""
    held = {name: values(*shape) for name, shape in CNN.items()}
    held["norm.running_var"] = np.abs(held["norm.running_var"]) + 1
    path = write(tmp_path / "cnn.onnx", NODES, held, ["n", 3, 8, 8], producer_name="them")
    network = Cnn()
    turned = {n: a.T if n.startswith("h") and a.ndim == 2 else a for n, a in held.items()}
    state = {name: torch.tensor(np.ascontiguousarray(array)) for name, array in turned.items()}
    network.load_state_dict(state | {"norm.num_batches_tracked": torch.tensor(0)})
    return path, network


X, Y = values(6, 3, 8, 8), np.array([0, 1, 2, 0, 1, 2])


def test_learns_what_plain_pytorch_learns(cnn: Any, tmp_path: Path) -> None:
    """Weights, transposed ones, biases and statistics, though the graph ends in a softmax."""
    path, network = cnn
    trainable = taught(path, tmp_path / "out.onnx", X, Y)
    by_hand(network, X, Y)
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for name, array in weights(tmp_path / "out.onnx").items():
        expected = state[name].T if array.shape != state[name].shape else state[name]
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    after = opened(tmp_path / "out.onnx").run(X)["y"]
    with torch.no_grad():
        np.testing.assert_allclose(
            after, torch.softmax(network(torch.tensor(X)), 1).numpy(), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(after, trainable._module(torch.tensor(X)), rtol=1e-4, atol=1e-5)


def test_the_graph_stays_as_it_was(cnn: Any, tmp_path: Path) -> None:
    path, _ = cnn
    taught(path, tmp_path / "out.onnx", X, Y)
    before, after = onnx.load(path), onnx.load(tmp_path / "out.onnx")
    for model in (before, after):
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")
    assert before == after


def test_losses_of_classes_and_of_floats(cnn: Any) -> None:
    """Classes against the scores before the softmax, floats against the probabilities."""
    path, _ = cnn
    model = opened(path)
    trainable: Any = model.as_trainable()
    probabilities = torch.tensor(model.run(X)["y"])
    score = trainable.score(trainable.prepare_batch({"x": X}, Y))
    nll = torch.nn.functional.nll_loss(probabilities.log(), torch.tensor(Y))
    assert score.loss == pytest.approx(float(nll), rel=1e-4)
    assert score.accuracy == float((probabilities.argmax(1).numpy() == Y).mean())
    target = np.full((6, 3), 0.5, np.float32)
    score = trainable.score(trainable.prepare_batch({"x": X}, target))
    assert score.loss == pytest.approx(float(((probabilities - 0.5) ** 2).mean()), rel=1e-4)


def test_a_sigmoid_is_no_softmax(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Sigmoid", ["m"], ["y"])]
    path = write(tmp_path / "a.onnx", nodes, {"w": values(4, 2)}, ["n", 4])
    trainable = opened(path).as_trainable()
    with pytest.raises(ModelInputError, match=r"Sigmoid.*floats"):
        trainable.prepare_batch({"x": values(3, 4)}, np.array([0, 1, 0]))
    trainable.step(trainable.prepare_batch({"x": values(3, 4)}, np.zeros((3, 2), np.float32)))


def test_shared_weights_are_one_weight(tmp_path: Path) -> None:
    """Also where onnx2torch transposes it in one place and not in the other."""
    nodes = [
        node("Gemm", ["x", "w"], ["a"]),
        node("MatMul", ["a", "w"], ["b"]),
        node("Gemm", ["b", "w"], ["y"], transB=1),
    ]
    held = values(4, 4)
    path = write(tmp_path / "a.onnx", nodes, {"w": held}, ["n", 4])
    x, y = values(5, 4), np.array([0, 1, 2, 3, 0])
    taught(path, tmp_path / "out.onnx", x, y)
    weight = torch.nn.Parameter(torch.tensor(held))
    optimizer = torch.optim.SGD([weight], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        out = torch.tensor(x) @ weight @ weight @ weight.t()
        torch.nn.functional.cross_entropy(out, torch.tensor(y)).backward()
        optimizer.step()
    ((name, after),) = weights(tmp_path / "out.onnx").items()
    assert name == "w"
    np.testing.assert_allclose(after, weight.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_equal_tensors_of_a_fresh_network_part(tmp_path: Path) -> None:
    """One tensor of zeros is bias, another's bias, and mean; PyTorch writes it so."""
    nodes = [
        node("Identity", ["zeros"], ["mean"]),
        node("Identity", ["ones"], ["gain"]),
        node("Gemm", ["x", "w", "zeros"], ["a"]),
        node("BatchNormalization", ["a", "gain", "zeros", "mean", "ones"], ["n"]),
        node("Gemm", ["n", "w", "zeros"], ["y"]),
    ]
    held = {"w": values(4, 4), "zeros": np.zeros(4, np.float32), "ones": np.ones(4, np.float32)}
    path = write(tmp_path / "a.onnx", nodes, held, ["n", 4])
    taught(path, tmp_path / "out.onnx", values(6, 4), np.array([0, 1, 2, 3, 0, 1]))
    after = weights(tmp_path / "out.onnx")
    assert len(after) == 7
    vectors = [array.tobytes() for array in after.values() if array.ndim == 1]
    assert len(set(vectors)) == 6
    opened(tmp_path / "out.onnx").run(values(6, 4))


def test_every_operator_that_does_not_convert_is_named_at_once(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "w"], ["a"]),
        node("Gelu", ["a"], ["b"], name="act", domain="com.microsoft"),
        node("Det", ["q"], ["y"]),
        node("Unsqueeze", ["b", "zero"], ["q"]),
        node("ArgMax", ["b"], ["unused"]),
    ]
    nodes[2], nodes[3] = nodes[3], nodes[2]
    path = write(tmp_path / "a.onnx", nodes, {"w": values(4, 4), "zero": np.array([0])}, ["n", 4])
    ability = opened(path).abilities()["train"]
    assert not ability.possible
    assert "com.microsoft.Gelu of opset 1 (node act)" in ability.reason
    assert "Det of opset 17 (node y)" in ability.reason
    assert "exported from" in ability.reason
    with pytest.raises(ModelLoadError, match=r"a\.onnx.*Det of opset 17"):
        opened(path).as_trainable()


def test_operators_of_other_outputs_are_no_hindrance(tmp_path: Path) -> None:
    """The first output of floats is compared with the targets; a label beside it is not."""
    nodes = [
        node("Gemm", ["x", "w"], ["y"]),
        node("Gelu", ["y"], ["g"], domain="com.microsoft"),
        node("ArgMax", ["g"], ["label"]),
    ]
    outputs = {"label": INT64, "y": FLOAT}
    path = write(tmp_path / "a.onnx", nodes, {"w": values(4, 3)}, ["n", 4], outputs=outputs)
    taught(path, tmp_path / "out.onnx", values(3, 4), np.array([0, 1, 2]))
    assert set(opened(tmp_path / "out.onnx").run(values(3, 4))) == {"label", "y"}
    only = write(
        tmp_path / "b.onnx", nodes, {"w": values(4, 3)}, ["n", 4], outputs={"label": INT64}
    )
    assert "no output of floats" in opened(only).abilities()["train"].reason


def test_quantised_and_sparse_weights_are_refused(tmp_path: Path) -> None:
    nodes = [
        node("DequantizeLinear", ["w", "s"], ["d"], name="unpack"),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    held = {"w": np.ones((4, 2), np.int8), "s": np.float32(0.1)}
    quantised = write(tmp_path / "a.onnx", nodes, held, ["n", 4])
    assert "quantised" in opened(quantised).abilities()["train"].reason
    assert "DequantizeLinear of opset 17 (node unpack)" in (
        opened(quantised).abilities()["train"].reason
    )
    path = write(tmp_path / "b.onnx", [node("MatMul", ["x", "w"], ["y"])], {}, ["n", 4])
    model = onnx.load(path)
    stored = numpy_helper.from_array(np.ones(1, np.float32), "w")
    where = numpy_helper.from_array(np.array([3]), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(stored, where, [4, 2]))
    path.write_bytes(model.SerializeToString())
    assert "sparse" in opened(path).abilities()["train"].reason


def test_weights_in_constants_and_generated_ones(tmp_path: Path) -> None:
    constant = numpy_helper.from_array(values(4, 5), "value")
    fill = numpy_helper.from_array(np.array([0.1], np.float32), "value")
    nodes = [
        node("Constant", [], ["w"], value=constant),
        node("Constant", [], ["shape"], value_ints=[5, 3]),
        node("ConstantOfShape", ["shape"], ["v"], value=fill),
        node("Constant", [], ["two"], value_float=2.0),
        node("MatMul", ["x", "w"], ["a"]),
        node("Div", ["a", "two"], ["b"]),
        node("MatMul", ["b", "v"], ["y"]),
    ]
    path = write(tmp_path / "a.onnx", nodes, {}, ["n", 4])
    assert learning(opened(path)) == {(4, 5), (5, 3)}
    taught(path, tmp_path / "out.onnx", values(3, 4), np.array([0, 1, 2]))
    after = weights(tmp_path / "out.onnx")
    assert set(after) == {"w", "v"}
    assert after["v"].std() > 0
    opened(tmp_path / "out.onnx").run(values(3, 4))


def test_external_data_go_into_the_trained_file(cnn: Any, tmp_path: Path) -> None:
    path, _ = cnn
    far = tmp_path / "far"
    far.mkdir()
    onnx.save(
        onnx.load(path), far / "m.onnx", save_as_external_data=True, location="m.bin",
        size_threshold=0,
    )  # fmt: skip
    taught(far / "m.onnx", tmp_path / "out.onnx", X, Y)
    taught(path, tmp_path / "same.onnx", X, Y)
    (far / "m.bin").unlink()
    outputs = [opened(tmp_path / name).run(X)["y"] for name in ("out.onnx", "same.onnx")]
    np.testing.assert_array_equal(*outputs)


def test_more_than_a_file_holds(cnn: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(onnx_training, "LARGEST", 100)
    assert "2 GB" in opened(cnn[0]).abilities()["train"].reason


def test_constants_of_arithmetic_do_not_learn(tmp_path: Path) -> None:
    """The normalisation of images, a mask, an exponent, single numbers; biases do."""
    held = {
        "mean": values(1, 3, 1, 1), "w": values(8, 3, 4, 4), "b": values(8), "two": values(4) + 9,
        "flat": np.array([0, 8, -1]), "mask": np.where(np.tri(8, 4), 0, -1e9).astype(np.float32),
        "one": values(1), "half": values(1), "u": values(4, 1), "bias": values(1),
    }  # fmt: skip
    nodes = [
        node("Sub", ["x", "mean"], ["a"]),
        node("Conv", ["a", "w", "b"], ["c"], strides=[4, 4]),
        node("Reshape", ["c", "flat"], ["d"]),
        node("Add", ["d", "one"], ["e"]),
        node("Mul", ["e", "half"], ["f"]),
        node("Add", ["f", "mask"], ["g"]),
        node("Softmax", ["g"], ["s"]),
        node("Pow", ["s", "two"], ["t"]),
        node("MatMul", ["t", "u"], ["m"]),
        node("Add", ["m", "bias"], ["y"]),
    ]
    path = write(tmp_path / "a.onnx", nodes, held, ["n", 3, 8, 8])
    trainable: Any = opened(path).as_trainable()
    learns = {id(p) for p in trainable._module.parameters() if p.requires_grad}
    places = trainable._opened.places
    names = {name for name, where in places.items() if id(where[0].tensor) in learns}
    assert names == {"w", "b", "u", "bias"}


@pytest.mark.parametrize("opset", [8, 9, 13, 17, 22])
def test_versions_of_operators_that_mean_the_same(tmp_path: Path, opset: int) -> None:
    """onnx2torch knows few versions of an operator; most others differ in types only."""
    path = write(
        tmp_path / "a.onnx",
        [*NODES[:3], node("MaxPool", ["r"], ["q"], kernel_shape=[2, 2]), *NODES[3:9]],
        {name: np.abs(values(*shape)) for name, shape in CNN.items()},
        ["n", 3, 8, 8],
        opset=opset,
        outputs={"logits": FLOAT},
        ir_version=10,
    )
    taught(path, tmp_path / "out.onnx", X, Y)
    assert onnx.load(tmp_path / "out.onnx").opset_import[0].version == opset
    assert np.isfinite(opened(tmp_path / "out.onnx").run(X)["logits"]).all()


def test_reductions_of_opset_18(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMean", ["x", "axes"], ["m"], keepdims=0, noop_with_empty_axes=0),
        node("Split", ["m"], ["p", "q"], axis=1, num_outputs=2),
        node("Gemm", ["q", "w"], ["y"]),
    ]
    held = {"axes": np.array([2]), "w": values(2, 3)}
    path = write(tmp_path / "a.onnx", nodes, held, ["n", 4, 5], opset=18)
    taught(path, tmp_path / "out.onnx", values(3, 4, 5), np.array([0, 1, 2]))


def test_a_graph_in_training_mode_is_refused(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "w"], ["a"]),
        node("Dropout", ["a", "", "yes"], ["y"], name="drop"),
    ]
    held = {"w": values(4, 4), "yes": np.array(True)}
    path = write(tmp_path / "a.onnx", nodes, held, ["n", 4])
    reason = opened(path).abilities()["train"].reason
    assert "training mode" in reason
    assert "node drop" in reason
    held["yes"] = np.array(False)
    assert opened(write(path, nodes, held, ["n", 4])).abilities()["train"].possible


def test_dropout_drops_in_training_only(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "w"], ["a"]),
        node("Dropout", ["a", "ratio"], ["b"]),
        node("Gemm", ["b", "v"], ["y"]),
    ]
    held = {"w": values(4, 64), "ratio": np.float32(0.5), "v": values(64, 2)}
    path = write(tmp_path / "a.onnx", nodes, held, ["n", 4])
    trainable: Any = opened(path, learning_rate=1e-9).as_trainable()
    batch = trainable.prepare_batch({"x": values(8, 4)}, np.zeros(8, np.int64))
    losses = set()
    for _ in range(3):
        trainable.step(batch)
        losses.add(trainable.loss())
    assert len(losses) == 3
    assert trainable.score(batch) == trainable.score(batch)


def test_another_network_than_the_file_is_refused(cnn: Any, monkeypatch: Any) -> None:
    """Whatever onnx2torch gets wrong is found by comparing with ONNX Runtime first."""
    monkeypatch.setattr(torch.nn.ReLU, "forward", lambda self, x: x)
    with pytest.raises(ModelLoadError, match="differs from ONNX Runtime"):
        opened(cnn[0]).as_trainable()


def test_local_functions_are_looked_into(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17)]
    body = [node("MatMul", ["a", "b"], ["o"])]
    linear = helper.make_function("com.microsoft", "Linear", ["a", "b"], ["o"], body, opsets)
    nodes = [node("Linear", ["x", "w"], ["y"], domain="com.microsoft")]
    held = {"w": values(4, 3)}
    path = write(tmp_path / "a.onnx", nodes, held, ["n", 4], functions=[linear])
    trainable = taught(path, tmp_path / "out.onnx", values(3, 4), np.array([0, 1, 2]))
    assert onnx.load(tmp_path / "out.onnx").functions[0] == linear
    x = values(2, 4)
    with torch.no_grad():
        expected = trainable._module.eval()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(opened(tmp_path / "out.onnx").run(x)["y"], expected, rtol=1e-5)


def test_scaled_weights_are_refused(tmp_path: Path) -> None:
    """The factor of a Gemm becomes part of onnx2torch's weight."""
    path = write(
        tmp_path / "a.onnx", [node("Gemm", ["x", "w"], ["y"], alpha=0.5)], {"w": values(4, 3)},
        ["n", 4],
    )  # fmt: skip
    assert "cannot be written back" in opened(path).abilities()["train"].reason


def test_nothing_to_train(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", [node("Relu", ["x"], ["y"])], {}, ["n", 4])
    assert "nothing to train" in opened(path).abilities()["train"].reason


def test_weights_outside_the_folder_are_not_opened_for_training(cnn: Any) -> None:
    model = onnx.load(cnn[0])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    cnn[0].write_bytes(model.SerializeToString())
    assert "outside its own folder" in opened(cnn[0]).abilities()["train"].reason
    with pytest.raises(ModelLoadError, match="outside its own folder"):
        opened(cnn[0]).as_trainable()


def test_failed_save_leaves_nothing(cnn: Any, tmp_path: Path) -> None:
    trainable = opened(cnn[0]).as_trainable()
    (tmp_path / "taken").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModelError, match="taken"):
        trainable.save(tmp_path / "taken")
    with pytest.raises(ModelError, match="nowhere"):
        trainable.save(tmp_path / "nowhere" / "a.onnx")
    assert sorted(tmp_path.iterdir()) == before


def test_batches_and_options(cnn: Any) -> None:
    trainable = opened(cnn[0]).as_trainable()
    with pytest.raises(ModelError, match="no loss yet"):
        trainable.loss()
    with pytest.raises(ModelInputError, match="the model wants x"):
        trainable.prepare_batch({"x": X[:, :2]}, Y)
    with pytest.raises(ModelInputError, match="6 samples of x and 2 targets"):
        trainable.prepare_batch({"x": X}, Y[:2])
    for options in ({"optimizer": "lbfgs"}, {"learning_rate": -1}):
        with pytest.raises(ModelLoadError, match=next(iter(options))):
            opened(cnn[0], **options).as_trainable()


def test_epochs_with_validation_and_joules(cnn: Any, tmp_path: Path) -> None:
    """Bright and dark images: the saved network tells them apart."""
    path, _ = cnn
    y = np.arange(24) % 3
    x = (RNG.random((24, 3, 8, 8)) + y[:, None, None, None]).astype(np.float32)
    options = {"optimizer": "adam", "learning_rate": 0.05}
    with opened(path, **options) as model:
        epochs = model.train(
            (x, y), validation=(x, y), epochs=25, batch_size=8, save=tmp_path / "out.onnx"
        )
    assert epochs[-1].validation_accuracy > 0.9
    assert (opened(tmp_path / "out.onnx").run(x)["y"].argmax(1) == y).mean() > 0.9
    with Session(profilers=[SimulatedCounterProfiler()]) as session, opened(path) as model:
        # Epochs and validations must last many of the counter's milliseconds.
        more = (np.tile(x, (20, 1, 1, 1)), np.tile(y, 20))
        result = session.evaluate_training(model, more, validation=more, epochs=2)
    assert result.energy_of_run_j is not None, result.missing
    assert [epoch.validation_loss is not None for epoch in result.epochs] == [True, True]


# onnx2torch and torchvision


def test_without_onnx2torch(cnn: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    model = opened(cnn[0])
    ability = model.abilities()["train"]
    assert "greenai-core[onnx-train]" in ability.reason
    assert model.run(X)["y"].shape == (6, 3)


BROKEN = 'raise RuntimeError("operator torchvision::nms does not exist")'

TRY = """
import sys
from greenai_plugins.models import onnx_conversion
from greenai_core import PluginUnavailable
onnx2torch = onnx_conversion.import_onnx2torch()
assert not [name for name in sys.modules if name.startswith("torchvision")]
from onnx2torch.node_converters import roialign
try:
    roialign.roi_align()
except PluginUnavailable as error:
    print(error)
"""


def test_a_torchvision_that_does_not_fit_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(BROKEN)
    done = subprocess.run(
        [sys.executable, "-c", TRY], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert "Install the torchvision that fits" in done.stdout, done.stderr


def test_detection_needs_torchvision(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(onnx_conversion, "_torchvision", lambda: None)
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("RoiAlign", ["c", "boxes", "which"], ["y"], name="rois"),
    ]
    held = {"w": values(2, 3, 3, 3), "boxes": values(2, 4), "which": np.array([0, 0])}
    path = write(tmp_path / "a.onnx", nodes, held, ["n", 3, 8, 8])
    reason = opened(path).abilities()["train"].reason
    assert "node rois" in reason
    assert "torchvision" in reason
    with pytest.raises(PluginUnavailable, match="torchvision"):
        onnx_conversion._missing()
