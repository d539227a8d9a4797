"""Whether inputs have the shapes that a signature states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenai_core import ModelInputError, TensorSpec

if TYPE_CHECKING:
    import numpy.typing as npt


def check_shapes(
    path: Path, specs: Sequence[TensorSpec], inputs: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Return if every input is there, and fits; one whose shape is not stated fits always.

    Args:
        path: of the model, for the message.
        specs: its inputs.
        inputs: arrays by name.

    Raises:
        ModelInputError: an input is missing, unknown, or of another shape.
    """
    names = [spec.name for spec in specs]
    if set(inputs) != set(names):
        raise ModelInputError(
            f"{path} has the inputs {', '.join(names) or 'none'}, "
            f"but was given {', '.join(inputs) or 'none'}. Give exactly those"
        )
    for spec in specs:
        given = inputs[spec.name].shape
        if spec.shape is not None and not _fits(spec.shape, given):
            shape = "x".join(map(str, given)) or "scalar"
            raise ModelInputError(
                f"{path}: the data have the shape {shape}, it wants {spec}. Give that shape"
            )


def _fits(wanted: tuple[int | str | None, ...], given: tuple[int, ...]) -> bool:
    return len(wanted) == len(given) and all(
        not isinstance(axis, int) or axis == size for axis, size in zip(wanted, given, strict=True)
    )
