"""Which nodes of an ONNX file each node that ONNX Runtime runs was made of.

ONNX Runtime fuses nodes, folds constants and puts in nodes of its own before it runs a
graph. Tensors keep their names through most of that, so a node that runs stands for what
lies in the file between its outputs and the outputs of the other nodes that run.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

BLOCKED = re.compile(r"(?:_bn|_mul)?_nchwc(?:_token_\d+)?$")
"""What ONNX Runtime appends to the name of an output to name a node that works on images
whose channels lie in blocks (``nchwc_transformer.cc``)."""

OF_SHAPES = frozenset({"Shape", "Size"})
"""Operators that look at no value: folded where shapes are known."""

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where PyTorch's exporter says which modules a node comes from, if not in its name."""


@dataclass(frozen=True)
class Op:
    """A node of a graph.

    Attributes:
        label: its name, or where it has none that of its first output.
        name: as it is.
        type: its operator.
        inputs: with what graphs inside it take from outside.
        outputs: those that are there.
        inner: labels of the nodes of graphs inside it (If, Loop, Scan).
        scopes: modules that it is in, outermost first.
    """

    label: str
    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    inner: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """What a node that runs was made of: places of nodes in the file.

    Attributes:
        made_of: the nodes whose work it does.
        folded: nodes that were computed beforehand, because their values are fixed.
        inside: the node that calls the function of the file which this one is a part of; None
            for what is in none.
    """

    made_of: tuple[int, ...]
    folded: tuple[int, ...]
    inside: int | None = None


def ops_of(graph: Any) -> list[Op]:
    """The nodes of an ``onnx.GraphProto``."""
    return [_op(node) for node in graph.node]


def origins(
    file: Sequence[Op], run: Sequence[Op], stored: set[str], functions: frozenset[str] = frozenset()
) -> list[Origin]:
    """Where each node that runs comes from.

    Args:
        file: nodes of the file.
        run: nodes that run, in the order in which they do.
        stored: names of the tensors that the file holds.
        functions: operators that the file itself defines.

    Returns:
        one for each of ``run``; empty for a node that the file knows nothing of. No node of
        the file is in two of them.
    """
    maker = {output: place for place, op in enumerate(file) for output in op.outputs}
    claimed = _claims(file, run, maker)
    passive = _passive(file, stored)
    owned: set[int] = set()
    found = []
    for place in range(len(run)):
        waiting = [tensor for tensor, by in claimed.items() if by == place]
        direct = {maker[tensor] for tensor in waiting}
        mine: set[int] = set()
        while waiting:
            at = maker[waiting.pop()]
            if at in owned or at in mine:
                continue
            mine.add(at)
            waiting += [
                tensor
                for tensor in file[at].inputs
                if tensor in maker and claimed.get(tensor, place) == place
            ]
        owned |= mine
        named = {at for at in mine if at in direct or at not in passive}
        found.append(Origin(tuple(sorted(named)), tuple(sorted(mine - named))))
    calls = {place for place, op in enumerate(file) if op.type in functions}
    inside = _inside(run, [calls.intersection(one.made_of) for one in found], set(maker))
    return [replace(one, inside=inside.get(place)) for place, one in enumerate(found)]


def _inside(run: Sequence[Op], calls: Sequence[set[int]], known: set[str]) -> dict[int, int]:
    """Nodes that run -> the call of a function that they are a part of.

    ONNX Runtime puts the nodes of the function in the place of the call, under names of its
    own: all but the last ones are known by nothing but whom they work for.

    Args:
        run: the nodes that run.
        calls: of each, calls of functions whose outputs it makes.
        known: tensors that the file names.
    """
    users: dict[str, set[int]] = {}
    for place, op in enumerate(run):
        for tensor in op.inputs:
            users.setdefault(tensor, set()).add(place)
    found = {place: next(iter(mine)) for place, mine in enumerate(calls) if len(mine) == 1}
    for place in reversed(range(len(run))):
        outputs = run[place].outputs
        if place in found or known.intersection(outputs):
            continue
        work_for = {found.get(user) for tensor in outputs for user in users.get(tensor, ())}
        call = next(iter(work_for), None)
        if len(work_for) == 1 and call is not None:
            found[place] = call
    return found


def _claims(file: Sequence[Op], run: Sequence[Op], maker: dict[str, int]) -> dict[str, int]:
    """Tensors of the file -> the node that runs and makes them, the surest sign first."""
    often = Counter(op.name for op in file)
    by_name = {op.name: op for op in file if op.name and often[op.name] == 1}
    claimed: dict[str, int] = {}
    for place, op in enumerate(run):
        twin = by_name.get(op.name)
        if twin is not None and twin.type == op.type:
            for tensor in twin.outputs:
                claimed.setdefault(tensor, place)
    for place, op in enumerate(run):
        tensor = BLOCKED.sub("", op.name)
        if tensor != op.name and tensor in maker:
            claimed.setdefault(tensor, place)
    for place, op in enumerate(run):
        for tensor in op.outputs:
            if tensor in maker:
                claimed.setdefault(tensor, place)
    return claimed


def _passive(file: Sequence[Op], stored: set[str]) -> set[int]:
    """Places of nodes whose outputs need no inference: of constants and of shapes alone."""
    fixed = set(stored)
    passive = set()
    for place, op in enumerate(file):
        given = [tensor for tensor in op.inputs if tensor]
        constant = op.type == "Constant" or (given and all(tensor in fixed for tensor in given))
        if op.type in OF_SHAPES or constant:
            passive.add(place)
            fixed.update(op.outputs)
    return passive


def _op(node: Any) -> Op:
    graphs = list(inner_graphs(node))
    taken = sorted(set().union(*map(outer_names, graphs)) - set(node.input))
    outputs = tuple(filter(None, node.output))
    return Op(
        label=node.name or (outputs[0] if outputs else ""),
        name=node.name,
        type=node.op_type,
        inputs=(*node.input, *taken),
        outputs=outputs,
        inner=tuple(label for graph in graphs for label in _labels(graph)),
        scopes=_scopes(node),
    )


def inner_graphs(node: Any) -> Iterator[Any]:
    """The graphs that are attributes of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def outer_names(graph: Any) -> set[str]:
    """Tensors that a graph inside a node takes from outside it."""
    own = {value.name for value in (*graph.input, *graph.initializer)}
    own.update(sparse.values.name for sparse in graph.sparse_initializer)
    used = {value.name for value in graph.output}
    for node in graph.node:
        own.update(node.output)
        used.update(node.input)
        for inner in inner_graphs(node):
            used |= outer_names(inner)
    return used - own - {""}


def _labels(graph: Any) -> Iterator[str]:
    for node in graph.node:
        yield node.name or next(iter(node.output), "")
        for inner in inner_graphs(node):
            yield from _labels(inner)


def _scopes(node: Any) -> tuple[str, ...]:
    """``/layer1/conv1/Conv`` is in ``layer1`` and in ``conv1`` of that."""
    label = node.name or next(iter(node.output), "")
    parts = tuple(part for part in label.split("/") if part)[:-1]
    if parts:
        return parts
    told = next((p.value for p in getattr(node, "metadata_props", ()) if p.key == SCOPES), "[]")
    try:
        paths = ast.literal_eval(told)
    except (SyntaxError, ValueError):
        return ()
    # The last one is the operator; the one before it names all modules around.
    return tuple(filter(None, str(paths[-2]).split("."))) if len(paths) > 1 else ()
