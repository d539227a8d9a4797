"""TensorFlow's SavedModel: a folder that holds ``saved_model.pb``."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from greenai_core import (
    Ability,
    DLLibrary,
    LayerParameters,
    MacCount,
    ModelError,
    ModelLoadError,
    ParameterCount,
    ParameterEntry,
    TensorSpec,
    loading,
)

from . import keras_runtime as runtime
from . import tensorflow_macs
from .fed import describe_inputs
from .savedmodel_contents import (
    PROTOBUF,
    Contents,
    read,
    read_constants,
    read_image_layout,
    read_operations,
)
from .savedmodel_graph import DANGEROUS
from .savedmodel_training import SavedModelTraining, targets_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from greenai_core import InputOptions

DEFAULT_SIGNATURE = "serving_default"

FIRST_BYTES = (b"\x08", b"\x12")
"""Tags of a ``SavedModel`` message: its schema version, or the first of its graphs."""


class SavedModel(DLLibrary):
    """A SavedModel as Keras exports it, or as TensorFlow 1 or 2 saves it.

    Everything but running is read from the file itself, without TensorFlow.

    Options:
        signature: which of its signatures to run.
        trust: run it although it holds operations that run Python or touch files.
    """

    format: ClassVar[str] = "savedmodel"
    suffixes: ClassVar[tuple[str, ...]] = (PROTOBUF,)
    requires: ClassVar[Mapping[str, str]] = {"tensorflow": "tensorflow"}
    option_names: ClassVar[Mapping[str, str]] = {
        "signature": "name of the signature to run (default: serving_default, or the only one)",
        "trust": "run it although it holds operations that run Python or touch files",
    }
    image_layout: ClassVar[str] = "NHWC"

    def __init__(self, path: str | Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.folder = self.path.parent if self.path.name == PROTOBUF else self.path
        self._place: runtime.Place | None = None
        self._model: Any = None
        self._function: Any = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the folder (or the file in it) is a SavedModel."""
        path = Path(path)
        protobuf = path if path.name == PROTOBUF else path / PROTOBUF
        try:
            with protobuf.open("rb") as file:
                return file.read(1) in FIRST_BYTES
        except OSError:
            return False

    @functools.cached_property
    def contents(self) -> Contents:
        """What the file says of itself.

        Raises:
            ModelLoadError: it is no SavedModel, or broken.
        """
        return read(self.folder)

    @functools.cached_property
    def operations(self) -> frozenset[str]:
        """Kinds of operation in the graph.

        Raises:
            ModelLoadError: the file is broken.
        """
        return read_operations(self.folder)

    def count_parameters(self) -> ParameterCount:
        """Elements of the variables, without optimizer state and integer state.

        ``trainable`` is what the file says; a SavedModel of TensorFlow forgets
        that a Keras layer was frozen after it was built. A frozen graph, which
        has no variables, keeps its weights as constants: those that are no
        scalars count, as non-trainable.
        """
        return ParameterCount.of(self._parameters())

    def count_by_layer(self) -> tuple[LayerParameters, ...]:
        """The same by layer, as the names of the variables tell them."""
        return LayerParameters.of(self._parameters())

    def _parameters(self) -> list[ParameterEntry]:
        if not self.contents.variables:
            return [
                ParameterEntry("constants", False, math.prod(constant.shape), constant.bytes)
                for constant in read_constants(self.folder)
                if constant.shape and runtime.is_parameter(constant.dtype)
            ]
        found = []
        for variable in self.contents.variables:
            if not runtime.is_parameter(variable.dtype):
                continue
            if None in variable.shape:
                raise ModelLoadError(
                    f"{self.path}: the variable {variable.name} has no fixed shape, "
                    "so its elements cannot be counted. Save it with validate_shape=True"
                )
            elements = math.prod(axis or 0 for axis in variable.shape)
            layer = variable.name.rpartition("/")[0]
            size = elements * variable.item_bytes
            found.append(ParameterEntry(layer, variable.trainable, elements, size))
        return found

    def cannot_run(self) -> str:
        """Why not: no signature, several, or operations that are not trusted."""
        signatures = self.contents.signatures
        if not signatures:
            return (
                "the SavedModel has no signature, so nothing says what to call. Save it with "
                "signatures=..., or with model.export(...)"
            )
        try:
            self.signature_name()
        except ModelError as error:
            return str(error)
        found = sorted(DANGEROUS & self.operations)
        if found and not runtime.trusted(self.options):
            return (
                f"it holds the operations {', '.join(found)}, which run Python or touch files. "
                "If you trust who made it, pass --trust (in Python trust=True)"
            )
        return ""

    def signature_name(self) -> str:
        """Name of the signature that is run.

        Raises:
            ModelError: it does not exist, or several do and none is the default.
        """
        known = ", ".join(sorted(self.contents.signatures)) or "none"
        asked = self.options.get("signature")
        if asked is not None:
            if asked not in self.contents.signatures:
                raise ModelError(f"there is no signature {asked!r} (its signatures: {known})")
            return str(asked)
        if DEFAULT_SIGNATURE in self.contents.signatures:
            return DEFAULT_SIGNATURE
        if len(self.contents.signatures) != 1:
            raise ModelError(
                f"it has the signatures {known} and none is {DEFAULT_SIGNATURE}: "
                "choose with --model-option signature=NAME (in Python signature='NAME')"
            )
        return next(iter(self.contents.signatures))

    def abilities(self) -> Mapping[str, Ability]:
        """Run; train where it has a signature for that; its layers are one graph."""
        cannot = self.cannot_run() or self._cannot_train()
        return {
            **super().abilities(),
            "train": Ability(not cannot, cannot),
            "layers": Ability(
                False,
                "a SavedModel is one graph without layers. Use the .keras file it was made from",
            ),
        }

    def _cannot_train(self) -> str:
        found = targets_of(self.signature(), self.contents.signatures)
        return found if isinstance(found, str) else ""

    def as_trainable(self) -> SavedModelTraining:
        """The model opened for training; its variables change in place.

        Raises:
            ModelError: it has no signature to train with.
        """
        reason = self.abilities()["train"].reason
        if reason:
            raise ModelError(f"{self.path}: {reason}")
        self.load()
        assert self._place is not None
        specs = self.signature()
        targets = targets_of(specs, self.contents.signatures)
        assert isinstance(targets, TensorSpec)
        return SavedModelTraining(self.path, self._model, specs, targets, self._place)

    def load_weights(self) -> None:
        """Load graph and variables to the device."""
        where = runtime.place(self.device)
        tf = runtime.tensorflow()
        name = self.signature_name()
        with loading(self.path, "TensorFlow"), runtime.quiet(), tf.device(where.name):
            model = tf.saved_model.load(str(self.folder), tags=list(self.contents.tags))
            function = model.signatures[name]
        # The function holds its variables weakly: the model must outlive it.
        self._place, self._model, self._function = where, model, function

    def drop_weights(self) -> None:
        """Let go of the graph and its variables."""
        self._place = self._model = self._function = None

    def signature(self) -> tuple[TensorSpec, ...]:
        """The inputs of the chosen signature, by name."""
        cannot = self.cannot_run()
        if cannot:
            raise ModelLoadError(f"{self.path}: {cannot}")
        specs = self.contents.signatures[self.signature_name()]
        if not any(len(spec.shape or ()) == 4 for spec in specs):
            return specs
        return tuple(
            replace(spec, layout=self._layout) if len(spec.shape or ()) == 4 else spec
            for spec in specs
        )

    @functools.cached_property
    def _layout(self) -> str | None:
        return read_image_layout(self.folder)

    def prepare(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Any:
        """Tensors by input name."""
        self.load()
        assert self._place is not None
        specs = self.signature()
        tensors = runtime.to_device(inputs, specs, self._place)
        return {spec.name: tensor for spec, tensor in zip(specs, tensors, strict=True)}

    def count_macs(self, options: InputOptions | None = None) -> MacCount:
        """Multiply-accumulates of one inference, from the shapes in the graph.

        Nothing is computed, but the model is loaded.

        Raises:
            ModelError: the file is broken, or cannot be run.
        """
        self.load()
        assert self._place is not None
        inputs = self.make_inputs(None, options)
        tensors = self.prepare(inputs)
        with loading(self.path, "TensorFlow"), runtime.quiet():
            macs, why = tensorflow_macs.count(runtime.unfolded(self._function, tensors))
        return MacCount(macs, why, describe_inputs(inputs))

    def predict(self, prepared: Any) -> Any:
        """One call of the signature; its graph computes no gradients."""
        assert self._place is not None
        return runtime.run(self.path, lambda: self._function(**prepared), self._place)

    def synchronize(self) -> None:
        """Wait for the device."""
        runtime.synchronize(self._place)

    def fetch(self, outputs: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Arrays by output name."""
        return {name: runtime.to_numpy(tensor) for name, tensor in outputs.items()}

    def accelerators(self) -> tuple[str, ...]:
        """The board that the model computes on."""
        return runtime.channels(self._place)
