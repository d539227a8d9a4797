"""The format keeps the rules of all formats."""

import numpy as np
from greenai_plugin_example.npznet import NpzNet

from greenai_core import ParameterCount
from greenai_core.testing.model_suite import ModelConformance

WEIGHTS = {
    "w0": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "b0": np.full(4, 0.25, np.float32),
    "w1": np.linspace(1, -1, 8, dtype=np.float32).reshape(4, 2),
    "b1": np.zeros(2, np.float32),
}


class TestNpzNet(ModelConformance):
    model_class = NpzNet
    expected_parameters = ParameterCount(trainable=26, non_trainable=0, bytes=104)

    def make_file(self, tmp_path):
        path = tmp_path / "small.npznet"
        with path.open("wb") as file:
            np.savez(file, npznet=1, **WEIGHTS)
        return path

    def oracle(self, inputs):
        hidden = np.maximum(inputs["x"] @ WEIGHTS["w0"] + WEIGHTS["b0"], 0)
        return {"y": hidden @ WEIGHTS["w1"] + WEIGHTS["b1"]}
