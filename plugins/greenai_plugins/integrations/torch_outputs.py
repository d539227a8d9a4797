"""The tensors in what a network of somebody else's returned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

DEEPEST = 4
"""How many objects of classes of one's own, inside each other, are looked through."""


def tensors_in(output: Any) -> Iterator[Any]:
    """The tensors in what a network returned, whatever holds them."""
    import torch

    waiting = [(output, 0)]
    seen: dict[int, Any] = {}
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
            continue
        if id(value) in seen or isinstance(value, (str, bytes, int, float, type, torch.nn.Module)):
            continue
        seen[id(value)] = value
        if isinstance(value, Mapping):
            waiting += [(inner, depth) for inner in value.values()]
        elif isinstance(value, (tuple, list, set, frozenset)):
            waiting += [(inner, depth) for inner in value]
        elif dataclasses.is_dataclass(value):
            fields = [field.name for field in dataclasses.fields(value)]
            waiting += [(getattr(value, name, None), depth) for name in fields]
        elif depth < DEEPEST:
            waiting += [(inner, depth + 1) for inner in getattr(value, "__dict__", {}).values()]
