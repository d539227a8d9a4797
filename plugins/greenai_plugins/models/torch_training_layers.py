"""The layers of a training step of a PyTorch network: forward and backward told apart.

Forward calls are seen by module hooks. The backward pass is a graph of operations, each of
which carries the number under which the forward pass made it; so an operation belongs to the
layer that was being called then. Hooks on these operations change no tensor: layers that
work in place, functional operations and layers that are called twice are all told right.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from greenai_core import CallTime, Layer, LayerCall, ModelError

from . import torch_macs
from .torch_layer_times import LayerClock, Watched, refuse_what_cannot_be_watched, watched
from .torch_layers import TorchLayered
from .torch_replays import captured

FORWARD = " [forward]"
BACKWARD = " [backward]"
LOSS = "(loss)"
OPTIMISER = "(optimiser)"

RECOMPUTED = (
    "this network computes layers again during the backward pass (activation checkpointing), "
    "where their time cannot be told from that of the backward pass. Switch checkpointing off "
    "to measure its layers, or measure the whole step with `greenai train`"
)

Stepped = Callable[[Any, Callable[[str, Any], None]], None]


def forward_of(name: str) -> str:
    """Name of the row of the forward pass of a layer."""
    return name + FORWARD if name else ""


def backward_of(name: str) -> str:
    """Name of the row of its backward pass."""
    return name + BACKWARD if name else ""


def with_directions(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Each layer, followed by its two passes."""
    for layer in layers:
        yield layer
        for direction, name in (("forward", forward_of), ("backward", backward_of)):
            yield Layer(name(layer.name), layer.type, 0, layer.name, direction)


def refuse_what_was_compiled(network: Any) -> None:
    """Return if the layers of the network are called one by one.

    Raises:
        ModelError: they are not; the message says what to do.
    """
    import torch

    for module in network.modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                "this network is TorchScript, whose layers call no hooks. Watch the network that "
                "it was made of; `greenai bench` measures the script as a whole"
            )
        if getattr(module, "_compiled_call_impl", None) is not None:
            raise ModelError(
                "this network was compiled (`.compile()`), and what is compiled has no layers. "
                "Watch it before it is compiled"
            )


class StepClock(LayerClock):
    """Stamps that also tell the number of the next operation that gradients are kept for.

    Args:
        device: of PyTorch.

    Raises:
        ModelError: this PyTorch numbers none.
    """

    def __init__(self, device: Any) -> None:
        super().__init__(device)
        self._number = operation_numbers()

    def stamp(self) -> Any:
        """Now, and that number."""
        return super().stamp(), self._number()

    def seconds(self, began: Any, ended: Any) -> float:
        """Between two stamps."""
        return super().seconds(began[0], ended[0])


def operation_numbers() -> Callable[[], int]:
    """What tells the number under which the next operation of this thread goes into the graph.

    Raises:
        ModelError: this PyTorch does not tell it.
    """
    import torch

    # Tells which operation of the forward pass one of the backward pass belongs to; PyTorch's
    # own profiler and torch.fx go by it.
    found: Callable[[], int] | None = getattr(torch._C._autograd, "_get_sequence_nr", None)
    if found is None:
        raise ModelError(
            f"PyTorch {torch.__version__} does not number its operations, so the backward pass "
            "of a layer cannot be told. PyTorch 2.6 and later do"
        )
    return found


class TorchTrainingLayered:
    """A training step layer by layer: implements ``greenai_core.TimedLayered``.

    Args:
        module: on its device.
        stepped: does a step with a batch, and tells where its parts begin.
        device: that it is on.
    """

    def __init__(self, module: Any, stepped: Stepped, device: Any) -> None:
        self._module = module
        self._stepped = stepped
        self._device = device

    def layers(self) -> tuple[Layer, ...]:
        """The layers, each followed by its passes; the loss; the optimiser."""
        layers = TorchLayered(self._module, lambda feed: None).layers()
        return (
            *with_directions(layers),
            Layer(LOSS, "loss, forward and backward", 0, None),
            Layer(OPTIMISER, "optimiser", 0, None),
        )

    def calls(self, prepared: Any) -> tuple[LayerCall, ...]:
        """The passes of layers that call no other, on captured inputs and gradients.

        One that cannot be done by itself is left out.
        """
        index: Counter[str] = Counter()
        calls = []
        with captured(self._module) as uses:
            self._stepped(prepared, lambda part, loss: None)
        for use in uses:
            if use.works():
                calls.append(LayerCall(forward_of(use.name), index[use.name], use.forward))
                calls.append(LayerCall(backward_of(use.name), index[use.name], use.backward))
                index[use.name] += 1
        return tuple(calls)

    def timed(self, prepared: Any, probes: int) -> tuple[CallTime, ...]:
        """The calls and the operations of one step.

        Raises:
            ModelError: hooks cannot watch this network.
        """
        refuse_what_cannot_be_watched(self._module)
        refuse_what_was_compiled(self._module)
        clock = StepClock(self._device)
        clock.synchronize()
        if not probes:
            stamps = []
            self._stepped(prepared, lambda part, loss: stamps.append(clock.stamp()))
            clock.synchronize()
            return (CallTime("", None, clock.seconds(stamps[0], stamps[-1])),)
        with watched(self._module, clock, probes) as record:
            step = _WatchedStep(self._module, clock, record, probes)
            try:
                self._stepped(prepared, step.told)
            finally:
                step.unhook()
        clock.synchronize()
        return step.times()

    def macs(self, prepared: Any) -> Mapping[str, int]:
        """Multiply-accumulates of the forward pass, as far as they can be counted."""
        if not self._module.training:
            self._module.train()  # other layers may run in evaluation
        counted = torch_macs.by_layer(self._module, prepared.feed)
        return {forward_of(name): macs for name, macs in counted.items()}


class _WatchedStep:
    """Fills a record with the parts of a step beside its forward calls."""

    def __init__(self, module: Any, clock: StepClock, record: Watched, probes: int) -> None:
        self._module = module
        self._clock = clock
        self._record = record
        self._probes = probes
        self._handles: list[Any] = []
        self._breaks: list[tuple[Any, Any]] = []
        self._forward = range(0)
        self._open = False

    def told(self, part: str, loss: Any) -> None:
        """A part of the step begins, or, with an empty name, the step ends."""
        stamp = self._clock.stamp()
        if not self._record.calls:
            self._record.begin("", stamp)
        if self._open:
            self._record.end(stamp)
            self._open = False
        if part == "backward":
            self._forward = range(len(self._record.calls))
            self._handles = hooked(loss, self._owner(), self._record, self._clock, self._probes)
            self._breaks.append((stamp, self._clock.stamp()))
        elif self._handles:
            self.unhook()
            self._breaks.append((stamp, self._clock.stamp()))
        if part in ("loss", "optimiser"):
            self._record.begin(LOSS if part == "loss" else OPTIMISER, self._clock.stamp())
            self._open = True
        if not part:
            self._record.end(self._clock.stamp())

    def unhook(self) -> None:
        """Take the hooks on operations away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _owner(self) -> Callable[[Any], str]:
        """What tells the row of an operation of the backward pass."""
        calls = self._record.calls
        begins = [call.began[1] for call in calls]
        held = {id(p): name for name, p in owners(self._module)}

        def owner(operation: Any) -> str:
            if gathers(operation):
                return held.get(id(operation.variable), "") + BACKWARD
            number = operation._sequence_nr()
            at: int | None = bisect_right(begins, number) - 1
            while at is not None and at >= 0:
                call = calls[at]
                if call.ended is not None and call.ended[1] > number:
                    return call.layer if call.layer == LOSS else call.layer + BACKWARD
                at = call.parent
            return BACKWARD

        return owner

    def times(self) -> tuple[CallTime, ...]:
        """All calls, the step first; without the time it took to place the hooks.

        Raises:
            ModelError: layers were called during the backward pass.
        """
        names = {name for name, _ in self._module.named_modules()}
        found = []
        for at, call in enumerate(self._record.times(self._clock.seconds)):
            if call.layer not in names:
                found.append(replace(call, layer="") if call.layer == BACKWARD else call)
            elif at and at not in self._forward:
                raise ModelError(RECOMPUTED)
            else:
                found.append(replace(call, layer=forward_of(call.layer)))
        placed = sum(self._clock.seconds(*ends) for ends in self._breaks)
        return (replace(found[0], seconds=found[0].seconds - placed), *found[1:])


def owners(module: Any) -> Iterator[tuple[str, Any]]:
    """Each parameter with the name of the first layer that holds it."""
    seen: set[int] = set()
    for name, layer in module.named_modules():
        for parameter in layer.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter


def gathers(operation: Any) -> bool:
    """Whether it adds a gradient to that of a parameter; no pass made it, so no layer."""
    # By its class, since operations of the user may have any attribute.
    return type(operation).__name__ == "AccumulateGrad"


def operations(tensors: Sequence[Any], since: int = 0) -> Iterator[Any]:
    """The operations of the backward pass that starts at some tensors, each once.

    Args:
        tensors: that the backward pass starts at, or goes through.
        since: number of the first operation to be told; see ``operation_numbers``.
    """
    waiting = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        operation = waiting.pop()
        if operation._sequence_nr() < since:
            continue
        yield operation
        for following, _ in operation.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


def hooked(
    loss: Any, owner: Callable[[Any], str], record: Watched, clock: LayerClock, probes: int
) -> list[Any]:
    """Stamp each operation of the backward pass; what takes the hooks away again."""
    handles = []

    def before(name: str) -> Callable[[Any], None]:
        def hook(gradients: Any) -> None:
            record.begin(name, clock.stamp())
            for _ in range(probes - 1):
                clock.stamp()

        return hook

    def after(inputs: Any, outputs: Any) -> None:
        for _ in range(probes - 1):
            clock.stamp()
        record.end(clock.stamp())

    for operation in operations([loss]):
        handles.append(operation.register_prehook(before(owner(operation))))
        handles.append(operation.register_hook(after))
    return handles
