"""MNIST and CIFAR-10 as torchvision or Keras leaves them on the disk; nothing is downloaded.

Looked for in each folder, in this order:

* MNIST: ``MNIST/raw/train-images-idx3-ubyte`` (or ``.gz``) and its three siblings, as
  torchvision writes them; ``mnist.npz``, as Keras does.
* CIFAR-10: ``cifar-10-batches-py/data_batch_1`` and its siblings, as torchvision extracts
  them; ``cifar-10-batches-py.tar.gz`` or ``cifar-10-python.tar.gz``, as either downloads it.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from . import safe_pickle

Bytes = npt.NDArray[np.uint8]

HOME = Path(os.path.expanduser("~"))  # noqa: PTH111  # Path.home raises where there is none
USUAL_FOLDERS = (Path("data"), HOME / "data", HOME / ".keras" / "datasets")
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_ARCHIVES = ("cifar-10-batches-py.tar.gz", "cifar-10-python.tar.gz")
CIFAR_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
IDX_BYTES = 0x08


class DataFileError(ValueError):
    """A file of a data set is not what its name says."""


@dataclass(frozen=True)
class RawImages:
    """A data set as it stands in its files.

    Attributes:
        images, test_images: N x C x H x W, 0 to 255.
        labels, test_labels: N, 0 to 9.
        source: the files, for people.
    """

    images: Bytes
    labels: Bytes
    test_images: Bytes
    test_labels: Bytes
    source: str


def find_mnist(folders: Sequence[Path] = USUAL_FOLDERS) -> RawImages | None:
    """MNIST; None where no folder holds it.

    Raises:
        DataFileError: a file is there but broken.
    """
    for folder in folders:
        raw = folder / "MNIST" / "raw"
        names = [
            f"{part}-{what}"
            for part in ("train", "t10k")
            for what in ("images-idx3-ubyte", "labels-idx1-ubyte")
        ]
        files = [_plain_or_packed(raw / name) for name in names]
        if all(files):
            images, labels, tests, test_labels = (_read_idx(file) for file in files if file)
            return _checked(
                RawImages(images[:, None], labels, tests[:, None], test_labels, f"MNIST in {raw}")
            )
        if (folder / "mnist.npz").is_file():
            return _mnist_of_keras(folder / "mnist.npz")
    return None


def find_cifar10(folders: Sequence[Path] = USUAL_FOLDERS) -> RawImages | None:
    """CIFAR-10; None where no folder holds it.

    Raises:
        DataFileError: a file is there but broken, or asks to run something.
    """
    for folder in folders:
        for extracted in (folder / CIFAR_FOLDER, folder / f"{CIFAR_FOLDER}-target" / CIFAR_FOLDER):
            if all((extracted / name).is_file() for name in CIFAR_BATCHES):
                return _cifar(partial(_file, extracted), str(extracted))
        for name in CIFAR_ARCHIVES:
            if (folder / name).is_file():
                return _cifar_archive(folder / name)
    return None


def _plain_or_packed(path: Path) -> Path | None:
    packed = path.with_name(f"{path.name}.gz")
    return next((file for file in (path, packed) if file.is_file()), None)


def _read_idx(path: Path) -> Bytes:
    """An array of the format IDX: two zeros, type, number of axes, sizes, data."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        zeros, kind, axes = struct.unpack_from(">HBB", content)
        sizes = struct.unpack_from(f">{axes}I", content, 4)
    except (OSError, EOFError, struct.error) as error:
        raise DataFileError(f"{path} cannot be read ({error}): get it again") from error
    data = content[4 + 4 * axes :]
    if zeros or kind != IDX_BYTES or len(data) != math.prod(sizes):
        raise DataFileError(f"{path} is no IDX file of bytes, or is cut off: get it again")
    return np.frombuffer(data, np.uint8).reshape(sizes)


def _mnist_of_keras(path: Path) -> RawImages:
    try:
        with np.load(path, allow_pickle=False) as held:
            images, labels = held["x_train"], held["y_train"]
            tests, test_labels = held["x_test"], held["y_test"]
    except (OSError, ValueError, KeyError) as error:
        raise DataFileError(f"{path} is not Keras's MNIST ({error}): get it again") from error
    return _checked(
        RawImages(images[:, None], labels, tests[:, None], test_labels, f"MNIST in {path}")
    )


def _cifar_archive(path: Path) -> RawImages:
    try:
        with tarfile.open(path) as archive:
            return _cifar(partial(_member, archive), str(path))
    except (OSError, EOFError, tarfile.TarError, KeyError) as error:
        raise DataFileError(f"{path} cannot be read ({error}): get it again") from error


def _file(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """Content of one file of an archive, which is not extracted."""
    member = archive.extractfile(f"{CIFAR_FOLDER}/{name}")
    if member is None:
        raise KeyError(f"{name} is no file")
    return member.read()


def _cifar(read: Callable[[str], bytes], where: str) -> RawImages:
    parts = []
    for name in CIFAR_BATCHES:
        try:
            held = safe_pickle.load(read(name))
            images = np.asarray(held["data"]).reshape(-1, 3, 32, 32)
            parts.append((images, np.asarray(held["labels"], np.uint8)))
        except (safe_pickle.UnsafePickleError, KeyError, ValueError) as error:
            raise DataFileError(f"{where}: {name} is no batch of CIFAR-10: {error}") from error
    *training, (tests, test_labels) = parts
    images = np.concatenate([images for images, _ in training])
    labels = np.concatenate([labels for _, labels in training])
    return _checked(RawImages(images, labels, tests, test_labels, f"CIFAR-10 in {where}"))


def _checked(raw: RawImages) -> RawImages:
    pairs = ((raw.images, raw.labels), (raw.test_images, raw.test_labels))
    for images, labels in pairs:
        if images.ndim != 4 or len(images) != len(labels) or not len(images):
            raise DataFileError(f"{raw.source}: images and labels do not belong together")
        if labels.max() > 9:
            raise DataFileError(f"{raw.source}: a label is {labels.max()}, not 0 to 9")
    return raw
