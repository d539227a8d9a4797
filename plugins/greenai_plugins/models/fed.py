"""What a model was fed, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greenai_core import TensorSpec


def describe_inputs(inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """Name, shape and type of each array: ``image (1x3x224x224, float32)``."""
    return tuple(
        str(TensorSpec(name, tuple(array.shape), str(array.dtype)))
        for name, array in inputs.items()
    )
