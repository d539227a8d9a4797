"""Batches from what people have: folders of images, arrays, loaders of other libraries.

Nothing is read before it is asked for, so that data larger than memory can be
trained on, and waiting for them can be told apart from computing.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .batches import Array, Batch, TrainingData, Wanted
from .errors import ModelInputError
from .images import IMAGE_SUFFIXES
from .numpy_files import refuse_bomb

TARGETS = "y"
SINGLE_INPUT = "x"


def training_data(data: Any, wanted: Wanted) -> TrainingData:
    """Batches from whatever people have.

    Args:
        data: a folder with one sub-folder of images for each class; an ``.npz``
            with the arrays ``x`` (or one by input name) and ``y``; a pair of
            arrays ``(x, y)``; or anything that gives pairs of inputs and targets
            when it is gone through, batch by batch (a list, a PyTorch
            DataLoader, a tf.data.Dataset).
        wanted: what the model wants.

    Raises:
        ModelInputError: the data cannot be read, or are of another kind.
    """
    if isinstance(data, TrainingData):
        return data
    if isinstance(data, (str, os.PathLike)):
        path = Path(data)
        if path.is_dir():
            return _folders(path, wanted)
        return _arrays(*_read_npz(path), wanted, str(path))
    if isinstance(data, tuple) and len(data) == 2 and _is_arrays(data[0]):
        inputs = data[0] if isinstance(data[0], Mapping) else {SINGLE_INPUT: data[0]}
        arrays = {name: _array(array) for name, array in inputs.items()}
        return _arrays(arrays, _array(data[1]), wanted, "the training data")
    if isinstance(data, Iterable) and not isinstance(data, (Mapping, bytes, np.ndarray)):
        return _given(data, wanted)
    raise ModelInputError(
        f"a {type(data).__name__} is no training data. Give a folder of images by class, an "
        ".npz file, a pair of arrays (x, y), or something that gives (inputs, targets) batches"
    )


def _is_arrays(value: Any) -> bool:
    return isinstance(value, Mapping) or (hasattr(value, "shape") and not isinstance(value, tuple))


# Folders of images


def _folders(path: Path, wanted: Wanted) -> TrainingData:
    found = {folder.name: _images(folder) for folder in _class_folders(path)}
    if not found:
        raise ModelInputError(
            f"{path} has no folders: put the images of each class into a folder of its own, "
            f"as in {path / 'cat'}{os.sep}1.jpg"
        )
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise ModelInputError(
            f"{path} has no images of {', '.join(empty)} (files ending in "
            f"{', '.join(IMAGE_SUFFIXES)} are images). Remove the folder, or fill it"
        )
    names = wanted.classes or tuple(found)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ModelInputError(
            f"{path} has the classes {', '.join(unknown)}, which the training data do not have: "
            f"{', '.join(names)}"
        )
    files = [file for images in found.values() for file in images]
    labels = np.array(
        [names.index(name) for name, images in found.items() for _ in images], np.int64
    )
    # A batch axis that the model fixes would have one image repeated to fill it.
    specs = [
        replace(spec, shape=(None, *spec.shape[1:])) if spec.shape else spec
        for spec in wanted.specs
    ]

    def take(rows: Array) -> Batch:
        images = [wanted.inputs(files[row], specs) for row in rows]
        return Batch(_stacked(images, path), labels[rows])

    size = wanted.size(len(files), str(path))
    read = _reader(take, len(files), size, wanted)
    return TrainingData(str(path), read, size, len(files), frozenset(found))


def class_names(data: Any) -> tuple[str, ...] | None:
    """Names of the class folders in the order of their labels; None for other data."""
    if not isinstance(data, (str, os.PathLike)) or not Path(data).is_dir():
        return None
    return tuple(folder.name for folder in _class_folders(Path(data)))


def _class_folders(path: Path) -> list[Path]:
    try:
        return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise ModelInputError(f"the folder {path} cannot be read: {error}") from error


def _images(folder: Path) -> list[Path]:
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [
            Path(parent, name)
            for name in sorted(names)
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
        ]
    return files


def _stacked(images: Sequence[Mapping[str, Array]], path: Path) -> dict[str, Array]:
    try:
        return {name: np.concatenate([image[name] for image in images]) for name in images[0]}
    except ValueError as error:
        raise ModelInputError(
            f"the images of {path} have several sizes, and the model does not say which it "
            "wants. Give it with --input-shape 1x3x224x224 (in Python input_shapes=...)"
        ) from error


# Arrays


def _arrays(
    arrays: Mapping[str, Array], targets: Array, wanted: Wanted, source: str
) -> TrainingData:
    lengths = {
        name: len(array) if array.ndim else 0
        for name, array in {**arrays, TARGETS: targets}.items()
    }
    if len(set(lengths.values())) > 1 or not min(lengths.values()):
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ModelInputError(f"the arrays of {source} do not have one number of samples: {counts}")
    single = arrays[SINGLE_INPUT] if list(arrays) == [SINGLE_INPUT] else None

    def take(rows: Array) -> Batch:
        chosen: Any = {name: array[rows] for name, array in arrays.items()}
        inputs = wanted.inputs(chosen if single is None else single[rows])
        return Batch(inputs, targets[rows])

    size = wanted.size(len(targets), source)
    classes = None
    if targets.dtype.kind in "iu" and targets.size == len(targets):
        classes = frozenset(int(label) for label in np.unique(targets))
    return TrainingData(source, _reader(take, len(targets), size, wanted), size,
                        len(targets), classes)  # fmt: skip


def _read_npz(path: Path) -> tuple[dict[str, Array], Array]:
    if not path.is_file():
        raise ModelInputError(f"there is no data file {path}. Check the path")
    if not zipfile.is_zipfile(path):
        raise ModelInputError(
            f"{path} is no .npz file. Make one with numpy.savez('{path.stem}.npz', x=…, y=…)"
        )
    try:
        refuse_bomb(path)
        loaded = np.load(path, allow_pickle=False)
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except ModelInputError:
        raise
    except Exception as error:  # NumPy raises half a dozen types on broken files
        raise ModelInputError(f"{path} is not an .npz file that can be read: {error}") from error
    if TARGETS not in arrays or len(arrays) < 2:
        found = ", ".join(arrays) or "nothing"
        raise ModelInputError(
            f"{path} holds {found}: it must hold {TARGETS} (the targets) and "
            f"{SINGLE_INPUT} (or one array by input name)"
        )
    targets = arrays.pop(TARGETS)
    return arrays, targets


def _reader(
    take: Callable[[Array], Batch], samples: int, size: int, wanted: Wanted
) -> Callable[[int], Iterator[Batch]]:
    """Batches in the order of each epoch; a rest is left out where the model fixes the size."""

    def read(epoch: int) -> Iterator[Batch]:
        order = np.arange(samples)
        if wanted.seed is not None:
            order = np.random.default_rng((wanted.seed, epoch)).permutation(samples)
        end = samples if wanted.fixed is None else samples - samples % size
        for start in range(0, end, size):
            yield take(order[start : start + size])

    return read


# What other libraries give


def _given(data: Iterable[Any], wanted: Wanted) -> TrainingData:
    name = f"the {type(data).__name__}"
    if wanted.batch_size is not None and not wanted.lenient:
        raise ModelInputError(f"{name} gives ready batches: their size is set where it is made")
    if _is_endless(data):
        raise ModelInputError(f"{name} never ends. Make it finite: dataset.take(1000)")
    looked_at: list[Batch] = []

    def read_once() -> Iterator[Batch]:
        yield from tuple(looked_at)
        for item in data:
            batch = _pair(item, wanted, name)
            if not looked_at:
                looked_at.append(batch)
            yield batch

    if isinstance(data, Iterator):
        return TrainingData(name, lambda epoch: read_once(), once=True)
    return TrainingData(name, lambda epoch: (_pair(item, wanted, name) for item in data))


def _is_endless(data: Any) -> bool:
    cardinality = getattr(data, "cardinality", None)  # of tf.data; -1 is endless, -2 unknown
    return callable(cardinality) and int(cardinality()) == -1


def _pair(item: Any, wanted: Wanted, name: str) -> Batch:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        what = f"{len(item)} things" if isinstance(item, (tuple, list)) else type(item).__name__
        raise ModelInputError(f"{name} gives {what}, not pairs of inputs and targets")
    inputs, targets = item
    if isinstance(inputs, Mapping):
        inputs = {str(key): _array(value) for key, value in inputs.items()}
    elif isinstance(inputs, (tuple, list)) and inputs and all(map(_is_arrays, inputs)):
        names = [spec.name for spec in wanted.specs]
        if len(inputs) != len(names):
            raise ModelInputError(
                f"{name} gives {len(inputs)} inputs, the model has {', '.join(names)}"
            )
        inputs = {key: _array(value) for key, value in zip(names, inputs, strict=True)}
    elif not isinstance(inputs, (str, os.PathLike)):
        inputs = _array(inputs)
    batch = Batch(wanted.inputs(inputs), _array(targets))
    if batch.targets.ndim == 0 or len(batch.targets) != batch.size:
        count = len(batch.targets) if batch.targets.ndim else "no"
        raise ModelInputError(
            f"{name} gives {count} targets for {batch.size} samples. Give batches: in PyTorch "
            "by a DataLoader, in TensorFlow by dataset.batch(32)"
        )
    return batch


def _array(value: Any) -> Array:
    """An array of NumPy, PyTorch (on any device) or TensorFlow as NumPy array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "numpy") and not isinstance(value, np.ndarray):
        value = value.numpy()
    return np.asarray(value)
