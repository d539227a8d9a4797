"""The layers of an exported program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from greenai_core import Layer

from .torch_layers import TorchLayered


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
    """Name of the class that a module had before the export."""
    return str(getattr(module, "_ty", None) or "").rpartition(".")[2]
