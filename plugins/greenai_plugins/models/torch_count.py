"""Counting the parameters of PyTorch networks.

Counted are tensors of floating or complex type and quantised ones (``qint8``,
``int8``, ``uint8``). Wider integers and booleans are counters, indices and masks
(``num_batches_tracked``, ``position_ids``). Tensors that share their memory,
such as tied embeddings, count once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from greenai_core import ParameterEntry

from .torch_tensors import TensorHeader, header

NOT_LEARNT = ("running_mean", "running_var", "inv_freq", "final_logits_bias")
"""Endings of the names of floating buffers, where a file has nothing but names."""


@dataclass(frozen=True)
class Held:
    """A tensor, and the layer that holds it.

    Attributes:
        layer: path of the layer; empty for the network itself.
        type: of the layer, None if it is not known.
        trainable: whether training would change it.
        tensor: what it is.
    """

    layer: str
    type: str | None
    trainable: bool
    tensor: TensorHeader


def entries(held: Iterable[Held]) -> Iterator[ParameterEntry]:
    """The parameters among tensors: those that can be weights, each place in memory once."""
    # Keeps the tensors, for the address of one that is gone may be another's.
    seen: dict[object, TensorHeader] = {}
    for one in held:
        tensor = one.tensor
        if tensor.counts and tensor.place not in seen:
            seen[tensor.place] = tensor
            yield ParameterEntry(one.layer, one.trainable, tensor.elements, tensor.bytes, one.type)


def of_names(named: Iterable[tuple[str, TensorHeader]]) -> Iterator[Held]:
    """The tensors of a bare state dict: all but those named like buffers are learnt."""
    for name, tensor in named:
        yield Held(name.rpartition(".")[0], None, not name.endswith(NOT_LEARNT), tensor)


def of_network(module: Any) -> Iterator[Held]:
    """The tensors of a network's state dict: learnt are parameters with a gradient."""
    import torch

    types = {name: type(layer).__name__ for name, layer in module.named_modules()}
    for name, value in module.state_dict(keep_vars=True).items():
        layer = name.rpartition(".")[0]
        learnt = isinstance(value, torch.nn.Parameter) and value.requires_grad
        for tensor in _in(value):
            yield Held(layer, types.get(layer), learnt, of_tensor(tensor))


def of_state(state: Iterable[tuple[str, Any]]) -> Iterator[Held]:
    """The tensors of a bare state dict that PyTorch has loaded. See ``of_names``."""
    return of_names((name, of_tensor(tensor)) for name, value in state for tensor in _in(value))


def of_tensor(tensor: Any) -> TensorHeader:
    """The header of a tensor: of a sparse one that of its values."""
    import torch

    learns = bool(tensor.requires_grad)
    if tensor.layout != torch.strided:
        tensor = tensor._values() if tensor.layout == torch.sparse_coo else tensor.values()
    return header(tensor, learns)


def _in(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _in(inner)
