"""Every built-in format keeps the rules, on the same small network."""

from __future__ import annotations

from typing import ClassVar

import pytest
import small_network as small

from greenai_core import ParameterCount
from greenai_core.testing.model_suite import ModelConformance
from greenai_plugins.models.keras_format import KerasModel
from greenai_plugins.models.onnx_format import OnnxModel
from greenai_plugins.models.pytorch_format import PytorchModel
from greenai_plugins.models.savedmodel_format import SavedModel
from greenai_plugins.models.torchscript_format import TorchscriptModel


class Small(ModelConformance):
    output = "y"
    absolute_tolerance = 1e-5
    expected_parameters = ParameterCount(
        small.TRAINABLE, small.STATISTICS, 4 * (small.TRAINABLE + small.STATISTICS)
    )

    def make_inputs(self, model):
        return {model.input_specs[0].name: small.inputs()}

    def oracle(self, inputs):
        return {self.output: small.evaluate(next(iter(inputs.values())))}

    def make_batch(self):
        x, y = small.batch()
        return {self.input: x}, y


class TestOnnx(Small):
    model_class = OnnxModel

    def make_file(self, tmp_path):
        pytest.importorskip("onnx")
        return small.onnx(tmp_path)


@pytest.mark.torch
class TestPytorch(Small):
    """A state dict with its class."""

    model_class = PytorchModel
    options: ClassVar = {"model_class": small.torch_network, "input_shapes": (2, 3)}
    input, output = "input", "output"

    def make_file(self, tmp_path):
        return small.state_dict(tmp_path)


@pytest.mark.torch
class TestPytorchWithoutClass(Small):
    """A state dict alone: it is counted, and says why it cannot do more."""

    model_class = PytorchModel

    def make_file(self, tmp_path):
        return small.state_dict(tmp_path)


@pytest.mark.torch
class TestTorchscript(Small):
    model_class = TorchscriptModel
    options: ClassVar = {"input_shapes": (2, 3)}
    input, output = "input", "output"

    def make_file(self, tmp_path):
        return small.torchscript(tmp_path)


@pytest.mark.tensorflow
class TestKeras(Small):
    model_class = KerasModel
    input = "x"

    def make_file(self, tmp_path):
        return small.keras_archive(tmp_path)


@pytest.mark.tensorflow
class TestKerasHdf5(Small):
    model_class = KerasModel
    input = "x"

    def make_file(self, tmp_path):
        return small.keras_hdf5(tmp_path)


@pytest.mark.tensorflow
class TestSavedModel(Small):
    model_class = SavedModel
    output = "output_0"  # what Keras calls it when it exports

    def make_file(self, tmp_path):
        return small.savedmodel(tmp_path)
