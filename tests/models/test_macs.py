"""Multiply-accumulates of one inference: published figures, and formulas written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenai_core import DLLibrary, InputOptions, MacCount, ModelInputError, factory
from greenai_plugins.models import onnx_macs

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper  # noqa: E402  # after the check that it is there
from onnx_files import save, tensor  # noqa: E402  # likewise

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def macs(path: Path, **options: Any) -> MacCount:
    with factory.load(path, device="cpu", **options) as model:
        return model.count_macs()


# ONNX

PUBLISHED = {
    # Caffe's AlexNet takes 227x227 (0.72 G); this file was made for 224x224.
    "bvlc_alexnet": 96 * 54**2 * 363 + 26**2 * 256 * 1200 + 144 * (384 * 2304 + 640 * 1728)
    + 4096 * (9216 + 4096 + 1000),
    "resnet50": 4_089_184_256,
    "squeezenet": 349_151_936,
    "vgg19": 19_632_062_464,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_architectures(name: str) -> None:
    """ResNet-50 4.09 G, SqueezeNet 1.1 0.35 G, VGG-19 19.6 G; AlexNet has groups."""
    found = macs(LIGHT / f"light_{name}.onnx")
    assert found.macs == PUBLISHED[name]
    assert found.reason == ""
    assert "1x3x224x224, float32" in found.inputs[0]


@pytest.mark.parametrize(
    ("op", "given", "made", "expected"),
    [
        ("Conv", [(2, 4, 8, 8), (6, 2, 3, 3)], (2, 6, 6, 6), 2 * 6 * 36 * 18),
        ("Conv", [(1, 3, 9), (5, 3, 2)], (1, 5, 8), 5 * 8 * 6),
        ("ConvTranspose", [(1, 3, 4, 4), (3, 5, 2, 2)], (1, 5, 8, 8), 48 * 20),
        ("QLinearConv", [(1, 4, 8, 8), (), (), (6, 2, 3, 3)], (1, 6, 6, 6), 6 * 36 * 18),
        ("MatMul", [(2, 3, 4), (4, 5)], (2, 3, 5), 2 * 3 * 5 * 4),
        ("MatMul", [(4,), (4,)], (), 4),
        ("Gemm", [(3, 7), (7, 5)], (3, 5), 105),
        ("Gemm", [(7, 3), (7, 5)], (3, 5), 105),  # the first one transposed
        ("LSTM", [(5, 2, 4), (1, 24, 4), (1, 24, 6)], (5, 1, 2, 6), 10 * (24 * 4 + 24 * 6)),
        ("Relu", [(1, 3)], (1, 3), 0),
    ],
)
def test_formulas(op: str, given: list[Any], made: Any, expected: int) -> None:
    assert onnx_macs.of_node(op, given, [made]) == expected


def test_loops_count_each_time(tmp_path: Path) -> None:
    """A matrix product of 4x4 that a loop does five times."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "w"], ["h_out"]),
            helper.make_node("Identity", ["go"], ["go_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h_out", TensorProto.FLOAT, None),
        ],
    )
    times = helper.make_tensor("times", TensorProto.INT64, [], [5])
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    loop = helper.make_node("Loop", ["times", "true", "x"], ["y"], body=body)
    path = save(tmp_path / "loop.onnx", [loop], [times, true, tensor("w", 4, 4)])
    assert macs(path) == MacCount(5 * 16, "", ("x (1x4, float32)",))


def test_open_axes_are_what_is_asked_for(linear: Path) -> None:
    with factory.load(linear, device="cpu") as model:
        assert model.count_macs().macs == 12
        found = model.count_macs(InputOptions(batch_size=8))
    assert (found.macs, found.inputs) == (96, ("x (8x4, float32)",))


def test_operators_that_shapes_do_not_tell_are_named(tmp_path: Path) -> None:
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation="ni,ij->nj", name="mix")
    path = save(tmp_path / "einsum.onnx", [node], [tensor("w", 4, 3)])
    found = macs(path)
    assert found.macs is None
    assert "Einsum (node mix)" in found.reason


def test_a_format_that_does_not_count_says_so(linear: Path) -> None:
    with factory.load(linear) as model:
        found = DLLibrary.count_macs(model)
    assert found.macs is None
    assert "'onnx'" in found.reason


# PyTorch


@pytest.mark.torch
class TestPytorch:
    def network(self) -> Any:
        torch = pytest.importorskip("torch")
        return torch.nn

    def count(self, module: Any, *shapes: tuple[int, ...]) -> tuple[int | None, str]:
        torch = pytest.importorskip("torch")
        from greenai_plugins.models.torch_macs import count
        from greenai_plugins.models.torch_runtime import Feed

        return count(module.eval(), Feed(tuple(torch.rand(shape) for shape in shapes)))

    def test_layers(self) -> None:
        nn = self.network()
        net = nn.Sequential(
            nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(6, 3, 2, 2), nn.Flatten(),
            nn.Linear(432, 5),
        )  # fmt: skip
        expected = 36 * 6 * 18 + 36 * 6 * 12 + 432 * 5
        assert self.count(net, (1, 4, 8, 8)) == (expected, "")

    @pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    def test_recurrent_layers(self, kind: str, gates: int) -> None:
        """Though PyTorch has one operator for a whole LSTM."""
        module = getattr(self.network(), kind)(4, 6)
        assert self.count(module, (5, 2, 4)) == (10 * gates * 6 * (4 + 6), "")

    def test_attention(self) -> None:
        """Though PyTorch has one operator for the whole layer, and one for attention."""
        module = self.network().TransformerEncoderLayer(8, 2, 16, batch_first=True)
        expected = 5 * 8 * 24 + 2 * 5 * 5 * 8 + 5 * 8 * 8 + 2 * 5 * 8 * 16
        assert self.count(module, (1, 5, 8)) == (expected, "")

    def test_vectors(self) -> None:
        assert self.count(self.network().Linear(8, 4), (8,)) == (32, "")
        assert self.count(self.network().Linear(8, 4, bias=False), (8,)) == (32, "")

    def test_what_pytorch_does_not_count_is_named(self) -> None:
        found, reason = self.count(self.network().Bilinear(3, 4, 5), (2, 3), (2, 4))
        assert found is None
        assert "_trilinear" in reason

    def test_the_switches_are_as_before(self) -> None:
        torch = pytest.importorskip("torch")
        before = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
        self.count(torch.nn.Linear(3, 2), (1, 3))
        with pytest.raises(ModelInputError, match="cannot run"):
            self.count(torch.nn.Linear(3, 2), (1, 9))
        assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled) == before

    def test_files(self, small: Any, saved: Path, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        expected = MacCount(36 * 108 + 720, "", ("image (1x3x8x8, float32)",))
        options = {"model_class": "their_networks:SmallNet", "input_shapes": (1, 3, 8, 8)}
        assert macs(saved, **options) == expected
        torch.jit.trace(small, torch.rand(1, 3, 8, 8)).save(tmp_path / "traced.pt")
        assert macs(tmp_path / "traced.pt", input_shapes=(1, 3, 8, 8)) == expected


# TensorFlow


@pytest.mark.tensorflow
class TestTensorflow:
    @pytest.fixture
    def keras(self) -> Any:
        pytest.importorskip("tensorflow")
        return pytest.importorskip("keras")

    def test_layers_of_every_kind(self, keras: Any, tmp_path: Path) -> None:
        layers = keras.layers
        net = keras.Sequential(
            [
                layers.Input((8, 8, 4)), layers.Conv2D(6, 3, groups=2),
                layers.DepthwiseConv2D(3, depth_multiplier=2), layers.Conv2DTranspose(3, 2),
                layers.Flatten(), layers.Dense(5),
            ]
        )  # fmt: skip
        net.save(tmp_path / "net.keras")
        expected = 36 * 6 * 18 + 16 * 12 * 9 + 16 * 12 * 4 * 3 + 75 * 5
        found = macs(tmp_path / "net.keras")
        assert (found.macs, found.reason) == (expected, "")
        assert "1x8x8x4" in found.inputs[0]

    def test_attention_and_a_saved_model(self, keras: Any, tmp_path: Path) -> None:
        inputs = keras.Input((5, 8))
        mixed = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)
        outputs = keras.layers.EinsumDense("abc,cd->abd", output_shape=(None, 7))(mixed)
        net = keras.Model(inputs, outputs)
        net.save(tmp_path / "net.keras")
        net.export(tmp_path / "exported", verbose=False)
        expected = 3 * 5 * 8 * 8 + 2 * 2 * 5 * 5 * 4 + 5 * 8 * 8 + 5 * 8 * 7
        for path in (tmp_path / "net.keras", tmp_path / "exported"):
            assert macs(path).macs == expected

    def test_loops_are_not_guessed(self, keras: Any, tmp_path: Path) -> None:
        net = keras.Sequential([keras.Input((5, 8)), keras.layers.LSTM(4)])
        net.save(tmp_path / "net.keras")
        found = macs(tmp_path / "net.keras")
        assert found.macs is None
        assert "how often" in found.reason

    def test_counting_leaves_the_model_as_it_was(self, keras: Any, tmp_path: Path) -> None:
        import tensorflow as tf

        net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        net.save(tmp_path / "net.keras")
        with factory.load(tmp_path / "net.keras", device="cpu") as model:
            before = model.run(np.ones((1, 3)))
            model.count_macs()
            after = model.run(np.ones((1, 3)))
        assert not tf.config.functions_run_eagerly()
        assert all(np.array_equal(before[name], after[name]) for name in before)

    def test_keras_files_are_counted_without_a_framework(self, keras: Any, tmp_path: Path) -> None:
        from without_frameworks import totals

        net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
        net.save(tmp_path / "net.keras")
        net.save(tmp_path / "net.h5")
        net.save_weights(tmp_path / "only.weights.h5")
        net.export(tmp_path / "exported", verbose=False)
        names = ("net.keras", "net.h5", "only.weights.h5", "exported")
        assert totals(*(tmp_path / name for name in names)) == [16, 16, 16, 16]
