"""Is a file an ONNX model? A few bytes tell.

A model is a ``ModelProto`` (onnx.proto of the ONNX project): a version, then
strings, the graph and the operator sets. The top-level fields are walked with a
seek over each payload, until version and graph have been seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from .protobuf_reader import BYTES, VARINT, WireError, fields, varint

MODEL_FIELDS = {
    1: VARINT,  # ir_version
    2: BYTES,  # producer_name
    3: BYTES,  # producer_version
    4: BYTES,  # domain
    5: VARINT,  # model_version
    6: BYTES,  # doc_string
    7: BYTES,  # graph
    8: BYTES,  # opset_import
    14: BYTES,  # metadata_props
    20: BYTES,  # training_info
    25: BYTES,  # functions
    26: BYTES,  # configuration
}
GRAPH_FIELDS = {1, 2, 5, 10, 11, 12, 13, 14, 15, 16}
MAX_IR_VERSION = 1000
MAX_FIELDS = 100_000
_KEY_BYTES = 24


def is_onnx(path: Path) -> bool:
    """Whether the file begins as an ONNX model does; a truncated model still does."""
    try:
        with path.open("rb") as file:
            return _walk(file)
    except (OSError, WireError):
        return False


def _walk(file: BinaryIO) -> bool:
    versioned = graph = False
    at = 0
    for _ in range(MAX_FIELDS):
        file.seek(at)
        head = file.read(_KEY_BYTES)
        if not head:
            return False
        key, after = varint(head, 0, len(head))
        number, wire = key >> 3, key & 7
        if MODEL_FIELDS.get(number) != wire:
            return False
        value, after = varint(head, after, len(head))
        if number == 1:
            if not 1 <= value <= MAX_IR_VERSION:
                return False
            versioned = True
        if number == 7:
            file.seek(at + after)
            graph = _begins_a_graph(file.read(min(value, _KEY_BYTES)))
            if not graph:
                return False
        if versioned and graph:
            return True
        at += after + (value if wire == BYTES else 0)
    return False


def _begins_a_graph(head: bytes) -> bool:
    """Whether these first bytes can be those of a ``GraphProto``, whose fields are messages."""
    if not head:
        return False
    try:
        first = next(fields(head, 0, len(head)))
    except WireError:  # the first field is longer than the bytes read, as it should be
        key, _ = varint(head, 0, len(head))
        return key >> 3 in GRAPH_FIELDS and key & 7 == BYTES
    return first.number in GRAPH_FIELDS and first.wire == BYTES
