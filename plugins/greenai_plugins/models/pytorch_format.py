"""What ``torch.save`` wrote: state dicts, checkpoints, pickled networks."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from greenai_core import (
    Ability,
    Layered,
    LayerParameters,
    ModelLoadError,
    ParameterCount,
    ParameterEntry,
    TensorSpec,
    Trainable,
)

from . import torch_archive, torch_checkpoint, torch_count
from .torch_runtime import NOTHING_LEARNS, TorchLibrary, reason
from .user_code import resolve, trusted

INTEGER_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
"""Inputs of token models that go by these names everywhere and are whole numbers."""

NEEDS_CLASS = (
    "a state dict holds weights but not the network: name its class with --class module:Name "
    "(in Python model_class=)"
)


class PytorchModel(TorchLibrary):
    """A ``.pt``, ``.pth``, ``.bin`` or ``.ckpt`` file of ``torch.save``.

    A state dict, alone or under ``state_dict``, ``model_state_dict`` or ``model``
    of a checkpoint, can be counted as it is, and run with its class. A pickled
    network runs code from the file while it is loaded, so it takes ``trust``.

    What counts as a parameter: see ``torch_count``. The file is counted by the
    entries of its state dict: running means and variances are not trainable. With
    a class, the network's own state dict is counted: trainable is what has a
    gradient, other buffers are not; the total is the same.

    Args:
        model_class: ``"module:Name"`` (the current folder is looked in too), or
            a class or function that makes the network.
        model_constructor: the same, for a function.
        model_args: arguments for it: a mapping, a sequence, or JSON of either.
        trust: let the file run code while it is loaded.
        input_dtypes: element types of inputs by name, ``{"ids": "int64"}``, or
            ``"ids=int64,mask=bool"``, or one type for the first.
        optimizer: ``"sgd"`` (default) or ``"adam"``, for training.
        learning_rate: 0.01 by default.
    """

    format = "pytorch"
    suffixes: ClassVar[tuple[str, ...]] = (".pt", ".pth", ".bin", ".ckpt")
    option_names = {  # noqa: RUF012  # ClassVar by the base class
        "model_class": "module:Name of the class of the network",
        "model_constructor": "function that makes the network (same as model_class)",
        "model_args": "arguments of the class, as JSON",
        "trust": "let a pickled network run its code while it is loaded",
        "input_dtypes": "element types of inputs: ids=int64,mask=bool",
        "optimizer": "sgd or adam",
        "learning_rate": "of the optimizer",
    }

    _names: Sequence[str] | None = None
    _whole = False

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether ``torch.save`` wrote the file, by its directory or first bytes."""
        return path.is_file() and torch_archive.kind(path) in (
            torch_archive.SAVED,
            torch_archive.LEGACY,
        )

    def cannot_run(self) -> str:
        """Without a class, only a trusted pickled network can run."""
        if self._constructor() is not None:
            return ""
        code = torch_archive.unsafe(torch_checkpoint.open_file(self.path).names)
        if not code:
            return NEEDS_CLASS
        return "" if self._trusted() else torch_checkpoint.refusal(code)

    def abilities(self) -> Mapping[str, Ability]:
        """Run, train and layers: all with the network, none without."""
        cannot = self.cannot_run()
        able = Ability(not cannot, cannot)
        frozen = self._module is not None and not any(
            parameter.requires_grad for parameter in self._module.parameters()
        )
        train = Ability(False, NOTHING_LEARNS) if frozen else able
        return {"run": able, "train": train, "layers": able}

    def count_parameters(self) -> ParameterCount:
        """Elements and bytes; see the class for what counts.

        Without a class, from the description of the tensors in the file, without
        PyTorch.

        Raises:
            ModelLoadError: the file is broken, or its class does not fit.
        """
        return ParameterCount.of(self._parameters())

    def count_by_layer(self) -> tuple[LayerParameters, ...]:
        """The same by layer; their types are known with the class only.

        Raises:
            ModelLoadError: the file is broken, or its class does not fit.
        """
        return LayerParameters.of(self._parameters())

    def _parameters(self) -> Iterator[ParameterEntry]:
        return torch_count.entries(self._held())

    def _held(self) -> Iterator[torch_count.Held]:
        if self._module is not None:
            return torch_count.of_network(self._module)
        bare = self._constructor() is None
        if bare and not self._trusted():
            headers = torch_checkpoint.read_headers(self.path)
            if headers is not None:
                return torch_count.of_names(headers)
        type(self).check_available()
        checkpoint = torch_checkpoint.read(self.path, self._trusted())
        if checkpoint.state is not None and bare:
            return torch_count.of_state(checkpoint.state.items())
        return torch_count.of_network(self._network(checkpoint))

    def load_weights(self) -> None:
        """Make the network, fill it and bring it to the device.

        Raises:
            ModelLoadError: the file is broken, or its class does not fit.
            PluginUnavailable: PyTorch cannot use the device.
        """
        checkpoint = torch_checkpoint.read(self.path, self._trusted())
        self._whole = checkpoint.module is not None
        self.place(self._network(checkpoint))

    def signature(self) -> tuple[TensorSpec, ...]:
        """The arguments that ``forward`` needs; their shapes are not in the file."""
        types = self._dtypes()
        names = self._forward_names() or ["input"]
        return tuple(
            TensorSpec(
                name,
                None,
                types.get(name)
                or (types.get("") if index == 0 else None)
                or ("int64" if name in INTEGER_INPUTS else "float32"),
            )
            for index, name in enumerate(names)
        )

    def keyword_inputs(self) -> Sequence[str]:
        """All named arguments, so that optional ones can be left out."""
        return self._forward_names()

    def as_trainable(self) -> Trainable:
        """The network in training.

        Raises:
            ModelLoadError: the file cannot be run, or nothing in it learns.
        """
        self.load()
        return self.trainer(self._whole)

    def as_layered(self) -> Layered:
        """The network layer by layer.

        Raises:
            ModelLoadError: the file cannot be run.
        """
        from .torch_layers import TorchLayered

        self.load()
        return TorchLayered(self._module, self.predict)

    def _trusted(self) -> bool:
        return trusted(self.options)

    def _constructor(self) -> Callable[..., Any] | None:
        given = self.options.get("model_class") or self.options.get("model_constructor")
        return None if given is None else resolve(given)

    def _construct(self, constructor: Callable[..., Any]) -> Any:
        import torch

        args, kwargs = self._arguments()
        try:
            module = constructor(*args, **kwargs)
        except Exception as error:  # users' code may raise anything
            raise ModelLoadError(
                f"{self.path}: its class cannot be made ({type(error).__name__}: {error}). "
                "Give its arguments with model_args"
            ) from error
        if not isinstance(module, torch.nn.Module):
            raise ModelLoadError(
                f"{self.path}: its class makes a {type(module).__name__}, not a torch.nn.Module"
            )
        return module

    def _arguments(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        given = self.options.get("model_args") or {}
        if isinstance(given, str):
            try:
                given = json.loads(given)
            except ValueError as error:
                raise ModelLoadError(f"model_args is no JSON ({error}): {given}") from error
        if isinstance(given, Mapping):
            return (), given
        if isinstance(given, (list, tuple)):
            return given, {}
        raise ModelLoadError(f"model_args is {given!r}: give a mapping or a sequence")

    def _network(self, checkpoint: torch_checkpoint.Checkpoint) -> Any:
        """The network with the weights of the file, on the CPU."""
        if checkpoint.module is not None:
            return checkpoint.module
        constructor = self._constructor()
        if constructor is None:
            raise ModelLoadError(f"{self.path}: {NEEDS_CLASS}")
        assert checkpoint.state is not None
        module = self._construct(constructor)
        try:
            module.load_state_dict(self._matching(checkpoint.state, module))
        except Exception as error:  # RuntimeError lists each key that does not fit
            lines = [line.strip() for line in str(error).splitlines()[1:4] if line.strip()]
            raise ModelLoadError(
                f"{self.path}: the weights do not fit {type(module).__name__}: "
                f"{' '.join(lines)[:400] or reason(error)}. Check the class and its arguments"
            ) from error
        return module

    def _matching(self, state: Mapping[str, Any], module: Any) -> Mapping[str, Any]:
        """The state under the names that the network has for it."""
        return _unwrapped(state, module)

    def _forward_names(self) -> Sequence[str]:
        """Arguments of ``forward`` that are needed or were given a shape; none if they are open."""
        if self._names is None:
            if self._constructor() is None and not self.cannot_run():
                self.load()  # only the pickled network itself knows
            parameters = self._forward_parameters()
            given = set(self.input_shapes) | set(self._dtypes())
            by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
            self._names = [
                p.name
                for p in parameters
                if p.kind in by_name and (p.default is p.empty or p.name in given)
            ]
        return self._names

    def _forward_parameters(self) -> Sequence[inspect.Parameter]:
        constructor = self._constructor()
        if self._module is None and constructor is None:
            return []
        if self._module is None and inspect.isclass(constructor):
            unbound = inspect.signature(getattr(constructor, "forward", constructor))
            return list(unbound.parameters.values())[1:]
        module = self._module
        if module is None:
            assert constructor is not None
            module = self._construct(constructor)
        return list(inspect.signature(module.forward).parameters.values())

    def _dtypes(self) -> Mapping[str, str]:
        given = self.options.get("input_dtypes") or {}
        if isinstance(given, Mapping):
            return given
        pairs = (part.rpartition("=") for part in str(given).split(","))
        return {name.strip(): dtype.strip() for name, _, dtype in pairs}


def _unwrapped(state: Mapping[str, Any], module: Any) -> Mapping[str, Any]:
    """The state without what DataParallel or torch.compile put before each name."""
    own = module.state_dict()
    for prefix in ("module.", "_orig_mod."):
        wrapped = all(name.startswith(prefix) for name in state)
        if wrapped and not any(name.startswith(prefix) for name in own):
            return {name[len(prefix) :]: value for name, value in state.items()}
    return state
