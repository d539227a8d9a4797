"""From the size of a cell to the shapes of a model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .errors import ModelInputError
from .inputs import InputOptions
from .model import DLLibrary
from .study_plan import PIXELS, TOKENS, PlannedModel
from .synthetic import check_batch, with_axes
from .tensors import TensorSpec

SIZE, BATCH = "size", "batch"

CHANNELS = (1, 3, 4)
"""Of images: grey, colour, colour with transparency."""

Shape = tuple[int, ...]


def given_shapes(model: PlannedModel, size: int, batch_size: int) -> dict[str, Shape] | None:
    """The shapes of inputs that the plan states, for one cell; None if it states none."""
    words = {SIZE: size, BATCH: batch_size}
    shapes = {
        name: tuple(words[axis] if isinstance(axis, str) else axis for axis in shape)
        for name, shape in model.input_shapes.items()
    }
    return shapes or None


def input_options(
    model: PlannedModel, library: DLLibrary, size: int, batch_size: int
) -> InputOptions:
    """Options that give the model's inputs the size of a cell.

    Args:
        model: as the study plans it.
        library: the opened model; shapes that nobody told may be filled in.
        size: of the cell.
        batch_size: of the cell.

    Raises:
        ModelInputError: the model fixes its inputs at another size, or no axis is known
            that the size is of.
    """
    if model.axes:
        axes = {name: size if axis == SIZE else int(axis) for name, axis in model.axes.items()}
        if SIZE in model.axes.values():
            return InputOptions(batch_size=batch_size, axes=axes)
    else:
        axes = {}
    if SIZE in {axis for shape in model.input_shapes.values() for axis in shape}:
        return InputOptions(batch_size=batch_size, axes=axes)
    specs = _known(library, model.size_name)
    wanted = _size_axes(specs, model.size_name, library.image_layout)
    if not wanted:
        raise ModelInputError(
            f"no input of {library.path} is known to have {_what(model.size_name)} "
            f"({'; '.join(map(str, specs))}). Say in STUDY.toml which axis it is: "
            'axes = { NAME = "size" }, or input_shapes = ["batch", 3, "size", "size"]'
        )
    stated = {spec.name for spec in library.signature() if spec.shape is not None}
    for spec, position in wanted:
        _refuse_other(library, spec, position, size)
        if spec.name in stated:
            _open_to(axes, spec, position, size)
        else:
            _state(library, spec, position, size, batch_size)
    return InputOptions(batch_size=batch_size, axes=axes)


def check_cell(model: PlannedModel, library: DLLibrary, size: int, batch_size: int) -> None:
    """Refuse a size or a batch that the model's inputs do not take; allocates nothing.

    Raises:
        ModelInputError: see ``input_options``; or the model fixes another batch size.
    """
    options = input_options(model, library, size, batch_size)
    for spec in with_axes(library.input_specs, options.axes):
        if spec.shape:
            check_batch(spec, batch_size)


def _known(library: DLLibrary, size_name: str) -> tuple[TensorSpec, ...]:
    """The inputs; shapes that the file does not say are guessed, once, and kept."""
    specs = library.input_specs
    unknown = [spec for spec in specs if spec.shape is None]
    if not unknown:
        return specs
    if size_name == TOKENS:
        guessed: Mapping[str, tuple[int | None, ...]] = {s.name: (None, None) for s in unknown}
    else:
        library.load()
        guessed = library.guess_shapes(unknown)
    found = tuple(
        replace(spec, shape=_opened(guessed[spec.name], size_name))
        if spec.name in guessed
        else spec
        for spec in specs
    )
    missing = [spec.name for spec in found if spec.shape is None]
    if missing:
        raise ModelInputError(
            f"{library.path} does not say the shape of its input {', '.join(missing)}: give "
            'input_shapes = ["batch", 3, "size", "size"] in STUDY.toml, or --input-shape '
            "1x3x224x224"
        )
    return found


def _opened(shape: Sequence[int | None], size_name: str) -> tuple[int | None, ...]:
    """A guessed shape, with the axes left open that the size is of."""
    if size_name == TOKENS or len(shape) != 4:
        return tuple(shape)
    first = _first_side(shape, "NCHW")
    return tuple(None if at in (0, first, first + 1) else axis for at, axis in enumerate(shape))


def _size_axes(
    specs: Sequence[TensorSpec], size_name: str, layout: str
) -> list[tuple[TensorSpec, int]]:
    """Each input and axis that has the size of the cell."""
    if size_name == TOKENS:
        return _token_axes(specs)
    images = [spec for spec in specs if spec.shape is not None and len(spec.shape) == 4]
    sides = [(spec, _first_side(spec.shape or (), spec.layout or layout)) for spec in images]
    axes = [(spec, first + more) for spec, first in sides for more in (0, 1)]
    if axes or size_name == PIXELS:
        return axes
    return _open_axes(specs)


def _token_axes(specs: Sequence[TensorSpec]) -> list[tuple[TensorSpec, int]]:
    """Axis 1 of the numbers of words, masks and positions; else of what has an open one."""
    texts = [
        spec
        for spec in specs
        if spec.shape is not None
        and len(spec.shape) == 2
        and (spec.dtype.startswith(("int", "uint", "bool")) or "mask" in spec.name)
    ]
    return [(spec, 1) for spec in texts] or _open_axes(specs)


def _open_axes(specs: Sequence[TensorSpec]) -> list[tuple[TensorSpec, int]]:
    """The first open axis, behind the batch, of each input that has one."""
    found = []
    for spec in specs:
        axes = enumerate((spec.shape or ())[1:], start=1)
        at = next((at for at, axis in axes if not isinstance(axis, int)), None)
        if at is not None:
            found.append((spec, at))
    return found


def _first_side(shape: Sequence[int | str | None], layout: str) -> int:
    """Where the height of an image is: 2, or 1 where the channels come last."""
    last, second = shape[3] in CHANNELS, shape[1] in CHANNELS
    if last != second:
        return 1 if last else 2
    return 1 if layout == "NHWC" else 2


def _refuse_other(library: DLLibrary, spec: TensorSpec, position: int, size: int) -> None:
    axis = (spec.shape or ())[position]
    if isinstance(axis, int) and axis != size:
        raise ModelInputError(
            f"{library.path} fixes its input {spec}: the size {size} cannot be run, only "
            f"{axis}. Export it with open axes"
        )


def _open_to(axes: dict[str, int], spec: TensorSpec, position: int, size: int) -> None:
    """Give an axis that the file leaves open the size."""
    axis = (spec.shape or ())[position]
    if not isinstance(axis, int):
        axes.setdefault(f"{spec.name}.{position}", size)
        if axis:
            axes.setdefault(axis, size)  # a mask of another rank may share it


def _state(library: DLLibrary, spec: TensorSpec, position: int, size: int, batch_size: int) -> None:
    """Give an input whose shape the file does not say one of that size."""
    shape = library.input_shapes.get(spec.name) or tuple(
        axis if isinstance(axis, int) else 1 for axis in spec.shape or ()
    )
    sizes = (size if at == position else axis for at, axis in enumerate(shape))
    library.input_shapes[spec.name] = (batch_size, *tuple(sizes)[1:])


def _what(size_name: str) -> str:
    words = {PIXELS: "a height and a width", TOKENS: "a length in tokens"}
    return words.get(size_name, f"an axis for {size_name}")
