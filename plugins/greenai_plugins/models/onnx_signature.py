"""The inputs of an ONNX model as ONNX Runtime tells them, and whether arrays fit them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenai_core import ModelInputError, TensorSpec

if TYPE_CHECKING:
    import numpy.typing as npt

DTYPES = {
    "float": "float32",
    "double": "float64",
    "string": "string",
}
"""ONNX Runtime's name of an element type -> NumPy's, where they differ."""


def shape_of(axes: Sequence[int | str | None]) -> tuple[int | str | None, ...]:
    """The axes; sizes below one stand for "any size" in files of some exporters."""
    return tuple(None if isinstance(axis, int) and axis < 1 else axis for axis in axes)


def dtype_of(kind: str) -> str:
    """``tensor(float)`` -> ``float32``; sequences and maps keep ONNX Runtime's name."""
    if kind.startswith("tensor(") and kind.endswith(")"):
        name = kind[len("tensor(") : -1]
        return DTYPES.get(name, name)
    return kind


def check_fits(path: Path, array: npt.NDArray[Any] | None, spec: TensorSpec) -> None:
    """Return if an array can be that input.

    Raises:
        ModelInputError: it is missing or has another shape.
    """
    if array is None:
        raise ModelInputError(f"{path}: the data lack the input {spec}")
    if spec.shape is None:
        return
    fits = array.ndim == len(spec.shape) and all(
        not isinstance(axis, int) or axis == size
        for axis, size in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        shape = "x".join(map(str, array.shape)) or "scalar"
        raise ModelInputError(f"{path}: the data have the shape {shape}, the model wants {spec}")


def first_line(error: Exception) -> str:
    """Of the message of an error; ONNX Runtime's go on for many."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
