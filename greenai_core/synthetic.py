"""Inputs made up from a model's signature: numbers of the right shape, type and meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .arrays import Array, check_size, np_dtype
from .errors import ModelInputError
from .tensors import TensorSpec

SYNTHETIC_SEED = 20220401
"""Fixed, so that two models measured side by side are fed the same numbers."""

TOKENS = "input_ids"
"""What Hugging Face calls the numbers of the words; an input so named takes a vocabulary."""


def synthetic(
    spec: TensorSpec, batch_size: int | None = None, vocabulary: int | None = None
) -> Array:
    """Random data of the shape and type of ``spec``; open axes become 1.

    Floats are uniform in [0, 1), integers are 0 or 1 (always within a
    vocabulary), booleans are true. Masks are ones, segments of a text
    (``token_type_ids``) zeros, positions count from 0.

    Args:
        spec: what the model wants.
        batch_size: length of the first axis; None for what the model says, else 1.
        vocabulary: token ids, in an input called ``input_ids``, are below this.

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
        shape[0] = check_batch(spec, batch_size)
    check_size(spec, shape)
    if spec.dtype == "string":
        return np.full(shape, "greenai", dtype=object)
    dtype = np_dtype(spec)
    if dtype.kind == "b" or "mask" in spec.name.lower():
        return np.ones(shape, dtype)
    if dtype.kind in "iu":
        return _whole(spec.name.lower(), shape, dtype, vocabulary)
    rng = np.random.default_rng(SYNTHETIC_SEED)
    if dtype.kind == "c":
        return (rng.random(shape) + 1j * rng.random(shape)).astype(dtype)
    return rng.random(shape, dtype=np.float32).astype(dtype)


def _whole(name: str, shape: Sequence[int], dtype: np.dtype[Any], vocabulary: int | None) -> Array:
    """Whole numbers, by what the name of the input says of their meaning."""
    if "token_type" in name:
        return np.zeros(shape, dtype)
    if "position_ids" in name and shape:
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(dtype)
    below = vocabulary if vocabulary and name.endswith(TOKENS) else 2
    rng = np.random.default_rng(SYNTHETIC_SEED)
    return rng.integers(0, min(below, np.iinfo(dtype).max), shape).astype(dtype)


def check_batch(spec: TensorSpec, batch_size: int) -> int:
    """The batch size, where the first axis of the input can have it.

    Raises:
        ModelInputError: the model fixes another.
    """
    assert spec.shape
    fixed = spec.shape[0]
    if isinstance(fixed, int) and fixed != batch_size:
        raise ModelInputError(
            f"a batch of {batch_size} does not fit: the model fixes the first axis of "
            f"its input {spec}. Export it with a dynamic batch axis"
        )
    return batch_size


def with_axes(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> tuple[TensorSpec, ...]:
    """The specs with sizes for axes that the model leaves open.

    Args:
        specs: the inputs of the model.
        sizes: by the name of the axis (in all inputs that have it), or by input
            and position: ``input_ids.1``. The position goes before the name.

    Raises:
        ModelInputError: no open axis has such a name, or a size is below 1.
    """
    unknown = set(sizes) - {key for spec in specs for keys in open_axes(spec) for key in keys}
    if unknown:
        known = [keys[-1] for spec in specs for keys in open_axes(spec)]
        raise ModelInputError(
            f"the model has no open axis {', '.join(sorted(unknown))} "
            f"(its open axes: {', '.join(dict.fromkeys(known)) or 'none'})"
        )
    wrong = [f"{key}={size}" for key, size in sizes.items() if size < 1]
    if wrong:
        raise ModelInputError(f"an axis has a size of 1 at least, not {', '.join(wrong)}")
    return tuple(_sized(spec, sizes) for spec in specs)


def open_axes(spec: TensorSpec) -> list[tuple[str, ...]]:
    """Names of each axis of any size: by position, and its own where it has one."""
    return [
        (f"{spec.name}.{position}", *([axis] if isinstance(axis, str) and axis else []))
        for position, axis in enumerate(spec.shape or ())
        if not isinstance(axis, int)
    ]


def _sized(spec: TensorSpec, sizes: Mapping[str, int]) -> TensorSpec:
    if spec.shape is None:
        return spec
    shape = tuple(
        axis
        if isinstance(axis, int)
        else sizes.get(f"{spec.name}.{i}", sizes.get(axis or "", axis))
        for i, axis in enumerate(spec.shape)
    )
    return replace(spec, shape=shape)
