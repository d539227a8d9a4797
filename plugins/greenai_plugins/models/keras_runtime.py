"""TensorFlow as the Keras and SavedModel formats use it: quiet, on one device."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from greenai_core import ModelInputError, ModelLoadError, PluginUnavailable, TensorSpec

from .accelerators import cuda_channels, cuda_ordinal

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

LOUD_LOGGERS = ("absl", "tensorflow")
"""Loggers whose warnings would stand between the lines of a table."""


@dataclass(frozen=True)
class Place:
    """One device of TensorFlow.

    Attributes:
        name: for ``tf.device``.
        ordinal: among the GPUs that TensorFlow sees; None for the CPU.
    """

    name: str
    ordinal: int | None


def tensorflow() -> Any:
    """The module ``tensorflow``, imported without its start-up messages.

    ``TF_CPP_MIN_LOG_LEVEL`` is left as it is where the user has set it: only
    the C++ side reads it, once, when the library is loaded.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    return tf


def keras() -> Any:
    """The module ``keras``, on TensorFlow.

    Raises:
        PluginUnavailable: Keras computes with another library in this process.
    """
    check_backend(os.environ.get("KERAS_BACKEND") or "tensorflow")
    tensorflow()
    import keras as library

    check_backend(library.backend.backend())
    return library


def check_backend(name: str) -> None:
    """Return if Keras computes with TensorFlow.

    Raises:
        PluginUnavailable: it computes with another library.
    """
    if name != "tensorflow":
        raise PluginUnavailable(
            f"Keras models run on TensorFlow here, but Keras is set to the backend {name!r}",
            "Set KERAS_BACKEND=tensorflow",
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of TensorFlow's loggers off stderr inside the block."""
    loggers = [logging.getLogger(name) for name in LOUD_LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def trusted(options: Mapping[str, Any]) -> bool:
    """The option ``trust``, as Python or the command line gives it.

    Raises:
        ModelLoadError: it is neither true nor false.
    """
    given = str(options.get("trust", False)).lower()
    if given not in ("true", "false", "1", "0", "yes", "no"):
        raise ModelLoadError(f"trust is {given!r}: give true or false")
    return given in ("true", "1", "yes")


def place(device: str) -> Place:
    """Where TensorFlow computes for a device as greenai writes it.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ModelLoadError: it is none of these.
        PluginUnavailable: TensorFlow does not see that GPU.
    """
    asked = None if device == "auto" else cuda_ordinal(device)
    if device != "auto" and asked is None:
        return Place("/CPU:0", None)
    gpus = tensorflow().config.list_physical_devices("GPU")
    if not gpus and device == "auto":
        return Place("/CPU:0", None)
    ordinal = asked or 0
    if ordinal >= len(gpus):
        raise PluginUnavailable(
            f"the device {device!r} was asked for, but TensorFlow sees {len(gpus)} GPUs",
            "Install a TensorFlow with CUDA (pip install 'tensorflow[and-cuda]') "
            "and check nvidia-smi, or use --device cpu",
        )
    with contextlib.suppress(RuntimeError, ValueError):
        # Otherwise TensorFlow takes all memory of every GPU; refused once they are in use.
        for gpu in gpus:
            tensorflow().config.experimental.set_memory_growth(gpu, True)
    return Place(f"/GPU:{ordinal}", ordinal)


def channels(where: Place | None) -> tuple[str, ...]:
    """Channel ids of the boards behind a place; none for the CPU."""
    if where is None or where.ordinal is None:
        return ()
    return cuda_channels(where.ordinal)


def synchronize(where: Place | None) -> None:
    """Wait until nothing started on the device is still running.

    Operations on the CPU are done when their call returns, unless the user
    turned that off; asking anyway would add 50 µs to each inference.
    """
    tf = tensorflow()
    on_gpu = where is not None and where.ordinal is not None
    if on_gpu or not tf.config.experimental.get_synchronous_execution():
        tf.test.experimental.sync_devices()


def to_device(inputs: Mapping[str, Array], specs: Sequence[TensorSpec], where: Place) -> list[Any]:
    """Tensors on the device, in the order of ``specs``.

    Raises:
        ModelInputError: an input is missing or unknown, or its shape or type
            does not fit.
    """
    import numpy as np

    names = ", ".join(spec.name for spec in specs)
    missing = [spec.name for spec in specs if spec.name not in inputs]
    unknown = sorted(set(inputs) - {spec.name for spec in specs})
    if missing or unknown:
        what = f"lack {', '.join(missing)}" if missing else f"have unknown {', '.join(unknown)}"
        raise ModelInputError(f"the data {what}; the inputs of the model are: {names}")
    return [_tensor(np.asarray(inputs[spec.name]), spec, where) for spec in specs]


def _tensor(array: Array, spec: TensorSpec, where: Place) -> Any:
    if not fits(array.shape, spec):
        shape = "x".join(map(str, array.shape)) or "scalar"
        raise ModelInputError(f"the data have the shape {shape}, the model wants {spec}")
    tf = tensorflow()
    with tf.device("/CPU:0" if spec.dtype == "string" else where.name):
        try:
            return tf.convert_to_tensor(array, dtype=spec.dtype)
        except (TypeError, ValueError) as error:
            raise ModelInputError(
                f"the data are {array.dtype} and cannot become the input {spec}"
            ) from error


def run(path: Path, call: Callable[[], Any], where: Place) -> Any:
    """What ``call`` returns, computed on the device.

    Raises:
        ModelInputError: the model fails on this input.
    """
    tf = tensorflow()
    try:
        with tf.device(where.name):
            return call()
    except (tf.errors.OpError, ValueError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelInputError(
            f"{path}: the model cannot run on this input "
            f"({lines[0][:300] if lines else type(error).__name__}). Check shapes and values"
        ) from error


def fits(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    """Whether an array of that shape can be the input ``spec``."""
    return spec.shape is None or (
        len(shape) == len(spec.shape)
        and all(
            not isinstance(axis, int) or axis == size
            for axis, size in zip(spec.shape, shape, strict=True)
        )
    )


def to_numpy(tensor: Any) -> Array:
    """The tensor as an array that any reader of ``.npz`` understands.

    bfloat16 is not one of NumPy's own types; it fits into float32 exactly.
    """
    import numpy as np

    if hasattr(tensor, "to_tensor"):  # ragged
        tensor = tensor.to_tensor()
    array = np.asarray(tensor.numpy() if hasattr(tensor, "numpy") else tensor)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def traced(function: Callable[..., Any], tensors: Sequence[Any]) -> Any:
    """The graph of one call; functions that it calls are part of it."""
    from tensorflow.python.framework.func_graph import func_graph_from_py_func

    config = tensorflow().config
    before = config.functions_run_eagerly()
    config.run_functions_eagerly(True)
    try:
        return func_graph_from_py_func("traced", function, tuple(tensors), {})
    finally:
        config.run_functions_eagerly(before)


def unfolded(function: Any, tensors: Mapping[str, Any]) -> Any:
    """The graph of one call, for inputs of these shapes, without calls of functions in it.

    Args:
        function: a signature of a SavedModel.
        tensors: its inputs by name.
    """
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    once = tensorflow().function(lambda given: function(**given))
    concrete = once.get_concrete_function(dict(tensors))
    return convert_variables_to_constants_v2(concrete, lower_control_flow=False).graph


def is_parameter(dtype: str) -> bool:
    """Whether elements of a type can be weights.

    Floats are, and integers of 8 bits and fewer (quantised weights); wider
    integers are state: seeds of dropout, counters, steps.
    """
    return dtype.startswith(("float", "bfloat", "complex", "int8", "uint8", "int4", "uint4"))
