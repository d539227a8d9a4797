"""Where an ONNX file says that its weights are, and whether that is beside it.

Every tensor of the file is visited, wherever the schema allows one, and every
location that is given for it: protocol buffers merge fields that are given
twice, so the last one is not all that a library may see.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from .protobuf_reader import BYTES, Buffer, fields, text

SCHEMA = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}  # fmt: skip
"""Message of onnx.proto -> its fields that lead to tensors, and what they hold."""

LOCATION = "location"

SEARCHED_BYTES = 2**20
"""Files up to this size are searched for a location before their tensors are visited."""

IN_MEMORY = "*/"
"""How ONNX Runtime begins the location of data at an address of its own memory."""


def outside(path: Path, data: Buffer) -> list[str]:
    """Locations of external data that lead out of the model's folder, sorted.

    Absolute paths, ``..`` and symbolic links that lead out do, and what names
    an address in memory.

    Args:
        path: of the model.
        data: its content.

    Raises:
        WireError: the file is truncated or not a model.
    """
    # Download caches keep a model as links to one folder that holds all its files.
    real = {Path(os.path.realpath(path.parent)), Path(os.path.realpath(path)).parent}
    named = {where for where in locations(data) if not _inside(path.parent, where, real)}
    return sorted(named)


def locations(data: Buffer) -> Iterator[str]:
    """Every location of external data that the file names.

    Raises:
        WireError: the file is truncated or not a model.
    """
    # Searching all of a large file would read its weights.
    if len(data) <= SEARCHED_BYTES and data.find(LOCATION.encode()) < 0:
        return
    waiting = [("model", 0, len(data))]
    while waiting:
        kind, start, end = waiting.pop()
        for part in fields(data, start, end):
            inner = SCHEMA[kind].get(part.number)
            if inner is None or part.wire != BYTES:
                continue
            if inner == "external":
                yield from _location(data, part.start, part.end)
            else:
                waiting.append((inner, part.start, part.end))


def _location(data: Buffer, start: int, end: int) -> Iterator[str]:
    entry = list(fields(data, start, end))
    if any(part.number == 1 and text(data, part) == LOCATION for part in entry):
        yield from (text(data, part) for part in entry if part.number == 2)


def _inside(home: Path, where: str, real: set[Path]) -> bool:
    if "\0" in where or where.startswith(IN_MEMORY):
        return False
    if PureWindowsPath(where).is_absolute() or ".." in where.split("/"):
        return False
    target = Path(os.path.realpath(home / where))
    return any(target.is_relative_to(folder) for folder in real)
