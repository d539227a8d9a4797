"""An exported program as its own tables describe it: weights, inputs, mode.

The numbers of element types are those of ``torch/_export/serde/schema.py``.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from greenai_core import ModelLoadError, ParameterEntry, TensorSpec

from . import torch_archive, torch_count, torch_saved
from .exported_archive import FLAT_WEIGHTS, Archive


@dataclass(frozen=True)
class ElementType:
    """An element type of PyTorch.

    Attributes:
        name: PyTorch's.
        bytes: that one takes.
        counts: whether tensors of it can be parameters, not counters or indices.
        fed: NumPy's name of what is fed to an input of it; PyTorch casts.
    """

    name: str
    bytes: int
    counts: bool
    fed: str


TYPES = {
    1: ElementType("uint8", 1, True, "uint8"),
    2: ElementType("int8", 1, True, "int8"),
    3: ElementType("int16", 2, False, "int16"),
    4: ElementType("int32", 4, False, "int32"),
    5: ElementType("int64", 8, False, "int64"),
    6: ElementType("float16", 2, True, "float16"),
    7: ElementType("float32", 4, True, "float32"),
    8: ElementType("float64", 8, True, "float64"),
    9: ElementType("complex32", 4, True, "complex64"),
    10: ElementType("complex64", 8, True, "complex64"),
    11: ElementType("complex128", 16, True, "complex128"),
    12: ElementType("bool", 1, False, "bool"),
    13: ElementType("bfloat16", 2, True, "float32"),
    28: ElementType("uint16", 2, False, "uint16"),
    29: ElementType("float8_e4m3fn", 1, True, "float32"),
    30: ElementType("float8_e5m2", 1, True, "float32"),
    31: ElementType("float8_e4m3fnuz", 1, True, "float32"),
    32: ElementType("float8_e5m2fnuz", 1, True, "float32"),
    33: ElementType("float8_e8m0fnu", 1, True, "float32"),
    34: ElementType("uint32", 4, False, "uint32"),
    35: ElementType("uint64", 8, False, "uint64"),
}

SYMBOL = re.compile(r"(?:Symbol\(')?([A-Za-z_]\w*)(?:'(?:, \w+=True)*\))?")
"""An axis of any size: ``s0``, or ``Symbol('s0', positive=True, integer=True)``."""

CONVOLUTIONS = ("torch.ops.aten.conv2d.", "torch.ops.aten.convolution.")

TRAINING = {
    "dropout": "train",
    "dropout_": "train",
    "feature_dropout": "train",
    "alpha_dropout": "train",
    "native_dropout": "train",
    "batch_norm": "training",
    "native_batch_norm": "training",
    "_native_batch_norm_legit": "training",
    "_native_batch_norm_legit_functional": "training",
}
"""Operator -> its argument that is true in training."""


@dataclass(frozen=True)
class Input:
    """One tensor that the caller of a program gives.

    Attributes:
        spec: name, shape and what is fed.
        dtype: PyTorch's name of the type that the program takes.
    """

    spec: TensorSpec
    dtype: str


@dataclass(frozen=True)
class Program:
    """The description of a program without its weights.

    Attributes:
        inputs: the tensors that the caller gives, in their order.
        refusal: why it cannot be run; empty if it can.
        layer_types: class of each layer by its path.
    """

    inputs: tuple[Input, ...]
    refusal: str
    layer_types: Mapping[str, str]


def weights(archive: Archive, types: Mapping[str, str]) -> Iterator[ParameterEntry]:
    """Parameters and persistent floating buffers, each storage once.

    Args:
        archive: of the layout ``PT2``.
        types: class of each layer, where known.

    Raises:
        ModelLoadError: the table is broken, or claims more than the archive holds.
    """
    table = archive.json(f"data/weights/{archive.program()}_weights_config.json")
    seen: set[tuple[str, int, int]] = set()
    for name, entry in _mapping(archive, _mapping(archive, table).get("config")).items():
        row = _mapping(archive, entry)
        stored = str(row.get("path_name"))
        meta = row.get("tensor_meta")
        if not isinstance(meta, Mapping):
            raise ModelLoadError(
                f"{archive.path}: its weight {name} is a pickle of a class of its own, whose shape "
                "the header does not tell. Count the network that it was exported from"
            )
        kind, elements = _type(archive, meta), _elements(archive, meta)
        offset = _offset(archive, meta)
        held = archive.sizes.get(f"data/weights/{stored}", 0)
        # A pickle holds a tensor of a class of its own, packed as that class likes.
        size = elements * kind.bytes if not row.get("use_pickle") else held
        if elements and (elements > 8 * held or offset * kind.bytes + size > held):
            raise ModelLoadError(
                f"{archive.path}: its weight {name} takes {size:,} bytes, but {stored} holds "
                f"{held:,}. The file is damaged"
            )
        place = (stored, offset, elements)
        if kind.counts and place not in seen:
            seen.add(place)
            layer = str(name).rpartition(".")[0]
            learnt = bool(row.get("is_param")) and meta.get("requires_grad") is True
            yield ParameterEntry(layer, learnt, elements, size, types.get(layer))


def flat_weights(archive: Archive, types: Mapping[str, str]) -> Iterator[ParameterEntry]:
    """The same of the layout ``FLAT``, where the weights are one pickled state dict.

    Raises:
        ModelLoadError: the state dict is damaged, or wants to run code.
    """
    with archive.open(FLAT_WEIGHTS) as member, zipfile.ZipFile(member) as inner:
        folder = torch_archive.root(set(inner.namelist()))
        pickle = torch_saved.read_member(inner, f"{folder}/data.pkl")
        stored = torch_saved.stored(inner, f"{folder}/data/")
    unsafe = torch_archive.unsafe(pickle.names)
    if unsafe or not isinstance(pickle.value, Mapping):
        raise ModelLoadError(
            f"{archive.path}: its weights are no state dict"
            + (f", they ask for {', '.join(unsafe[:4])}" if unsafe else "")
        )
    saved = torch_saved.Saved(pickle.value, pickle.names, stored)
    named = torch_saved.named_tensors(saved, pickle.value)
    split = ((name.rpartition(".")[0], tensor) for name, tensor in named)
    yield from torch_count.entries(
        torch_count.Held(layer, types.get(layer), tensor.learns, tensor) for layer, tensor in split
    )


def describe(archive: Archive) -> Program:
    """Inputs and mode of the program that PyTorch loads.

    Raises:
        ModelLoadError: the description is broken.
    """
    document = archive.json(archive.programs()[archive.program()])
    try:
        module = document["graph_module"]
        graph, signature = module["graph"], module["signature"]
        inputs, refusal = _inputs(archive, signature["input_specs"], graph["tensor_values"])
        if any(node["target"].startswith(CONVOLUTIONS) for node in graph["nodes"]):
            inputs = tuple(map(_channels_first, inputs))
        return Program(inputs, refusal or _training(graph["nodes"]), _layer_types(graph["nodes"]))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ModelLoadError(
            f"{archive.path}: the description of its program is damaged "
            f"({type(error).__name__}: {error})"
        ) from error


def _inputs(
    archive: Archive, specs: Sequence[Any], tensors: Mapping[str, Any]
) -> tuple[tuple[Input, ...], str]:
    """The tensors to feed, and why others cannot be fed."""
    found = []
    for spec in specs:
        if "custom_obj" in spec or "token" in spec:
            return (), "it takes an object of a class of its own; greenai can feed tensors only"
        if "user_input" not in spec:
            continue
        kind, argument = next(iter(spec["user_input"]["arg"].items()))
        if kind == "as_tensor":
            found.append(_input(archive, argument["name"], tensors[argument["name"]]))
        elif kind.startswith(("as_sym", "as_custom")):
            return (), (
                "it takes a number that may differ from call to call, not tensors alone. Export "
                "it with that number fixed"
            )
    return tuple(found), ""


def _input(archive: Archive, name: str, meta: Mapping[str, Any]) -> Input:
    kind = _type(archive, meta)
    axes = tuple(_axis(size) for size in meta["sizes"])
    return Input(TensorSpec(name, axes, kind.fed), kind.name)


def _channels_first(entry: Input) -> Input:
    """PyTorch convolves images with their channels first."""
    if len(entry.spec.shape or ()) != 4:
        return entry
    return replace(entry, spec=replace(entry.spec, layout="NCHW"))


def _axis(size: Mapping[str, Any]) -> int | str | None:
    if "as_int" in size:
        return int(size["as_int"])
    symbol = SYMBOL.fullmatch(size["as_expr"]["expr_str"])
    return symbol[1] if symbol else None


def _training(nodes: Sequence[Any]) -> str:
    """Why a program that was exported while its network was in training is not run."""
    for node in nodes:
        operator = node["target"].removeprefix("torch.ops.aten.").partition(".")[0]
        flag = TRAINING.get(operator)
        if flag is None:
            continue
        given = {entry["name"]: entry["arg"] for entry in node["inputs"]}
        # Without running statistics a normalisation uses those of the batch in any mode.
        statistics = "norm" not in operator or "as_tensor" in given.get("running_mean", {})
        if given.get(flag, {}).get("as_bool") is True and statistics:
            return (
                f"it was exported in training mode (its {operator} trains), so it does other work "
                "than an inference. Call eval() on the network and export it again"
            )
    return ""


def _layer_types(nodes: Sequence[Any]) -> Mapping[str, str]:
    """Class of each layer by its path, from the trace that each operation carries."""
    types: dict[str, str] = {}
    for node in nodes:
        for part in str(node.get("metadata", {}).get("nn_module_stack", "")).split(";"):
            _, _, rest = part.partition(",")
            path, _, kind = rest.partition(",")
            if path and kind:
                types.setdefault(path.partition("@")[0], kind.rpartition(".")[2])
    return types


def _type(archive: Archive, meta: Mapping[str, Any]) -> ElementType:
    number = meta.get("dtype")
    if not isinstance(number, int) or number not in TYPES:
        raise ModelLoadError(f"{archive.path}: it has a tensor of the unknown type {number!r}")
    return TYPES[number]


def _elements(archive: Archive, meta: Mapping[str, Any]) -> int:
    """Numbers that a tensor holds; an axis that repeats one number (stride 0) adds none."""
    sizes, strides = meta.get("sizes"), meta.get("strides")
    if isinstance(sizes, list) and isinstance(strides, list) and len(sizes) == len(strides):
        elements = 1
        for size, stride in zip(sizes, strides, strict=True):
            axis = size.get("as_int") if isinstance(size, Mapping) else None
            if type(axis) is not int or axis < 0:
                break
            elements *= min(axis, 1) if stride == {"as_int": 0} else axis
        else:
            return elements
    raise ModelLoadError(f"{archive.path}: it has a weight of the impossible shape {sizes!r:.200}")


def _offset(archive: Archive, meta: Mapping[str, Any]) -> int:
    given = meta.get("storage_offset") or {"as_int": 0}
    offset = given.get("as_int") if isinstance(given, Mapping) else None
    if type(offset) is not int or offset < 0:
        raise ModelLoadError(f"{archive.path}: it has a weight at the impossible place {given!r}")
    return offset


def _mapping(archive: Archive, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ModelLoadError(f"{archive.path}: its table of weights is damaged")
    return value
