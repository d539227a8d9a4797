"""The variables of a SavedModel, as its graph of objects tells them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .protobuf_reader import Buffer, Field, WireError
from .savedmodel_graph import children, integer, shape_of, strings, type_of

NO_PART_OF_THE_MODEL = frozenset(
    {"optimizer", "_optimizer", "_compile_metrics", "_compile_loss", "_loss_tracker", "keras_api"}
)
"""Attributes under which Keras keeps optimizer state and metrics."""

LISTS = ("variables", "trainable_variables", "non_trainable_variables")
"""The lists that an archive exported by Keras hangs on its root."""


@dataclass(frozen=True)
class Variable:
    """One variable.

    Attributes:
        name: as TensorFlow calls it.
        shape: None in place of a size that the file leaves open.
        dtype: NumPy's name of the element type.
        item_bytes: of one element.
        trainable: as the file says.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    item_bytes: int
    trainable: bool


@dataclass
class _Node:
    edges: dict[str, int] = field(default_factory=dict)
    slots: set[int] = field(default_factory=set)
    variable: Variable | None = None


def variables(data: Buffer, graph: Field) -> list[Variable]:
    """Variables of the model in a ``SavedObjectGraph``, each once.

    An archive exported by Keras stores each variable twice and lists the ones
    that count; anything else is followed from its root, except into
    optimizers and metrics.

    Raises:
        WireError: the bytes are no such graph.
    """
    nodes = [_node(data, node) for node in children(data, graph, 1)]
    if not nodes:
        return []
    root = nodes[0].edges
    if all(name in root for name in LISTS):
        listed, trainable, _ = (set(_listed(nodes, root[name])) for name in LISTS)
        return [_marked(nodes, id, id in trainable) for id in sorted(listed)]
    slots = {slot for node in nodes for slot in node.slots}
    reached = sorted(_reached(nodes) - slots)
    return [variable for id in reached if (variable := nodes[id].variable) is not None]


def _node(data: Buffer, message: Field) -> _Node:
    node = _Node()
    for child in children(data, message, 1):
        node.edges["".join(strings(data, child, 2)[-1:])] = integer(data, child, 1)
    for slot in children(data, message, 3):
        node.slots.add(integer(data, slot, 3))
    for variable in children(data, message, 7):
        dtype, item = type_of(data, variable, 1)
        node.variable = Variable(
            "".join(strings(data, variable, 6)[-1:]) or "without a name",
            shape_of(data, variable, 2) or (),
            dtype,
            item,
            bool(integer(data, variable, 3)),
        )
    return node


def _at(nodes: list[_Node], id: int) -> _Node:
    if not 0 <= id < len(nodes):
        raise WireError(f"the graph of objects refers to object {id} of {len(nodes)}")
    return nodes[id]


def _listed(nodes: list[_Node], list_id: int) -> Iterable[int]:
    edges = _at(nodes, list_id).edges
    return (id for id in edges.values() if _at(nodes, id).variable is not None)


def _marked(nodes: list[_Node], id: int, trainable: bool) -> Variable:
    found = nodes[id].variable
    assert found is not None
    return Variable(found.name, found.shape, found.dtype, found.item_bytes, trainable)


def _reached(nodes: list[_Node]) -> set[int]:
    seen, waiting = {0}, [0]
    while waiting:
        for name, id in _at(nodes, waiting.pop()).edges.items():
            if name not in NO_PART_OF_THE_MODEL and id not in seen:
                _at(nodes, id)
                seen.add(id)
                waiting.append(id)
    return seen
