"""Training steps of a loaded Keras model."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenai_core import (
    LifecycleError,
    ModelError,
    ModelInputError,
    ModelLoadError,
    Score,
    TensorSpec,
)

from . import keras_runtime as runtime

if TYPE_CHECKING:
    import numpy.typing as npt

DEFAULT_OPTIMIZER = "sgd"
DEFAULT_LEARNING_RATE = 0.01


@dataclass(frozen=True)
class Batch:
    """One batch on the device.

    Attributes:
        inputs: tensors in the order of the model's inputs.
        targets: tensor of labels, or of values.
        objective: ``classes``, ``yes or no`` or ``values``: which loss.
    """

    inputs: tuple[Any, ...]
    targets: Any
    objective: str


class KerasTraining:
    """A Keras model opened for training.

    The loss follows the targets: integers are labels (cross-entropy; binary
    where the model has one output), floats are values (mean squared error).
    Losses that layers add, for regularisation, are added.

    Args:
        model: Keras' own.
        specs: its inputs.
        where: device it is on.
        suffix: of the kind of file it came from, ``.keras`` or ``.h5``.
        optimizer: Keras' name of it.
        learning_rate: of the optimizer.

    Raises:
        ModelError: nothing in it can be trained, or the optimizer is unknown.
    """

    def __init__(
        self,
        model: Any,
        specs: Sequence[TensorSpec],
        where: runtime.Place,
        suffix: str,
        optimizer: str = DEFAULT_OPTIMIZER,
        learning_rate: float = DEFAULT_LEARNING_RATE,
    ) -> None:
        self._model = model
        self._specs = specs
        self._where = where
        self._suffix = suffix
        self._last: Any = None
        self._weights = [variable.value for variable in model.trainable_weights]
        if not self._weights:
            raise ModelError("all weights of the model are frozen: nothing can be trained")
        tf = runtime.tensorflow()
        with tf.device(where.name):
            self._optimizer = _optimizer(model, optimizer, learning_rate)
        self._losses = _losses(model)
        self._even = 0.5 if _last_activation(model) == "sigmoid" else 0.0
        self._compiled = tf.function(self._train, jit_compile=compiled(model, where))
        self._scoring = tf.function(self._validate, jit_compile=compiled(model, where))

    def prepare_batch(
        self, inputs: Mapping[str, npt.NDArray[Any]], targets: npt.NDArray[Any]
    ) -> Batch:
        """Put a batch on the device, and choose its loss."""
        import numpy as np

        tensors = runtime.to_device(inputs, self._specs, self._where)
        targets = np.asarray(targets)
        shape = _output_shape(self._model)
        if targets.ndim == 0 or len(targets) != len(tensors[0]):
            raise ModelInputError(
                f"{len(targets) if targets.ndim else 'no'} targets were given for a batch of "
                f"{len(tensors[0])} samples"
            )
        if targets.dtype.kind in "iub":
            objective, targets = _labels(targets, shape)
        elif targets.dtype.kind == "f":
            objective = "values"
            if shape is not None and not runtime.fits(targets.shape, TensorSpec("", shape)):
                raise ModelInputError(
                    f"the targets have the shape {targets.shape}, the model gives {shape}"
                )
        else:
            raise ModelInputError(f"the targets are {targets.dtype}, neither labels nor values")
        tf = runtime.tensorflow()
        with runtime.quiet(), tf.device(self._where.name):
            batch = Batch(tuple(tensors), tf.convert_to_tensor(targets), objective)
            # Traced now, so that the first step is a step like the others.
            self._compiled.get_concrete_function(batch.inputs, batch.targets, batch.objective)
        return batch

    def step(self, batch: Batch) -> None:
        """One forward pass, backward pass and update.

        Raises:
            ModelError: memory ran out.
        """
        with runtime.tensorflow().device(self._where.name), _errors_of(batch):
            self._last = self._compiled(batch.inputs, batch.targets, batch.objective)

    def accuracy(self) -> float | None:
        """Share of the last step's samples that the model had right before the update."""
        return None if self._last is None else _share(self._last[1])

    def score(self, batch: Batch) -> Score:
        """Loss and accuracy on a batch, in evaluation mode; no weight changes.

        Raises:
            ModelError: memory ran out.
        """
        with runtime.tensorflow().device(self._where.name), _errors_of(batch):
            loss, right = self._scoring(batch.inputs, batch.targets, batch.objective)
            return Score(float(loss.numpy()), _share(right))

    def _train(self, inputs: tuple[Any, ...], targets: Any, objective: str) -> tuple[Any, Any]:
        tf = runtime.tensorflow()
        with tf.GradientTape() as tape:
            loss, right = self._forward(inputs, targets, objective, training=True)
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self._weights)
        self._optimizer.apply(gradients, self._model.trainable_weights)
        return loss, right

    def _validate(self, inputs: tuple[Any, ...], targets: Any, objective: str) -> tuple[Any, Any]:
        return self._forward(inputs, targets, objective, training=False)

    def _forward(
        self, inputs: tuple[Any, ...], targets: Any, objective: str, *, training: bool
    ) -> tuple[Any, Any]:
        """Loss, and the share of right answers; -1 where there are no right ones."""
        tf = runtime.tensorflow()
        answer = tf.nest.flatten(self._model(pack(self._model, inputs), training=training))[0]
        loss = self._losses[objective](targets, answer)
        for extra in self._model.losses:
            loss += tf.cast(extra, loss.dtype)
        if objective == "values":
            return loss, tf.constant(-1.0)
        if objective == "classes":
            right = tf.equal(tf.argmax(answer, axis=-1), targets)
        else:
            right = tf.equal(answer > self._even, targets > 0.5)
        return loss, tf.reduce_mean(tf.cast(right, tf.float32))

    def synchronize(self) -> None:
        """Wait for the device."""
        runtime.synchronize(self._where)

    def loss(self) -> float:
        """Loss of the last step.

        Raises:
            LifecycleError: there was none.
        """
        if self._last is None:
            raise LifecycleError("no training step was done yet, so there is no loss")
        return float(self._last[0].numpy())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as the kind of file it came from; the old file or the new, never half.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Keras chooses the kind of file by its ending, so the folder is the temporary name.
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            file = folder / f"model{self._suffix}"
            with runtime.quiet():
                self._model.save(str(file))
            with file.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(file, path)  # noqa: PTH105  # as everywhere else that atomicity counts
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _errors_of(batch: Batch) -> Iterator[None]:
    try:
        yield
    except runtime.tensorflow().errors.ResourceExhaustedError as error:
        line = (str(error).strip().splitlines() or ["TensorFlow says no more"])[0]
        raise ModelError(
            f"memory ran out on a batch of {len(batch.targets)} samples ({line[:300]}). "
            "Give a smaller --batch-size (in Python batch_size)"
        ) from error


def _share(right: Any) -> float | None:
    share = float(right.numpy())
    return None if share < 0 else share


def pack(model: Any, tensors: Sequence[Any]) -> Any:
    """Tensors in the structure in which the model takes its inputs."""
    structure = None
    with contextlib.suppress(AttributeError, ValueError):  # sequential and subclassed models
        structure = model.input
    if structure is None:
        return tensors[0] if len(tensors) == 1 else list(tensors)
    return runtime.tensorflow().nest.pack_sequence_as(structure, list(tensors))


def compiled(model: Any, where: runtime.Place) -> bool:
    """Whether Keras would compile the model with XLA on this device: on GPUs where it can."""
    return where.ordinal is not None and bool(getattr(model, "jit_compile", False))


def _optimizer(model: Any, name: str, learning_rate: float) -> Any:
    keras = runtime.keras()
    try:
        optimizer = keras.optimizers.get(
            {"class_name": name, "config": {"learning_rate": float(learning_rate)}}
        )
    except (ValueError, TypeError) as error:
        raise ModelLoadError(
            f"Keras has no optimizer {name!r} with the learning rate {learning_rate!r} "
            "(try sgd, adam, adamw, rmsprop)"
        ) from error
    if "mixed_float16" in str(getattr(model.dtype_policy, "name", "")):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_weights)
    return optimizer


def _losses(model: Any) -> dict[str, Any]:
    losses = runtime.keras().losses
    last = _last_activation(model)
    return {
        "classes": losses.SparseCategoricalCrossentropy(from_logits=last != "softmax"),
        "yes or no": losses.BinaryCrossentropy(from_logits=last != "sigmoid"),
        "values": losses.MeanSquaredError(),
    }


def _last_activation(model: Any) -> str:
    """Name of the function that the output went through last; empty for none."""
    operation = model
    while getattr(operation, "layers", None):
        outputs = getattr(operation, "outputs", None)
        inner = outputs[0]._keras_history.operation if outputs else operation.layers[-1]
        if inner is operation:
            break
        operation = inner
    if type(operation).__name__.lower() in ("softmax", "sigmoid"):
        return type(operation).__name__.lower()
    return str(getattr(getattr(operation, "activation", None), "__name__", ""))


def _output_shape(model: Any) -> tuple[int | None, ...] | None:
    outputs = getattr(model, "outputs", None)
    return tuple(outputs[0].shape) if outputs else None


def _labels(
    targets: npt.NDArray[Any], shape: tuple[int | None, ...] | None
) -> tuple[str, npt.NDArray[Any]]:
    """Objective and labels, checked: a GPU would turn a wrong label into NaN."""
    import numpy as np

    classes = shape[-1] if shape else None
    if shape is not None:
        if targets.ndim == len(shape) and targets.shape[-1] == 1:
            targets = targets[..., 0]
        if not runtime.fits(targets.shape, TensorSpec("", shape[:-1])):
            raise ModelInputError(
                f"the labels have the shape {targets.shape}, the model wants {shape[:-1]}: "
                "one integer a sample"
            )
    limit = 2 if classes == 1 else classes
    if targets.size and (targets.min() < 0 or (limit is not None and targets.max() >= limit)):
        raise ModelInputError(
            f"the labels reach from {targets.min()} to {targets.max()}, "
            f"the model tells {limit} classes apart (0 to {limit - 1 if limit else '?'})"
        )
    if classes == 1:
        return "yes or no", targets[..., np.newaxis].astype(np.float32)
    return "classes", targets.astype(np.int64)
