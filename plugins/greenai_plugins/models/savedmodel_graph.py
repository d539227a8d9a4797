"""The operations and constants of a TensorFlow graph, read without TensorFlow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from .protobuf_reader import BYTES, VARINT, Buffer, Field, WireError, fields, signed, text

DANGEROUS = frozenset(
    {
        "PyFunc", "PyFuncStateless", "EagerPyFunc",
        "ReadFile", "WholeFileReader", "WholeFileReaderV2", "MatchingFiles", "ImmutableConst",
        "TextLineReader", "TextLineReaderV2", "TextLineDataset", "FixedLengthRecordDataset",
        "FixedLengthRecordDatasetV2", "LoadDataset", "LoadDatasetV2",
        "WriteFile", "SaveDataset", "SaveDatasetV2", "DatasetToTFRecord",
        "CreateSummaryFileWriter", "CreateSummaryDbWriter",
        "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3",
        "RpcCall", "RpcClient", "RpcServer",
        "FixedLengthRecordReader", "FixedLengthRecordReaderV2", "TFRecordReader",
        "TFRecordReaderV2", "TFRecordDataset", "TFRecordDatasetV2", "LMDBReader", "LMDBDataset",
        "ExperimentalLMDBDataset", "CSVDataset", "CSVDatasetV2", "ExperimentalCSVDataset",
        "SqlDataset", "ExperimentalSqlDataset", "SnapshotDataset", "SnapshotDatasetV2",
        "DataServiceDataset", "DataServiceDatasetV2", "DataServiceDatasetV3",
        "DataServiceDatasetV4", "RegisterDataset", "RegisterDatasetV2", "DistributedSave",
    }
)  # fmt: skip
"""Operations that run Python, or touch files and the network while a model runs.

Those that restore the weights (RestoreV2) or read a table from the model's own
assets are in nearly every SavedModel and are not among them.
"""

MAX_RANK = 254
"""TensorFlow's own limit."""

MAX_ELEMENTS = 2**50
"""A thousand times the largest network; a tensor of more is a damaged or hostile file."""

ON_IMAGES = frozenset({"Conv2D", "DepthwiseConv2dNative", "MaxPool", "AvgPool"})
"""Operations whose ``data_format`` is the order of the axes of images."""

TYPES = {
    1: ("float32", 4), 2: ("float64", 8), 3: ("int32", 4), 4: ("uint8", 1), 5: ("int16", 2),
    6: ("int8", 1), 7: ("string", 0), 8: ("complex64", 8), 9: ("int64", 8), 10: ("bool", 1),
    11: ("int8", 1), 12: ("uint8", 1), 13: ("int32", 4), 14: ("bfloat16", 2), 15: ("int16", 2),
    16: ("uint16", 2), 17: ("uint16", 2), 18: ("complex128", 16), 19: ("float16", 2),
    20: ("resource", 0), 21: ("variant", 0), 22: ("uint32", 4), 23: ("uint64", 8),
    24: ("float8_e5m2", 1), 25: ("float8_e4m3fn", 1),
}  # fmt: skip
"""``DataType`` of tensorflow/core/framework/types.proto: NumPy's name, bytes of an element."""


@dataclass(frozen=True)
class Constant:
    """A tensor that stands in the graph itself."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int


@dataclass
class _Body:
    """Constants of a graph or function, and the functions that it calls."""

    constants: list[Constant] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)


def children(data: Buffer, message: Field, number: int) -> Iterator[Field]:
    """The fields of one number in a message.

    Raises:
        WireError: the bytes are no such message.
    """
    if message.wire != BYTES:
        raise WireError(f"the field {message.number} at byte {message.start} is no message")
    return (part for part in fields(data, message.start, message.end) if part.number == number)


def strings(data: Buffer, message: Field, number: int) -> list[str]:
    """The strings of one number in a message."""
    return [text(data, part) for part in children(data, message, number)]


def integer(data: Buffer, message: Field, number: int) -> int:
    """The last number given for a field of a message; 0, its default, where there is none."""
    values = [part.value for part in children(data, message, number) if part.wire == VARINT]
    return signed(values[-1]) if values else 0


def pairs(data: Buffer, message: Field, number: int) -> Iterator[tuple[str, Field]]:
    """Key and value of each entry of a map field."""
    for entry in children(data, message, number):
        for value in children(data, entry, 2):
            yield "".join(strings(data, entry, 1)[-1:]), value


def type_of(data: Buffer, message: Field, number: int) -> tuple[str, int]:
    """NumPy's name and the bytes of an element of a ``DataType`` field."""
    return TYPES.get(integer(data, message, number), ("unknown", 0))


def shape_of(data: Buffer, message: Field, number: int) -> tuple[int | None, ...] | None:
    """A ``TensorShapeProto``: open axes are None, as is a shape of unknown rank."""
    for shape in children(data, message, number):
        if integer(data, shape, 3):
            return None
        axes = list(itertools.islice(children(data, shape, 2), MAX_RANK + 1))
        sizes = [integer(data, axis, 1) for axis in axes]
        if len(sizes) > MAX_RANK or math.prod(size for size in sizes if size > 0) > MAX_ELEMENTS:
            raise WireError(f"it holds the impossible shape {sizes[:8]}")
        return tuple(None if size < 0 else size for size in sizes)
    return ()


def operations(data: Buffer, graph: Field) -> frozenset[str]:
    """Names of all kinds of operation in a ``GraphDef`` and its library of functions."""
    found = set()
    for node in _nodes(data, graph):
        name = "".join(strings(data, node, 2)[-1:])
        if name == "PrintV2" and _prints_to_file(data, node):
            name = "WriteFile"
        found.add(name)
    return frozenset(found)


def image_layouts(data: Buffer, graph: Field) -> frozenset[str]:
    """``"NHWC"`` and ``"NCHW"``, as operations on images say; ``""`` where one swaps axes."""
    found = set()
    for node in _nodes(data, graph):
        operation = "".join(strings(data, node, 2)[-1:])
        if operation == "Transpose":
            found.add("")
        elif operation in ON_IMAGES:
            formats = [a for key, a in pairs(data, node, 5) if key == "data_format"]
            # Attributes of the default value are stripped from the file.
            found.update([name for a in formats for name in strings(data, a, 2)] or ["NHWC"])
    return frozenset(found)


def constants(data: Buffer, graph: Field) -> tuple[Constant, ...]:
    """Constants of a ``GraphDef`` and of the functions that it calls.

    A function is counted once however often it is called, and not at all when
    nothing calls it: TensorFlow stores several traces of one function.
    """
    functions = dict(_functions(data, graph))
    found: list[Constant] = []
    waiting, seen = [_body(data, graph, 1)], set[str]()
    while waiting:
        body = waiting.pop()
        found.extend(body.constants)
        for name in sorted(body.calls - seen):
            seen.add(name)
            if name in functions:
                waiting.append(_body(data, functions[name], 3))
    return tuple(found)


def _functions(data: Buffer, graph: Field) -> Iterator[tuple[str, Field]]:
    for library in children(data, graph, 2):
        for function in children(data, library, 1):
            names = [n for s in children(data, function, 1) for n in strings(data, s, 1)]
            yield "".join(names[-1:]), function


def _nodes(data: Buffer, graph: Field) -> Iterator[Field]:
    yield from children(data, graph, 1)
    for _, function in _functions(data, graph):
        yield from children(data, function, 3)


def _prints_to_file(data: Buffer, node: Field) -> bool:
    return any(
        key == "output_stream" and "".join(strings(data, attribute, 2)).startswith("file:")
        for key, attribute in pairs(data, node, 5)
    )


def _body(data: Buffer, message: Field, number: int) -> _Body:
    body = _Body()
    for node in children(data, message, number):
        constant = strings(data, node, 2)[-1:] == ["Const"]
        for key, attribute in pairs(data, node, 5):
            if constant and key == "value":
                body.constants.extend(_constants(data, attribute))
            for called in children(data, attribute, 10):
                body.calls.update(strings(data, called, 1))
    return body


def _constants(data: Buffer, attribute: Field) -> Iterator[Constant]:
    for tensor in children(data, attribute, 8):
        dtype, size = type_of(data, tensor, 1)
        shape = shape_of(data, tensor, 2) or ()
        fixed = tuple(axis or 0 for axis in shape)
        yield Constant(fixed, dtype, size * math.prod(fixed))
