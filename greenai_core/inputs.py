"""From what people have (images, arrays, text, nothing) to what a model's inputs ask for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import Array, np_dtype, samples
from .errors import GreenAIError, ModelInputError
from .images import (
    IMAGE_SUFFIXES,
    RESIZES,
    STRETCH,
    Normalisation,
    images_in,
    normalisation,
    read_images,
)
from .numpy_files import refuse_bomb
from .synthetic import check_batch, open_axes, synthetic, with_axes
from .tensors import TensorSpec
from .texts import Text, encode, read_text, vocabulary

__all__ = [
    "IMAGE_SUFFIXES",
    "InputOptions",
    "Inputs",
    "Normalisation",
    "Text",
    "make_inputs",
    "samples",
    "to_inputs",
]

Guess = Callable[[Sequence[TensorSpec]], Mapping[str, Sequence[int | None]]]

TEXT_SUFFIXES = (".txt", ".md")


@dataclass(frozen=True)
class InputOptions:
    """How data are made into the inputs of a model.

    Attributes:
        batch_size: samples in one inference; the most that are taken of a
            folder. None for what data or file say, else 1.
        axes: sizes of axes that the model leaves open, by their name
            (``"seq"``) or by input and position (``"input_ids.1"``).
        resize: ``"stretch"``, ``"fit"`` or ``"crop"``; see ``images.RESIZES``.
        normalise: of images: ``"imagenet"``, ``"0..1"``, ``"-1..1"``,
            ``"0..255"``, ``"none"``, ``"MEAN/STD"``, or a ``Normalisation``.
            None for [0, 1], and 0 to 255 where the model takes whole numbers.
        preprocess: called on the data first; it returns anything that the
            model can be given.

    Raises:
        ModelInputError: there is no such way to resize or normalise.
    """

    batch_size: int | None = None
    axes: Mapping[str, int] = field(default_factory=dict)
    resize: str = STRETCH
    normalise: str | Normalisation | None = None
    preprocess: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            raise ModelInputError(f"resize is {self.resize!r}: give {', '.join(RESIZES)}")
        if self.normalise is not None:
            normalisation(self.normalise)
        if self.batch_size is not None and self.batch_size < 1:
            raise ModelInputError(f"a batch has 1 sample at least, not {self.batch_size}")


@dataclass(frozen=True)
class Inputs:
    """What a model is fed.

    Attributes:
        arrays: by input name.
        assumptions: what was assumed because neither file nor user said it.
    """

    arrays: Mapping[str, Array]
    assumptions: tuple[str, ...] = ()


def to_inputs(
    data: Any,
    specs: Sequence[TensorSpec],
    options: InputOptions | None = None,
    *,
    image_layout: str = "NCHW",
    folder: Path | None = None,
) -> dict[str, Array]:
    """Arrays by input name that fit ``specs``; ``make_inputs`` tells the assumptions too."""
    made = make_inputs(data, specs, options, image_layout=image_layout, folder=folder)
    return dict(made.arrays)


def make_inputs(
    data: Any,
    specs: Sequence[TensorSpec],
    options: InputOptions | None = None,
    *,
    image_layout: str = "NCHW",
    folder: Path | None = None,
    guess: Guess | None = None,
) -> Inputs:
    """Arrays by input name that fit ``specs``.

    Args:
        data: None for synthetic data; the path of an image, a folder of images,
            a text, ``.npy`` or ``.npz``; ``Text``; an array for a model of one
            input; a mapping by input name.
        specs: the inputs of the model.
        options: see ``InputOptions``.
        image_layout: axes of an image where neither spec nor shape tell.
        folder: of the model, where its tokenizer and ``config.json`` lie.
        guess: shapes for inputs whose shape nobody told, by name; asked only
            where data do not bring their shape.

    Raises:
        ModelInputError: the data do not fit, or a shape is not known.
        PluginUnavailable: a library that reads them is missing.
    """
    options = options or InputOptions()
    if not specs:
        raise ModelInputError("the model states no inputs, so nothing can be prepared for it")
    if options.preprocess is not None:
        data = _preprocessed(data, options.preprocess)
    guesses: list[str] = []
    if guess is not None and _needs_shape(data):
        specs, guesses = _guessed(specs, guess)
    specs = with_axes(specs, options.axes)
    if data is None:
        words = vocabulary(folder) if folder is not None else None
        arrays = {spec.name: synthetic(spec, options.batch_size, words) for spec in specs}
        return Inputs(arrays, (*guesses, *_left_open(specs)))
    made = _from_data(data, specs, options, image_layout, folder or Path())
    return Inputs(made.arrays, (*guesses, *made.assumptions))


def _from_data(
    data: Any, specs: Sequence[TensorSpec], options: InputOptions, image_layout: str, folder: Path
) -> Inputs:
    notes: list[str] = []
    batch_size = options.batch_size
    if isinstance(data, (str, os.PathLike)):
        path = Path(data)
        data = _read(path, specs, options, image_layout)
        if path.is_dir():
            notes += _not_as_many(path, len(data), batch_size)
            batch_size = None
    if isinstance(data, Text):
        data, cut = encode(data, specs, folder)
        notes += cut
    named = _by_name(data, specs)
    arrays = {spec.name: _fit(np.asarray(named[spec.name]), spec, batch_size) for spec in specs}
    return Inputs(arrays, tuple(notes))


def _not_as_many(folder: Path, taken: int, asked: int | None) -> list[str]:
    """A note where the batch is smaller than was asked for, or than the folder."""
    held = len(images_in(folder))
    if asked is not None and taken < asked:
        return [f"{folder} holds {held} images: that is the batch, not {asked}"]
    if asked is None and taken < held:
        return [f"the model fixes a batch of {taken}: the first of {held} images in {folder}"]
    return []


def _preprocessed(data: Any, function: Callable[[Any], Any]) -> Any:
    try:
        return function(data)
    except GreenAIError:
        raise
    except Exception as error:  # users' code may raise anything
        name = getattr(function, "__qualname__", repr(function))
        raise ModelInputError(
            f"the function {name} failed on the data ({type(error).__name__}: {error})"
        ) from error


def _needs_shape(data: Any) -> bool:
    """Whether the data are made to the shape of the input, not the other way round."""
    if not isinstance(data, (str, os.PathLike)):
        return data is None
    path = Path(data)
    return path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES


def _guessed(specs: Sequence[TensorSpec], guess: Guess) -> tuple[tuple[TensorSpec, ...], list[str]]:
    """The specs with guessed shapes, and a note on each."""
    unknown = [spec for spec in specs if spec.shape is None]
    shapes = guess(unknown) if unknown else {}
    notes = [
        f"the file does not say the shape of the input {name}: {'x'.join(map(_axis, shape))} was "
        "assumed, the first usual shape that the network takes. Give --input-shape to be sure"
        for name, shape in shapes.items()
    ]
    known = tuple(
        replace(spec, shape=tuple(shapes[spec.name])) if spec.name in shapes else spec
        for spec in specs
    )
    return known, notes


def _axis(size: int | None) -> str:
    return "N" if size is None else str(size)


def _left_open(specs: Sequence[TensorSpec]) -> list[str]:
    """A note on the axes of synthetic data that nobody sized; the batch is reported anyway."""
    names = [keys[-1] for spec in specs for keys in open_axes(spec) if keys[0] != f"{spec.name}.0"]
    if not names:
        return []
    listed = list(dict.fromkeys(names))
    return [
        f"the model leaves {', '.join(listed)} open: synthetic data have the size 1 there. "
        f"Set it with --axis {listed[0]}=128"
    ]


def _by_name(data: Any, specs: Sequence[TensorSpec]) -> Mapping[str, Any]:
    """The data by input name; every input and no other."""
    names = ", ".join(spec.name for spec in specs)
    if isinstance(data, Mapping):
        named: Mapping[str, Any] = data
    elif len(specs) == 1:
        named = {specs[0].name: data}
    else:
        raise ModelInputError(
            f"the model has {len(specs)} inputs ({names}): give an .npz or a mapping by name"
        )
    missing = [spec.name for spec in specs if spec.name not in named]
    unknown = sorted(set(named) - {spec.name for spec in specs})
    if missing or unknown:
        what = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(unknown)}"
        raise ModelInputError(f"the data {what}; the inputs of the model are: {names}")
    return named


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
            check_batch(spec, array.shape[0])
        array = np.repeat(array, spec.shape[0], axis=0)
    return np.asarray(array, order="C")  # ascontiguousarray would give scalars an axis


def _read(path: Path, specs: Sequence[TensorSpec], options: InputOptions, image_layout: str) -> Any:
    """What the file or folder holds: an array, arrays by name, or text."""
    if path.is_dir():
        return _images(path, images_in(path), specs, options, image_layout)
    if not path.is_file():
        raise ModelInputError(f"there is no input file {path}. Check the path")
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return _images(path, [path], specs, options, image_layout)
    if suffix in TEXT_SUFFIXES:
        return read_text(path)
    if suffix not in (".npy", ".npz"):
        raise ModelInputError(
            f"{path} is not an input that greenai reads "
            "(images, folders of images, .txt, .npy and .npz are)"
        )
    try:
        refuse_bomb(path)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except ModelInputError:
        raise
    except Exception as error:  # NumPy raises half a dozen types on broken files
        raise ModelInputError(f"{path} is not a NumPy file that can be read: {error}") from error


def _images(
    given: Path,
    paths: Sequence[Path],
    specs: Sequence[TensorSpec],
    options: InputOptions,
    image_layout: str,
) -> Array:
    """The images as one batch; of many, as many as the batch may have."""
    if len(specs) != 1 or specs[0].shape is None or len(specs[0].shape) != 4:
        raise ModelInputError(
            f"{given} is an image, but the model has no single image input: "
            + "; ".join(map(str, specs))
            + ". If the file does not state its shape, give --input-shape 1x3x224x224"
        )
    fixed = specs[0].shape[0]
    most = options.batch_size or (fixed if isinstance(fixed, int) else None)
    return read_images(
        paths[:most],
        specs[0],
        resize=options.resize,
        normalise=options.normalise,
        image_layout=image_layout,
    )
