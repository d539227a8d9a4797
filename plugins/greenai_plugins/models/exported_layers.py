"""The layers of an exported program."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from greenai_core import CallTime, Layer, LayerCall

from . import torch_layer_context
from .torch_layer_context import CLOSE
from .torch_layers import TorchLayered
from .torch_runtime import flatten

USE = re.compile(r"@\d+")
"""What ``torch.export.unflatten`` appends to the name of a module to tell its uses apart."""

CONTAINER = "container"
"""Type of a layer that is never called, but is in the names of others."""


class ExportedLayered(TorchLayered):
    """A program layer by layer: implements ``greenai_core.Layered``.

    Args:
        module: the program taken apart by ``torch.export.unflatten``, on its device.
        call: runs a module on prepared inputs.
    """

    def __init__(self, module: Any, call: Callable[[Any, Any], Any]) -> None:
        _compile(module)
        super().__init__(module, lambda prepared: call(module, prepared))

    def layers(self) -> tuple[Layer, ...]:
        """The layers under the names and types of the network that was exported."""
        modules = dict(self._module.named_modules())
        return tuple(
            replace(layer, type=_type(modules[layer.name]) or layer.type)
            for layer in super().layers()
            if layer.name == _one(layer.name)
        )

    def calls(self, prepared: Any) -> tuple[LayerCall, ...]:
        """The uses of layers; those of one that is several modules are numbered together.

        One that works in place is left out: a program has no out-of-place way of it, so that it
        would be fed its own output.
        """
        index: Counter[str] = Counter()
        calls = []
        for call in super().calls(prepared):
            name = _one(call.layer)
            if not _is_steady(call.replay):
                continue
            calls.append(replace(call, layer=name, index=index[name]))
            index[name] += 1
        return tuple(calls)

    def timed(self, prepared: Any, probes: int) -> tuple[CallTime, ...]:
        """The calls of one pass; see ``greenai_core.TimedLayered``."""
        calls = super().timed(prepared, probes)
        return tuple(replace(call, layer=_one(call.layer)) for call in calls)

    def macs(self, prepared: Any) -> Mapping[str, int]:
        """Multiply-accumulates of one pass by layer, as far as they can be counted."""
        found: Counter[str] = Counter()
        for name, macs in super().macs(prepared).items():
            found[_one(name)] += macs
        return dict(found)

    def repeated(self, prepared: Any, layer: str, times: int) -> Callable[[], object]:
        """A pass in which one layer is done several times; see ``RepeatableLayered``.

        Raises:
            ModelError: this layer cannot be repeated.
        """
        names = [name for name, _ in self._module.named_modules() if _one(name) == layer]
        return torch_layer_context.repeated(
            self._module, lambda: self._predict(prepared), layer, times, names
        )


def _one(name: str) -> str:
    """The layer that a module is a use of: ``conv@1`` is the second one of ``conv``.

    A layer whose work depends on what it is given becomes a module for each of its uses.
    """
    return USE.sub("", name)


def _is_steady(replay: Callable[[], object]) -> bool:
    """Whether a layer that is done again gives the same again."""
    import torch

    first = [tensor.clone() for _, tensor in flatten(replay())]
    again = [tensor for _, tensor in flatten(replay())]
    return all(
        torch.allclose(one, other, rtol=CLOSE, atol=0.0, equal_nan=True)
        for one, other in zip(first, again, strict=True)
    )


def _compile(module: Any) -> None:
    """Let a program that was taken apart run as code, as the whole one does.

    As ``torch.export.unflatten`` gives it, it is interpreted operation by operation, which
    takes several times as long, so that no time in it would tell of the program.
    """
    import torch

    for part in module.modules():
        for way in (part, *getattr(part, "_call_modules", ())):
            if isinstance(getattr(way, "graph_module", None), torch.fx.GraphModule):
                # The code of a module that is called in several ways is older than its graph.
                way.graph_module.recompile()
                way._run_with_interpreter = False


def _type(module: Any) -> str:
    """Name of the class that a module had before the export.

    Of one that only holds others PyTorch says what the first of these was.
    """
    graph = getattr(module, "graph", None)
    if graph is not None and not len(graph.nodes):
        return CONTAINER
    return str(getattr(module, "_ty", None) or "").rpartition(".")[2]
