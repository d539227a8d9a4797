"""Tensors as PyTorch describes them in a pickle: type, shape, and where their numbers lie."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .pickle_reader import Global, Made, Reference

STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64", "QInt8Storage": "qint8", "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32", "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
}  # fmt: skip
"""Kinds of storage that ``torch.save`` names -> type of their elements."""

BITS = {
    "float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "complex128": 128,
    "complex64": 64, "complex32": 32, "int64": 64, "int32": 32, "int16": 16, "int8": 8,
    "uint64": 64, "uint32": 32, "uint16": 16, "uint8": 8, "bool": 8, "qint8": 8, "quint8": 8,
    "qint32": 32, "quint4x2": 4, "quint2x4": 2, "float8_e4m3fn": 8, "float8_e5m2": 8,
    "float8_e4m3fnuz": 8, "float8_e5m2fnuz": 8, "float8_e8m0fnu": 8, "float4_e2m1fn_x2": 8,
}  # fmt: skip
"""Type of an element, as PyTorch calls it -> its bits."""

COUNTED = ("float", "bfloat", "complex", "q", "int8", "uint8")
"""Beginnings of the names of types whose elements can be weights."""

MAX_ELEMENTS = 2**63 - 1
MAX_DEPTH = 64
"""Tensors are wrapped in a parameter or two, and lists of them nest little."""

WRAPPERS = frozenset(
    {
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch.nn.parameter.Parameter",
        "torch.nn.parameter.Buffer",
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch.jit._pickle.restore_type_tag",
        "torch.jit._pickle.build_tensorlist",
    }
)
"""Calls whose first argument is the tensor itself, or the list of them."""

STRIDED = frozenset(
    {
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
        "torch._utils._rebuild_qtensor",
    }
)
"""Calls with storage, offset, size and stride as their first arguments."""

SPARSE = "torch._utils._rebuild_sparse_tensor"
WITHOUT_STORAGE = "torch._utils._rebuild_meta_tensor_no_storage"
OF_A_CLASS = "torch._tensor._rebuild_from_type_v2"


class UnknownTensor(Exception):
    """A tensor is described in a way that only PyTorch itself understands."""


class TensorError(ValueError):
    """A description that contradicts itself: the file is damaged."""


@dataclass(frozen=True)
class Storage:
    """A stretch of memory that tensors lie in.

    Attributes:
        key: names it in the file; two tensors with one key share it.
        elements: its length; several to a byte count as one.
        dtype: of its elements.
    """

    key: str
    elements: int
    dtype: str

    @property
    def item_bytes(self) -> int:
        """Bytes of an element."""
        return max(BITS[self.dtype] // 8, 1)

    @property
    def bytes(self) -> int:
        """Its length in bytes."""
        return self.elements * self.item_bytes


@dataclass(frozen=True)
class TensorHeader:
    """All of a tensor but its numbers.

    Attributes:
        dtype: as PyTorch calls it (``bfloat16``).
        shape: of a sparse tensor that of its stored values.
        bytes: that its elements take, packed.
        place: equal for two tensors that are the same numbers in memory.
        learns: whether it has a gradient.
        storage: None where it was not read from a file.
        owner: kept alive with it, since ``place`` is good no longer than that.
    """

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    place: object
    learns: bool
    storage: Storage | None = None
    owner: object = field(default=None, compare=False, repr=False)

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def counts(self) -> bool:
        """Whether it can hold weights: indices, masks and counters cannot."""
        return self.dtype.startswith(COUNTED)


def storage_of(reference: Reference) -> Storage:
    """The storage that a persistent id of PyTorch describes.

    Raises:
        UnknownTensor: it is no such id.
    """
    id = reference.id
    if not (isinstance(id, tuple) and len(id) >= 5 and id[0] == "storage"):
        raise UnknownTensor("a reference that is no storage")
    kind, key, elements = id[1], id[2], id[4]
    name = kind.name.rpartition(".")[2] if isinstance(kind, Global) else ""
    if name not in STORAGES or not isinstance(key, (str, int)):
        raise UnknownTensor(f"a storage of the kind {name[:80]}")
    if not isinstance(elements, int) or not 0 <= elements <= MAX_ELEMENTS:
        raise TensorError("a storage has an impossible length")
    if len(id) > 5 and id[5] is not None:
        raise UnknownTensor("a storage that is part of another")
    return Storage(str(key), elements, STORAGES[name])


def header(tensor: Any, learns: bool) -> TensorHeader:
    """The header of a dense tensor that PyTorch has loaded."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    bits = BITS.get(dtype, tensor.element_size() * 8)
    elements = tensor.numel()
    place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), elements)
    size = (elements * bits + 7) // 8
    return TensorHeader(dtype, tuple(tensor.shape), size, place, learns, owner=tensor)


def tensors(value: Any) -> Iterator[TensorHeader]:
    """The tensor that a value is, or those in the lists and tuples that it is made of.

    Raises:
        UnknownTensor: only PyTorch can tell.
        TensorError: a description contradicts itself.
    """
    waiting, seen = [(value, 0)], set()
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, (list, tuple)):
            if id(item) in seen or depth > MAX_DEPTH:
                continue
            seen.add(id(item))
            waiting.extend((inner, depth + 1) for inner in reversed(item))
        elif isinstance(item, Made):
            inner = _unwrapped(item)
            if isinstance(inner, TensorHeader):
                yield inner
            elif inner is not None:
                waiting.append((inner, depth + 1))


def _unwrapped(made: Made) -> Any:
    """The tensor that a call makes, or the list; None where it makes no tensor."""
    learns = False
    for _ in range(MAX_DEPTH):
        name = made.kind.name if isinstance(made.kind, Global) else ""
        given = made.arguments if isinstance(made.arguments, tuple) else ()
        if name in WRAPPERS and given:
            learns = learns or (len(given) > 1 and given[1] is True)
            inner = given[0]
        elif name == OF_A_CLASS and len(given) > 2:
            inner = Made(given[0], given[2])
        elif name == SPARSE and len(given) > 1:
            inner = _stored_values(given)
        elif name in STRIDED:
            return _strided(name, given, learns)
        elif name == WITHOUT_STORAGE and len(given) > 1:
            dtype, shape = _type(given[0]), _sizes(given[1])
            return TensorHeader(dtype, shape, _bytes(math.prod(shape), dtype), made, learns)
        elif name.startswith(("torch._utils._rebuild", "torch._tensor.")):
            raise UnknownTensor(f"a tensor made by {name}")
        else:
            return None
        if not isinstance(inner, Made):
            return inner if isinstance(inner, (list, tuple)) else None
        made = inner
    raise UnknownTensor("a tensor wrapped too often")


def _stored_values(given: tuple[Any, ...]) -> Any:
    """The values of a sparse tensor: they follow one tensor of indices, or two."""
    layout, parts = given[0], given[1]
    if isinstance(layout, Made) and isinstance(layout.arguments, tuple) and layout.arguments:
        layout = layout.arguments[0]
    name = layout.name if isinstance(layout, Global) else layout
    index = 1 if isinstance(name, str) and name.endswith("sparse_coo") else 2
    if not (isinstance(parts, tuple) and len(parts) > index):
        raise UnknownTensor("a sparse tensor without values")
    return parts[index]


def _strided(name: str, given: tuple[Any, ...], learns: bool) -> TensorHeader:
    if len(given) < 4 or not isinstance(given[0], Reference):
        raise UnknownTensor("a tensor without storage")
    storage = storage_of(given[0])
    offset, sizes, strides = given[1], _sizes(given[2]), _sizes(given[3])
    dtype, learns_at = storage.dtype, 4
    if name.endswith("_v3"):
        dtype = _type(given[6] if len(given) > 6 else None)
    elif name.endswith("_rebuild_qtensor"):
        learns_at = 5
    if not isinstance(offset, int) or offset < 0 or len(strides) != len(sizes):
        raise TensorError("a tensor has an impossible offset or stride")
    elements = math.prod(sizes)
    if elements > MAX_ELEMENTS:
        raise TensorError(f"a tensor has the impossible shape {list(sizes)}"[:120])
    last = offset + sum((size - 1) * step for size, step in zip(sizes, strides, strict=True))
    if elements and (last + 1) * BITS[dtype] > storage.bytes * 8:
        raise TensorError(
            f"a tensor of the shape {list(sizes)} does not fit into its storage {storage.key}"[:160]
        )
    learns = learns or (len(given) > learns_at and given[learns_at] is True)
    place = (storage.key, offset, elements)
    return TensorHeader(dtype, sizes, _bytes(elements, dtype), place, learns, storage)


def _type(kind: Any) -> str:
    name = kind.name.removeprefix("torch.") if isinstance(kind, Global) else ""
    if name not in BITS:
        raise UnknownTensor(f"a tensor of the type {name[:80]}")
    return name


def _sizes(given: Any) -> tuple[int, ...]:
    """A shape or stride; PyTorch writes both as tuples of integers, or as ``torch.Size``."""
    if isinstance(given, Made) and isinstance(given.arguments, tuple) and given.arguments:
        given = given.arguments[0]
    if not isinstance(given, (tuple, list)):
        raise UnknownTensor("a tensor without a shape")
    sizes = tuple(size for size in given if isinstance(size, int) and 0 <= size <= MAX_ELEMENTS)
    if len(sizes) != len(given) or len(sizes) > MAX_DEPTH:
        raise TensorError("a tensor has an impossible shape")
    return sizes


def _bytes(elements: int, dtype: str) -> int:
    return (elements * BITS[dtype] + 7) // 8
