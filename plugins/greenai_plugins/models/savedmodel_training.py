"""Training a SavedModel through the signature that it was exported with for that."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenai_core import LifecycleError, ModelError, ModelInputError, TensorSpec

from . import keras_runtime as runtime
from .savedmodel_contents import PROTOBUF

if TYPE_CHECKING:
    import numpy.typing as npt

SIGNATURE = "train"
LOSS = "loss"


def targets_of(
    inputs: Sequence[TensorSpec], signatures: Mapping[str, Sequence[TensorSpec]]
) -> TensorSpec | str:
    """The input of the signature ``train`` that takes the targets, or why there is none."""
    known = signatures.get(SIGNATURE)
    if known is None:
        return (
            "a SavedModel can do what it was exported for, and this one has no signature 'train' "
            "(the inputs and the targets in, the loss out). Train the .keras file it was made "
            "from, or export it with such a signature"
        )
    names = {spec.name for spec in inputs}
    others = [spec for spec in known if spec.name not in names]
    if len(others) != 1 or len(known) != len(names) + 1:
        listed = ", ".join(spec.name for spec in known)
        return (
            f"its signature 'train' takes {listed}: it must take the inputs "
            f"({', '.join(sorted(names))}) and one more, the targets"
        )
    return others[0]


class SavedModelTraining:
    """A SavedModel opened for training: each step is a call of its signature ``train``.

    Optimiser and learning rate are those that it was exported with.

    Args:
        path: of the model, for messages.
        model: as TensorFlow loaded it.
        specs: its inputs.
        targets: the input of the signature that takes the targets.
        where: device it is on.
    """

    def __init__(
        self,
        path: Path,
        model: Any,
        specs: Sequence[TensorSpec],
        targets: TensorSpec,
        where: runtime.Place,
    ) -> None:
        self._path = path
        self._model = model
        self._specs = specs
        self._targets = targets
        self._where = where
        self._function: Callable[..., Mapping[str, Any]] = model.signatures[SIGNATURE]
        outputs = list(model.signatures[SIGNATURE].structured_outputs)
        if LOSS not in outputs and len(outputs) != 1:
            raise ModelError(
                f"{path}: its signature 'train' gives {', '.join(outputs) or 'nothing'}: "
                "one of its outputs must be called loss"
            )
        self._name = LOSS if LOSS in outputs else outputs[0]
        self._last: Any = None

    def prepare_batch(
        self, inputs: Mapping[str, npt.NDArray[Any]], targets: npt.NDArray[Any]
    ) -> Mapping[str, Any]:
        """Put a batch on the device.

        Raises:
            ModelInputError: it does not fit the signature.
        """
        import numpy as np

        if targets.dtype.kind not in "biuf":
            raise ModelInputError(f"the targets are {targets.dtype}, not numbers")
        spec = self._targets
        cast = np.asarray(targets).astype(spec.dtype)
        if cast.ndim == 0 or not runtime.fits(cast.shape, TensorSpec(spec.name, spec.shape)):
            raise ModelInputError(
                f"the targets have the shape {cast.shape}, the signature 'train' takes {spec}"
            )
        arrays = {**inputs, spec.name: cast}
        lengths = {len(array) for array in arrays.values() if array.ndim}
        if len(lengths) > 1:
            raise ModelInputError(f"inputs and targets have several lengths: {sorted(lengths)}")
        specs = [*self._specs, spec]
        tensors = runtime.to_device(arrays, specs, self._where)
        return {spec.name: tensor for spec, tensor in zip(specs, tensors, strict=True)}

    def step(self, batch: Mapping[str, Any]) -> None:
        """One call of the signature.

        Raises:
            ModelError: TensorFlow failed, or memory ran out.
        """
        errors = runtime.tensorflow().errors
        try:
            self._last = self._function(**batch)[self._name]
        except errors.ResourceExhaustedError as error:
            raise ModelError(
                f"{self._path}: memory ran out in a training step ({_line(error)}). "
                "Give a smaller --batch-size (in Python batch_size)"
            ) from error
        except errors.OpError as error:
            raise ModelInputError(
                f"{self._path}: the signature 'train' fails on this batch ({_line(error)})"
            ) from error

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
        return float(self._last.numpy().mean())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as a SavedModel again; it is complete or not there at all.

        A SavedModel that is there is replaced; anything else is left alone.

        Raises:
            ModelError: something else is there, or it cannot be written.
        """
        target = Path(path)
        if target.exists() and not (target / PROTOBUF).is_file():
            raise ModelError(f"{target} exists and is no SavedModel. Give another name")
        if not target.parent.is_dir():
            raise ModelError(f"{target} cannot be written: there is no folder {target.parent}")
        unfinished = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        made, before = unfinished / "model", unfinished / "before"
        tf = runtime.tensorflow()
        try:
            with runtime.quiet():
                tf.saved_model.save(self._model, str(made), signatures=self._model.signatures)
            if target.exists():
                target.rename(before)
            made.rename(target)
        except (OSError, ValueError, AssertionError, tf.errors.OpError) as error:
            raise ModelError(f"{target} cannot be written ({_line(error)})") from error
        finally:
            if before.exists() and not target.exists():
                before.rename(target)
            shutil.rmtree(unfinished, ignore_errors=True)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
