"""The layers of a TorchScript program, as far as its graph names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from greenai_core import Layer, LayerCall, ModelInputError

from . import torch_macs
from .torch_runtime import Feed, reason
from .torchscript_calls import leaves, walk


class ScriptLayered:
    """A program layer by layer: implements ``greenai_core.Layered``.

    Layers are the modules that its graphs call; what is called in a loop or a branch of a
    graph belongs to the module around it.

    Args:
        module: a ``torch.jit.ScriptModule`` on its device, in evaluation mode.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._names = layer_names(module)

    def layers(self) -> tuple[Layer, ...]:
        """The modules that are called and those that they lie in, parents before children.

        A parameter that layers share is the first one's.
        """
        modules = {name: one for name, one in self._module.named_modules() if name}
        own: Counter[str] = Counter()
        seen: set[int] = set()
        for name, module in modules.items():
            at = name
            while at and at not in self._names:
                at = at.rpartition(".")[0]
            for parameter in module.parameters(recurse=False):
                own[at] += 0 if parameter.data_ptr() in seen else parameter.numel()
                seen.add(parameter.data_ptr())
        return tuple(
            Layer(name, str(module.original_name), own[name], name.rpartition(".")[0] or None)
            for name, module in modules.items()
            if name in self._names
        )

    def calls(self, prepared: Feed) -> tuple[LayerCall, ...]:
        """The uses of layers that call no other layer, in their order.

        Raises:
            ModelInputError: the inputs do not fit.
        """
        index: Counter[str] = Counter()
        calls = []
        for name, method, args in self._leaves(prepared):
            calls.append(LayerCall(name, index[name], _replay(method, args)))
            index[name] += 1
        return tuple(calls)

    def macs(self, prepared: Feed) -> Mapping[str, int]:
        """Multiply-accumulates of one pass by layer; those not known are left out."""
        found: Counter[str] = Counter()
        unknown = set()
        for name, method, args in self._leaves(prepared):
            macs, _ = torch_macs.count(method, Feed(args, {}))
            found[name] += macs or 0
            unknown |= {name} if macs is None else set()
        return {name: macs for name, macs in found.items() if name not in unknown}

    def _leaves(self, prepared: Feed) -> Sequence[tuple[str, Any, tuple[Any, ...]]]:
        import torch

        program = self._module._c
        try:
            with torch.no_grad():  # tensors of inference_mode cannot be used outside it
                found = list(leaves("", program, "forward", self._arguments(prepared)))
        except Exception as error:  # a program may raise anything
            raise ModelInputError(
                f"the program cannot run layer by layer on this input ({reason(error)}). Measure "
                "it as a whole with `greenai bench`"
            ) from error
        return [(call.name, call.module._get_method(call.method), args) for call, args in found]

    def _arguments(self, prepared: Feed) -> list[Any]:
        """All arguments of the program in their order."""
        args = list(prepared.args)
        for argument in list(self._module.forward.schema.arguments)[1 + len(args) :]:
            args.append(prepared.kwargs.get(argument.name, argument.default_value))
        return args


def layer_names(module: Any) -> set[str]:
    """Paths of the modules that a program calls, and of those that they lie in."""
    names: set[str] = set()
    for call in walk("", module._c, "forward"):
        parts = call.name.split(".")
        names.update(".".join(parts[: end + 1]) for end in range(len(parts)))
    return names - {""}


def _replay(method: Callable[..., object], args: tuple[Any, ...]) -> Callable[[], object]:
    import torch

    def replay() -> object:
        with torch.inference_mode():
            return method(*args)

    return replay
