"""Operators of an ONNX graph for which onnx2torch has no converter.

Its converters are registered for versions of operators, and most new versions
only take more types. So a graph is converted as of the nearest opset under
which its nodes mean the same and have converters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

OLDEST = 7
"""What ONNX Runtime guarantees to run."""

SHOWN_NODES = 3

Convertible: TypeAlias = Callable[[str, str, int], bool]
"""Whether there is a converter for a domain, an operator and an opset."""


def choose_opset(model: Any, convertible: Convertible) -> tuple[int, list[Any]]:
    """The opset of ONNX's own operators to convert a model as, nearest to its own.

    Args:
        model: an ``onnx.ModelProto``; its reductions are restated in place.
        convertible: asked for each node.

    Returns:
        The opset, and the nodes that have no converter under it nor a better one.
    """
    import onnx

    declared = opset_of(model, "")
    if declared >= 18:
        _restate_reductions(model.graph)
    best, missing = declared, list(model.graph.node)
    newest = max(onnx.defs.onnx_opset_version(), declared)
    for opset in sorted(range(OLDEST, newest + 1), key=lambda other: abs(other - declared)):
        without = [
            node
            for node in model.graph.node
            if not _converts(node, declared, opset, model, convertible)
        ]
        if len(without) < len(missing):
            best, missing = opset, without
        if not missing:
            break
    return best, missing


def restate(model: Any, opset: int) -> None:
    """Declare a model as of another opset that ``choose_opset`` found, in place."""
    declared = opset_of(model, "")
    if opset == declared:
        return
    for node in model.graph.node:
        schema = _schema(node, opset)
        for attribute in list(node.attribute) if schema is not None else ():
            if attribute.name not in schema.attributes:
                node.attribute.remove(attribute)
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset


def opset_of(model: Any, domain: str) -> int:
    """The version of a domain's operators that a model declares; 0 if none."""
    names = ("", "ai.onnx") if domain in ("", "ai.onnx") else (domain,)
    return max((entry.version for entry in model.opset_import if entry.domain in names), default=0)


def tell(nodes: list[Any], model: Any) -> str:
    """Operators and where they are: ``Gelu of opset 20 (nodes act_1, act_2)``; each once.

    Args:
        nodes: of the model.
        model: an ``onnx.ModelProto``.
    """
    places: dict[str, list[str]] = {}
    for node in nodes:
        domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
        version = opset_of(model, node.domain)
        where = node.name or (node.output[0] if node.output else "without a name")
        places.setdefault(f"{domain}{node.op_type} of opset {version}", []).append(where)
    return "; ".join(f"{what} ({_listed(where)})" for what, where in sorted(places.items()))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_NODES} more" if len(names) > SHOWN_NODES else ""
    return f"node{'s' if len(names) > 1 else ''} {', '.join(names[:SHOWN_NODES])}{more}"


def _converts(node: Any, declared: int, opset: int, model: Any, convertible: Convertible) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return convertible(node.domain, node.op_type, opset_of(model, node.domain))
    return convertible("", node.op_type, opset) and _means_the_same(node, declared, opset)


def _means_the_same(node: Any, declared: int, opset: int) -> bool:
    """Whether two versions of an operator differ, for this node, in types at most.

    What one of them lacks must not be used, and defaults must be equal.
    """
    here, there = _schema(node, declared), _schema(node, opset)
    if here is None or there is None:
        return declared == opset
    if here.since_version == there.since_version:
        return True
    return _attributes_agree(node, here, there) and _inputs_agree(node, here, there)


def _attributes_agree(node: Any, here: Any, there: Any) -> bool:
    used = {attribute.name: attribute for attribute in node.attribute}
    for name in set(here.attributes) | set(there.attributes):
        ours, theirs = here.attributes.get(name), there.attributes.get(name)
        if ours is not None and theirs is not None:
            if name not in used and ours.default_value != theirs.default_value:
                return False
        elif name in used and ours is not None and not _says_nothing(node, used[name], ours):
            return False
    return True


def _inputs_agree(node: Any, here: Any, there: Any) -> bool:
    if node.op_type.startswith("Reduce") and len(node.input) == 1:
        return True  # axes are restated
    names = [[e.name.removeprefix("input_") for e in schema.inputs] for schema in (here, there)]
    return names[0][: len(node.input)] == names[1][: len(node.input)]


def _says_nothing(node: Any, attribute: Any, described: Any) -> bool:
    """Whether an attribute asks for what happens without it too."""
    if (node.op_type, attribute.name) == ("Split", "num_outputs"):
        return True  # a node gives as many parts as it has outputs
    if attribute.name == "dilations":
        return set(attribute.ints) <= {1}
    return bool(attribute.SerializeToString() == described.default_value.SerializeToString())


def _schema(node: Any, opset: int) -> Any:
    import onnx

    try:
        return onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def _restate_reductions(graph: Any) -> None:
    """Axes of reductions as attribute, as before opset 18, where they are constants."""
    from onnx import helper, numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            stored |= dict(zip(node.output, values, strict=False))  # few are no tensors
    for node in graph.node:
        # The axes of ReduceSum are an input since opset 13, for which there is a converter.
        if not node.op_type.startswith("Reduce") or node.op_type == "ReduceSum":
            continue
        if len(node.input) == 2 and node.input[1] in stored:
            axes = numpy_helper.to_array(stored[node.input[1]]).reshape(-1).tolist()
            if axes:
                del node.input[1]
                node.attribute.append(helper.make_attribute("axes", axes))
