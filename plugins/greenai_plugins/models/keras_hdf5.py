"""HDF5 files from strangers: links and datasets that reach outside the file, and false sizes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from greenai_core import ModelLoadError

MAX_ELEMENTS = 2**50
"""A thousand times the largest network."""

MAX_EXPANSION = 1100
"""Deflate, which HDF5 may apply to a dataset, shrinks nothing further."""

MIN_SUSPECT_BYTES = 2**26
"""Below this a dataset that claims more than it holds can do no harm."""


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
