"""What PyTorch networks of every file format have in common: running them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenai_core import (
    DLLibrary,
    MacCount,
    ModelInputError,
    ModelLoadError,
    PluginUnavailable,
    TensorSpec,
    Trainable,
)

from .accelerators import cuda_channels, cuda_ordinal, rocm_channels
from .fed import describe_inputs
from .torch_shapes import first_that_runs, is_convolutional

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from greenai_core import InputOptions


@dataclass(frozen=True)
class Feed:
    """Arguments of one call of ``forward``."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class TorchLibrary(DLLibrary):
    """A network that PyTorch runs; a format says how it comes out of its file."""

    requires = {"torch": "torch"}  # noqa: RUF012  # ClassVar by the base class

    _module: Any = None
    _convolves = False
    _device: Any = None
    _dtype: Any = None

    def place(self, module: Any) -> None:
        """Take a loaded network into use, on the device and in evaluation mode."""
        self._device = pick_device(self.device)
        self.device = str(self._device)
        self._module = module.to(self._device).eval()
        self._convolves = is_convolutional(self._module)
        floats = (p.dtype for p in self._module.parameters() if p.is_floating_point())
        self._dtype = next(floats, None)

    def drop_weights(self) -> None:
        """Let go of the network."""
        self._module = None

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The inputs; images are channels first where the network convolves them.

        Raises:
            ModelInputError: a given shape contradicts the file.
        """
        specs = super().input_specs
        if self._module is None or not self._convolves:
            return specs
        return tuple(
            dataclasses.replace(spec, layout="NCHW")
            if spec.shape and len(spec.shape) == 4
            else spec
            for spec in specs
        )

    def guess_shapes(self, specs: Sequence[TensorSpec]) -> Mapping[str, tuple[int | None, ...]]:
        """Of the only input of a convolutional network: the first usual shape that it takes.

        Args:
            specs: the inputs without a shape.

        Raises:
            ModelLoadError: there is not enough memory to try.
        """
        self.load()
        names = [spec.name for spec in self.input_specs]
        if len(names) != 1 or len(specs) != 1 or not self._convolves:
            return {}
        by_keyword = names[0] in self.keyword_inputs()

        def call(image: Any) -> Any:
            return self._module(**{names[0]: image}) if by_keyword else self._module(image)

        found = first_that_runs(call, self._device, self._dtype)
        return {} if found is None else {names[0]: (None, *found)}

    def prepare(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Feed:
        """Tensors on the device; floats in the type of the network's weights.

        Raises:
            ModelInputError: an input is missing or unknown, or PyTorch has no
                such type.
        """
        self.load()
        names = [spec.name for spec in self.input_specs]
        if set(inputs) != set(names):
            raise ModelInputError(
                f"{self.path} has the inputs {', '.join(names)}, "
                f"but was given {', '.join(inputs) or 'none'}"
            )
        by_keyword = self.keyword_inputs()
        return Feed(
            tuple(self._tensor(name, inputs[name]) for name in names if name not in by_keyword),
            {name: self._tensor(name, inputs[name]) for name in names if name in by_keyword},
        )

    def keyword_inputs(self) -> Sequence[str]:
        """Inputs that ``forward`` must be given by name."""
        return ()

    def predict(self, prepared: Feed) -> Any:
        """One inference; asynchronous on a GPU.

        Raises:
            ModelInputError: the inputs do not fit the network.
        """
        import torch

        self.load()
        if self._module_trains():
            self._module.eval()
        try:
            with torch.inference_mode():
                return self._module(*prepared.args, **prepared.kwargs)
        except Exception as error:  # a network's own code may raise anything
            raise ModelInputError(
                f"{self.path}: the network cannot run on this input ({reason(error)})"
            ) from error

    def count_macs(self, options: InputOptions | None = None) -> MacCount:
        """Multiply-accumulates of one inference, as PyTorch's counter of operations sees it.

        The network is run once.

        Raises:
            ModelError: the file is broken, cannot be run, or the shape of an
                input is not known.
        """
        from .torch_macs import count

        self.load()
        inputs = self.make_inputs(None, options)
        macs, why = count(self._module, self.prepare(inputs))
        return MacCount(macs, why, describe_inputs(inputs))

    def synchronize(self) -> None:
        """Wait for the GPU; on the CPU ``predict`` returns when it is done."""
        if self._device is not None and self._device.type == "cuda":
            import torch

            torch.cuda.synchronize(self._device)

    def fetch(self, outputs: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Tensors of any nesting as NumPy arrays.

        A single tensor is ``output``; members of a sequence are numbered, those of
        a mapping or dataclass keep their names; bfloat16 becomes float32.
        """
        return {name: to_numpy(tensor) for name, tensor in flatten(outputs)}

    def accelerators(self) -> tuple[str, ...]:
        """The board of the CUDA or ROCm device in use.

        Raises:
            PluginUnavailable: the driver does not name it.
        """
        if self._device is None or self._device.type != "cuda":
            return ()
        import torch

        if torch.version.hip:
            return rocm_channels(self._device.index)
        return cuda_channels(self._device.index)

    def train_options(self) -> tuple[str, float]:
        """Optimiser and learning rate that the options ask for.

        Raises:
            ModelLoadError: there is no such optimiser, or the rate is no positive number.
        """
        return train_options(self.options)

    def trainer(self, whole: bool) -> Trainable:
        """The loaded network opened for training.

        Args:
            whole: ``save`` writes the network itself instead of its state dict.

        Raises:
            ModelLoadError: it has no parameters that learn.
        """
        from .torch_training import TorchTrainable

        self.load()
        if not any(parameter.requires_grad for parameter in self._module.parameters()):
            raise ModelLoadError(f"{self.path}: {NOTHING_LEARNS}")
        return TorchTrainable(self._module, self.prepare, self.synchronize, *self.train_options(),
                              whole=whole)  # fmt: skip

    def _module_trains(self) -> bool:
        # A frozen TorchScript module has no such flag.
        return bool(getattr(self._module, "training", False))

    def _tensor(self, name: str, array: npt.NDArray[Any]) -> Any:
        import torch

        try:
            tensor = torch.tensor(array)  # a copy: a network may work in place
        except (TypeError, ValueError) as error:
            raise ModelInputError(
                f"{self.path}: PyTorch has no tensors of {array.dtype} (input {name})"
            ) from error
        dtype = self._dtype if tensor.is_floating_point() else None
        return tensor.to(self._device, dtype)


def train_options(options: Mapping[str, Any]) -> tuple[str, float]:
    """Optimiser and learning rate that the options of a model ask for.

    Raises:
        ModelLoadError: there is no such optimiser, or the rate is no positive number.
    """
    name = str(options.get("optimizer", "sgd")).lower()
    if name not in ("sgd", "adam"):
        raise ModelLoadError(f"there is no optimizer {name!r}: give sgd or adam")
    given = options.get("learning_rate", 0.01)
    try:
        rate = float(given)
    except (TypeError, ValueError):
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ModelLoadError(f"learning_rate is {given!r}: give a positive number")
    return name, rate


NOTHING_LEARNS = "all its parameters are frozen (or it has none), so there is nothing to train"


def pick_device(name: str) -> Any:
    """The ``torch.device`` of a name.

    Raises:
        PluginUnavailable: this PyTorch cannot use it.
    """
    import torch

    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    ordinal = cuda_ordinal(name)
    if ordinal is None:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise PluginUnavailable(
            f"PyTorch {torch.__version__} cannot use {name}: it sees no GPU",
            "Check nvidia-smi and that your PyTorch is built for CUDA, or use the device cpu",
        )
    boards = torch.cuda.device_count()
    if ordinal >= boards:
        raise PluginUnavailable(
            f"there is no device {name}: PyTorch sees {boards} of them, cuda:0 to cuda:{boards - 1}"
        )
    return torch.device("cuda", ordinal)


def flatten(outputs: Any, name: str = "") -> list[tuple[str, Any]]:
    """Every tensor in what a network returned, with its name."""
    import torch

    if isinstance(outputs, torch.Tensor):
        return [(name or "output", outputs)]
    members: list[tuple[str, Any]] = []
    if isinstance(outputs, Mapping):
        members = [(str(key), value) for key, value in outputs.items()]
    elif hasattr(outputs, "_asdict"):
        members = list(outputs._asdict().items())
    elif isinstance(outputs, (tuple, list)):
        stem = "" if name else "output_"
        members = [(f"{stem}{index}", value) for index, value in enumerate(outputs)]
    elif dataclasses.is_dataclass(outputs):
        fields = dataclasses.fields(outputs)
        members = [(entry.name, getattr(outputs, entry.name)) for entry in fields]
    elif isinstance(outputs, (bool, int, float)):
        return [(name or "output", torch.tensor(outputs))]
    prefix = f"{name}." if name else ""
    return [pair for key, value in members for pair in flatten(value, prefix + key)]


def to_numpy(tensor: Any) -> np.ndarray[Any, Any]:
    """A tensor of any device, layout and type as NumPy array."""
    import torch

    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.dtype == torch.bfloat16 or (tensor.is_floating_point() and tensor.itemsize == 1):
        tensor = tensor.float()  # NumPy has no such types
    array: np.ndarray[Any, Any] = tensor.cpu().resolve_conj().resolve_neg().numpy()
    return array


def reason(error: Exception) -> str:
    """The telling line of an error: TorchScript puts it last, all others first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1 if "TorchScript interpreter" in lines[0] else 0][:300]
