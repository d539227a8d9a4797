"""What the file ``saved_model.pb`` says, read without TensorFlow."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from greenai_core import ModelLoadError, TensorSpec

from .protobuf_reader import BYTES, Buffer, Field, WireError
from .savedmodel_graph import (
    Constant,
    children,
    constants,
    image_layouts,
    operations,
    pairs,
    shape_of,
    strings,
    type_of,
)
from .savedmodel_index import entries
from .savedmodel_objects import Variable, variables

T = TypeVar("T")

PROTOBUF = "saved_model.pb"
INDEX = Path("variables", "variables.index")
INTERNAL_SIGNATURE = "__saved_model_init_op"

OPTIMIZER_SCALARS = ("beta1_power", "beta2_power", "global_step")
"""Names under which the optimizers of TensorFlow 1 keep state beside their slots."""


@dataclass(frozen=True)
class Contents:
    """One graph of a SavedModel: how to call it, and its variables.

    Attributes:
        tags: under which the graph is stored.
        signatures: inputs of each signature, by its name.
        variables: of the model, without optimizer state.
    """

    tags: tuple[str, ...]
    signatures: Mapping[str, tuple[TensorSpec, ...]]
    variables: tuple[Variable, ...]


def read(folder: Path) -> Contents:
    """The headers of a SavedModel; of several graphs the one tagged ``serve``.

    Raises:
        ModelLoadError: the folder is no SavedModel, or broken.
    """
    return _of_file(folder, lambda data, whole: _contents(folder, data, whole))


def read_operations(folder: Path) -> frozenset[str]:
    """Kinds of operation anywhere in the graph; takes longer than ``read``.

    Raises:
        ModelLoadError: the folder is no SavedModel, or broken.
    """

    def found(data: Buffer, whole: Field) -> frozenset[str]:
        _, meta = _graph(data, whole)
        return frozenset().union(*(operations(data, part) for part in children(data, meta, 2)))

    return _of_file(folder, found)


def read_image_layout(folder: Path) -> str | None:
    """``"NHWC"`` or ``"NCHW"`` where all operations on images agree; takes longer than ``read``.

    Raises:
        ModelLoadError: the folder is no SavedModel, or broken.
    """

    def found(data: Buffer, whole: Field) -> str | None:
        _, meta = _graph(data, whole)
        parts = children(data, meta, 2)
        layouts = frozenset().union(*(image_layouts(data, part) for part in parts))
        return next(iter(layouts)) or None if len(layouts) == 1 else None

    return _of_file(folder, found)


def read_constants(folder: Path) -> tuple[Constant, ...]:
    """Constants of the graph, those of each function once; takes longer than ``read``.

    Raises:
        ModelLoadError: the folder is no SavedModel, or broken.
    """

    def found(data: Buffer, whole: Field) -> tuple[Constant, ...]:
        _, meta = _graph(data, whole)
        return tuple(one for part in children(data, meta, 2) for one in constants(data, part))

    return _of_file(folder, found)


def _of_file(folder: Path, ask: Callable[[Buffer, Field], T]) -> T:
    """What ``ask`` finds in the file, its errors in words."""
    file = folder / PROTOBUF
    if not file.is_file():
        raise ModelLoadError(
            f"{folder} is no SavedModel: it holds no {PROTOBUF}. Give the folder that holds it"
        )
    if file.stat().st_size == 0:
        raise ModelLoadError(f"{file} is empty: it holds no model. Save or copy it again")
    try:
        with _mapped(file) as data:
            return ask(data, Field(0, BYTES, 0, 0, len(data)))
    except WireError as error:
        raise ModelLoadError(
            f"{folder} is no SavedModel that can be read: {error}. "
            "It may be truncated, or of another format"
        ) from error
    except OSError as error:
        raise ModelLoadError(f"{folder} cannot be read: {error}") from error


@contextmanager
def _mapped(file: Path) -> Iterator[Buffer]:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _graph(data: Buffer, whole: Field) -> tuple[tuple[str, ...], Field]:
    """Tags and message of the graph to run."""
    graphs: dict[tuple[str, ...], Field] = {}
    for part in children(data, whole, 2):
        tags = [tag for info in children(data, part, 1) for tag in strings(data, info, 4)]
        graphs[tuple(tags)] = part
    if not graphs:
        raise WireError(f"{PROTOBUF} holds no graph")
    serving = [item for item in graphs.items() if "serve" in item[0]]
    return (serving or list(graphs.items()))[0]


def _contents(folder: Path, data: Buffer, whole: Field) -> Contents:
    tags, meta = _graph(data, whole)
    if not any(part.end > part.start for part in children(data, meta, 2)):
        raise WireError(f"the graph in {PROTOBUF} is empty")
    return Contents(tags, _signatures(data, meta), tuple(_variables(folder, data, meta)))


def _signatures(data: Buffer, meta: Field) -> dict[str, tuple[TensorSpec, ...]]:
    found = {}
    for name, signature in pairs(data, meta, 5):
        if name != INTERNAL_SIGNATURE:
            found[name] = tuple(
                TensorSpec(key, shape_of(data, info, 3), type_of(data, info, 2)[0])
                for key, info in sorted(pairs(data, signature, 1))
            )
    return found


def _variables(folder: Path, data: Buffer, meta: Field) -> list[Variable]:
    index = folder / INDEX
    objects = [found for graph in children(data, meta, 7) for found in variables(data, graph)]
    if objects and not index.is_file():
        raise ModelLoadError(f"{folder} lacks {INDEX}, the weights of the model. Copy it again")
    has_objects = any(True for _ in children(data, meta, 7))
    if has_objects or not index.is_file():
        return objects
    with _mapped(index) as table:
        return _of_tensorflow_1(entries(table), _trainable_names(data, meta))


def _trainable_names(data: Buffer, meta: Field) -> set[str]:
    """Names in the collection ``trainable_variables`` that TensorFlow 1 keeps."""
    return {
        name
        for key, collection in pairs(data, meta, 4)
        if key == "trainable_variables"
        for values in children(data, collection, 2)
        for definition in children(data, values, 1)
        for full in strings(data, definition, 1)
        for name in [full.removesuffix(":0")]
    }


def _of_tensorflow_1(found: Mapping[str, Constant], trainable: set[str]) -> list[Variable]:
    """Variables of a checkpoint without a graph of objects.

    A key ``weights/Adam`` below a trainable variable ``weights`` is a slot of
    its optimizer. Without the collection all variables count as trainable.
    """
    kept = []
    for name, tensor in found.items():
        slot = (
            any(name[:at] in trainable for at, letter in enumerate(name) if letter == "/")
            and name not in trainable
        )
        if slot or name.rsplit("/", 1)[-1] in OPTIMIZER_SCALARS:
            continue
        count = 1
        for axis in tensor.shape:
            count *= axis
        item = tensor.bytes // count if count else 0
        kept.append(
            Variable(name, tensor.shape, tensor.dtype, item, not trainable or name in trainable)
        )
    return kept
