"""Model files of any size. Where that is the file its library writes, weights are holes in it.

Programs of PyTorch, archives of Keras and SavedModels carry check sums of their weights, so
their own library writes them as a whole, zeros and all.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS = 1024
FLOAT_BYTES = 4


def _hole(path: Path, head: bytes, size: int, tail: bytes = b"") -> Path:
    """A file that begins with ``head``, goes on with zeros, and ends with ``tail``."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
        file.seek(0, 2)
        file.write(tail)
    return path


def _rows(size: int) -> int:
    return max(size // FLOAT_BYTES // COLUMNS, 1)


def _bytes(size: int) -> int:
    return _rows(size) * COLUMNS * FLOAT_BYTES


def safetensors(folder: Path, size: int) -> Path:
    """One matrix."""
    shape = [_rows(size), COLUMNS]
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, _bytes(size)]}
    header = json.dumps({"layer.weight": entry}).encode()
    head = struct.pack("<Q", len(header)) + header
    return _hole(folder / "large.safetensors", head, _bytes(size))


def pytorch(folder: Path, size: int) -> Path:
    """A state dict of one matrix, written by PyTorch."""
    import torch

    path = folder / "large.pt"
    with torch.serialization.skip_data():
        torch.save({"layer.weight": torch.empty(_rows(size), COLUMNS)}, path)
    return path


def onnx(folder: Path, size: int) -> Path:
    """A matrix product, its weights in the file."""
    raw = _key(9, 2) + _varint(_bytes(size))
    weights = _key(1, 0) + _varint(_rows(size)) + _key(1, 0) + _varint(COLUMNS)
    weights += _key(2, 0) + b"\x01" + _field(8, b"w")
    return _onnx(folder / "large.onnx", size, weights + raw, _bytes(size))


def onnx_external(folder: Path, size: int) -> Path:
    """A matrix product, its weights beside the file."""
    _hole(folder / "large.data", b"", _bytes(size))
    weights = _key(1, 0) + _varint(_rows(size)) + _key(1, 0) + _varint(COLUMNS)
    weights += _key(2, 0) + b"\x01" + _field(8, b"w")
    weights += _field(13, _field(1, b"location") + _field(2, b"large.data")) + _key(14, 0) + b"\x01"
    return _onnx(folder / "outside.onnx", size, weights, 0)


def _onnx(path: Path, size: int, weights: bytes, hole: int) -> Path:
    """``y = x @ w`` around a ``TensorProto`` that ends in a hole."""
    node = _field(1, b"x") + _field(1, b"w") + _field(2, b"y") + _field(4, b"MatMul")
    before = _field(1, node) + _field(2, b"g")
    before += _key(5, 2) + _varint(len(weights) + hole) + weights
    after = _field(11, _value(b"x", 1, _rows(size))) + _field(12, _value(b"y", 1, COLUMNS))
    graph = _key(7, 2) + _varint(len(before) + hole + len(after)) + before
    return _hole(path, _key(1, 0) + b"\x08" + graph, hole, after + _field(8, _key(2, 0) + b"\x0d"))


def _value(name: bytes, *shape: int) -> bytes:
    axes = b"".join(_field(1, _key(1, 0) + _varint(axis)) for axis in shape)
    return _field(1, name) + _field(2, _field(1, _key(1, 0) + b"\x01" + _field(2, axes)))


def _field(number: int, payload: bytes) -> bytes:
    return _key(number, 2) + _varint(len(payload)) + payload


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found, value = found + bytes([value & 0x7F | 0x80]), value >> 7
    return found + bytes([value])


def keras_h5(folder: Path, size: int) -> Path:
    """A whole model of one dense layer."""
    import h5py

    path = folder / "large.h5"
    layers = [
        ("InputLayer", {"batch_shape": [None, _rows(size)], "dtype": "float32", "name": "x"}),
        ("Dense", {"name": "dense", "units": COLUMNS, "use_bias": False, "trainable": True}),
    ]
    config = {
        "name": "large",
        "layers": [{"class_name": kind, "config": settings} for kind, settings in layers],
    }
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": config})
        file.attrs["keras_version"] = "3.0.0"
        file.attrs["backend"] = "tensorflow"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"x", b"dense"]
        group.create_group("x").attrs["weight_names"] = []
        dense = group.create_group("dense")
        dense.attrs["weight_names"] = [b"dense/kernel"]
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        inner = dense.create_group("dense")
        space = h5py.h5s.create_simple((_rows(size), COLUMNS))
        h5py.h5d.create(inner.id, b"kernel", h5py.h5t.IEEE_F32LE, space, settings)
    return path


def sharded(folder: Path, size: int) -> Path:
    """A checkpoint of four matrices in four files, and the index that names them."""
    where = {}
    for number in range(1, 5):
        file = safetensors(folder, size // 4)
        shard = file.rename(folder / f"model-{number:05}-of-00004.safetensors")
        # Of the same length, so that the header fits.
        with shard.open("r+b") as opened:
            head = opened.read(100).replace(b"layer.weight", b"laye%d.weight" % number)
            opened.seek(0)
            opened.write(head)
        where[f"laye{number}.weight"] = shard.name
    index = {"metadata": {"total_size": 4 * _bytes(size // 4)}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return folder


def pickled(folder: Path, size: int) -> Path:
    """A model folder as older transformers wrote it."""
    pytorch(folder, size).rename(folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return folder


def _linear(size: int) -> Any:
    import torch

    network = torch.nn.Linear(COLUMNS, 1, bias=False)
    network.weight = torch.nn.Parameter(torch.zeros(_rows(size), COLUMNS))
    return network.eval()


def torchscript(folder: Path, size: int) -> Path:
    """A traced matrix product."""
    import torch

    path = folder / "large_script.pt"
    torch.jit.trace(_linear(size), torch.zeros(1, COLUMNS)).save(str(path))
    return path


def exported(folder: Path, size: int) -> Path:
    """An exported matrix product."""
    import torch

    path = folder / "large.pt2"
    torch.export.save(torch.export.export(_linear(size), (torch.zeros(1, COLUMNS),)), path)
    return path


def _dense(size: int) -> Any:
    import keras

    inputs = keras.Input((_rows(size),))
    layer = keras.layers.Dense(COLUMNS, use_bias=False, kernel_initializer="zeros")
    return keras.Model(inputs, layer(inputs))


def keras_archive(folder: Path, size: int) -> Path:
    """A whole model in today's format of Keras."""
    _dense(size).save(folder / "large.keras")
    return folder / "large.keras"


def keras_weights(folder: Path, size: int) -> Path:
    """Weights alone."""
    _dense(size).save_weights(folder / "large.weights.h5")
    return folder / "large.weights.h5"


def savedmodel(folder: Path, size: int) -> Path:
    """As ``model.export`` writes it."""
    _dense(size).export(folder / "large", verbose=False)
    return folder / "large"


MAKERS: Mapping[str, Callable[[Path, int], Path]] = {
    "ONNX": onnx,
    "ONNX with external data": onnx_external,
    "PyTorch state dict": pytorch,
    "folder with .bin": pickled,
    "safetensors": safetensors,
    "sharded folder": sharded,
    "TorchScript": torchscript,
    ".pt2": exported,
    ".keras": keras_archive,
    "Keras .h5": keras_h5,
    "weights .h5": keras_weights,
    "SavedModel": savedmodel,
}


@dataclass(frozen=True)
class Loader:
    """How the framework loads a kind of file.

    Attributes:
        needs: libraries that must be installed.
        imports: run before the time is taken.
        call: what is timed; ``path`` is the file.
        lazy: empty, or why this call does not read the weights at all.
    """

    needs: tuple[str, ...]
    imports: str
    call: str
    lazy: str = ""


_KERAS = "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import keras"
_TENSORFLOW = "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import tensorflow as tf"
_ONNX = Loader(
    ("onnxruntime",),
    "import onnxruntime",
    "onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])",
)

LOADERS: Mapping[str, tuple[Loader, ...]] = {
    "ONNX": (_ONNX,),
    "ONNX with external data": (_ONNX,),
    "PyTorch state dict": (
        Loader(("torch",), "import torch", "torch.load(path)"),
        Loader(("torch",), "import torch", "torch.load(path, mmap=True)", "mmap=True reads on use"),
    ),
    "folder with .bin": (
        Loader(("torch",), "import torch", "torch.load(path + '/pytorch_model.bin')"),
    ),
    "safetensors": (
        Loader(
            ("torch", "safetensors"),
            "from safetensors.torch import load",
            "load(open(path, 'rb').read())",
        ),
        Loader(
            ("torch", "safetensors"),
            "from safetensors.torch import load_file",
            "load_file(path)",
            "load_file maps the file and reads on use",
        ),
    ),
    "sharded folder": (
        Loader(
            ("torch", "safetensors"),
            "from safetensors.torch import load; import glob",
            "[load(open(p, 'rb').read()) for p in glob.glob(path + '/*.safetensors')]",
        ),
    ),
    "TorchScript": (Loader(("torch",), "import torch", "torch.jit.load(path)"),),
    ".pt2": (Loader(("torch",), "import torch", "torch.export.load(path)"),),
    ".keras": (Loader(("keras", "tensorflow"), _KERAS, "keras.models.load_model(path)"),),
    "Keras .h5": (
        Loader(("keras", "tensorflow"), _KERAS, "keras.models.load_model(path, compile=False)"),
    ),
    "weights .h5": (
        Loader(
            ("keras", "tensorflow"),
            _KERAS
            + "; import h5py; f = h5py.File(path); shape = [0]"
            + "; f.visititems(lambda n, i: shape.extend(getattr(i, 'shape', ())))"
            + "; f.close(); x = keras.Input((shape[1],))"
            + "; m = keras.Model(x, keras.layers.Dense(shape[2], use_bias=False)(x))",
            "m.load_weights(path)",
        ),
    ),
    "SavedModel": (Loader(("tensorflow",), _TENSORFLOW, "tf.saved_model.load(path)"),),
}


if __name__ == "__main__":
    kind, folder, size = sys.argv[1:]
    print(MAKERS[kind](Path(folder), int(size)))
