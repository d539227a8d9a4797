"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenai_core import (
    Ability,
    DLLibrary,
    Layered,
    LayerParameters,
    MacCount,
    ModelInputError,
    ModelLoadError,
    ParameterCount,
    PluginUnavailable,
    TensorSpec,
    Trainable,
    loading,
    require,
)

from . import onnx_macs
from .accelerators import cuda_channels, cuda_ordinal
from .fed import describe_inputs
from .onnx_header import is_onnx
from .onnx_parameters import data_outside, image_layouts, of_file, unranked_inputs
from .onnx_signature import check_fits, dtype_of, first_line, shape_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from greenai_core import InputOptions

    from .onnx_training import Opened
    from .torch_runtime import Feed

_log = logging.getLogger(__name__)

TRAINING = {"onnx": "onnx-train", "torch": "onnx-train", "onnx2torch": "onnx-train"}
"""Libraries that training takes beside ONNX Runtime -> their extra."""

LAYERS = {"onnx": "onnx-layers"}
"""The library that tells layers apart, beside ONNX Runtime -> an extra that has it."""

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
ERRORS_ONLY = 3


class OnnxModel(DLLibrary):
    """An ``.onnx`` file.

    Parameters are counted in the file's structure (``onnx_parameters`` says what
    counts), without ONNX Runtime and without reading a weight. It is trained in
    PyTorch, and saved as the graph that it was (``onnx_training``).

    Args:
        threads: threads within one operator on the CPU; ONNX Runtime's own
            choice by default.
        optimizer: ``"sgd"`` (default) or ``"adam"``, for training.
        learning_rate: 0.01 by default.
    """

    format = "onnx"
    suffixes = (".onnx",)
    requires = {"onnxruntime": "onnx"}  # noqa: RUF012  # ClassVar by the base class
    option_names = {  # noqa: RUF012  # likewise
        "threads": "threads within one operator on the CPU",
        "optimizer": "sgd or adam",
        "learning_rate": "of the optimizer",
    }

    _session: Any = None
    _trains_on: Any = None
    _asked: str = ""
    _layouts: Mapping[str, str] | None = None
    _ordinal: int | None = None
    _outputs: Sequence[str] = ()
    _providers: Sequence[Any] = (CPU,)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the file begins with a ``ModelProto``, whatever its name."""
        return path.is_file() and is_onnx(path)

    def count_parameters(self) -> ParameterCount:
        """Elements and packed bytes, from the file's structure.

        Raises:
            ModelLoadError: the file is truncated or no ONNX model.
        """
        cannot = self.cannot_run()
        if cannot:
            _log.warning("%s can be counted but not run: %s", self.path, cannot)
        return ParameterCount.of(of_file(self.path))

    def cannot_run(self) -> str:
        """Why not: weights outside the folder of the model, which are not opened.

        Raises:
            ModelLoadError: the file is truncated or no ONNX model.
        """
        outside = data_outside(self.path)
        if not outside:
            return ""
        return (
            f"it asks for weights outside its own folder ({', '.join(map(repr, outside[:3]))}), "
            "where a hostile file could read anything. Put the data beside the model and save it "
            "with their bare name as location"
        )

    def count_by_layer(self) -> tuple[LayerParameters, ...]:
        """The same by the node that uses them.

        Raises:
            ModelLoadError: the file is truncated or no ONNX model.
        """
        return LayerParameters.of(of_file(self.path))

    def count_macs(self, options: InputOptions | None = None) -> MacCount:
        """Multiply-accumulates of one inference, from the shapes of its nodes.

        The model is run once, on the CPU.

        Raises:
            ModelError: the file is broken or cannot be run.
        """
        inputs = self.make_inputs(None, options)
        macs, reason = onnx_macs.count(onnx_macs.shapes_of_nodes(self.path, inputs))
        return MacCount(macs, reason, describe_inputs(inputs))

    def load_weights(self) -> None:
        """Open a session on the device.

        Raises:
            ModelLoadError: the file is broken, or the device is unknown.
            PluginUnavailable: this ONNX Runtime cannot compute on the device.
        """
        import onnxruntime

        # Training may take another device than ONNX Runtime; both start from what was asked.
        self._asked = self._asked or self.device
        available = onnxruntime.get_available_providers()
        ordinal = self._asked_ordinal(available)
        self._providers = [CPU] if ordinal is None else [(CUDA, {"device_id": ordinal}), CPU]
        with loading(self.path, "ONNX Runtime"):
            session = self._open(os.fspath(self.path))
        active = session.get_providers()
        # ONNX Runtime falls back to the CPU without an error when CUDA cannot start.
        if CUDA not in active and ordinal is not None and self._asked != "auto":
            raise PluginUnavailable(
                f"ONNX Runtime could not start {CUDA} for {self._asked} and fell back to "
                f"{', '.join(active)}",
                "Check the CUDA and cuDNN libraries that your onnxruntime-gpu needs, "
                "or use the device cpu",
            )
        self._ordinal = ordinal if CUDA in active else None
        self.device = "cpu" if self._ordinal is None else f"cuda:{self._ordinal}"
        self._outputs = [entry.name for entry in session.get_outputs()]
        self._session = session

    def _open(self, path: str, change: Callable[[Any], None] = lambda options: None) -> Any:
        """A session as that of the file: same device, same threads."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = self._threads()
        change(options)
        return onnxruntime.InferenceSession(path, sess_options=options, providers=self._providers)

    def drop_weights(self) -> None:
        """Close the session."""
        self._session = None

    def signature(self) -> tuple[TensorSpec, ...]:
        """The inputs of the graph that are no initializers.

        Raises:
            ModelLoadError: the file is broken.
        """
        self.load()
        entries = self._session.get_inputs()
        scalars = any(not entry.shape for entry in entries)
        open_rank = unranked_inputs(self.path) if scalars else set()
        layouts = self._image_layouts() if any(len(entry.shape) == 4 for entry in entries) else {}
        return tuple(
            TensorSpec(
                entry.name,
                None if entry.name in open_rank else shape_of(entry.shape),
                dtype_of(entry.type),
                layouts.get(entry.name) if len(entry.shape) == 4 else None,
            )
            for entry in entries
        )

    def _image_layouts(self) -> Mapping[str, str]:
        """By input name; read once. Nothing where ONNX Runtime reads more than we do."""
        if self._layouts is None:
            self._layouts = {}
            with contextlib.suppress(ModelLoadError):
                self._layouts = image_layouts(self.path)
        return self._layouts

    def prepare(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """The inputs where the session wants them: on a GPU as ONNX Runtime values.

        Raises:
            ModelInputError: an input is missing or has another shape, or a type
                cannot be brought to the GPU.
        """
        self.load()
        for spec in self.signature():
            check_fits(self.path, inputs.get(spec.name), spec)
        if self._ordinal is None:
            return dict(inputs)
        import onnxruntime

        try:
            return {
                name: onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", self._ordinal)
                for name, array in inputs.items()
            }
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ModelInputError(
                f"{self.path}: ONNX Runtime does not take the input ({first_line(error)})"
            ) from error

    def predict(self, prepared: Mapping[str, Any]) -> list[Any]:
        """One inference; complete when it returns.

        Raises:
            ModelInputError: the inputs do not fit the model.
        """
        self.load()
        session = self._session
        run = session.run if self._ordinal is None else session.run_with_ort_values
        try:
            outputs: list[Any] = run(self._outputs, prepared)
        except Exception as error:  # likewise
            raise ModelInputError(
                f"{self.path}: ONNX Runtime cannot run it on this input ({first_line(error)})"
            ) from error
        return outputs

    def synchronize(self) -> None:
        """Nothing to wait for: ``predict`` returns when the outputs are there."""

    def fetch(self, outputs: Sequence[Any]) -> dict[str, np.ndarray[Any, Any]]:
        """The outputs as NumPy arrays under the names of the graph."""
        import numpy as np

        values = [value if self._ordinal is None else value.numpy() for value in outputs]
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}

    def abilities(self) -> Mapping[str, Ability]:
        """It runs node by node; it trains if onnx2torch converts all of it, which is tried."""
        train, layers = self._cannot_train(), self._cannot_tell_layers()
        return {
            **super().abilities(),
            "train": Ability(not train, train),
            "layers": Ability(not layers, layers),
        }

    def as_layered(self) -> Layered:
        """The nodes that ONNX Runtime runs; see ``onnx_layers``.

        Raises:
            ModelLoadError: it cannot be run, or ONNX Runtime does not tell its nodes.
        """
        cannot = self._cannot_tell_layers()
        if cannot:
            raise ModelLoadError(f"{self.path}: {cannot}")
        from .onnx_layers import OnnxLayered, ProfiledOnnxLayered

        self.load()
        kind = ProfiledOnnxLayered if self._ordinal is None else OnnxLayered
        device = ("cpu", 0) if self._ordinal is None else ("cuda", self._ordinal)
        return kind(self.path, self._open, self._outputs, self.count_by_layer(), device)

    def _cannot_tell_layers(self) -> str:
        cannot = self.cannot_run()
        if cannot:
            return cannot
        try:
            require(LAYERS)
        except PluginUnavailable as error:
            return str(error)
        return ""

    def as_trainable(self) -> Trainable:
        """The model in training, on PyTorch's device.

        Raises:
            ModelLoadError: it cannot be trained; operators that cannot be converted
                are named.
            PluginUnavailable: PyTorch cannot use the device.
        """
        from .torch_runtime import pick_device, train_options

        optimizer, rate = train_options(self.options)
        device = pick_device(self._asked or self.device)
        opened = self._convert()
        self._compare(opened)
        opened.network.to(device)
        self._trains_on, self.device = device, str(device)
        from .onnx_training import OnnxTrainable, feed, waiter

        def prepare(inputs: Mapping[str, npt.NDArray[Any]]) -> Feed:
            for spec in self.signature():
                check_fits(self.path, inputs.get(spec.name), spec)
            return feed(self.path, opened, inputs, device)

        return OnnxTrainable(opened, prepare, waiter(device), optimizer, rate)

    def _compare(self, opened: Opened) -> None:
        """Refuse a network that computes something else than the file."""
        from .onnx_training import check_agreement, feed

        before = self._assumptions
        try:
            inputs = self.make_inputs()
        except ModelInputError:  # no shape is known before the data are
            return
        finally:
            self._assumptions = before
        expected = self.fetch(self.predict(self.prepare(inputs)))[opened.answer]
        with self._named():
            check_agreement(opened, feed(self.path, opened, inputs, "cpu"), expected)

    def _cannot_train(self) -> str:
        """Why not; empty if it can."""
        cannot = self.cannot_run()
        if cannot:
            return cannot
        try:
            self._convert()
        except (ModelLoadError, PluginUnavailable) as error:
            return str(error).removeprefix(f"{self.path}: ")
        return ""

    def _convert(self) -> Opened:
        cannot = self.cannot_run()
        if cannot:
            raise ModelLoadError(f"{self.path}: {cannot}")
        require(TRAINING)
        from . import onnx_training

        with self._named():
            return onnx_training.open_model(self.path, self.count_parameters().bytes)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the conversion with the file that they are about."""
        prefix = f"{self.path}: "
        try:
            yield
        except ModelLoadError as error:
            raise ModelLoadError(prefix + str(error).removeprefix(prefix)) from error

    def accelerators(self) -> tuple[str, ...]:
        """The boards of the CUDA devices in use, by ONNX Runtime or for training.

        Raises:
            PluginUnavailable: the CUDA driver does not name one.
        """
        used = {self._ordinal}
        if self._trains_on is not None and self._trains_on.type == "cuda":
            used.add(self._trains_on.index)
        ordinals = sorted(ordinal for ordinal in used if ordinal is not None)
        return tuple(channel for ordinal in ordinals for channel in cuda_channels(ordinal))

    def _asked_ordinal(self, available: Sequence[str]) -> int | None:
        if self._asked == "auto":
            return 0 if CUDA in available else None
        ordinal = cuda_ordinal(self._asked)
        if ordinal is not None and CUDA not in available:
            raise PluginUnavailable(
                f"this ONNX Runtime cannot use {self._asked}: it has {', '.join(available)}",
                "Install onnxruntime-gpu in place of onnxruntime, or use the device cpu",
            )
        return ordinal

    def _threads(self) -> int:
        given = self.options.get("threads", 0)
        try:
            threads = int(given)
        except (TypeError, ValueError):
            threads = -1
        if threads < 0:
            raise ModelLoadError(f"threads is {given!r}: give a whole number, 0 or more")
        return threads
