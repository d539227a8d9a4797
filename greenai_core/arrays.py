"""What all inputs have in common: their types and a limit on their size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ModelInputError
from .tensors import TensorSpec

Array = npt.NDArray[Any]

MAX_ELEMENTS = 2**31
"""Inputs beyond this are a mistake in a shape, not an input."""


def np_dtype(spec: TensorSpec) -> np.dtype[Any]:
    """NumPy's type for the elements of ``spec``.

    Raises:
        ModelInputError: NumPy has no such type.
    """
    try:
        return np.dtype(spec.dtype)
    except TypeError as error:
        raise ModelInputError(f"the input {spec} has a type that NumPy does not know") from error


def check_size(spec: TensorSpec, shape: Sequence[int]) -> None:
    """Refuse an absurd shape before memory is taken for it.

    Raises:
        ModelInputError: it has more than ``MAX_ELEMENTS`` elements.
    """
    elements = math.prod(shape)
    if elements > MAX_ELEMENTS:
        asked = "x".join(map(str, shape))
        raise ModelInputError(
            f"the input {spec} as {asked} would take {elements:,} elements. "
            "Check its shape, or use a smaller batch"
        )


def samples(inputs: Mapping[str, Array]) -> int:
    """Samples in a batch: the length of the first axis of the first input, else 1."""
    first = next(iter(inputs.values()))
    return int(first.shape[0]) if first.ndim else 1
