"""ONNX graphs with their nodes numbered, so that each is told from all others."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .onnx_origins import inner_graphs

NUMBERED = re.compile(r"n(\d+)(?:/\d+)*")

LOCATION = "location"


def number_nodes(graph: Any) -> None:
    """Name the nodes by their places, and those of graphs inside them after them."""
    for place, node in enumerate(graph.node):
        node.name = f"n{place}"
        _number_inner(node)


def place_of(name: str) -> int | None:
    """The place of a node that was numbered, or of the one that it is inside; None for others."""
    number = NUMBERED.fullmatch(name)
    return int(number[1]) if number else None


def _number_inner(node: Any) -> None:
    numbers = itertools.count()
    for graph in inner_graphs(node):
        for inner in graph.node:
            inner.name = f"{node.name}/{next(numbers)}"
            _number_inner(inner)


def beside(model: Any, path: Path) -> Path:
    """Where the weights of a model lie that are in files of their own, so named from there.

    Download caches keep a model as links: ONNX Runtime follows those of a file that it opens by
    its path, but not of a model that it is given as bytes.

    Args:
        model: an ``onnx.ModelProto``; its locations are changed in place.
        path: of the file that it was read from.
    """
    entries = [
        entry
        for tensor in _stored(model.graph)
        for entry in tensor.external_data
        if entry.key == LOCATION
    ]
    real = [os.path.realpath(path.parent / entry.value) for entry in entries]
    if not real:
        return path.parent
    folder = Path(os.path.commonpath([Path(one).parent for one in real]))
    for entry, one in zip(entries, real, strict=True):
        entry.value = Path(one).relative_to(folder).as_posix()
    return folder


def _stored(graph: Any) -> Iterator[Any]:
    """The tensors that a graph holds, and those of graphs inside its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
        for inner in inner_graphs(node):
            yield from _stored(inner)
