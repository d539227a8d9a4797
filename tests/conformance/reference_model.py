"""A model format that keeps every rule, small enough to see that it does."""

from __future__ import annotations

import time
import zipfile
from types import MappingProxyType

import numpy as np

from greenai_core import (
    Ability,
    CallTime,
    DLLibrary,
    Layer,
    LayerCall,
    ModelError,
    ModelInputError,
    ParameterCount,
    ProfiledPass,
    TensorSpec,
    loading,
)
from greenai_core.testing.model_suite import ModelConformance

WEIGHTS = {
    "w0": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "b0": np.full(4, 0.25, np.float32),
    "w1": np.linspace(1, -1, 8, dtype=np.float32).reshape(4, 2),
    "b1": np.zeros(2, np.float32),
}


class NpzNet(DLLibrary):
    format = "npznet"
    suffixes = (".npznet",)
    requires = MappingProxyType({"npznet_engine": "npznet"})
    option_names = MappingProxyType({"rate": "learning rate of training"})

    @classmethod
    def recognises(cls, path):
        try:
            with zipfile.ZipFile(path) as archive:
                return "npznet.npy" in archive.namelist()
        except (OSError, zipfile.BadZipFile):
            return False

    def count_parameters(self):
        with loading(self.path, "npznet_engine"):
            weights = self.read()
        return ParameterCount(
            sum(w.size for w in weights.values()), 0, sum(w.nbytes for w in weights.values())
        )

    def read(self):
        import npznet_engine

        return npznet_engine.load(self.path)

    def load_weights(self):
        with loading(self.path, "npznet_engine"):
            self.weights = self.read()

    def drop_weights(self):
        del self.weights

    def signature(self):
        with loading(self.path, "npznet_engine"):
            return (TensorSpec("x", (None, self.read()["w0"].shape[0])),)

    def prepare(self, inputs):
        if set(inputs) != {"x"}:
            raise ModelInputError(f"the input is x, not {sorted(inputs)}")
        if inputs["x"].ndim != 2 or inputs["x"].shape[1] != 3:
            raise ModelInputError(f"x has the shape {inputs['x'].shape}")
        return inputs["x"].copy()

    def predict(self, prepared):
        import npznet_engine

        return npznet_engine.forward(self.weights, prepared)

    def synchronize(self):
        pass

    def fetch(self, outputs):
        return {"y": outputs}

    def abilities(self):
        return {
            "run": Ability(not self.cannot_run(), self.cannot_run()),
            "train": Ability(True),
            "layers": Ability(True),
        }

    def as_trainable(self):
        self.load()
        return NpzTraining(self)

    def as_layered(self):
        self.load()
        return NpzLayers(self)


class NpzTraining:
    def __init__(self, model):
        self.model = model
        self.weights = {name: w.copy() for name, w in model.weights.items()}
        self.rate = model.options.get("rate", 0.01)

    def prepare_batch(self, inputs, targets):
        if inputs["x"].ndim != 2:
            raise ModelInputError(f"x has the shape {inputs['x'].shape}")
        return inputs["x"].copy(), targets

    def step(self, batch):
        import npznet_engine

        self.last, gradients = npznet_engine.gradients(self.weights, *batch)
        for name, gradient in gradients.items():
            self.weights[name] -= self.rate * gradient

    def synchronize(self):
        pass

    def loss(self):
        return self.last

    def save(self, path):
        import npznet_engine

        npznet_engine.save(path, self.weights)


class NpzLayers:
    def __init__(self, model):
        self.model = model

    def layers(self):
        w = self.model.weights
        dense = [
            Layer(f"net.{i}", "Dense", w[f"w{i}"].size + w[f"b{i}"].size, "net")
            for i in range(len(w) // 2)
        ]
        return (Layer("net", "Net", 0, None), *dense)

    def calls(self, prepared):
        import npznet_engine

        calls, x = [], prepared
        for i in range(len(self.model.weights) // 2):
            calls.append(
                LayerCall(
                    f"net.{i}",
                    0,
                    lambda i=i, x=x: npznet_engine.dense(self.model.weights, i, x),
                )
            )
            x = npznet_engine.dense(self.model.weights, i, x)
        return tuple(calls)

    def timed(self, prepared, probes):
        began = time.perf_counter()
        calls = [("", None, began)]
        if probes:
            calls.append(("net", 0, time.perf_counter()))
        ended = []
        for call in NpzLayers.calls(self, prepared) if probes else ():
            calls.append((call.layer, 1, time.perf_counter()))
            call.replay()
            ended.append(time.perf_counter())
        if not probes:
            self.model.predict(prepared)
        stop = time.perf_counter()
        ends = [stop, stop, *ended][: len(calls)]
        return tuple(
            CallTime(name, parent, end - start)
            for (name, parent, start), end in zip(calls, ends, strict=True)
        )

    def profiled(self, prepared, passes):
        found = []
        for _ in range(passes):
            calls = self.timed(prepared, 1)
            found.append(ProfiledPass(calls, calls[0].seconds))
        return tuple(found)

    def repeated(self, prepared, layer, times):
        import npznet_engine

        if layer not in ("net.0", "net.1"):
            raise ModelError(f"{layer} is no layer")
        again = int(layer.removeprefix("net."))

        def work():
            x = prepared
            for i in range(len(self.model.weights) // 2):
                for _ in range(times - 1 if i == again else 0):
                    npznet_engine.dense(self.model.weights, i, x)
                x = npznet_engine.dense(self.model.weights, i, x)
            return x

        return work


class ReferenceModel(ModelConformance):
    plugin = model_class = NpzNet
    expected_parameters = ParameterCount(trainable=26, non_trainable=0, bytes=104)

    def make_file(self, tmp_path):
        path = tmp_path / "small.npznet"
        with path.open("wb") as file:
            np.savez(file, npznet=np.array(1), **WEIGHTS)
        return path

    def oracle(self, inputs):
        hidden = np.maximum(inputs["x"] @ WEIGHTS["w0"] + WEIGHTS["b0"], 0)
        return {"y": hidden @ WEIGHTS["w1"] + WEIGHTS["b1"]}

    def make_inputs(self, model):
        return {"x": np.array([[0.5, -1, 2], [1, 0, 0]], np.float32)}

    def make_batch(self):
        rng = np.random.default_rng(1)
        x = rng.random((8, 3), dtype=np.float32)
        return {"x": x}, x[:, :2] * 3
