"""Small model files, one of every format, to be damaged.

``python fuzz_seeds.py LIBRARY FOLDER`` writes those of one library.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAYLOAD = "touch {trap}"


@dataclass(frozen=True)
class Seed:
    """A model to damage.

    Attributes:
        name: of the seed, as reports show it.
        format: greenai's name of its format.
        library: what writes it, and what the server that reads it has imported.
        file: its name.
    """

    name: str
    format: str
    library: str
    file: str


SEEDS = (
    Seed("onnx", "onnx", "onnx", "small.onnx"),
    Seed("onnx-external", "onnx", "onnx", "external/model.onnx"),
    Seed("onnx-trained", "onnx", "onnx", "trained.onnx"),
    Seed("pytorch-zip", "pytorch", "torch", "state.pt"),
    Seed("pytorch-legacy", "pytorch", "torch", "legacy.pt"),
    Seed("pytorch-evil", "pytorch", "torch", "evil.pt"),
    Seed("torchscript", "torchscript", "torch", "script.pt"),
    Seed("exported", "exported", "torch", "program.pt2"),
    Seed("safetensors", "safetensors", "torch", "model.safetensors"),
    Seed("keras", "keras", "tensorflow", "model.keras"),
    Seed("keras-h5", "keras", "tensorflow", "model.h5"),
    Seed("keras-weights", "keras", "tensorflow", "small.weights.h5"),
    Seed("keras-lambda", "keras", "tensorflow", "lambda.keras"),
    Seed("savedmodel", "savedmodel", "tensorflow", "saved"),
)


class Payload:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def make_network() -> Any:
    """The network of the PyTorch seeds."""
    from torch import nn

    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))


def write_onnx(folder: Path, trap: Path) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(rng.random((4, 3), dtype=np.float32), "w"),
        numpy_helper.from_array(rng.random(3, dtype=np.float32), "b"),
        numpy_helper.from_array(np.array([3, 2], np.int64), "shape"),
    ]
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])
    branch = helper.make_graph(
        [helper.make_node("Identity", ["h"], ["out"])], "branch", [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("c", 9, [], [True])),
        helper.make_node("If", ["yes"], ["k"], then_branch=branch, else_branch=branch),
        helper.make_node("ConstantOfShape", ["shape"], ["more"], value=value),
        helper.make_node("MatMul", ["k", "more"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10, producer_name="fuzz"
    )
    (folder / "small.onnx").write_bytes(model.SerializeToString())
    write_trained(folder / "trained.onnx", weights[:2], x)
    (folder / "external").mkdir()
    onnx.save(
        model, folder / "external" / "model.onnx", save_as_external_data=True,
        location="weights.bin", size_threshold=64,
    )  # fmt: skip


def write_trained(path: Path, weights: list[Any], x: Any) -> None:
    """A model of which every operator can be trained."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Softmax", ["r"], ["y"], axis=-1),
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="fuzz")
    path.write_bytes(model.SerializeToString())


def write_torch(folder: Path, trap: Path) -> None:
    import torch

    torch.manual_seed(1)
    network = make_network().eval()
    state = network.state_dict()
    torch.save(state, folder / "state.pt")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    evil = {"state_dict": dict(state), "more": Payload(PAYLOAD.format(trap=trap))}
    torch.save(evil, folder / "evil.pt")
    image = torch.rand(1, 1, 8, 8)
    torch.jit.save(torch.jit.trace(network, image), folder / "script.pt")
    torch.export.save(torch.export.export(network, (image,)), folder / "program.pt2")
    try:
        from safetensors.torch import save_file
    except ModuleNotFoundError:
        return
    save_file(dict(state), folder / "model.safetensors")


def write_tensorflow(folder: Path, trap: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(2, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.save_weights(folder / "small.weights.h5")
    model.export(folder / "saved", verbose=False)
    command = PAYLOAD.format(trap=trap)
    code = eval(f"lambda x: __import__('os').system({command!r}) * 0 + x")
    evil = keras.Sequential([keras.Input((3,)), layers.Lambda(code, output_shape=(3,))])
    evil.save(folder / "lambda.keras")


WRITERS = {"onnx": write_onnx, "torch": write_torch, "tensorflow": write_tensorflow}


def main() -> None:
    library, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    WRITERS[library](folder, folder / "TRAP")


if __name__ == "__main__":
    main()
