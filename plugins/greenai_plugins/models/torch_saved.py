"""What ``torch.save`` wrote, read without PyTorch and without executing any of it.

Read are the directory of the archive and the pickle that describes the tensors;
their numbers are not touched.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from . import torch_archive
from .pickle_reader import Made, Pickle, PickleError, read
from .torch_tensors import Storage, TensorError, TensorHeader, storage_of, tensors

MAX_PICKLE_BYTES = 2**28
"""The description of a model's tensors takes a few MiB; this much is an attack or a fault."""

STATE_KEYS = ("state_dict", "model_state_dict", "model")
"""Where training scripts put the network in a checkpoint."""

_LEGACY_HEADER_PICKLES = 3


@dataclass(frozen=True)
class Saved:
    """One file.

    Attributes:
        value: what was saved, tensors as calls that would make them.
        names: of all functions and classes that its pickles ask for.
        stored: bytes of each storage that the file holds, by its key.
    """

    value: Any
    names: frozenset[str]
    stored: Mapping[str, int]


def open_saved(path: Path) -> Saved:
    """Read the description of the tensors.

    Raises:
        PickleError: a pickle in it is damaged.
        TensorError: it is cut off.
        zipfile.BadZipFile, OSError: the file cannot be read.
    """
    if torch_archive.is_legacy(path):
        return _open_legacy(path)
    with zipfile.ZipFile(path) as archive:
        folder = torch_archive.root(set(archive.namelist()))
        found = read_member(archive, f"{folder}/data.pkl")
        return Saved(found.value, found.names, stored(archive, f"{folder}/data/"))


def read_member(archive: zipfile.ZipFile, name: str) -> Pickle:
    """Read one pickle of an archive.

    Raises:
        PickleError: it is damaged, or too large.
    """
    if archive.getinfo(name).file_size > MAX_PICKLE_BYTES:
        raise PickleError(f"its member {name} is too large to describe a model")
    return read(io.BytesIO(archive.read(name)))


def stored(archive: zipfile.ZipFile, folder: str) -> dict[str, int]:
    """Bytes of each member of a folder of an archive, by its name there."""
    return {
        entry.filename[len(folder) :]: entry.file_size
        for entry in archive.infolist()
        if entry.filename.startswith(folder)
    }


def _open_legacy(path: Path) -> Saved:
    """A file of before 1.6: pickles one after the other, then the storages."""
    with path.open("rb") as file:
        for _ in range(_LEGACY_HEADER_PICKLES):
            read(file)
        found, keys = read(file), read(file).value
        if not isinstance(keys, list):
            raise PickleError("its list of storages is missing")
        storages = {one.key: one for one in map(storage_of, found.references)}
        lengths = {str(key): _legacy_storage(file, storages.get(str(key))) for key in keys}
        end = file.tell()
        if end > file.seek(0, 2):
            raise TensorError("its last storage is cut off")
    return Saved(found.value, found.names, lengths)


def _legacy_storage(file: IO[bytes], storage: Storage | None) -> int:
    """Step over one storage, the number of its elements before it; its bytes."""
    head = file.read(8)
    if storage is None or len(head) < 8:
        raise TensorError("a storage of it is cut off, or not described")
    elements = struct.unpack("<q", head)[0]
    length: int = elements * storage.item_bytes
    if length != storage.bytes:
        raise TensorError(f"the storage {storage.key} is not as long as described")
    file.seek(length, 1)
    return length


def state(value: Any) -> Mapping[object, Any] | None:
    """The state dict that a file holds, alone or in a checkpoint; None if there is none.

    Raises:
        UnknownTensor: only PyTorch can tell.
        TensorError: the description of a tensor contradicts itself.
    """
    candidates = [value]
    if isinstance(value, dict):
        candidates = [value[key] for key in STATE_KEYS if key in value] + candidates
    for candidate in candidates:
        if isinstance(candidate, dict) and any(
            isinstance(item, Made) and any(True for _ in tensors(item))
            for item in candidate.values()
        ):
            return candidate
    return None


def named_tensors(saved: Saved, found: Mapping[object, Any]) -> Iterator[tuple[str, TensorHeader]]:
    """The tensors of a state dict with their names.

    Raises:
        UnknownTensor: only PyTorch can tell.
        TensorError: a description contradicts itself, or a storage is cut off.
    """
    for name, value in found.items():
        for header in tensors(value):
            check_stored(header, saved.stored)
            yield str(name) if isinstance(name, (str, int)) else "", header


def check_stored(header: TensorHeader, lengths: Mapping[str, int]) -> None:
    """Return if the file holds the storage of a tensor.

    Raises:
        TensorError: it holds none of that name, or one of another length.
    """
    storage = header.storage
    if storage is not None and storage.bytes and lengths.get(storage.key) != storage.bytes:
        raise TensorError(
            f"the storage {storage.key[:40]} should have {storage.bytes:,} bytes, the file holds "
            f"{lengths.get(storage.key, 0):,}"
        )
