"""Every built-in format keeps the rules, on the same small network."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import small_network as small

from greenai_core import ParameterCount
from greenai_core.testing.model_suite import ModelConformance
from greenai_plugins.models.exported_format import ExportedModel
from greenai_plugins.models.keras_format import KerasModel
from greenai_plugins.models.onnx_format import OnnxModel
from greenai_plugins.models.pytorch_format import PytorchModel
from greenai_plugins.models.safetensors_format import SafetensorsModel
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
    input = "x"

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


@pytest.mark.torch
class TestExported(Small):
    model_class = ExportedModel
    input, output = "input", "output"

    def make_file(self, tmp_path):
        return small.exported(tmp_path)


@pytest.mark.torch
class TestSafetensors(Small):
    """Weights alone, with the class of the network."""

    model_class = SafetensorsModel
    options: ClassVar = {"model_class": small.torch_network, "input_shapes": (2, 3)}
    input, output = "input", "output"

    def make_file(self, tmp_path):
        pytest.importorskip("safetensors")
        return small.safetensors(tmp_path)


@pytest.mark.torch
class TestSafetensorsWithoutClass(Small):
    """Weights alone: they are counted, and say why they cannot do more."""

    model_class = SafetensorsModel

    def make_file(self, tmp_path):
        pytest.importorskip("safetensors")
        return small.safetensors(tmp_path)


@pytest.mark.torch
class TestModelFolder(ModelConformance):
    """A folder of Hugging Face, with the network that its configuration names."""

    model_class = SafetensorsModel
    absolute_tolerance = 1e-5
    expected_parameters = ParameterCount(small.BERT_PARAMETERS, 0, 4 * small.BERT_PARAMETERS)

    def make_file(self, tmp_path):
        pytest.importorskip("transformers")
        return small.model_folder(tmp_path)

    def make_inputs(self, model):
        ids, _ = self.make_batch()
        return ids

    def oracle(self, inputs):
        import torch
        import transformers

        with tempfile.TemporaryDirectory() as folder:
            path = small.model_folder(Path(folder))
            network = transformers.BertForSequenceClassification.from_pretrained(path).eval()
        with torch.no_grad():
            given = {name: torch.tensor(array) for name, array in inputs.items()}
            return {"logits": network(**given).logits.numpy()}

    def make_batch(self):
        ids = np.arange(24).reshape(4, 6) % 30
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}, np.array([0, 1, 2, 0])


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
