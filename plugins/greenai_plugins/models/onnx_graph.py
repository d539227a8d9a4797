"""The structure of an ONNX file without its weights.

Nodes, and for each tensor its name, type and dimensions: what counting needs.
Field numbers are those of onnx.proto of the ONNX project.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from .protobuf_reader import BYTES, FIXED32, Buffer, Field, WireError, fields, integers, text

MAX_DEPTH = 64
"""Graphs nest by If, Loop and Scan; deeper than this is no real model."""

MAX_SHAPE_RANK = 64
"""Integer tensors up to this length are read, since they may be a shape."""

MAX_ELEMENTS = 2**50
"""A thousand times the largest network; a tensor of more is a damaged or hostile file."""

FLOAT, INT64 = 1, 7

BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64,
    14: 64, 15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
"""``TensorProto.DataType`` -> bits of one element."""


@dataclass(frozen=True)
class Tensor:
    """A tensor in the file.

    Attributes:
        dims: empty for a scalar.
        data_type: a key of ``BITS``, or of a type that has no fixed size.
        integers: the values of a short int64 vector; None of any other tensor.
    """

    name: str
    dims: tuple[int, ...]
    data_type: int
    integers: tuple[int, ...] | None = None


Attribute: TypeAlias = Tensor | int
"""What counting needs of a node's attribute: a constant, or a number."""


@dataclass(frozen=True)
class Node:
    """One operator of a graph; ``domain`` is empty for ONNX's own."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    name: str = ""

    @property
    def label(self) -> str:
        """Its name, or where it has none that of its first output."""
        return self.name or (self.outputs[0] if self.outputs else "")


@dataclass
class Scope:
    """A graph, or the body of a function; names are looked up in ``parent`` too."""

    parent: Scope | None
    initializers: list[Tensor] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def scopes(data: Buffer) -> list[Scope]:
    """Every graph and function body of a ``ModelProto``, outer before inner.

    Graphs for training (``training_info``) are left out.

    Raises:
        WireError: the file is truncated or not a model.
    """
    found: list[Scope] = []
    graphs = opsets = 0
    for part in fields(data, 0, len(data)):
        if part.number == 7:
            graphs += 1
            _graph(data, _message(part), None, found, 0)
        elif part.number == 8:
            opsets += 1
        elif part.number == 25:
            body = Scope(None)
            found.append(body)
            for inner in fields(data, *_message(part)):
                if inner.number == 5:
                    body.outputs.append(text(data, inner))
                elif inner.number == 7:
                    body.nodes.append(_node(data, _message(inner), body, found, 0))
    if graphs != 1 or not opsets:
        raise WireError(f"it holds {graphs} graphs and {opsets} operator sets")
    return found


def unranked_inputs(data: Buffer) -> set[str]:
    """Inputs of the main graph whose number of axes the file does not say.

    ONNX Runtime shows them as scalars.

    Raises:
        WireError: the file is truncated or not a model.
    """
    unranked = set()
    for graph in (part for part in fields(data, 0, len(data)) if part.number == 7):
        for value in (part for part in fields(data, *_message(graph)) if part.number == 11):
            name, ranked = "", False
            for part in fields(data, *_message(value)):
                if part.number == 1:
                    name = text(data, part)
                elif part.number == 2:  # its type: a tensor (1) that has a shape (2), or has not
                    ranked = any(
                        inner.number == 2
                        for kind in fields(data, *_message(part))
                        if kind.number == 1
                        for inner in fields(data, *_message(kind))
                    )
            if not ranked:
                unranked.add(name)
    return unranked


def _message(part: Field) -> tuple[int, int]:
    if part.wire != BYTES:
        raise WireError(f"the field {part.number} at byte {part.start} is not a message")
    return part.start, part.end


def _graph(
    data: Buffer, span: tuple[int, int], parent: Scope | None, found: list[Scope], depth: int
) -> None:
    if depth > MAX_DEPTH:
        raise WireError(f"its graphs are nested more than {MAX_DEPTH} deep")
    scope = Scope(parent)
    found.append(scope)
    for part in fields(data, *span):
        if part.number == 1:
            scope.nodes.append(_node(data, _message(part), scope, found, depth))
        elif part.number == 5:
            scope.initializers.append(_tensor(data, _message(part)))
        elif part.number == 12:
            names = fields(data, *_message(part))
            scope.outputs.extend(text(data, inner) for inner in names if inner.number == 1)
        elif part.number == 15:
            scope.initializers.append(_stored_values(data, _message(part)))


def _node(
    data: Buffer, span: tuple[int, int], scope: Scope, found: list[Scope], depth: int
) -> Node:
    op = domain = name = ""
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, Attribute] = {}
    for part in fields(data, *span):
        if part.number == 1:
            inputs.append(text(data, part))
        elif part.number == 2:
            outputs.append(text(data, part))
        elif part.number == 3:
            name = text(data, part)
        elif part.number == 4:
            op = text(data, part)
        elif part.number == 5:
            _attribute(data, _message(part), attributes, scope, found, depth)
        elif part.number == 7:
            domain = text(data, part)
    domain = "" if domain == "ai.onnx" else domain
    return Node(op, domain, tuple(inputs), tuple(outputs), attributes, name)


def _attribute(
    data: Buffer,
    span: tuple[int, int],
    attributes: dict[str, Attribute],
    scope: Scope,
    found: list[Scope],
    depth: int,
) -> None:
    name = ""
    value: Attribute | None = None
    floats = integer_count = 0
    ints: list[int] = []
    for part in fields(data, *span):
        if part.number == 1:
            name = text(data, part)
        elif part.number == 2:
            value = Tensor("", (), FLOAT)
        elif part.number == 3:
            value = next(integers(data, part))
        elif part.number == 5:
            value = _tensor(data, _message(part))
        elif part.number in (6, 11):
            _graph(data, _message(part), scope, found, depth + 1)
        elif part.number == 7:
            floats += 1 if part.wire == FIXED32 else (part.end - part.start) // 4
        elif part.number == 8:
            integer_count += _keep_first(ints, integers(data, part))
        elif part.number == 22:
            value = _stored_values(data, _message(part))
    if floats:
        value = Tensor("", (floats,), FLOAT)
    elif ints:
        known = tuple(ints) if len(ints) == integer_count else None
        value = Tensor("", (integer_count,), INT64, known)
    if value is not None:
        attributes[name] = value


def _keep_first(kept: list[int], numbers: Iterable[int]) -> int:
    """Count numbers, and keep them while they may be a shape: longer lists are never looked at."""
    count = 0
    for number in numbers:
        count += 1
        if len(kept) < MAX_SHAPE_RANK:
            kept.append(number)
    return count


def _stored_values(data: Buffer, span: tuple[int, int]) -> Tensor:
    """The values that a ``SparseTensorProto`` stores."""
    for part in fields(data, *span):
        if part.number == 1:
            return _tensor(data, _message(part))
    raise WireError(f"the sparse tensor at byte {span[0]} holds no values")


def _tensor(data: Buffer, span: tuple[int, int]) -> Tensor:
    name = ""
    dims: list[int] = []
    data_type = 0
    raw: tuple[int, int] | None = None
    values: list[Field] = []
    for part in fields(data, *span):
        if part.number == 1:
            dims.extend(itertools.islice(integers(data, part), MAX_SHAPE_RANK + 1))
        elif part.number == 2:
            data_type = part.value
        elif part.number == 7:
            values.append(part)
        elif part.number == 8:
            name = text(data, part)
        elif part.number == 9:
            raw = _message(part)
    if any(size < 0 for size in dims):
        raise WireError(f"the tensor {name!r} has the dimensions {dims}")
    tensor = Tensor(name, tuple(dims), data_type)
    if len(dims) > MAX_SHAPE_RANK:
        raise WireError(f"the tensor {name!r} has {len(dims)} dimensions")
    elements = count(tensor.dims)
    if elements > MAX_ELEMENTS:
        raise WireError(
            f"the tensor {name!r} has the dimensions {dims}, more than any machine holds"
        )
    if raw is not None and data_type in BITS:
        needed = (elements * BITS[data_type] + 7) // 8
        if raw[1] - raw[0] != needed:
            raise WireError(
                f"the tensor {name!r} holds {raw[1] - raw[0]} bytes, its dimensions {dims} "
                f"need {needed}"
            )
    if data_type == INT64 and elements <= MAX_SHAPE_RANK:
        return Tensor(name, tensor.dims, INT64, _short_vector(data, elements, raw, values))
    return tensor


def _short_vector(
    data: Buffer, elements: int, raw: tuple[int, int] | None, values: list[Field]
) -> tuple[int, ...] | None:
    if raw is not None:
        return struct.unpack(f"<{elements}q", data[raw[0] : raw[1]])
    found = tuple(number for part in values for number in integers(data, part))
    return found if len(found) == elements else None


def count(dims: tuple[int, ...]) -> int:
    """Elements of a tensor: the product of its dimensions."""
    product = 1
    for size in dims:
        product *= size
    return product
