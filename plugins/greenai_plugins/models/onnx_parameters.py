"""How many parameters an ONNX file holds, read from its structure.

What is a parameter:

- An initializer, a ``Constant`` that is not a scalar, and the output of a
  ``ConstantOfShape`` whose shape is fixed (so are the weights of files made
  small for tests generated). In the main graph, in sub-graphs (If, Loop, Scan)
  and in local functions; held once, counted once, however many nodes use it.
  Of a sparse tensor its stored values.
- Of floating or complex type, or quantised: integers of at most 8 bits
  anywhere, wider ones only where a quantised layer takes them for a weight or
  bias (``QUANTISED``). Other integers are shapes, axes and indices.
- Used by a node or returned: files carry left-overs of their exporters (ResNet-50
  in the tests of the onnx package has an orphan of one element).
- Not the frequencies of a rotary embedding, which tracing makes a ``Constant`` of, nor the
  ones and zeros with which PyTorch writes a group normalisation as one of instances.
- Not what only sets how an operator works (``SETTINGS``): bounds of a Clip,
  scales of a Resize, scales and zero points of a quantisation, an initial state.

Mean and variance of a BatchNormalization are not trainable, nor are the few buffers that
have names of their own (``NOT_LEARNT``); all the rest is.
Coefficients that are attributes of nodes, as in the tree and linear models of
``ai.onnx.ml``, are no tensors and are not counted.
"""

from __future__ import annotations

import mmap
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from greenai_core import ModelLoadError, ParameterEntry

from . import onnx_external, onnx_graph, onnx_layout
from .onnx_graph import BITS, FLOAT, Node, Scope, Tensor
from .protobuf_reader import Buffer, WireError

T = TypeVar("T")
Key: TypeAlias = tuple[int, str]
Use: TypeAlias = tuple[str, int]

FLOATING = {1, 10, 11, 14, 15, 16, 17, 18, 19, 20, 23, 24}
NARROW = {2, 3, 21, 22, 25, 26}
WIDE = {4, 5, 6, 12}

QUANTISED: set[Use] = {("DequantizeLinear", 0), ("QLinearConv", 8), ("QGemm", 6)}
"""Operator and input where an integer of 16 or 32 bits is a weight or a bias."""

STATISTICS: set[Use] = {("BatchNormalization", 3), ("BatchNormalization", 4)}

SETTINGS: set[Use] = {
    (op, position)
    for op, positions in {
        "Clip": (1, 2),
        "Resize": (1, 2),
        "Upsample": (1,),
        "Pad": (2,),
        "Dropout": (1,),
        "OneHot": (2,),
        "NonMaxSuppression": (3, 4),
        "Range": (0, 1, 2),
        "LSTM": (5, 6),
        "GRU": (5,),
        "RNN": (5,),
        "QuantizeLinear": (1, 2),
        "DequantizeLinear": (1, 2),
        "QLinearConv": (1, 2, 4, 5, 6, 7),
        "QLinearMatMul": (1, 2, 4, 5, 6, 7),
        "ConvInteger": (2, 3),
        "MatMulInteger": (2, 3),
        "QGemm": (1, 2, 4, 5, 7, 8),
        "QLinearAdd": (1, 2, 4, 5, 6, 7),
        "QLinearMul": (1, 2, 4, 5, 6, 7),
        "DynamicQuantizeMatMul": (2, 3),
        "MatMulIntegerToFloat": (2, 3, 4, 5),
        "MatMulNBits": (2, 3, 4),
    }.items()
    for position in positions
}
"""Operator and input where a tensor is a setting, not a weight."""

MASKING: set[Use] = {
    ("Where", 1), ("Where", 2), ("Expand", 0), ("Pow", 1),
    *((op, side) for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
      for side in (0, 1)),
}  # fmt: skip
"""Operator and input where a ``Constant`` of one element is a setting: the infinity of a
mask, a power. Elsewhere it may be the bias of a layer with one output."""

NOT_LEARNT = ("inv_freq", "final_logits_bias")
"""Endings of the names of buffers of networks of transformers, which are never trained."""

OUTPUT: Use = ("", 0)
"""The use of a tensor that a graph returns as it is."""

PASSES_ON = {"Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose"}
"""Operators whose output is their first input in another guise."""


class _Use(NamedTuple):
    node: Node | None
    position: int


@dataclass(frozen=True)
class Source:
    """A tensor that the file holds or generates, and where it comes from."""

    tensor: Tensor
    origin: str


def of_file(path: Path) -> list[ParameterEntry]:
    """Parameters of an ONNX file; reads its structure, never its weights.

    The layer of a parameter is the first node that uses it.

    Args:
        path: the file; external data beside it are not touched.

    Raises:
        ModelLoadError: the file cannot be read, is truncated or is no model.
    """
    return _read(path, lambda data: list(of_scopes(onnx_graph.scopes(data))))


def unranked_inputs(path: Path) -> set[str]:
    """Inputs of an ONNX file whose number of axes it does not say.

    Raises:
        ModelLoadError: the file cannot be read, is truncated or is no model.
    """
    return _read(path, onnx_graph.unranked_inputs)


def image_layouts(path: Path) -> dict[str, str]:
    """Order of the axes of image inputs, by name, where operators tell it.

    Raises:
        ModelLoadError: the file cannot be read, is truncated or is no model.
    """
    return _read(path, onnx_layout.image_layouts)


def data_outside(path: Path) -> list[str]:
    """Locations of an ONNX file's external data that lead out of its folder.

    Raises:
        ModelLoadError: the file cannot be read, is truncated or is no model.
    """
    return _read(path, lambda data: onnx_external.outside(path, data))


def _read(path: Path, look: Callable[[Buffer], T]) -> T:
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return look(data)
    except OSError as error:
        raise ModelLoadError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        what = str(error) if isinstance(error, WireError) else "it is empty"
        raise ModelLoadError(
            f"{path} is no complete ONNX model: {what}. It may be truncated or mislabelled"
        ) from error


def of_scopes(found: list[Scope]) -> Iterator[ParameterEntry]:
    """Parameters of the graphs of one model.

    Raises:
        WireError: a generated tensor has a negative dimension.
    """
    names = _Names(found)
    sources = _sources(found, names)
    uses = _uses(found, names, sources)
    for key, source in sources.items():
        positions = {(use.node.op, use.position) if use.node else OUTPUT for use in uses[key]}
        if not _is_parameter(source, positions) or _derived(source, key[1]):
            continue
        stored = elements = onnx_graph.count(source.tensor.dims)
        for use in uses[key]:
            if use.node and (use.node.op, use.position) == ("MatMulNBits", 1):
                elements = _unpacked_elements(use.node) or stored
        user = next((use.node for use in uses[key] if use.node), None)
        yield ParameterEntry(
            user.label if user else "",
            not (positions <= STATISTICS or source.tensor.name.endswith(NOT_LEARNT)),
            elements,
            (stored * BITS[source.tensor.data_type] + 7) // 8,
            user.op if user else None,
        )


def _uses(
    found: list[Scope], names: _Names, sources: Mapping[Key, Source]
) -> Mapping[Key, list[_Use]]:
    """Where each tensor is used, in the order of the nodes; None stands for an output."""
    uses: dict[Key, list[_Use]] = defaultdict(list)
    for scope in found:
        for node in scope.nodes:
            if node.op in PASSES_ON and node.domain == "":
                continue
            for position, name in enumerate(node.inputs):
                key = names.resolve(scope, name)
                if key is not None and key in sources:
                    if sources[key].origin == "constant" and _grouped(node, position, scope, names):
                        continue
                    uses[key].append(_Use(node, position))
        for name in scope.outputs:
            key = names.resolve(scope, name)
            if key is not None and key in sources:
                uses[key].append(_Use(None, 0))
    return uses


def _grouped(node: Node, position: int, scope: Scope, names: _Names) -> bool:
    """Whether a ``Constant`` is the neutral scale or bias of groups that a reshape made.

    What a group normalisation learned is multiplied and added after it.
    """
    of_instances = node.op == "InstanceNormalization" and position in (1, 2)
    return of_instances and names.in_another_guise(scope, node.inputs[0])


class _Names:
    """Which tensor a name means in a scope, seen through what only passes it on."""

    def __init__(self, found: list[Scope]) -> None:
        self._defined: dict[int, set[str]] = {}
        self._aliases: dict[Key, tuple[Scope, str]] = {}
        self._known: dict[Key, Key | None] = {}
        for scope in found:
            defined = {tensor.name for tensor in scope.initializers}
            for node in scope.nodes:
                defined.update(node.outputs)
                if node.op in PASSES_ON and node.domain == "" and node.inputs and node.outputs:
                    self._aliases[id(scope), node.outputs[0]] = (scope, node.inputs[0])
            self._defined[id(scope)] = defined

    def in_another_guise(self, scope: Scope, name: str) -> bool:
        """Whether the tensor is another one passed on in the same scope, reshaped for example."""
        return (id(scope), name) in self._aliases

    def resolve(self, scope: Scope, name: str) -> Key | None:
        """Scope and name of the tensor; None where no file of ours defines it."""
        seen: set[Key] = set()
        while True:
            key = self._home(scope, name)
            if key is not None and key in self._known:
                key = self._known[key]
                break
            if key is None or key in seen or key not in self._aliases:
                break
            seen.add(key)
            scope, name = self._aliases[key]
        self._known.update(dict.fromkeys(seen, key))  # so that a long chain is walked once
        return key

    def _home(self, scope: Scope, name: str) -> Key | None:
        home: Scope | None = scope
        while home is not None and name not in self._defined[id(home)]:
            home = home.parent
        return None if home is None else (id(home), name)


def _sources(found: list[Scope], names: _Names) -> dict[Key, Source]:
    sources = {
        (id(scope), tensor.name): Source(tensor, "initializer")
        for scope in found
        for tensor in scope.initializers
    }
    nodes = [(scope, node) for scope in found for node in scope.nodes if node.outputs]
    for scope, node in nodes:
        if node.op == "Constant":
            for value in node.attributes.values():
                if isinstance(value, Tensor):
                    sources[id(scope), node.outputs[0]] = Source(value, "constant")
    for scope, node in nodes:
        if node.op == "ConstantOfShape" and node.inputs:
            shape = sources.get(names.resolve(scope, node.inputs[0]) or (0, ""))
            if shape is not None and shape.tensor.integers is not None:
                generated = _generated(node, shape.tensor.integers)
                sources[id(scope), node.outputs[0]] = Source(generated, "generated")
    return sources


def _generated(node: Node, dims: tuple[int, ...]) -> Tensor:
    if any(size < 0 for size in dims):
        raise WireError(f"a ConstantOfShape has the dimensions {list(dims)}")
    if onnx_graph.count(dims) > onnx_graph.MAX_ELEMENTS:
        raise WireError(
            f"a ConstantOfShape has the dimensions {list(dims)}, more than any machine holds"
        )
    value = node.attributes.get("value")
    return Tensor("", dims, value.data_type if isinstance(value, Tensor) else FLOAT)


def _is_parameter(source: Source, uses: set[Use]) -> bool:
    kind = source.tensor.data_type
    if kind not in FLOATING | NARROW and not (kind in WIDE and uses & QUANTISED):
        return False
    if source.origin != "initializer" and not source.tensor.dims:
        return False
    if source.origin == "constant" and onnx_graph.count(source.tensor.dims) == 1:
        uses = uses - MASKING
    return bool(uses - SETTINGS)


def _derived(source: Source, name: str) -> bool:
    """Whether tracing made a constant of what the network works out from its settings."""
    return source.origin == "constant" and "/rotary_emb/" in name


def _unpacked_elements(node: Node) -> int:
    """Weights in the packed matrix of a MatMulNBits of ONNX Runtime: its K times its N."""
    sizes = [node.attributes.get(name) for name in ("K", "N")]
    return onnx_graph.count(tuple(size for size in sizes if isinstance(size, int)))
