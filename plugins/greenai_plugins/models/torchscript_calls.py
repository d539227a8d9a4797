"""Which modules a TorchScript program calls, and with what.

Hooks on the modules of a compiled program do not fire while it runs. But its graph says
``prim::CallMethod`` where a module calls another one, so a copy of the graph that gives out
what goes into these calls tells the inputs of each layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

CALL = "prim::CallMethod"
MAX_DEPTH = 64


@dataclass(frozen=True)
class Call:
    """A call of a module by the graph of another one, outside its loops and branches.

    Attributes:
        name: path of the module called.
        module: it, as PyTorch's script object.
        method: the method of it that is called.
        place: among the calls of that graph.
    """

    name: str
    module: Any
    method: str
    place: int


def calls_of(name: str, module: Any, method: str) -> list[Call]:
    """The calls that a method makes, in their order.

    Args:
        name: path of the module; empty for the program itself.
        module: PyTorch's script object.
        method: of it.
    """
    graph = module._get_method(method).graph
    myself = next(iter(graph.inputs())).debugName()
    found = []
    for place, node in enumerate(_call_nodes(graph)):
        path = path_of(node.inputsAt(0), myself)
        if path is None:
            continue
        called = module
        for part in path:
            called = called.getattr(part)
        full = ".".join((name, *path) if name else path)
        found.append(Call(full, called, node.s("name"), place))
    return found


def walk(name: str, module: Any, method: str, depth: int = 0) -> Iterator[Call]:
    """The calls of a method, each followed by those that it makes itself."""
    if depth > MAX_DEPTH:
        return
    for call in calls_of(name, module, method):
        yield call
        yield from walk(call.name, call.module, call.method, depth + 1)


def leaves(
    name: str, module: Any, method: str, args: Sequence[Any], depth: int = 0
) -> Iterator[tuple[Call, tuple[Any, ...]]]:
    """The calls of a pass that make no further ones, with copies of their inputs.

    Args:
        name: see ``calls_of``.
        module: likewise.
        method: likewise.
        args: of the method.
        depth: of this call among the calls.
    """
    given = _given(module, method, args)
    for call in calls_of(name, module, method):
        inputs = given[call.place]
        if depth < MAX_DEPTH and has_parts(call):
            yield from leaves(call.name, call.module, call.method, inputs, depth + 1)
        elif call.name != name:  # else another method of the same module
            yield call, inputs


def has_parts(call: Call) -> bool:
    """Whether it calls other modules itself."""
    inside = walk(call.name, call.module, call.method)
    return any(inner.name != call.name for inner in inside)


def _given(module: Any, method: str, args: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What goes into each call of a method, from one run of it."""
    import torch

    graph = module._get_method(method).graph.copy()
    nodes = _call_nodes(graph)
    own = len(list(graph.outputs()))
    counts = []
    for node in nodes:
        values = list(node.inputs())[1:]
        for value in values:
            graph.registerOutput(_copied(graph, node, value))
        counts.append(len(values))
    graph.makeMultiOutputIntoTuple()
    run = torch._C._create_function_from_graph("greenai_probe", graph)
    made = run(module, *args)
    flat = list(made) if own + sum(counts) > 1 else [made]
    flat = flat[own:]
    given = []
    for count in counts:
        given.append(tuple(flat[:count]))
        flat = flat[count:]
    return given


def _copied(graph: Any, node: Any, value: Any) -> Any:
    """A tensor as it is when the call begins: a layer may work in place on it."""
    import torch

    if not isinstance(value.type(), torch._C.TensorType):
        return value
    nothing = graph.create("prim::Constant")
    nothing.output().setType(torch._C.NoneType.get())
    nothing.insertBefore(node)
    copy = graph.create("aten::clone", [value, nothing.output()], 1)
    copy.output().setType(value.type())
    copy.insertBefore(node)
    return copy.output()


def _call_nodes(graph: Any) -> list[Any]:
    """Calls outside loops and branches, whose values the graph can give out."""
    return [node for node in graph.nodes() if node.kind() == CALL]


def path_of(value: Any, myself: str) -> tuple[str, ...] | None:
    """The attributes that lead from a module to a value; None if it comes from elsewhere."""
    parts: list[str] = []
    while value.debugName() != myself:
        node = value.node()
        if node.kind() != "prim::GetAttr":
            return None
        parts.append(node.s("name"))
        value = node.inputsAt(0)
    return tuple(reversed(parts))
