"""The layers of a TorchScript program, as far as its graph names them."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from greenai_core import CallTime, Layer, LayerCall, ModelInputError

from . import torch_macs
from .torch_runtime import Feed, flatten, reason
from .torchscript_calls import leaves, walk
from .torchscript_stamps import Stamped


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
        within = {name: self._called(name) for name in modules}
        own: Counter[str] = Counter()
        seen: set[int] = set()
        # Under the name by which a layer is called: a trace keeps one of several.
        for name in sorted(modules, key=lambda name: not within[name]):
            for parameter in modules[name].parameters(recurse=False):
                own[within[name]] += 0 if parameter.data_ptr() in seen else parameter.numel()
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
            in_place = _works_in_place(method, args)
            # A pass enters the compiled program once for all layers.
            nothing = functools.partial(_nothing(method), self._module._c)
            empty = _replay(nothing, args, in_place)
            calls.append(LayerCall(name, index[name], _replay(method, args, in_place), empty))
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

    def _called(self, name: str) -> str:
        """The layer that a module belongs to; empty for the program itself."""
        while name and name not in self._names:
            name = name.rpartition(".")[0]
        return name

    def _leaves(self, prepared: Feed) -> Sequence[tuple[str, Any, tuple[Any, ...]]]:
        import torch

        program = self._module._c
        # Tensors of inference_mode cannot be used outside it.
        with _named(), torch.no_grad():
            found = list(leaves("", program, "forward", self._arguments(prepared)))
        return [(call.name, call.module._get_method(call.method), args) for call, args in found]

    def _arguments(self, prepared: Feed) -> list[Any]:
        """All arguments of the program in their order."""
        args = list(prepared.args)
        for argument in list(self._module.forward.schema.arguments)[1 + len(args) :]:
            args.append(prepared.kwargs.get(argument.name, argument.default_value))
        return args


class TimedScriptLayered(ScriptLayered):
    """The same on the CPU, where the program itself can look at the clock.

    On a GPU it would see how long layers take to be handed over. Implements
    ``greenai_core.TimedLayered``.
    """

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self._stamped: dict[int, Stamped] = {}

    def timed(self, prepared: Feed, probes: int) -> tuple[CallTime, ...]:
        """The calls of one pass; see ``greenai_core.TimedLayered``.

        Raises:
            ModelInputError: the inputs do not fit.
        """
        import torch

        with _named(), torch.inference_mode():
            if probes not in self._stamped:
                self._stamped[probes] = Stamped(self._module._c, probes)
            return self._stamped[probes].times(self._arguments(prepared))


def layer_names(module: Any) -> set[str]:
    """Paths of the modules that a program calls, and of those that they lie in."""
    names: set[str] = set()
    for call in walk("", module._c, "forward"):
        parts = call.name.split(".")
        names.update(".".join(parts[: end + 1]) for end in range(len(parts)))
    return names - {""}


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """What a program raises, which may be anything, with advice."""
    try:
        yield
    except Exception as error:
        raise ModelInputError(
            f"the program cannot run layer by layer on this input ({reason(error)}). Measure "
            "it as a whole with `greenai bench`"
        ) from error


def _nothing(method: Any) -> Callable[..., object]:
    """A compiled function that takes what a method takes, with its module, and does nothing."""
    import torch

    graph = torch._C.Graph()
    for value in method.graph.inputs():
        graph.addInput().setType(value.type())
    none = graph.create("prim::Constant")
    none.output().setType(torch._C.NoneType.get())
    graph.appendNode(none)
    graph.registerOutput(none.output())
    function: Callable[..., object] = torch._C._create_function_from_graph("greenai_empty", graph)
    return function


def _works_in_place(method: Callable[..., object], args: tuple[Any, ...]) -> bool:
    """Whether a method leaves its inputs changed; tried on copies."""
    import torch

    given = copy.deepcopy(args)
    with _named(), torch.inference_mode():
        method(*given)
    pairs = zip(flatten(args), flatten(given), strict=True)
    return not all(torch.equal(before, after) for (_, before), (_, after) in pairs)


def _replay(
    method: Callable[..., object], args: tuple[Any, ...], in_place: bool
) -> Callable[[], object]:
    """One that works in place gets new copies each time, else it would be fed its own output."""
    import torch

    def replay() -> object:
        with torch.inference_mode():
            return method(*(copy.deepcopy(args) if in_place else args))

    return replay
