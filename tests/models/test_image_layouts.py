"""The order of the axes of images is what a model's own operators say, not what sizes suggest.

The images are 3 x 8 x 3: as likely channels x height x width as height x width x channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture
def red(tmp_path: Path) -> Path:
    Image.new("RGB", (3, 8), (255, 0, 0)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def onnx_model(folder: Path, nodes: list[tuple[Any, ...]], **weights: tuple[int, ...]) -> Any:
    """A graph of (operator, inputs, outputs, attributes) from x to y."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import onnx_files
    from onnx import TensorProto, helper

    from greenai_plugins.models.onnx_format import OnnxModel

    graph = helper.make_graph(
        [helper.make_node(op, ins, outs, **more) for op, ins, outs, more in nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx_files.tensor(name, *dims) for name, dims in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return OnnxModel(folder / "m.onnx", device="cpu")


def test_an_onnx_convolution_takes_channels_first(tmp_path: Path, red: Path) -> None:
    nodes = [("Mul", ["x", "scale"], ["s"], {}), ("Conv", ["s", "w"], ["y"], {})]
    with onnx_model(tmp_path, nodes, scale=(), w=(2, 3, 1, 1)) as model:
        assert [spec.layout for spec in model.input_specs] == ["NCHW"]
        array = model.make_inputs(red)["x"]
    assert array[0, 0].min() == 1.0
    assert array[0, 1:].max() == 0.0


def test_an_onnx_graph_that_transposes_first_takes_channels_last(tmp_path: Path) -> None:
    """As exporters from TensorFlow write them."""
    Image.new("RGB", (8, 3), (255, 0, 0)).save(tmp_path / "red.png")
    order = {"perm": [0, 3, 1, 2]}
    nodes = [("Transpose", ["x"], ["t"], order), ("Conv", ["t", "w"], ["y"], {})]
    with onnx_model(tmp_path, nodes, w=(2, 3, 1, 1)) as model:
        assert [spec.layout for spec in model.input_specs] == ["NHWC"]
        array = model.make_inputs(tmp_path / "red.png")["x"]
    assert array[0, :, :, 0].min() == 1.0
    assert array[0, :, :, 1:].max() == 0.0


@pytest.mark.parametrize(
    "node",
    [
        ("Relu", ["x"], ["y"], {}),
        ("Conv", ["image", "x"], ["y"], {}),  # the input is the kernel
        ("Transpose", ["x"], ["y"], {"perm": [0, 2, 1, 3]}),
    ],
)
def test_an_onnx_graph_that_does_not_tell_leaves_it_open(tmp_path: Path, node: Any) -> None:
    with onnx_model(tmp_path, [node], image=(1, 3, 9, 9)) as model:
        assert model.input_specs[0].layout is None


LAYOUTS = pytest.mark.parametrize(
    ("data_format", "layout"), [("channels_last", "NHWC"), ("channels_first", "NCHW")]
)


def keras_network(data_format: str) -> Any:
    keras = pytest.importorskip("keras")
    return keras.Sequential(
        [
            keras.Input((3, 8, 3)),
            keras.layers.Rescaling(2.0),
            keras.layers.Conv2D(2, 1, data_format=data_format),
            keras.layers.Flatten(),
        ]
    )


@pytest.mark.tensorflow
@LAYOUTS
def test_the_layers_of_keras_tell(tmp_path: Path, data_format: str, layout: str) -> None:
    network = keras_network(data_format)
    from greenai_plugins.models.keras_format import KerasModel

    network.save(tmp_path / "m.keras")
    with KerasModel(tmp_path / "m.keras", device="cpu") as model:
        assert model.input_specs[0].layout == layout


@pytest.mark.tensorflow
def test_a_keras_network_without_images_has_no_layout(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    from greenai_plugins.models.keras_format import KerasModel

    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    with KerasModel(tmp_path / "m.keras", device="cpu") as model:
        assert model.input_specs[0].layout is None


@pytest.mark.tensorflow
@LAYOUTS
def test_the_operations_of_a_savedmodel_tell(tmp_path: Path, data_format: str, layout: str) -> None:
    network = keras_network(data_format)
    from greenai_plugins.models.savedmodel_format import SavedModel

    network.export(tmp_path / "m", verbose=False)
    with SavedModel(tmp_path / "m", device="cpu") as model:
        assert model.input_specs[0].layout == layout


@pytest.mark.tensorflow
def test_a_savedmodel_that_swaps_axes_does_not_tell(tmp_path: Path) -> None:
    """What its operations take is not what the model is given."""
    tf = pytest.importorskip("tensorflow")
    from greenai_plugins.models.savedmodel_format import SavedModel

    class Swapping(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 3, 8, 3), tf.float32, "image")])
        def __call__(self, image: Any) -> Any:
            return tf.nn.max_pool2d(tf.transpose(image, (0, 2, 3, 1)), 1, 1, "VALID")

    module = Swapping()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.__call__)
    with SavedModel(tmp_path / "m", device="cpu") as model:
        assert model.input_specs[0].layout is None
