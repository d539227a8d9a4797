"""One small network in every format, and what it computes, in NumPy."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(5)
W0, B0 = RNG.normal(size=(3, 4)).astype(np.float32), np.full(4, 0.5, np.float32)
GAMMA, BETA, MEAN = (RNG.random(4).astype(np.float32) for _ in range(3))
VARIANCE = RNG.random(4).astype(np.float32) + 1
W1, B1 = RNG.normal(size=(4, 2)).astype(np.float32), np.zeros(2, np.float32)
EPSILON = 1e-3

TRAINABLE = 3 * 4 + 4 + 4 + 4 + 4 * 2 + 2
STATISTICS = 4 + 4

OUTPUTS = 2


def evaluate(x):
    """In evaluation mode: the statistics stand still, nothing is dropped."""
    hidden = np.maximum(x @ W0 + B0, 0)
    hidden = (hidden - MEAN) / np.sqrt(VARIANCE + EPSILON) * GAMMA + BETA
    return hidden @ W1 + B1


def inputs():
    return np.array([[0.5, -1, 2], [1, 0, 0]], np.float32)


def batch():
    x = np.random.default_rng(1).random((8, 3), dtype=np.float32)
    return x, evaluate(x) + 3


def once(write):
    """Write the file, which may need a slow library, once; then copy it."""

    @functools.cache
    def original():
        folder = Path(tempfile.mkdtemp(prefix="greenai-small-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return write(folder)

    @functools.wraps(write)
    def copy(folder):
        path = original()
        target = folder / path.name
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copyfile(path, target)
        return target

    return copy


def torch_network():
    import torch
    from torch import nn

    net = nn.Sequential(
        nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4, eps=EPSILON), nn.Dropout(), nn.Linear(4, 2)
    )
    weights = {"0.weight": W0.T, "0.bias": B0, "2.weight": GAMMA, "2.bias": BETA}
    weights |= {"2.running_mean": MEAN, "2.running_var": VARIANCE, "4.weight": W1.T, "4.bias": B1}
    state = {name: torch.tensor(array.copy()) for name, array in weights.items()}
    net.load_state_dict(state | {"2.num_batches_tracked": torch.tensor(7)})
    return net


@once
def state_dict(folder):
    import torch

    torch.save(torch_network().state_dict(), folder / "small.pt")
    return folder / "small.pt"


@once
def torchscript(folder):
    import torch

    torch.jit.script(torch_network().eval()).save(folder / "small.pt")
    return folder / "small.pt"


@once
def exported(folder):
    import torch

    batch = torch.export.Dim("batch")
    program = torch.export.export(
        torch_network().eval(), (torch.zeros(2, 3),), dynamic_shapes={"input": {0: batch}}
    )
    torch.export.save(program, folder / "small.pt2")
    return folder / "small.pt2"


@once
def safetensors(folder):
    from safetensors.torch import save_file

    save_file(torch_network().state_dict(), folder / "small.safetensors")
    return folder / "small.safetensors"


BERT_PARAMETERS = (
    (30 + 16 + 2) * 8 + 16  # words, positions, segments, normalisation
    + 4 * (8 * 8 + 8) + 16 + (8 * 16 + 16) + (16 * 8 + 8) + 16  # one layer
    + (8 * 8 + 8) + (8 * 3 + 3)  # pooler, classes
)  # fmt: skip


@once
def model_folder(folder):
    import transformers

    config = transformers.BertConfig(
        vocab_size=30, max_position_embeddings=16, hidden_size=8, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, num_labels=3,
        hidden_dropout_prob=0, attention_probs_dropout_prob=0,
    )  # fmt: skip
    network = transformers.BertForSequenceClassification(config)
    network.save_pretrained(folder / "small_bert")
    return folder / "small_bert"


@once
def onnx(folder):
    from onnx import TensorProto, checker, helper, numpy_helper, save

    arrays = {"w0": W0, "b0": B0, "gamma": GAMMA, "beta": BETA, "mean": MEAN, "var": VARIANCE}
    arrays |= {"w1": W1, "b1": B1}
    normal = ["relu", "gamma", "beta", "mean", "var"]
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["relu"]),
        helper.make_node("BatchNormalization", normal, ["norm"], epsilon=EPSILON),
        helper.make_node("Gemm", ["norm", "w1", "b1"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, folder / "small.onnx")
    return folder / "small.onnx"


def keras_network():
    import keras

    net = keras.Sequential(
        [
            keras.Input((3,), name="x"),
            keras.layers.Dense(4, activation="relu"),
            keras.layers.BatchNormalization(epsilon=EPSILON),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2, name="y"),
        ]
    )
    net.set_weights([W0, B0, GAMMA, BETA, MEAN, VARIANCE, W1, B1])
    return net


@once
def keras_archive(folder):
    keras_network().save(folder / "small.keras")
    return folder / "small.keras"


@once
def keras_hdf5(folder):
    keras_network().save(folder / "small.h5")
    return folder / "small.h5"


@once
def savedmodel(folder):
    keras_network().export(folder / "small", verbose=False)
    return folder / "small"
