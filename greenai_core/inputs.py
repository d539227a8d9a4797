"""From what people have (images, arrays, nothing) to what a model's inputs ask for."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ModelInputError, PluginUnavailable
from .tensors import TensorSpec

Array = npt.NDArray[Any]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm")

SYNTHETIC_SEED = 20220401
"""Fixed, so that two models measured side by side are fed the same numbers."""

MAX_ELEMENTS = 2**31
"""Synthetic tensors beyond this are a mistake in a shape, not an input."""


def to_inputs(
    data: Any,
    specs: Sequence[TensorSpec],
    *,
    batch_size: int | None = None,
    image_layout: str = "NCHW",
) -> dict[str, Array]:
    """Arrays by input name that fit ``specs``.

    Args:
        data: None for synthetic data; the path of an image, ``.npy`` or
            ``.npz``; an array for a model of one input; a mapping by input name.
        specs: the inputs of the model.
        batch_size: samples in the batch; None for what data or file say, else 1.
        image_layout: axes of an image where the shape does not tell.

    Raises:
        ModelInputError: the data do not fit, or a shape is not known.
    """
    if not specs:
        raise ModelInputError("the model states no inputs, so nothing can be prepared for it")
    if data is None:
        return {spec.name: synthetic(spec, batch_size) for spec in specs}
    if isinstance(data, (str, os.PathLike)):
        data = _read(Path(data), specs, image_layout)
    if not isinstance(data, Mapping):
        if len(specs) != 1:
            names = ", ".join(spec.name for spec in specs)
            raise ModelInputError(
                f"the model has {len(specs)} inputs ({names}): give an .npz or a mapping by name"
            )
        data = {specs[0].name: data}
    missing = [spec.name for spec in specs if spec.name not in data]
    unknown = sorted(set(data) - {spec.name for spec in specs})
    if missing or unknown:
        names = ", ".join(spec.name for spec in specs)
        what = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(unknown)}"
        raise ModelInputError(f"the data {what}; the inputs of the model are: {names}")
    return {spec.name: _fit(np.asarray(data[spec.name]), spec, batch_size) for spec in specs}


def synthetic(spec: TensorSpec, batch_size: int | None = None) -> Array:
    """Random data of the shape and type of ``spec``; open axes become 1.

    Floats are uniform in [0, 1), integers are 0 or 1 (always within a
    vocabulary), booleans are true.

    Raises:
        ModelInputError: the shape is not known, or the batch cannot be that size.
    """
    if spec.shape is None:
        raise ModelInputError(
            f"the file does not say the shape of the input {spec.name}: "
            "give it with --input-shape 1x3x224x224 (in Python input_shapes=(1, 3, 224, 224))"
        )
    shape = [axis if isinstance(axis, int) else 1 for axis in spec.shape]
    if batch_size is not None and shape:
        shape[0] = _batch(spec, batch_size)
    if math.prod(shape) > MAX_ELEMENTS:
        raise ModelInputError(f"the input {spec} would take {math.prod(shape):,} elements")
    rng = np.random.default_rng(SYNTHETIC_SEED)
    if spec.dtype == "string":
        return np.full(shape, "greenai", dtype=object)
    dtype = np_dtype(spec)
    if dtype.kind == "b":
        return np.ones(shape, dtype)
    if dtype.kind in "iu":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "c":
        return (rng.random(shape) + 1j * rng.random(shape)).astype(dtype)
    return rng.random(shape, dtype=np.float32).astype(dtype)


def np_dtype(spec: TensorSpec) -> np.dtype[Any]:
    """NumPy's type for the elements of ``spec``.

    Raises:
        ModelInputError: NumPy has no such type.
    """
    try:
        return np.dtype(spec.dtype)
    except TypeError as error:
        raise ModelInputError(f"the input {spec} has a type that NumPy does not know") from error


def samples(inputs: Mapping[str, Array]) -> int:
    """Samples in a batch: the length of the first axis of the first input, else 1."""
    first = next(iter(inputs.values()))
    return int(first.shape[0]) if first.ndim else 1


def channels_last(spec: TensorSpec, image_layout: str) -> bool:
    """Whether the images of ``spec`` are height x width x channels.

    A fixed axis of 1, 3 or 4 tells which one holds the channels; where both or
    neither do, ``image_layout`` decides.
    """
    assert spec.shape is not None
    first, last = (spec.shape[axis] in (1, 3, 4) for axis in (1, 3))
    if first != last:
        return last
    return image_layout == "NHWC"


def _batch(spec: TensorSpec, batch_size: int) -> int:
    assert spec.shape
    fixed = spec.shape[0]
    if isinstance(fixed, int) and fixed != batch_size:
        raise ModelInputError(
            f"a batch of {batch_size} does not fit: the model fixes the first axis of "
            f"its input {spec}. Export it with a dynamic batch axis"
        )
    return batch_size


def _fit(array: Array, spec: TensorSpec, batch_size: int | None) -> Array:
    """The array as the spec wants it: batch axis added, batch repeated, type cast."""
    if spec.dtype != "string":
        if array.dtype.kind not in "biufc":
            raise ModelInputError(f"the data for {spec} are {array.dtype}, not numbers")
        array = array.astype(np_dtype(spec), copy=False)
    if spec.shape is not None:
        if array.ndim == len(spec.shape) - 1:
            array = array[np.newaxis]
        fits = array.ndim == len(spec.shape) and all(
            not isinstance(axis, int) or axis == size
            for axis, size in zip(spec.shape[1:], array.shape[1:], strict=True)
        )
        if not fits:
            shape = "x".join(map(str, array.shape)) or "scalar"
            raise ModelInputError(f"the data have the shape {shape}, the model wants {spec}")
    if batch_size is not None and array.ndim and array.shape[0] != batch_size:
        if array.shape[0] != 1:
            raise ModelInputError(
                f"the data hold {array.shape[0]} samples, a batch of {batch_size} was asked for"
            )
        array = np.repeat(array, batch_size, axis=0)
    if spec.shape and isinstance(spec.shape[0], int) and array.shape[0] != spec.shape[0]:
        if array.shape[0] != 1 or batch_size is not None:
            _batch(spec, array.shape[0])
        array = np.repeat(array, spec.shape[0], axis=0)
    return np.asarray(array, order="C")  # ascontiguousarray would give scalars an axis


def _read(path: Path, specs: Sequence[TensorSpec], image_layout: str) -> Any:
    """What the file holds: an array, or arrays by name."""
    if not path.is_file():
        raise ModelInputError(f"there is no input file {path}. Check the path")
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return _image(path, specs, image_layout)
    if suffix not in (".npy", ".npz"):
        raise ModelInputError(
            f"{path} is not an input that greenai reads (images, .npy and .npz are)"
        )
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except Exception as error:  # NumPy raises half a dozen types on broken files
        raise ModelInputError(f"{path} is not a NumPy file that can be read: {error}") from error


def _image(path: Path, specs: Sequence[TensorSpec], image_layout: str) -> Array:
    """The image as one sample in [0, 1], resized to the model's height and width."""
    images = [spec for spec in specs if spec.shape is not None and len(spec.shape) == 4]
    if len(images) != 1 or len(specs) != 1:
        raise ModelInputError(
            f"{path} is an image, but the model has no single image input: "
            + "; ".join(map(str, specs))
            + ". If the file does not state its shape, give --input-shape 1x3x224x224"
        )
    spec = images[0]
    assert spec.shape is not None
    last = channels_last(spec, image_layout)
    channels = spec.shape[3 if last else 1]
    height, width = (spec.shape[1:3]) if last else (spec.shape[2:4])
    pixels = _pixels(path, channels if isinstance(channels, int) else 3, height, width)
    array = pixels.astype(np.float32) / np.float32(255)
    if np_dtype(spec).kind in "iu":
        array = pixels.astype(np_dtype(spec))
    ordered: Array = array if last else array.transpose(2, 0, 1)
    return ordered[np.newaxis]


def _pixels(path: Path, channels: int, height: Any, width: Any) -> Array:
    """Height x width x channels of 8-bit values."""
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise PluginUnavailable(
            "reading images needs Pillow", "pip install 'greenai-core[image]'"
        ) from error
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if channels not in modes:
        raise ModelInputError(f"an image has 1, 3 or 4 channels, the model wants {channels}")
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert(modes[channels])
            size = tuple(
                axis if isinstance(axis, int) else own
                for axis, own in zip((width, height), upright.size, strict=True)
            )
            pixels = np.asarray(upright.resize(size, Image.Resampling.BILINEAR))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ModelInputError(f"{path} is not an image that can be read: {error}") from error
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]
