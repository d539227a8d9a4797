"""Multiply-accumulates of one inference of a TensorFlow graph, from its shapes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

CONVOLUTIONS = frozenset({"Conv2D", "Conv3D", "Conv"})
DEPTHWISE = frozenset({"DepthwiseConv2dNative"})
TRANSPOSED = frozenset({"Conv2DBackpropInput", "Conv3DBackpropInputV2"})
PRODUCTS = {
    "MatMul": "transpose_a",
    "BatchMatMul": "adj_x",
    "BatchMatMulV2": "adj_x",
    "BatchMatMulV3": "adj_x",
}
"""Matrix product -> the attribute that says that its first input is transposed."""

COUNTED = CONVOLUTIONS | DEPTHWISE | TRANSPOSED | frozenset(PRODUCTS) | {"Einsum"}

UNCOUNTED = (
    "CudnnRNN", "BlockLSTM", "LSTMBlockCell", "GRUBlockCell", "XlaDot", "XlaConv",
    "XlaCallModule", "XlaEinsum", "QuantizedConv", "QuantizedMatMul", "QuantizedDepthwise",
    "UniformQuantized", "SparseMatMul", "SparseTensorDenseMatMul", "SparseMatrix", "_Fused",
    "PyFunc", "EagerPyFunc",
)  # fmt: skip
"""Beginnings of the names of operations that multiply in ways not counted here."""

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
MAX_DEPTH = 32

FUNCTIONS = ("body", "then_branch", "else_branch", "branches", "f")
"""Attributes under which loops, branches and calls name the functions that they run."""


class Unknown(Exception):
    """The multiplications of a graph cannot be told; the message says why."""


def count(graph: Any) -> tuple[int | None, str]:
    """Multiply-accumulates of a graph, or None and the reason.

    Args:
        graph: a ``tf.Graph`` whose placeholders have fixed shapes.
    """
    try:
        return sum(_of_operations(graph)), ""
    except Unknown as error:
        return None, str(error)


def _of_operations(graph: Any, depth: int = 0) -> Iterator[int]:
    functions = {one.signature.name: one for one in graph.as_graph_def().library.function}
    multiplying = _multiplying_functions(functions.values())
    for operation in graph.get_operations():
        called = multiplying.intersection(_called(operation.node_def))
        if operation.type in COUNTED:
            yield _of_operation(operation)
        elif operation.type.startswith(UNCOUNTED):
            raise Unknown(f"the multiplications of the operation {operation.type} are not counted")
        elif called and operation.type in CALLS and depth < MAX_DEPTH:
            body = _body(graph, functions[called.pop()], operation.inputs)
            yield from _of_operations(body, depth + 1)
        elif called:
            raise Unknown(
                f"{operation.name} ({operation.type}) runs a function that multiplies, and the "
                "graph does not tell how often"
            )


def _body(graph: Any, function: Any, given: Iterable[Any]) -> Any:
    """The graph of a function that is called once, for inputs of these shapes."""
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    with graph.as_default():  # where it finds the functions that it calls itself
        return function_def_to_graph(function, input_shapes=[tensor.shape for tensor in given])


def _multiplying_functions(functions: Iterable[Any]) -> set[str]:
    """Names of the functions of a graph that multiply, or call one that does."""
    calls: dict[str, set[str]] = {}
    found: set[str] = set()
    for function in functions:
        name = function.signature.name
        calls[name] = {called for node in function.node_def for called in _called(node)}
        if any(node.op in COUNTED or node.op.startswith(UNCOUNTED) for node in function.node_def):
            found.add(name)
    grown = True
    while grown:
        more = {name for name, called in calls.items() if called & found}
        grown = not more <= found
        found |= more
    return found


def _called(node: Any) -> Iterator[str]:
    """Names of the functions that a node runs."""
    for attribute in FUNCTIONS:
        if attribute in node.attr:
            value = node.attr[attribute]
            yield value.func.name
            yield from (function.name for function in value.list.func)


def _of_operation(operation: Any) -> int:
    if operation.type == "Einsum":
        return _of_einsum(operation)
    if operation.type in TRANSPOSED:
        given = _shape(operation, operation.inputs[2])
        return math.prod(given) * math.prod(_shape(operation, operation.inputs[1])[:-1])
    made = _shape(operation, operation.outputs[0])
    if operation.type in PRODUCTS:
        left = _shape(operation, operation.inputs[0])
        transposed = operation.get_attr(PRODUCTS[operation.type])
        return math.prod(made) * left[-2 if transposed else -1]
    kernel = _shape(operation, operation.inputs[1])
    inner = kernel[:-2] if operation.type in DEPTHWISE else kernel[:-1]
    return math.prod(made) * math.prod(inner)


def _of_einsum(operation: Any) -> int:
    """One multiplication for each combination of all indices, of two factors."""
    equation = operation.get_attr("equation").decode()
    terms = equation.partition("->")[0].split(",")
    if len(terms) != 2:
        return 0  # of one factor there is nothing to multiply
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, operation.inputs, strict=True):
        shape = _shape(operation, tensor)
        before, dots, after = term.partition("...")
        spread = len(shape) - len(before) - len(after) if dots else 0
        # Axes under an ellipsis are aligned at their ends, as in broadcasting.
        labels = [*before, *(f"...{place}" for place in range(spread, 0, -1)), *after]
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return math.prod(sizes.values())


def _shape(operation: Any, tensor: Any) -> list[int]:
    shape = tensor.shape
    if not shape.is_fully_defined():
        raise Unknown(f"the shape {shape} at {operation.name} ({operation.type}) is not fixed")
    sizes: list[int] = shape.as_list()
    return sizes
