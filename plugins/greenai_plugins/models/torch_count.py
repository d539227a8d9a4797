"""Counting the parameters of PyTorch networks.

Counted are tensors of floating or complex type and quantised ones (``qint8``,
``int8``, ``uint8``). Wider integers and booleans are counters, indices and masks
(``num_batches_tracked``, ``position_ids``). Tensors that share their memory,
such as tied embeddings, count once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from greenai_core import ParameterCount

STATISTICS = ("running_mean", "running_var")


def count_state(state: Mapping[str, Any], trainable: Callable[[str, Any], bool]) -> ParameterCount:
    """Parameters of a state dict.

    Args:
        state: tensors by name; tuples of tensors, as packed layers have them,
            are looked into.
        trainable: whether an entry of that name is learnt.
    """
    return count_tensors(
        (tensor, trainable(name, value)) for name, value in state.items() for tensor in _in(value)
    )


def count_tensors(tensors: Iterable[tuple[Any, bool]]) -> ParameterCount:
    """Parameters in tensors, each with whether it is trainable."""
    # Keeps the tensors, for the address of one that is gone may be another's.
    seen: dict[tuple[int, int, int], Any] = {}
    counts = {True: 0, False: 0}
    size = 0
    for given, trainable in tensors:
        tensor = _stored(given)
        place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.numel())
        if place in seen or not _counts(tensor):
            continue
        seen[place] = tensor
        counts[trainable] += tensor.numel()
        size += tensor.numel() * tensor.element_size()
    return ParameterCount(trainable=counts[True], non_trainable=counts[False], bytes=size)


def learnt_by_name(name: str, value: Any) -> bool:
    """Whether an entry of a bare state dict is learnt: all but running statistics."""
    return not name.endswith(STATISTICS)


def learnt_by_gradient(name: str, value: Any) -> bool:
    """Whether an entry of a network's state dict is learnt: a parameter with a gradient."""
    import torch

    return isinstance(value, torch.nn.Parameter) and value.requires_grad


def _in(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _in(inner)


def _stored(tensor: Any) -> Any:
    """The dense tensor that holds the elements: of a sparse one its values."""
    import torch

    if tensor.layout == torch.strided:
        return tensor
    return tensor._values() if tensor.layout == torch.sparse_coo else tensor.values()


def _counts(tensor: Any) -> bool:
    import torch

    return bool(
        tensor.is_floating_point()
        or tensor.is_complex()
        or tensor.is_quantized
        or tensor.dtype in (torch.int8, torch.uint8)
    )
