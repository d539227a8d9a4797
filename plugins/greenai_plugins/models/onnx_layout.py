"""In which order an ONNX graph takes the axes of images: its operators tell, not the sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .onnx_graph import Node, Tensor, scopes
from .protobuf_reader import Buffer

CHANNELS_FIRST = {
    "Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "MaxPool", "AveragePool",
    "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization", "InstanceNormalization", "LRN",
    "DepthToSpace", "SpaceToDepth",
}  # fmt: skip
"""Operators whose first input is N x C x H x W by definition."""

PASS_THROUGH = {
    "Identity", "Cast", "Add", "Sub", "Mul", "Div", "Clip", "Relu", "Pad", "Resize",
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Dropout",
}  # fmt: skip
"""Operators that leave the axes of their input where they are."""

TO_CHANNELS_FIRST = (0, 3, 1, 2)
MAX_STEPS = 32


def image_layouts(data: Buffer) -> dict[str, str]:
    """Input name -> ``"NCHW"`` or ``"NHWC"``, for inputs that reach an operator that tells.

    Raises:
        WireError: the file is truncated or not a model.
    """
    main = scopes(data)[0]
    users: dict[str, list[Node]] = {}
    made = {tensor.name for tensor in main.initializers}
    for node in main.nodes:
        made.update(node.outputs)
        for name in dict.fromkeys(node.inputs):
            users.setdefault(name, []).append(node)
    found = {name: _layout(name, users) for name in users if name and name not in made}
    return {name: layout for name, layout in found.items() if layout is not None}


def _layout(name: str, users: Mapping[str, Sequence[Node]]) -> str | None:
    """What the nodes say that the values of an input reach."""
    values = [name]
    for _ in range(MAX_STEPS):
        nodes = [node for value in values for node in users.get(value, ())]
        for node in nodes:
            if node.domain:
                continue
            if node.op in CHANNELS_FIRST and node.inputs[0] in values:
                return "NCHW"
            if node.op == "Transpose" and _order(node) == TO_CHANNELS_FIRST:
                return "NHWC"
        values = [o for n in nodes if n.op in PASS_THROUGH and not n.domain for o in n.outputs]
        if not values:
            return None
    return None


def _order(node: Node) -> tuple[int, ...] | None:
    order = node.attributes.get("perm")
    return order.integers if isinstance(order, Tensor) else None
