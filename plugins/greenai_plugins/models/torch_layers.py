"""The layers of a PyTorch network, told apart by hooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from greenai_core import CallTime, Layer, LayerCall

from . import torch_layer_context, torch_layer_times, torch_macs
from .torch_runtime import Feed


@dataclass
class _Use:
    """One call of a module that is under way or done; ``feed`` is a copy of its inputs."""

    name: str
    module: Any
    feed: Feed | None


class TorchLayered:
    """A network layer by layer: implements ``greenai_core.Layered``.

    Args:
        module: on its device, in evaluation mode.
        predict: one inference on prepared inputs.
    """

    def __init__(self, module: Any, predict: Callable[[Any], Any]) -> None:
        self._module = module
        self._predict = predict

    def layers(self) -> tuple[Layer, ...]:
        """All modules below the network itself, parents before children.

        A parameter that layers share, such as a tied embedding, is the first one's.
        """
        found = []
        seen: set[int] = set()
        for name, module in self._module.named_modules():
            if name:
                own = 0
                for parameter in module.parameters(recurse=False):
                    own += 0 if id(parameter) in seen else elements(parameter)
                    seen.add(id(parameter))
                parent = name.rpartition(".")[0] or None
                found.append(Layer(name, type(module).__name__, own, parent))
        return tuple(found)

    def calls(self, prepared: Any) -> tuple[LayerCall, ...]:
        """The uses of layers that call no other layer, in their order.

        A network without layers gives none. Inputs are copied, so that a replay
        sees what the layer saw even if another one works in place. A layer that
        works in place itself is replayed out of place: repeated in place, it
        would be fed its own output.
        """
        done: list[_Use] = []
        with _recording(self._module, done):
            self._predict(prepared)
        index: Counter[str] = Counter()
        calls = []
        for use in done:
            if use.feed is not None:
                replay = _replay(use.module, use.feed)
                calls.append(LayerCall(use.name, index[use.name], replay))
                index[use.name] += 1
        return tuple(calls)

    def timed(self, prepared: Any, probes: int) -> tuple[CallTime, ...]:
        """The calls of one pass; see ``greenai_core.TimedLayered``.

        Raises:
            ModelError: hooks cannot watch this network.
        """
        device = next((p.device for p in self._module.parameters()), None)
        return torch_layer_times.timed(
            self._module, lambda: self._predict(prepared), device, probes
        )

    def macs(self, prepared: Any) -> Mapping[str, int]:
        """Multiply-accumulates of one pass by layer, as far as they can be counted."""
        return torch_macs.by_layer(self._module, prepared) if isinstance(prepared, Feed) else {}

    def repeated(self, prepared: Any, layer: str, times: int) -> Callable[[], object]:
        """A pass in which one layer is done several times; see ``RepeatableLayered``.

        Raises:
            ModelError: this layer cannot be repeated.
        """
        return torch_layer_context.repeated(
            self._module, lambda: self._predict(prepared), layer, times
        )


def elements(parameter: Any) -> int:
    """Of a parameter; none while it waits for the first inputs to have a shape."""
    import torch

    return 0 if torch.nn.parameter.is_lazy(parameter) else int(parameter.numel())


@contextmanager
def _recording(network: Any, done: list[_Use]) -> Iterator[None]:
    """While it lasts, each finished call of a layer is noted; hooks go away in any case."""
    import torch

    open_uses: list[_Use] = []
    names = {id(module): name for name, module in network.named_modules()}

    def before(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if open_uses:
            open_uses[-1].feed = None
        feed = Feed(_copy(args), _copy(kwargs))
        called = torch_layer_context.ways(module, next_only=True)[0]
        open_uses.append(_Use(names[id(module)], called, feed))

    def after(module: Any, args: Any, output: Any) -> None:
        done.append(open_uses.pop())

    handles: list[Any] = []
    try:
        for name, module, _ in torch_layer_times.watchable(network):
            if name and isinstance(module, torch.jit.ScriptModule):
                handles.append(torch_layer_times.Wrapped(module, before, after))
            elif name:
                handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(module.register_forward_hook(after))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _replay(module: Any, feed: Feed) -> Callable[[], object]:
    import torch

    in_place = getattr(module, "inplace", False) is True

    def replay() -> object:
        with torch.inference_mode():
            if not in_place:
                return module(*feed.args, **feed.kwargs)
            module.inplace = False
            try:
                return module(*feed.args, **feed.kwargs)
            finally:
                module.inplace = True

    return replay


def _copy(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.clone()
    if hasattr(value, "_fields"):
        return type(value)(*map(_copy, value))
    if type(value) in (tuple, list):
        return type(value)(map(_copy, value))
    if type(value) is dict:
        return {key: _copy(inner) for key, inner in value.items()}
    return value
