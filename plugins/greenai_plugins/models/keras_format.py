"""Keras models: ``.keras`` archives and the older HDF5 files."""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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

from . import keras_archive as archive
from . import keras_runtime as runtime
from . import tensorflow_macs
from .fed import describe_inputs
from .keras_counting import entries, sublayers
from .keras_layers import KerasLayers
from .keras_safety import code, files, strangers, unregistered
from .keras_training import (
    DEFAULT_LEARNING_RATE,
    DEFAULT_OPTIMIZER,
    KerasTraining,
    compiled,
    pack,
)
from .user_code import importable_here

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from greenai_core import InputOptions


class KerasModel(DLLibrary):
    """A model that Keras saved, run on TensorFlow.

    Options:
        trust: run code that the file itself holds (``Lambda`` layers).
        imports: modules that register the model's own layers, with commas between.
        optimizer: Keras' name of the optimizer for training.
        learning_rate: of the optimizer.
    """

    format: ClassVar[str] = "keras"
    suffixes: ClassVar[tuple[str, ...]] = (".keras", ".h5", ".hdf5")
    requires: ClassVar[Mapping[str, str]] = {
        "tensorflow": "tensorflow",
        "keras": "tensorflow",
        "h5py": "tensorflow",
    }
    option_names: ClassVar[Mapping[str, str]] = {
        "trust": "run code that the file itself holds (Lambda layers)",
        "imports": "modules that register the model's own layers, with commas between",
        "optimizer": f"optimizer for training (default: {DEFAULT_OPTIMIZER})",
        "learning_rate": f"learning rate for training (default: {DEFAULT_LEARNING_RATE})",
    }
    image_layout: ClassVar[str] = "NHWC"

    def __init__(self, path: str | Path, **options: Any) -> None:
        super().__init__(path, **options)
        self._place: runtime.Place | None = None
        self._model: Any = None
        self._call: Any = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A zip with the members of a Keras archive; HDF5 under one of the endings, or Keras'."""
        path = Path(path)
        if not path.is_file():
            return False
        if archive.magic(path) == archive.HDF5_MAGIC:
            return path.name.lower().endswith(cls.suffixes) or archive.mentions_keras(path)
        return archive.is_keras_zip(path)

    @functools.cached_property
    def headers(self) -> archive.KerasFile:
        """What the file says of itself.

        Raises:
            ModelLoadError: it is broken, or no Keras model.
        """
        return archive.read(self.path)

    def count_parameters(self) -> ParameterCount:
        """Elements of the weights, without optimizer state and integer state.

        From the headers of the file, without TensorFlow; a model with layers
        that are not Keras' own is loaded.
        """
        return ParameterCount.of(self._parameters())

    def count_by_layer(self) -> tuple[LayerParameters, ...]:
        """The same by layer; of weights alone by the folder that they lie in."""
        return LayerParameters.of(self._parameters())

    def _parameters(self) -> list[ParameterEntry]:
        found = entries(self.headers)
        if found is not None:
            return found
        self.load()
        found = []
        for trainable, weights in (
            (True, self._model.trainable_weights),
            (False, self._model.non_trainable_weights),
        ):
            for weight in weights:
                if runtime.is_parameter(weight.dtype):
                    elements = math.prod(weight.shape)
                    size = elements * runtime.tensorflow().dtypes.as_dtype(weight.dtype).size
                    layer = weight.path.rpartition("/")[0]
                    found.append(ParameterEntry(layer, trainable, elements, size))
        return found

    def cannot_run(self) -> str:
        """Why not: weights alone, or code that is not trusted."""
        if self.headers.config is None:
            return (
                "the file holds weights without the model they belong to, so it can be counted "
                "but not run. Save the whole model: model.save('model.keras')"
            )
        found = code(self.headers.config)
        if found and not runtime.trusted(self.options):
            return (
                f"the file wants to run code that it holds itself ({', '.join(found)}). "
                "If you trust who made it, pass --trust (in Python trust=True)"
            )
        read = files(self.headers.config)
        if read and not runtime.trusted(self.options):
            return (
                f"the file wants to read files of this machine ({', '.join(map(repr, read))}). "
                "If you trust who made it, pass --trust (in Python trust=True)"
            )
        return ""

    def abilities(self) -> Mapping[str, Ability]:
        """What the file can be used for."""
        return {
            **super().abilities(),
            "train": _ability(self.cannot_run() or self._cannot_train()),
            "layers": _ability(self.cannot_run() or self._cannot_tell_layers()),
        }

    def _cannot_train(self) -> str:
        found = entries(self.headers)
        if found is not None and not ParameterCount.of(found).trainable:
            return "all its weights are frozen: nothing can be trained"
        outputs = _outputs((self.headers.config or {}).get("config"))
        if outputs > 1:
            return f"it has {outputs} outputs, and training takes one set of targets"
        return ""

    def _cannot_tell_layers(self) -> str:
        if sublayers(self.headers.config or {}):
            return ""
        return (
            "it is a subclassed model: only its own code says how its layers are used. "
            "Build it as a sequential or functional model"
        )

    def load_weights(self) -> None:
        """Load model and weights to the device."""
        where = runtime.place(self.device)
        keras = runtime.keras()
        trust = runtime.trusted(self.options)
        self._import_modules()
        missing = unregistered(self.headers.config, keras.saving.get_registered_object)
        if missing and not trust:
            raise ModelLoadError(self._needs(missing))
        archive.check(self.path)
        with (
            loading(self.path, "Keras"),
            runtime.quiet(),
            runtime.tensorflow().device(where.name),
            _named_for_keras(self.path, self.headers.kind) as path,
        ):
            try:
                model = keras.saving.load_model(path, compile=False, safe_mode=not trust)
            except (TypeError, ValueError) as error:
                unknown = strangers(self.headers.config)
                if "Could not locate" in str(error) or "Unknown layer" in str(error):
                    raise ModelLoadError(self._needs(unknown)) from error
                raise
        self._place, self._model = where, model
        self._call = _compiled_call(model, where)

    def _needs(self, unknown: Sequence[str]) -> str:
        what = ", ".join(unknown) or "layers that are not Keras' own"
        return (
            f"{self.path} needs {what}. Name the modules that register them "
            "(@keras.saving.register_keras_serializable): --model-option imports=MODULE "
            "(in Python imports='MODULE')"
        )

    def _import_modules(self) -> None:
        for name in str(self.options.get("imports") or "").split(","):
            if not name.strip():
                continue
            try:
                with importable_here():
                    importlib.import_module(name.strip())
            except Exception as error:  # anything can happen while importing users' code
                raise ModelLoadError(
                    f"the module {name.strip()!r} of the option imports cannot be imported "
                    f"({type(error).__name__}: {error}). "
                    f"It is looked for in {Path.cwd()} and among the installed packages"
                ) from error

    def drop_weights(self) -> None:
        """Let go of the model."""
        self._place = self._model = self._call = None

    def signature(self) -> tuple[TensorSpec, ...]:
        """The inputs; of a subclassed model, what it was built with."""
        self.load()
        inputs = getattr(self._model, "inputs", None)
        if inputs:
            return tuple(
                TensorSpec(
                    tensor.name,
                    tuple(tensor.shape),
                    str(tensor.dtype),
                    self._image_layout() if len(tensor.shape) == 4 else None,
                )
                for tensor in inputs
            )
        built = (self.headers.config or {}).get("build_config")
        shape = built.get("input_shape") if isinstance(built, dict) else None
        if isinstance(shape, list) and all(axis is None or type(axis) is int for axis in shape):
            return (TensorSpec("inputs", tuple(shape)),)
        return (TensorSpec("inputs", None),)

    def _image_layout(self) -> str | None:
        """As the layers that take images say; None where none does, or they disagree."""
        formats = {
            getattr(layer, "data_format", None)
            for layer in self._model._flatten_layers()
            if type(layer).__name__.endswith("2D")  # Flatten has one, too, that says nothing
        }
        layouts = {"channels_first": "NCHW", "channels_last": "NHWC"}
        told = [layouts[name] for name in formats if name in layouts]
        return told[0] if len(told) == 1 else None

    def prepare(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Any:
        """Tensors in the order of the inputs; the graph for their shapes is made, too."""
        self.load()
        assert self._place is not None
        where = self._place
        tensors = runtime.to_device(inputs, self.input_specs, where)
        with runtime.quiet():
            runtime.run(self.path, lambda: self._call.get_concrete_function(tensors), where)
        return tensors

    def count_macs(self, options: InputOptions | None = None) -> MacCount:
        """Multiply-accumulates of one inference, from the shapes in the model's graph.

        Nothing is computed, but the model is loaded.

        Raises:
            ModelError: the file is broken, or cannot be run.
        """
        self.load()
        assert self._place is not None
        inputs = self.make_inputs(None, options)
        tensors = self.prepare(inputs)
        model = self._model

        def forward(*tensors: Any) -> Any:
            return model(pack(model, tensors), training=False)

        with loading(self.path, "Keras"), runtime.quiet():
            macs, why = tensorflow_macs.count(runtime.traced(forward, tensors))
        return MacCount(macs, why, describe_inputs(inputs))

    def predict(self, prepared: Any) -> Any:
        """One forward pass in inference mode, compiled as ``model.predict`` compiles it."""
        assert self._place is not None
        return runtime.run(self.path, lambda: self._call(prepared), self._place)

    def synchronize(self) -> None:
        """Wait for the device."""
        runtime.synchronize(self._place)

    def fetch(self, outputs: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Arrays by output name."""
        if isinstance(outputs, dict) and all(hasattr(v, "dtype") for v in outputs.values()):
            return {str(name): runtime.to_numpy(tensor) for name, tensor in outputs.items()}
        flat = runtime.tensorflow().nest.flatten(outputs)
        names = list(getattr(self._model, "output_names", None) or ())
        if len(names) != len(flat) or len(set(names)) != len(names):
            last = self._model.layers[-1].name if self._model.layers else "output"
            names = [last] if len(flat) == 1 else [f"output_{i}" for i in range(len(flat))]
        return {name: runtime.to_numpy(item) for name, item in zip(names, flat, strict=True)}

    def as_trainable(self) -> KerasTraining:
        """The model opened for training; its weights change in place."""
        reason = self.abilities()["train"].reason
        if reason:
            raise ModelError(f"{self.path}: {reason}")
        self.load()
        assert self._place is not None
        return KerasTraining(
            self._model,
            self.input_specs,
            self._place,
            ".keras" if self.headers.kind == "keras" else ".h5",
            str(self.options.get("optimizer") or DEFAULT_OPTIMIZER),
            _rate(self.options.get("learning_rate")),
        )

    def as_layered(self) -> KerasLayers:
        """The model opened layer by layer."""
        reason = self.abilities()["layers"].reason
        if reason:
            raise ModelError(f"{self.path}: {reason}")
        self.load()
        assert self._place is not None
        return KerasLayers(self._model, self._place)

    def accelerators(self) -> tuple[str, ...]:
        """The board that the model computes on."""
        return runtime.channels(self._place)


def _ability(reason: str) -> Ability:
    return Ability(not reason, reason)


def _compiled_call(model: Any, where: runtime.Place) -> Any:
    """The forward pass as one graph.

    Calling a Keras model as a Python function runs it operation by operation;
    ``model.predict``, which people run, compiles it first. Outside a
    ``GradientTape`` nothing is kept for gradients.
    """

    def forward(tensors: Sequence[Any]) -> Any:
        return model(pack(model, tensors), training=False)

    return runtime.tensorflow().function(forward, jit_compile=compiled(model, where))


@contextlib.contextmanager
def _named_for_keras(path: Path, kind: str) -> Iterator[str]:
    """The file under a name whose ending says what it is; Keras goes by that alone."""
    suffixes = (".keras",) if kind == "keras" else (".h5", ".hdf5")
    if path.name.endswith(suffixes):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, f"model{suffixes[0]}")
        link.symlink_to(path.resolve())
        yield str(link)


def _outputs(config: Any) -> int:
    """Outputs that the configuration of a functional model lists; 1 where it lists none."""

    def tensors(item: Any) -> int:
        if isinstance(item, dict):
            return sum(map(tensors, item.values()))
        if isinstance(item, list):
            return 1 if item and isinstance(item[0], str) else sum(map(tensors, item))
        return 0

    listed = config.get("output_layers") if isinstance(config, dict) else None
    return tensors(listed) or 1


def _rate(given: Any) -> float:
    if given is None:
        return DEFAULT_LEARNING_RATE
    try:
        rate = float(given)
    except (TypeError, ValueError) as error:
        raise ModelLoadError(f"learning_rate is {given!r}: give a positive number") from error
    if not (math.isfinite(rate) and rate > 0):
        raise ModelLoadError(f"learning_rate is {given!r}: give a positive number")
    return rate
