"""Which tensors of an ONNX graph learn, and a copy of the graph in which they can.

An ONNX file does not say what its training left alone. Taken to learn is what
counting takes for a parameter (``onnx_parameters``), but for constants of the
network's arithmetic: single numbers, exponents, masks, the normalisation of images.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .onnx_parameters import PASSES_ON, SETTINGS, STATISTICS

ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Sum"}

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}

FIXED = {
    "Pow", "Where", "Max", "Min", "Mod", "Range", "Equal", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Slice", "TopK", "Shape", "Size", "ConstantOfShape",
}  # fmt: skip
"""Operators whose constants are no weights."""

SPARE_OUTPUTS = {"Dropout", "MaxPool", "LayerNormalization"}
"""Operators with optional outputs, which old exporters name without a use."""

MASK = 1e4
"""Additive masks of attention are at least that large, weights are not."""

IMAGE_CHANNELS = 4


class Use(NamedTuple):
    """One place where a node takes a tensor."""

    node: Any
    position: int


@dataclass(frozen=True)
class Learnable:
    """Names of initializers.

    Attributes:
        weights: what an optimiser changes.
        statistics: means and variances of batch normalisation, which training updates.
    """

    weights: tuple[str, ...]
    statistics: tuple[str, ...]


def expose_weights(model: Any) -> None:
    """Make constants and generated tensors that layers use initializers, in place.

    So are the weights of files made small for tests: generated, all alike.

    Args:
        model: an ``onnx.ModelProto`` with its data.
    """
    from onnx import numpy_helper

    graph = model.graph
    uses = _uses(graph)
    known = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.domain not in ("", "ai.onnx") or not node.output:
            continue
        name = node.output[0]
        feeds = _feeds_a_layer(uses[name])
        if node.op_type == "Constant":
            array = _constant(node)
            if array is not None and array.dtype.kind == "i":
                known[name] = numpy_helper.from_array(array, name)
        else:
            array = _generated(node, known) if feeds else None
        if array is not None and array.dtype.kind == "f" and array.ndim and feeds:
            graph.initializer.append(numpy_helper.from_array(array, name))
            graph.node.remove(node)


def see_through_identities(model: Any) -> None:
    """Let nodes take initializers themselves, not through an ``Identity``, in place.

    PyTorch's exporter writes one for each further use of a tensor that it stores once.

    Args:
        model: an ``onnx.ModelProto``.
    """
    graph = model.graph
    meant = {tensor.name: tensor.name for tensor in graph.initializer}
    identities = []
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in meant:
            meant[node.output[0]] = meant[node.input[0]]
            identities.append(node)
        else:
            for position, name in enumerate(node.input):
                node.input[position] = meant.get(name, name)
    used = {value.name for value in graph.output}
    for node in graph.node:
        used.update(_names_used(node))
    for node in reversed(identities):
        if node.output[0] not in used:
            graph.node.remove(node)


def separate_equals(model: Any) -> None:
    """Give tensors that part as soon as training begins to each of their users, in place.

    Exporters store equal tensors once: of fresh networks all the zeros and ones of
    biases, gains, means and variances. What was tied on purpose holds many values.

    Args:
        model: an ``onnx.ModelProto`` with its data.
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    left = Counter(name for node in graph.node for name in node.input)
    uniform: dict[str, bool] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name not in stored or left[name] < 2:
                continue
            if (node.op_type, position) not in STATISTICS:
                if name not in uniform:
                    uniform[name] = _is_uniform(stored[name])
                if not uniform[name] or not _feeds_a_layer([Use(node, position)]):
                    continue
            left[name] -= 1
            own = graph.initializer.add()
            own.CopyFrom(stored[name])
            own.name = _free_name(f"{name}_of_{node.output[0]}", stored)
            stored[own.name] = own
            node.input[position] = own.name


def _is_uniform(tensor: Any) -> bool:
    from onnx import numpy_helper

    array = numpy_helper.to_array(tensor)
    floats = array.dtype.kind == "f" and array.ndim > 0 and array.size > 1
    return bool(floats and (array == array.reshape(-1)[0]).all())


def in_training_mode(graph: Any) -> list[Any]:
    """Nodes that ONNX Runtime runs as in training: they drop, or normalise by the batch.

    Args:
        graph: an ``onnx.GraphProto``.
    """
    from onnx import numpy_helper

    flags = {n.input[2] for n in graph.node if n.op_type == "Dropout" and len(n.input) > 2}
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer if t.name in flags}
    made = (n for n in graph.node if n.op_type == "Constant" and n.output[0] in flags)
    values |= {node.output[0]: _constant(node) for node in made}
    training = []
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            asked = any(a.name == "training_mode" and a.i for a in node.attribute)
            if asked or len([name for name in node.output if name]) > 1:
                training.append(node)
        elif node.op_type == "Dropout":
            flag = next((name for name in node.input[2:3] if name), None)
            if flag is not None and np.any(values.get(flag, True)):
                training.append(node)
    return training


def part_for(model: Any, answer: str) -> Any:
    """A copy that holds what the output ``answer`` needs; local functions written out.

    Args:
        model: an ``onnx.ModelProto``.
        answer: name of one of its outputs.
    """
    import onnx.inliner

    part = onnx.inliner.inline_local_functions(model) if model.functions else type(model)()
    if not model.functions:
        part.CopyFrom(model)
    # Before version 4, the shapes of initializers are looked up among the inputs.
    part.ir_version = max(part.ir_version, 4)
    graph = part.graph
    wanted = {answer}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted.update(_names_used(node))
            kept.append(node)
    for node in kept:
        if node.op_type in SPARE_OUTPUTS:
            while len(node.output) > 1 and node.output[-1] not in wanted:
                del node.output[-1]
    stored = {tensor.name for tensor in graph.initializer}
    needed = [(graph.node, list(reversed(kept)))]
    needed.append((graph.input, [value for value in graph.input if value.name not in stored]))
    needed.append((graph.initializer, [t for t in graph.initializer if t.name in wanted]))
    needed.append((graph.output, [value for value in graph.output if value.name == answer]))
    for field, members in needed:
        copies = [type(member).FromString(member.SerializeToString()) for member in members]
        del field[:]
        field.extend(copies)
    return part


def learnable(model: Any) -> Learnable:
    """What learns of a model that went through the functions above.

    Args:
        model: an ``onnx.ModelProto`` with its data.
    """
    from onnx import numpy_helper

    graph = model.graph
    uses = _uses(graph)
    makers = {name: node for node in graph.node for name in node.output}
    images = {value.name for value in graph.input}
    weights, statistics = [], []
    for tensor in graph.initializer:
        array = None
        for use in uses[tensor.name]:
            if (use.node.op_type, use.position) in STATISTICS:
                statistics.append(tensor.name)
                break
            if array is None:
                array = numpy_helper.to_array(tensor)
            if _learns(array, use, makers, images):
                weights.append(tensor.name)
                break
    return Learnable(tuple(weights), tuple(statistics))


def _learns(array: Any, use: Use, makers: dict[str, Any], images: set[str]) -> bool:
    node, position = use
    if array.dtype.kind != "f" or not array.ndim or not array.size:
        return False
    if node.op_type in FIXED or (node.op_type, position) in SETTINGS:
        return False
    return node.op_type not in ELEMENTWISE or _shifts_or_scales(array, use, makers, images)


def _shifts_or_scales(array: Any, use: Use, makers: dict[str, Any], images: set[str]) -> bool:
    """Whether what is added or multiplied is a bias or a gain, no constant of arithmetic."""
    if not np.isfinite(array).all() or np.abs(array).max() >= MASK:
        return False
    node, position = use
    others = [name for name in node.input if name != node.input[position]]
    if array.size <= IMAGE_CHANNELS and any(_is_image(name, makers, images) for name in others):
        return False
    of_a_layer = any(name in makers and makers[name].op_type in WEIGHTED for name in others)
    return bool(array.size > 1 or (node.op_type in ("Add", "Sum") and of_a_layer))


def _is_image(name: str, makers: dict[str, Any], images: set[str]) -> bool:
    """Whether a value is an input of the model, at most brought to another type or range."""
    for _ in range(8):
        if name in images:
            return True
        maker = makers.get(name)
        if maker is None or maker.op_type not in ELEMENTWISE | PASSES_ON:
            return False
        made = [n for n in maker.input if n in makers or n in images]
        if len(made) != 1:
            return False
        name = made[0]
    return False


def _uses(graph: Any) -> dict[str, list[Use]]:
    uses: dict[str, list[Use]] = {name: [] for name in (t.name for t in graph.initializer)}
    for node in graph.node:
        for name in node.output:
            uses.setdefault(name, [])
        for position, name in enumerate(node.input):
            uses.setdefault(name, []).append(Use(node, position))
    return uses


def _feeds_a_layer(uses: list[Use]) -> bool:
    return any(
        use.node.op_type not in FIXED and (use.node.op_type, use.position) not in SETTINGS
        for use in uses
    )


def _constant(node: Any) -> Any:
    """The array of a ``Constant``; None where it is no tensor of numbers."""
    from onnx import numpy_helper

    for attribute in node.attribute:
        if attribute.name == "value" and not attribute.t.external_data:
            return numpy_helper.to_array(attribute.t)
        if attribute.name == "value_floats":
            return np.array(attribute.floats, np.float32)
        if attribute.name == "value_ints":
            return np.array(attribute.ints, np.int64)
    return None


def _generated(node: Any, known: dict[str, Any]) -> Any:
    """What a ``ConstantOfShape`` of a fixed shape gives."""
    from onnx import numpy_helper

    if node.op_type != "ConstantOfShape" or not node.input or node.input[0] not in known:
        return None
    shape = tuple(int(size) for size in numpy_helper.to_array(known[node.input[0]]))
    values = [numpy_helper.to_array(a.t) for a in node.attribute if a.name == "value"]
    value = values[0].reshape(-1)[0] if values else np.float32(0)
    return np.full(shape, value) if math.prod(shape) else None


def _names_used(node: Any) -> Iterator[str]:
    """Inputs of a node, and what its sub-graphs take from around them."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (*attribute.graphs, attribute.g):
            for inner in graph.node:
                yield from _names_used(inner)
            yield from (value.name for value in graph.output)


def _free_name(name: str, taken: dict[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name
