"""Shapes and names in an HDF5 file, by h5py; and what makes such a file a trap.

Traps are links and datasets that reach outside the file, and false sizes. A file that nobody
vouches for is read here only in a process with limits: see ``hdf5_process``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from greenai_core import ModelLoadError

from .hdf5_headers import Item, Text

MAX_ELEMENTS = 2**50
"""A thousand times the largest network."""

MAX_EXPANSION = 1100
"""Deflate, which HDF5 may apply to a dataset, shrinks nothing further."""

MIN_SUSPECT_BYTES = 2**26
"""Below this a dataset that claims more than it holds can do no harm."""


def items(path: Path, source: Any, wanted: Callable[[str], bool]) -> Mapping[str, Item]:
    """All groups and datasets by path, in the order of names; the file itself is ``""``.

    Args:
        path: of the model, for the message.
        source: the file, or its path.
        wanted: of an attribute's name, whether to read it.

    Raises:
        ModelLoadError: the file is a trap. See ``refuse_traps``.
        OSError, ValueError, RuntimeError, KeyError: it is damaged.
    """
    import h5py

    found: dict[str, Item] = {}

    def visit(name: str, item: Any) -> None:
        attributes = dict(_attributes(item, wanted))
        if isinstance(item, h5py.Dataset):
            type = item.dtype
            shape = tuple(map(int, item.shape or ()))
            found[name] = Item(attributes, shape, str(type.name), int(type.itemsize))
        elif isinstance(item, h5py.Group):
            found[name] = Item(attributes)

    with h5py.File(source, "r") as file:
        refuse_traps(path, file)
        visit("", file)
        file.visititems(visit)
    return found


def wanted(attribute: str) -> bool:
    """Whether counting needs the attribute of this name."""
    return attribute in ("name", "dtype", "model_config") or attribute.startswith(
        ("layer_names", "weight_names")
    )


def packed_bytes(source: Any) -> int:
    """Bytes that the datasets of a file have, once unpacked, which ``read_all`` reads."""
    import h5py

    sizes: list[int] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not _plain(item):
            sizes.append(math.prod(item.shape or ()) * item.dtype.itemsize)

    with h5py.File(source, "r") as file:
        file.visititems(visit)
    return sum(sizes)


def read_all(source: Any) -> None:
    """Read each attribute, and each dataset that is more than a stretch of the file.

    Raises:
        OSError, ValueError, RuntimeError, KeyError: the library cannot.
    """
    import h5py

    def visit(name: str, item: Any) -> None:
        for attribute in item.attrs:
            item.attrs[attribute]
        if isinstance(item, h5py.Dataset) and not _plain(item):
            for piece in item.iter_chunks() if item.chunks and item.size else [()]:
                item[piece]

    with h5py.File(source, "r") as file:
        visit("", file)
        file.visititems(visit)


def _plain(dataset: Any) -> bool:
    """Whether it is numbers one after the other, which nothing has to be understood of."""
    import h5py

    layout = dataset.id.get_create_plist().get_layout()
    return layout == h5py.h5d.CONTIGUOUS and dataset.dtype.kind in "iufbV"


def _attributes(item: Any, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Text]]:
    for name in item.attrs:
        if wanted(name):
            value = item.attrs[name]
            if isinstance(value, (str, bytes)):
                yield name, _text(value)
            elif getattr(value, "ndim", None) == 1:
                yield name, tuple(map(_text, value))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def refuse_traps(path: Path, file: Any) -> None:
    """Return if all that an open ``h5py.File`` shows lies in that file itself.

    Args:
        path: of the model, for the message.
        file: open; nothing but its headers is read.

    Raises:
        ModelLoadError: a link or a dataset leads to another file, or a dataset
            claims to be larger than what is stored can be.
    """
    import h5py

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            _refuse_links(path, item)
        elif isinstance(item, h5py.Dataset):
            what = _trap(item)
            if what:
                raise ModelLoadError(f"{path}: its dataset {name} {what}. It is not opened")

    _refuse_links(path, file)
    file.visititems(visit)


def _refuse_links(path: Path, group: Any) -> None:
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise ModelLoadError(
                f"{path}: its member {name} is a link to the file {link.filename!r}, "
                "where a hostile file could read anything. It is not opened"
            )


def _trap(dataset: Any) -> str:
    if dataset.external:
        return f"keeps its numbers in the file {dataset.external[0][0]!r}"
    if dataset.is_virtual:
        return "keeps its numbers in other files (it is a virtual dataset)"
    elements = math.prod(dataset.shape or ())
    if elements > MAX_ELEMENTS:
        return f"has the impossible shape {list(dataset.shape)}"
    claimed = elements * dataset.dtype.itemsize
    if claimed > max(MIN_SUSPECT_BYTES, MAX_EXPANSION * int(dataset.id.get_storage_size())):
        return (
            f"claims {claimed:,} bytes, of which the file holds {dataset.id.get_storage_size():,}"
        )
    return ""
