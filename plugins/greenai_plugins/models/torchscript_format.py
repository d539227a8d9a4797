"""TorchScript programs: what ``torch.jit.save`` wrote."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from greenai_core import (
    Ability,
    Layered,
    LayerParameters,
    ModelInputError,
    ModelLoadError,
    ParameterCount,
    TensorSpec,
    Trainable,
    loading,
)

from . import archives, torch_archive, torchscript_archive
from .torch_count import Held, entries, of_tensor
from .torch_runtime import NOTHING_LEARNS, TorchLibrary
from .torch_tensors import UnknownTensor

UNPACK = {
    "Conv1dPackedParamsBase": "conv1d_unpack",
    "Conv2dPackedParamsBase": "conv2d_unpack",
    "Conv3dPackedParamsBase": "conv3d_unpack",
    "LinearPackedParamsBase": "linear_unpack",
}
"""Class that holds the weights of a quantised layer -> operator that takes them out."""


class TorchscriptModel(TorchLibrary):
    """A ``.pt`` file of ``torch.jit.save``.

    Parameters are counted once each; trainable are those with a gradient. Floating
    buffers, and the weights that ``torch.jit.freeze`` made constants of the
    program, are not trainable; scalar constants are no parameters. Freezing folds
    batch normalisation into convolutions, so a frozen file holds fewer.

    Args:
        optimizer: ``"sgd"`` (default) or ``"adam"``, for training.
        learning_rate: 0.01 by default.
    """

    format = "torchscript"
    suffixes = (".pt", ".pth", ".ptl", ".torchscript", ".ts")
    option_names = {  # noqa: RUF012  # ClassVar by the base class
        "optimizer": "sgd or adam",
        "learning_rate": "of the optimizer",
    }

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the file is an archive with compiled code."""
        return path.is_file() and torch_archive.kind(path) == torch_archive.TORCHSCRIPT

    def count_parameters(self) -> ParameterCount:
        """Elements and bytes; see the class for what counts.

        From the archive's description of the program, without PyTorch.

        Raises:
            ModelLoadError: the file is broken, or holds weights in a form that
                cannot be counted.
        """
        return ParameterCount.of(entries(self._held()))

    def count_by_layer(self) -> tuple[LayerParameters, ...]:
        """The same by module; weights that freezing made constants are one layer.

        Raises:
            ModelLoadError: as ``count_parameters``.
        """
        return LayerParameters.of(entries(self._held()))

    def _held(self) -> Iterable[Held]:
        if torch_archive.kind(self.path) == torch_archive.TORCHSCRIPT:
            with loading(self.path, "greenai"), contextlib.suppress(UnknownTensor):
                return torchscript_archive.read(self.path)
        return _weights(self.path, self._opened())

    def load_weights(self) -> None:
        """Load the program to the device.

        Raises:
            ModelLoadError: the file is broken, or wants inputs that are no tensors.
            PluginUnavailable: PyTorch cannot use the device.
        """
        module = self._read()
        for argument in _arguments(module):
            if str(argument.type) != "Tensor" and not argument.has_default_value():
                raise ModelLoadError(
                    f"{self.path}: its input {argument.name} is a {argument.type}; greenai can "
                    "feed tensors only. Wrap the network in one whose forward takes tensors"
                )
        self.place(module)

    def signature(self) -> tuple[TensorSpec, ...]:
        """The tensors that ``forward`` needs; shapes are not in the file, types seldom.

        Raises:
            ModelLoadError: the file is broken.
        """
        self.load()
        asked = set(self.input_shapes)
        return tuple(
            TensorSpec(argument.name, None, _dtype(argument.type))
            for argument in _arguments(self._module)
            if str(argument.type) == "Tensor"
            and (not argument.has_default_value() or argument.name in asked)
        )

    def keyword_inputs(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(argument.name for argument in _arguments(self._module))

    def abilities(self) -> Mapping[str, Ability]:
        """It runs; it trains unless frozen; its layers are those that its graph calls."""
        module = self._opened()
        learns = any(parameter.requires_grad for parameter in module.parameters())
        cannot = _cannot_tell_layers(module)
        return {
            "run": Ability(True),
            "train": Ability(learns, "" if learns else NOTHING_LEARNS),
            "layers": Ability(not cannot, cannot),
        }

    def as_layered(self) -> Layered:
        """The program layer by layer, as far as its graph names them.

        Raises:
            ModelLoadError: the file is broken, or its graph calls no modules.
        """
        self.load()
        cannot = _cannot_tell_layers(self._module)
        if cannot:
            raise ModelLoadError(f"{self.path}: {cannot}")
        from .torchscript_layers import ScriptLayered, TimedScriptLayered

        kind = TimedScriptLayered if self.device == "cpu" else ScriptLayered
        return kind(self._module)

    def as_trainable(self) -> Trainable:
        """The program in training.

        Raises:
            ModelLoadError: the file is broken or frozen.
        """
        return self.trainer(whole=True)

    def _opened(self) -> Any:
        type(self).check_available()
        return self._module if self._module is not None else self._read()

    def _read(self) -> Any:
        with loading(self.path, "greenai"), contextlib.suppress(UnknownTensor):
            # PyTorch takes the memory that a damaged header asks for, and may crash.
            archives.check(self.path)
            torchscript_archive.read(self.path)
        import torch

        with loading(self.path, "PyTorch"), warnings.catch_warnings():
            # TorchScript is deprecated; the user has the file all the same.
            warnings.simplefilter("ignore")
            return torch.jit.load(os.fspath(self.path), map_location="cpu")


def _cannot_tell_layers(module: Any) -> str:
    from .torchscript_layers import layer_names

    if hasattr(module, "forward") and layer_names(module):
        return ""
    return (
        "its layers were compiled into one program whose graph calls none of them (it was frozen, "
        "or is one layer). Save it without torch.jit.freeze, or use the state dict with its class"
    )


def _arguments(module: Any) -> list[Any]:
    """Arguments of ``forward`` without ``self``."""
    if not hasattr(module, "forward"):
        raise ModelInputError("the TorchScript file has no forward method, so nothing can be run")
    return list(module.forward.schema.arguments)[1:]


def _dtype(kind: Any) -> str:
    """NumPy's name of the element type where the program states it, else float32."""
    known = kind.dtype() if hasattr(kind, "dtype") else None
    return "float32" if known is None else str(known).removeprefix("torch.")


def _weights(path: Path, module: Any) -> Iterator[Held]:
    """Tensors of a loaded program that hold weights."""
    for name, parameter in module.named_parameters():
        yield _held(name, bool(parameter.requires_grad), parameter)
    for name, buffer in module.named_buffers():
        yield _held(name, False, buffer)
    for name, layer in module.named_modules():
        packed = getattr(layer, "_packed_params", None)
        if packed is not None and not hasattr(packed, "parameters"):
            for tensor in _unpacked(path, packed):
                yield _held(f"{name}._packed_params", False, tensor)
    if hasattr(module, "inlined_graph"):
        graph = module.inlined_graph  # its nodes live as long as it does
        for node in graph.findAllNodes("prim::Constant"):
            if "torch.classes.quantized" in str(node.output().type()):
                raise ModelLoadError(
                    f"{path} is frozen with packed quantised weights, which cannot be counted. "
                    "Count the file from before torch.jit.freeze"
                )
            if node.hasAttribute("value") and node.kindOf("value") == "t":
                constant = node.t("value")
                if constant.dim():
                    yield Held(torchscript_archive.CONSTANTS, None, False, of_tensor(constant))


def _held(name: str, learns: bool, tensor: Any) -> Held:
    return Held(name.rpartition(".")[0], None, learns, of_tensor(tensor))


def _unpacked(path: Path, packed: Any) -> Iterator[Any]:
    import torch

    kind = str(packed).rstrip("> ").rpartition(".")[2]
    if kind not in UNPACK:
        raise ModelLoadError(
            f"{path} holds quantised weights as {kind}, which greenai cannot count"
        )
    for tensor in getattr(torch.ops.quantized, UNPACK[kind])(packed):
        if tensor is not None:
            yield tensor
