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
        super().__init__(module, lambda prepared: call(module, prepared))

    def layers(self) -> tuple[Layer, ...]:
        """The layers under the names and types of the network that was exported."""
        modules = dict(self._module.named_modules())
        return tuple(
            replace(layer, type=_type(modules[layer.name]) or layer.type)
            for layer in super().layers()
        )


def _type(module: Any) -> str:
    """Name of the class that a module had before the export."""
    return str(getattr(module, "_ty", None) or "").rpartition(".")[2]
