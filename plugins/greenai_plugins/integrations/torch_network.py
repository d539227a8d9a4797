"""``TorchNetwork``: a network that is in memory, measured like a file.

::

    with Session() as session, TorchNetwork(model, torch.rand(8, 3, 224, 224)) as network:
        print(session.evaluate_inference(network).energy_per_inference_j)
        print(session.evaluate_layers(network).layers)

The network stays where it is and is in the modes in which it was given when the block ends.
Only training it (``evaluate_training``, ``train``) changes it, which is what training is;
``evaluate_layers(network, training=True)`` leaves it as it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from greenai_core import (
    Ability,
    Layered,
    LayerParameters,
    ModelInputError,
    ParameterCount,
    TensorSpec,
    Trainable,
)
from greenai_plugins.models import torch_count
from greenai_plugins.models.torch_layers import TorchLayered
from greenai_plugins.models.torch_runtime import NOTHING_LEARNS, Feed, TorchLibrary, to_numpy

if TYPE_CHECKING:
    import numpy.typing as npt

    from greenai_core import InputOptions


class TorchNetwork(TorchLibrary):
    """A ``torch.nn.Module`` as ``Session`` sees a model file.

    Args:
        module: the network, on the device it shall run on.
        example: what it is called with where no other data are given: a tensor, a tuple of
            arguments, or a mapping of arguments by name. Arguments that are no tensors are
            passed on as they are, with other data too.
        name: in reports; by default that of its class.
        optimizer: ``"sgd"`` (default) or ``"adam"``, for training.
        learning_rate: 0.01 by default.

    Raises:
        ModelInputError: ``module`` is no network, or ``forward`` does not take the example.
        PluginUnavailable: PyTorch is not installed.
    """

    format = "pytorch"
    in_memory = True
    option_names: ClassVar[Mapping[str, str]] = {
        "optimizer": "sgd or adam",
        "learning_rate": "of the optimizer",
    }

    def __init__(self, module: Any, example: Any, *, name: str = "", **options: Any) -> None:
        type(self).check_available()
        import torch

        if not isinstance(module, torch.nn.Module):
            raise ModelInputError(
                f"a {type(module).__name__} is no torch.nn.Module: give the network itself"
            )
        super().__init__(Path(name or type(module).__name__), device=_device_of(module), **options)
        self._given = module
        self._modes: dict[Any, bool] = {}
        self._arguments = _named(module, example)
        self._example = {
            key: to_numpy(value)
            for key, value in self._arguments.items()
            if isinstance(value, torch.Tensor)
        }

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Never: it is no file."""
        return False

    def abilities(self) -> Mapping[str, Ability]:
        """Run and layers; train where something in it learns."""
        learns = any(parameter.requires_grad for parameter in self._given.parameters())
        train = Ability(learns, "" if learns else NOTHING_LEARNS)
        return {"run": Ability(True), "train": train, "layers": Ability(True)}

    def count_parameters(self) -> ParameterCount:
        """Elements and bytes of its state dict."""
        return ParameterCount.of(torch_count.entries(torch_count.of_network(self._given)))

    def count_by_layer(self) -> tuple[LayerParameters, ...]:
        """The same by layer."""
        return LayerParameters.of(torch_count.entries(torch_count.of_network(self._given)))

    def load_weights(self) -> None:
        """Take it into use in evaluation mode; ``close`` brings its modes back."""
        self._modes = {layer: layer.training for layer in self._given.modules()}
        self.place(self._given)

    def drop_weights(self) -> None:
        """Give it back in the modes in which it was given."""
        super().drop_weights()
        for layer, training in self._modes.items():
            layer.training = training
        self._modes = {}

    def signature(self) -> tuple[TensorSpec, ...]:
        """The tensors of the example; the size of the first axis is open."""
        return tuple(
            TensorSpec(name, (None, *array.shape[1:]) if array.ndim else (), str(array.dtype))
            for name, array in self._example.items()
        )

    def make_inputs(
        self, data: Any = None, options: InputOptions | None = None
    ) -> Mapping[str, npt.NDArray[Any]]:
        """The example, or what other data make.

        Raises:
            ModelInputError: the data do not fit, or another batch size is asked of the example.
        """
        if data is not None:
            return super().make_inputs(data, options)
        wanted = None if options is None else options.batch_size
        sizes = {len(array) for array in self._example.values() if array.ndim}
        if wanted is not None and sizes != {wanted}:
            raise ModelInputError(
                f"the example of {self.path} has {', '.join(map(str, sorted(sizes)))} samples, not "
                f"{wanted}: give an example of that size"
            )
        self._assumptions = ()
        return self._example

    def prepare(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Feed:
        """Tensors on the device, and the arguments that are no tensors.

        Raises:
            ModelInputError: an input is missing or unknown.
        """
        self.load()
        if set(inputs) != set(self._example):
            raise ModelInputError(
                f"{self.path} has the inputs {', '.join(self._example)}, "
                f"but was given {', '.join(inputs) or 'none'}"
            )
        tensors = {name: self._tensor(name, array) for name, array in inputs.items()}
        given = {name: tensors.get(name, value) for name, value in self._arguments.items()}
        return Feed(
            tuple(value for name, value in given.items() if isinstance(name, _Place)),
            {name: value for name, value in given.items() if not isinstance(name, _Place)},
        )

    def as_layered(self) -> Layered:
        """The network layer by layer."""
        self.load()
        return TorchLayered(self._module, self.predict)

    def as_trainable(self) -> Trainable:
        """The network in training, which changes it.

        Raises:
            ModelLoadError: nothing in it learns.
        """
        return self.trainer(whole=False)


def _device_of(module: Any) -> str:
    """Where a network is.

    Raises:
        ModelInputError: its parts are on several devices.
    """
    tensors = (*module.parameters(), *module.buffers())
    devices = sorted({str(tensor.device) for tensor in tensors})
    if len(devices) > 1:
        raise ModelInputError(
            f"{type(module).__name__} is spread over {', '.join(devices)}: only networks on one "
            "device can be measured. Bring it to one, or measure your own loop in a window"
        )
    return devices[0] if devices else "cpu"


class _Place(str):
    """The name of an argument that is given by its place."""

    __slots__ = ()


def _named(module: Any, example: Any) -> dict[str, Any]:
    """The arguments of a call by their names, in the order of the call.

    Raises:
        ModelInputError: there are none, or ``forward`` does not take them.
    """
    args = () if isinstance(example, Mapping) else example
    args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    kwargs = dict(example) if isinstance(example, Mapping) else {}
    taken = inspect.signature(module.forward)
    try:
        taken.bind(*args, **kwargs)
    except TypeError as error:
        raise ModelInputError(
            f"{type(module).__name__}.forward{taken} does not take the example ({error}). Give a "
            "tensor, a tuple of arguments, or a mapping by name"
        ) from error
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in taken.parameters.values() if p.kind in by_place]
    names += [f"input_{place}" for place in range(len(names), len(args))]
    found = {_Place(name): value for name, value in zip(names, args, strict=False)}
    return {**found, **kwargs}
