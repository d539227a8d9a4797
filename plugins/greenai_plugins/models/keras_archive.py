"""What a Keras file says of itself, read without TensorFlow.

Three kinds of file: ``.keras`` (a zip of ``config.json`` and
``model.weights.h5``), the older whole-model ``.h5`` (HDF5 with an attribute
``model_config``), and weights alone (HDF5 without it).
"""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from greenai_core import ModelLoadError, loading, require

from . import archives, hdf5_headers, hdf5_process, keras_hdf5
from .hdf5_headers import Item

HDF5_MAGIC = hdf5_headers.MAGIC
ZIP_MAGIC = b"PK\x03\x04"
HEAD_BYTES = 1 << 16
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
MAX_CONFIG_BYTES = 32 * 2**20
"""Configurations of large models take a few MiB; this much is an attack or a fault."""

MAX_PACKED_BYTES = 512 * 2**20
"""Compressed weights have to be unpacked in memory; Keras itself does not compress them."""


@dataclass(frozen=True)
class Weight:
    """One dataset of weights.

    Attributes:
        path: in the HDF5 file, ``layers/conv2d/vars/0``.
        shape: of the variable.
        dtype: NumPy's name of the element type, or ``bfloat16``.
        item_bytes: of one element.
        layer: name of the layer that wrote it; empty where the file does not say.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    item_bytes: int
    layer: str


@dataclass(frozen=True)
class KerasFile:
    """The headers of one file.

    Attributes:
        kind: ``keras``, ``h5`` or ``weights``.
        config: of the model; None for weights alone.
        weights: all datasets but those of optimizers, in the file's order.
    """

    kind: str
    config: Mapping[str, Any] | None
    weights: tuple[Weight, ...]


def magic(path: Path) -> bytes:
    """The first eight bytes; fewer where the file has no more or cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError:
        return b""


def mentions_keras(path: Path) -> bool:
    """Whether an HDF5 file, whatever it is called, begins with names that Keras gives.

    Names stand in HDF5 as they are; those at the top are among the first things written.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return any(name in head for name in (b"keras_version", b"layer_names")) or (
        b"layers\0" in head and b"vars\0" in head
    )


def is_keras_zip(path: Path) -> bool:
    """Whether the file is a zip with the members of a Keras archive."""
    if not magic(path).startswith(ZIP_MAGIC):
        return False
    try:
        if not archives.listable(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return {CONFIG, WEIGHTS} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def read(path: Path) -> KerasFile:
    """The headers of a Keras file; no weights are read.

    Raises:
        ModelLoadError: the file is truncated, or holds no Keras model.
        PluginUnavailable: it is not as Keras writes it, and h5py is not installed.
    """
    if path.is_file() and path.stat().st_size == 0:
        raise ModelLoadError(f"{path} is empty: it holds no model. Save or copy it again")
    if magic(path) == HDF5_MAGIC:
        with loading(path, "greenai"):
            return _read_hdf5(path)
    if magic(path).startswith(ZIP_MAGIC):
        return _read_zip(path)
    raise ModelLoadError(
        f"{path} is no Keras model: it is neither a .keras archive nor HDF5. "
        "Check that the file is not of another format"
    )


def check(path: Path) -> None:
    """Return if Keras may open the file.

    Counting may do without the HDF5 library, which loading cannot, so what is loaded is looked
    through once more by that library, in a process that may come to grief.

    Raises:
        ModelLoadError: the file is a trap.
    """
    if magic(path) == HDF5_MAGIC:
        with loading(path, "h5py"), path.open("rb") as file:
            hdf5_process.items(path, file, path.stat().st_size, thorough=True)
        return
    with (
        loading(path, "h5py"),
        archives.opened(path) as archive,
        _member(path, archive, WEIGHTS) as member,
    ):
        size = archive.getinfo(WEIGHTS).file_size
        hdf5_process.items(path, member, size, thorough=True)


def _read_zip(path: Path) -> KerasFile:
    if not zipfile.is_zipfile(path):
        raise ModelLoadError(
            f"{path} is a truncated .keras archive: its list of members, at the end of the file, "
            "is missing. Save or copy it again"
        )
    with loading(path, "zipfile"), archives.opened(path) as archive:
        missing = {CONFIG, WEIGHTS} - set(archive.namelist())
        if missing:
            raise ModelLoadError(
                f"{path} is a zip archive but no Keras model: it lacks "
                f"{' and '.join(sorted(missing))}"
            )
        if archive.getinfo(CONFIG).file_size > MAX_CONFIG_BYTES:
            raise ModelLoadError(f"{path} holds a {CONFIG} too large to be one")
        config = _object(archive.read(CONFIG))
        size = archive.getinfo(WEIGHTS).file_size
        with _member(path, archive, WEIGHTS) as member:
            return KerasFile("keras", config, _weights(_items(path, member, size)))


def _object(text: bytes | str) -> Mapping[str, Any]:
    if len(text) > MAX_CONFIG_BYTES:
        raise ValueError("the configuration is too large to be one")
    config = json.loads(text)
    if not isinstance(config, dict):
        raise ValueError("the configuration is no JSON object")
    return config


@contextmanager
def _member(path: Path, archive: zipfile.ZipFile, name: str) -> Iterator[BinaryIO]:
    """A member of the archive as a file in which seeking is cheap."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED and info.file_size > MAX_PACKED_BYTES:
        raise ModelLoadError(
            f"{path} holds {info.file_size:,} bytes of weights compressed, which Keras never does. "
            "Save it again with model.save(...)"
        )
    if info.compress_type != zipfile.ZIP_STORED:
        yield io.BytesIO(archive.read(name))
        return
    # Keras stores the weights without compression, so their headers can be
    # read in place; seeking in a ZipExtFile would read every byte in between.
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        lengths = file.read(4)
        start = (
            info.header_offset
            + 30
            + int.from_bytes(lengths[:2], "little")
            + int.from_bytes(lengths[2:], "little")
        )
        yield hdf5_process.Slice(file, start, info.file_size)  # type: ignore[misc]  # RawIOBase is all that is needed of BinaryIO


def _items(path: Path, file: BinaryIO, size: int) -> Mapping[str, Item]:
    """Groups and datasets of HDF5, by h5py only where the file is not as Keras writes it."""
    try:
        found = hdf5_headers.read(file, size, keras_hdf5.wanted)
    except hdf5_headers.Damaged as error:
        raise ModelLoadError(
            f"{path} is damaged: in its HDF5 is {error}. Save or copy it again"
        ) from error
    if found is None:
        require({"h5py": "tensorflow"})
        with loading(path, "h5py"):
            found = hdf5_process.items(path, file, size)
    return found


def _weights(items: Mapping[str, Item]) -> tuple[Weight, ...]:
    """Datasets of an HDF5 file written by ``save_weights`` or inside ``.keras``."""
    found = []
    for path, item in items.items():
        if item.shape is not None and path.split("/", maxsplit=1)[0] not in (
            "optimizer",
            "optimizer_weights",
        ):
            layer = items[path.rpartition("/")[0]].attributes.get("name", "")
            found.append(_weight(path, item, layer if isinstance(layer, str) else ""))
    return tuple(found)


def _read_hdf5(path: Path) -> KerasFile:
    with path.open("rb") as file:
        items = _items(path, file, path.stat().st_size)
    text = items[""].attributes.get("model_config")
    if text is None and not _names(items[""], "layer_names"):
        weights = _weights(items)
        if not weights:
            raise ModelLoadError(f"{path} is HDF5 but holds neither a Keras model nor weights")
        return KerasFile("weights", None, weights)
    config = _object(text) if isinstance(text, str) else None
    if config is not None and "model_weights" not in items:
        raise ModelLoadError(
            f"{path} holds the configuration of a model but not its weights. "
            "Save it with model.save(...)"
        )
    group = "" if config is None else "model_weights/"
    found = [
        _weight(f"{layer}/{name}", items[f"{group}{layer}/{name}"], layer)
        for layer in _names(items[group.rstrip("/")], "layer_names")
        for name in _names(items[f"{group}{layer}"], "weight_names")
    ]
    return KerasFile("weights" if config is None else "h5", config, tuple(found))


def _names(group: Item, attribute: str) -> tuple[str, ...]:
    """A list of names; Keras splits it into ``layer_names0``, … where it is long."""
    whole = group.attributes.get(attribute)
    if isinstance(whole, tuple):
        return whole
    parts = (group.attributes.get(f"{attribute}{number}") for number in itertools.count())
    held = itertools.takewhile(lambda part: isinstance(part, tuple), parts)
    return tuple(name for part in held if part is not None for name in part)


def _weight(path: str, dataset: Item, layer: str) -> Weight:
    if dataset.shape is None:
        raise ValueError(f"the weight {path} is a group")
    # HDF5 has no bfloat16: Keras writes it as opaque bytes and says so beside them.
    dtype = str(dataset.attributes.get("dtype", dataset.dtype))
    return Weight(path, dataset.shape, dtype, dataset.item_bytes, layer)
