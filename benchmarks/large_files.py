"""Model files of any size that take next to no disk: their weights are holes in the file."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

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


MAKERS: Mapping[str, Callable[[Path, int], Path]] = {
    "safetensors": safetensors,
    "PyTorch state dict": pytorch,
    "ONNX": onnx,
    "ONNX with external data": onnx_external,
    "Keras .h5": keras_h5,
}

LOADERS: Mapping[str, tuple[str, str]] = {
    "safetensors": (
        "from safetensors.torch import load",
        "load(open(path, 'rb').read())",
    ),
    "PyTorch state dict": ("import torch", "torch.load(path)"),
    "ONNX": (
        "import onnxruntime",
        "onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])",
    ),
    "ONNX with external data": (
        "import onnxruntime",
        "onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])",
    ),
    "Keras .h5": (
        "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import keras",
        "keras.models.load_model(path, compile=False)",
    ),
}
"""How the framework loads each: its imports, and the call that is timed."""


if __name__ == "__main__":
    kind, folder, size = sys.argv[1:]
    print(MAKERS[kind](Path(folder), int(size)))
