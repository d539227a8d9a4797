"""How long the layers of a PyTorch network take in a pass, stamped by hooks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from greenai_core import CallTime, ModelError

PARALLEL = frozenset(
    {"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule"}
)
"""Classes of networks that run in several threads or processes at once."""


THREADS = (
    "layers of the network are called from several threads, where calls cannot be told to lie "
    "within each other. Call all of them from one thread: that of the loop"
)


STREAMS = (
    "the network ran on several CUDA streams at once, where layers overlap and no time is one "
    "layer's. Run it on one stream to see its layers"
)


@dataclass
class _Call:
    """A call that is under way or done; stamps are seconds, or events of the device."""

    layer: str
    parent: int | None
    began: Any
    ended: Any = None


@dataclass
class Watched:
    """The calls of the passes that were watched, in the order in which they began."""

    calls: list[_Call] = field(default_factory=list)
    trouble: str = ""
    """Why these calls tell no times; empty while they do."""
    _open: list[int] = field(default_factory=list)

    def begin(self, layer: str, stamp: Any) -> None:
        """A call begins inside the one that is open."""
        self.calls.append(_Call(layer, self._open[-1] if self._open else None, stamp))
        self._open.append(len(self.calls) - 1)

    def end(self, stamp: Any) -> None:
        """The innermost call ends."""
        self.calls[self._open.pop()].ended = stamp

    @property
    def innermost(self) -> str | None:
        """Layer of the innermost call that is under way; None where there is none."""
        return self.calls[self._open[-1]].layer if self._open else None

    @property
    def depth(self) -> int:
        """How many calls are under way."""
        return len(self._open)

    def break_off(self, depth: int) -> None:
        """Calls that lie inside that many others will never end."""
        del self._open[depth:]

    def times(self, seconds: Callable[[Any, Any], float]) -> tuple[CallTime, ...]:
        """What was watched; calls that did not end, because of an exception, are left out.

        Raises:
            ModelError: the calls overlap.
        """
        if self.trouble:
            raise ModelError(self.trouble)
        return tuple(
            CallTime(call.layer, call.parent, seconds(call.began, call.ended))
            for call in self.calls
            if call.ended is not None
        )


class LayerClock:
    """Stamps on the clock of the device that a network is on.

    Args:
        device: of PyTorch.
    """

    def __init__(self, device: Any) -> None:
        self._events = getattr(device, "type", "") == "cuda"
        self._device = device

    def stamp(self) -> Any:
        """Now: on a GPU an event in the stream, which waits for nothing."""
        if not self._events:
            return time.perf_counter()
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def stream(self) -> int | None:
        """The stream in which a GPU works now; None elsewhere."""
        if not self._events:
            return None
        import torch

        return int(torch.cuda.current_stream(self._device).cuda_stream)

    def seconds(self, began: Any, ended: Any) -> float:
        """Between two stamps; on a GPU after a synchronisation."""
        if not self._events:
            return float(ended - began)
        return float(began.elapsed_time(ended)) / 1000.0

    def synchronize(self) -> None:
        """Wait until nothing is running on the device."""
        if self._events:
            import torch

            torch.cuda.synchronize(self._device)


def refuse_what_cannot_be_watched(network: Any) -> None:
    """Return if hooks see each layer of the network, and each once.

    Raises:
        ModelError: they do not; the message says what to do.
    """
    for module in network.modules():
        kinds = {kind.__name__ for kind in type(module).__mro__}
        if "OptimizedModule" in kinds:
            raise ModelError(
                "this network was compiled (torch.compile), and what is compiled has no layers. "
                "Measure the network that was given to torch.compile, whose layers are compiled "
                "one by one then, or the compiled one as a whole"
            )
        if kinds & PARALLEL:
            raise ModelError(
                f"this network runs in several places at once ({type(module).__name__}), where "
                "hooks of one layer are called from all of them. Measure the network itself (its "
                "`.module`, or as it was before `fully_shard`) on one device"
            )
        compiled = _compiled_method(module)
        if compiled and next(module.children(), None) is not None:
            raise ModelError(
                f"`{compiled}` of {type(module).__name__} was compiled (torch.compile), and what "
                "is compiled has no layers. Watch the network before it is compiled, or measure "
                "the compiled one as a whole"
            )
    devices = sorted({str(parameter.device) for parameter in network.parameters()})
    if len(devices) > 1:
        raise ModelError(
            f"this network is on several devices ({', '.join(devices)}), whose layers overlap and "
            "have clocks of their own. Put it on one device"
        )


def _compiled_method(module: Any) -> str:
    """Name of a method of the module that ``torch.compile`` made; empty if there is none.

    A compiled method of a layer without layers inside is no trouble: it is that layer's.
    """
    for members in (vars(module), *map(vars, type(module).__mro__)):
        for name, member in members.items():
            # So are functions marked that PyTorch never compiles.
            if "_torchdynamo_orig_callable" in getattr(member, "__dict__", ()) and not hasattr(
                member, "_torchdynamo_disable"
            ):
                return str(name)
    return ""


def watchable(network: Any) -> Iterator[tuple[str, Any, bool]]:
    """The layers that can be watched without changing what runs.

    PyTorch runs a ``TransformerEncoderLayer`` in evaluation mode as one operation, unless a
    hook is on it or on a layer inside: so that layer is wrapped instead of hooked, and those
    inside, which do not run, are left out. So is a layer that is TorchScript, which takes no
    hooks.

    Args:
        network: that is watched.

    Yields:
        name, layer, and whether it is to be wrapped.
    """
    import torch

    whole: list[str] = []
    for name, module in network.named_modules():
        if any(name.startswith(f"{outer}." if outer else "") for outer in whole):
            continue
        fuses = isinstance(module, torch.nn.TransformerEncoderLayer) and not module.training
        wraps = fuses or isinstance(module, torch.jit.ScriptModule)
        if wraps:
            whole.append(name)
        yield name, module, wraps


class Wrapped:
    """A layer whose ``forward`` is surrounded by two calls, until ``remove``.

    Args:
        module: the layer.
        before: called with it, its arguments, and those by name.
        after: called with it, its arguments and its outputs (None after an exception).
    """

    def __init__(
        self, module: Any, before: Callable[..., object], after: Callable[..., object]
    ) -> None:
        self._module = module
        # A forward of the instance is found before that of its class.
        self._own = vars(module).get("forward")
        inner = module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            output = None
            before(module, args, kwargs)
            try:
                output = inner(*args, **kwargs)
                return output
            finally:
                after(module, args, output)

        vars(module)["forward"] = forward

    def remove(self) -> None:
        """Give the layer its own ``forward`` back."""
        vars(self._module).pop("forward", None)
        if self._own is not None:
            vars(self._module)["forward"] = self._own


@contextmanager
def watched(network: Any, clock: LayerClock, probes: int) -> Iterator[Watched]:
    """While it lasts, calls of all layers are stamped; the hooks go away in any case.

    Ours come before the user's own hooks and after them, so that what these do belongs to
    the layer.

    Args:
        network: whose layers are watched.
        clock: of its device.
        probes: stamps at each end of a call, of which the outermost count; 0: only the
            network itself is stamped, once.
    """
    record = Watched()
    handles: list[Any] = []
    once = max(probes, 1)
    thread, stream = threading.get_ident(), clock.stream()

    def before(name: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any = None) -> None:
            if threading.get_ident() != thread:
                record.trouble = THREADS
                return
            if clock.stream() != stream:
                record.trouble = STREAMS
            record.begin(name, clock.stamp())
            for _ in range(once - 1):
                clock.stamp()

        return hook

    def after(module: Any, args: Any, output: Any) -> None:
        if threading.get_ident() != thread:
            return
        for _ in range(once - 1):
            clock.stamp()
        record.end(clock.stamp())

    try:
        for name, module, wraps in watchable(network):
            if wraps and (probes or not name):
                handles.append(Wrapped(module, before(name), after))
            elif probes or not name:
                handles.append(module.register_forward_pre_hook(before(name), prepend=True))
                handles.append(module.register_forward_hook(after))
        yield record
    finally:
        for handle in handles:
            handle.remove()


def timed(
    network: Any, run: Callable[[], object], device: Any, probes: int
) -> tuple[CallTime, ...]:
    """The calls of one pass, the network itself first.

    Args:
        network: whose layers are told apart.
        run: one pass through it.
        device: that it is on.
        probes: see ``watched``.

    Raises:
        ModelError: the pass did not go through the network, or hooks cannot watch it.
    """
    refuse_what_cannot_be_watched(network)
    clock = LayerClock(device)
    clock.synchronize()
    with watched(network, clock, probes) as record:
        run()
    clock.synchronize()
    times = record.times(clock.seconds)
    if not times or times[0].layer or any(call.parent is None for call in times[1:]):
        raise ModelError(
            "its layers are not called within one call of the network, so they have no place in "
            "a pass"
        )
    return times
