"""A model format of a few lines of JSON: one matrix, and how it misbehaves."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
from greenai_simulated_layers import TinyLayers

from greenai_core import (
    Ability,
    DLLibrary,
    ModelError,
    ParameterCount,
    Score,
    TensorSpec,
    loading,
)


class TinyTraining:
    def __init__(self, model):
        self.model = model
        self.rate = model.options.get("learning_rate", 0.01)
        self.steps = 0

    def prepare_batch(self, inputs, targets):
        return inputs["x"], targets

    def step(self, batch):
        self.steps += 1
        if self.steps == self.model.content().get("fail_at"):
            raise ModelError("memory ran out. Give a smaller --batch-size")
        x, y = batch
        error = x @ self.model.matrix - y
        self.model.matrix = self.model.matrix - self.rate * x.T @ error / len(x)
        self.last = float((error**2).mean())
        self.model.work()

    def synchronize(self):
        pass

    def loss(self):
        return self.last

    def accuracy(self):
        return 0.5

    def score(self, batch):
        x, y = batch
        self.model.work()
        return Score(float(((x @ self.model.matrix - y) ** 2).mean()), 0.75)

    def save(self, path):
        Path(path).write_text(json.dumps({"tiny": self.model.matrix.tolist()}))


class TinyModel(DLLibrary):
    """``{"tiny": [[…]], "seconds": 0.001, "crash": "…", "chatty": true}``.

    ``"marker": "FILE"`` makes it write that file one second after its first run: by
    then the warm-up of half a second is over and the loop is on its way. ``"hang":
    "FILE"`` makes it write that file and never finish loading. ``"pids": "FILE"`` makes
    it write down the process that loads it; the number ``kill_at`` of them is killed, the
    number ``hang_at`` never finishes loading. ``"abort": true`` crashes it.
    """

    format = "tiny"
    suffixes = (".tiny",)
    layered = None
    option_names = {
        "model_constructor": "accepted",
        "learning_rate": "of training",
        "optimizer": "accepted",
    }

    @classmethod
    def recognises(cls, path):
        try:
            return path.read_bytes().startswith(b'{"tiny"')
        except OSError:
            return False

    def content(self):
        with loading(self.path, "tiny"):
            return json.loads(self.path.read_text())

    def count_parameters(self):
        matrix = np.array(self.content()["tiny"])
        return ParameterCount(matrix.size, 0, matrix.nbytes)

    def load_weights(self):
        content = self.content()
        self.matrix = np.array(content["tiny"], dtype=np.float32)
        self.seconds = content.get("seconds", 0.0)
        self.crash = content.get("crash")
        self.marker = content.get("marker")
        self.first_run = None
        if content.get("hang"):
            Path(content["hang"]).touch()
            time.sleep(60)
        if content.get("pids"):
            self.note_process(content)
        if content.get("abort"):
            os.abort()
        if content.get("chatty"):
            print("a library that prints to stdout")

    def note_process(self, content):
        with Path(content["pids"]).open("a") as file:
            file.write(f"{os.getpid()}\n")
        number = len(Path(content["pids"]).read_text().split())
        if number == content.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if number == content.get("hang_at"):
            Path("hanging.new").write_text(str(os.getpid()))
            Path("hanging.new").rename("hanging")
            time.sleep(60)

    def signature(self):
        content = self.content()
        between = content.get("axes", [])  # [8, 6] for images, ["seq"] for an open axis
        dtype = content.get("dtype", "float32")
        return (TensorSpec("x", ("batch", *between, len(content["tiny"])), dtype),)

    def prepare(self, inputs):
        return inputs["x"]

    def work(self):
        now = time.perf_counter()
        self.first_run = self.first_run or now
        if self.marker and now - self.first_run > 1.0:
            Path(self.marker).touch()
            self.marker = None
        self.spend(self.seconds)

    def spend(self, seconds):
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass

    def predict(self, prepared):
        if self.crash:
            raise RuntimeError(self.crash)
        self.work()
        if self.layered is not None:
            self.layered.predicted()
        return prepared @ self.matrix

    def synchronize(self):
        pass

    def fetch(self, outputs):
        return {"y": outputs}

    def abilities(self):
        layers = Ability(True) if self.content().get("layers") else Ability(False, "no")
        return {"run": Ability(True), "train": Ability(True), "layers": layers}

    def as_layered(self):
        if not self.content().get("layers"):
            return super().as_layered()
        self.load()
        self.layered = TinyLayers(self, self.content()["layers"])
        return self.layered

    def as_trainable(self):
        self.load()
        return TinyTraining(self)


class ForeignModel(TinyModel):
    """A format whose library nobody has."""

    format = "foreign"
    suffixes = (".foreign",)
    requires = {"a_library_nobody_has": "foreign"}

    @classmethod
    def recognises(cls, path):
        return path.suffix == ".foreign"
