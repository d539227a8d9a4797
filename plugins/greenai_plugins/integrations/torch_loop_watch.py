"""Watches the layers of a PyTorch network while the user's own loop runs it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from greenai_plugins.models.torch_layer_times import Watched, refuse_what_cannot_be_watched
from greenai_plugins.models.torch_runtime import flatten
from greenai_plugins.models.torch_training_layers import (
    RECOMPUTED,
    StepClock,
    operations,
    refuse_what_was_compiled,
)

INSIDE = 0.5
"""Share of what watching a call costs that lies between its own stamps; the middle of what it
can be."""

KEPT_EVENTS = 4096
"""Stamps on a GPU that may wait until it has come to them."""

THREADS = (
    "the network was called from several threads, where calls cannot be told to lie within each "
    "other. Call it from the thread of the `with` block"
)

STREAMS = (
    "the network ran on several CUDA streams at once, where layers overlap and no time is one "
    "layer's. Run it on one stream to see its layers"
)


@dataclass
class Row:
    """Calls of one row so far.

    Attributes:
        calls: that were watched.
        seconds: without what is inside other rows.
        inner: calls of others inside them.
    """

    calls: int = 0
    seconds: float = 0.0
    inner: int = 0


@dataclass
class Tally:
    """What was seen.

    Attributes:
        forward, backward: by the name of the layer; empty for the network itself.
        optimiser: steps of optimisers of the network.
        passes: calls of the network from outside.
        taught: passes that were followed by a backward pass.
        in_parts: whether layers were called from outside the network.
        calls, operations: that were stamped.
        placing_s: spent on placing and reading stamps, beside the stamps themselves.
    """

    forward: dict[str, Row] = field(default_factory=dict)
    backward: dict[str, Row] = field(default_factory=dict)
    optimiser: Row = field(default_factory=Row)
    passes: int = 0
    taught: int = 0
    in_parts: bool = False
    calls: int = 0
    operations: int = 0
    placing_s: float = 0.0


class LoopWatch:
    """Hooks on a network, from ``begin`` to ``end``.

    Outputs and gradients are what they would be: hooks on modules and on operations of the
    graph read clocks and hand nothing back.

    Args:
        network: whose layers are watched.
        device: that it is on.

    Raises:
        ModelError: hooks cannot watch it.
    """

    def __init__(self, network: Any, device: Any) -> None:
        refuse_what_cannot_be_watched(network)
        refuse_what_was_compiled(network)
        self.tally = Tally()
        self.trouble = ""
        """Why what was seen means nothing; empty while it does."""
        self._names = {id(module): name for name, module in network.named_modules()}
        self._clock = StepClock(device)
        self._asynchronous = getattr(device, "type", "") == "cuda"
        self._record = Watched()
        self._thread = 0
        self._running = False
        self._handles: list[Any] = []
        self._placed: deque[list[Any]] = deque()
        self._late: deque[tuple[Row, Any, Any, Any]] = deque()
        self._stream: Any = None
        self._stepping: Any = None
        self._parameters = {id(parameter) for parameter in network.parameters()}

    def begin(self) -> None:
        """Place the hooks."""
        from torch.nn.modules.module import (
            register_module_forward_hook,
            register_module_forward_pre_hook,
        )
        from torch.optim.optimizer import (
            register_optimizer_step_post_hook,
            register_optimizer_step_pre_hook,
        )

        self._thread = threading.get_ident()
        self._running = True
        # Not on the layers themselves: those could not be pickled nor copied meanwhile, and
        # PyTorch runs some of them differently when there are hooks on them.
        self._handles.append(register_module_forward_pre_hook(self._before))
        self._handles.append(register_module_forward_hook(self._after, always_call=True))
        self._handles.append(register_optimizer_step_pre_hook(self._step_begins))
        self._handles.append(register_optimizer_step_post_hook(self._step_ends))

    def end(self) -> None:
        """Take all hooks away; does nothing when they are gone."""
        self._running = False
        for handle in [*self._handles, *(handle for placed in self._placed for handle in placed)]:
            handle.remove()
        self._handles.clear()
        self._placed.clear()
        self._clock.synchronize()
        self._fold(0)

    # Forward

    def _before(self, module: Any, args: Any) -> None:
        name = self._names.get(id(module))
        if name is None or self._useless():
            return
        if not self._record.calls:
            self.tally.passes += 1
            self.tally.in_parts = self.tally.in_parts or bool(name)
            self._stepping = None  # an optimiser that runs the network itself
        self._record.begin(name, self._clock.stamp())

    def _after(self, module: Any, args: Any, output: Any) -> None:
        record = self._record
        if id(module) not in self._names or self.trouble or not record.calls:
            return
        record.end(self._clock.stamp())
        if record.calls[0].ended is None:
            return
        began = time.perf_counter()
        if output is not None:
            self._place(output)
        self._passed()
        self.tally.placing_s += time.perf_counter() - began

    def _useless(self) -> bool:
        """Whether a call cannot be counted; notes why."""
        if self.trouble or not self._running:
            return True
        if in_backward():
            self.trouble = RECOMPUTED
        elif threading.get_ident() != self._thread:
            self.trouble = THREADS
        elif self._asynchronous:
            import torch

            stream = torch.cuda.current_stream().cuda_stream
            self._stream = stream if self._stream is None else self._stream
            if stream != self._stream:
                self.trouble = STREAMS
        return bool(self.trouble)

    def _passed(self) -> None:
        """A pass is over: its calls go into the rows."""
        calls, self._record = self._record.calls, Watched()
        self.tally.calls += len(calls)
        for call in calls:
            row = self.tally.forward.setdefault(call.layer, Row())
            row.calls += 1
            parent = None if call.parent is None else calls[call.parent].layer
            above = None if parent is None else self.tally.forward.setdefault(parent, Row())
            if above is not None:
                above.inner += 1
            self._late.append((row, above, call.began, call.ended))
        self._fold(KEPT_EVENTS if self._asynchronous else 0)

    def _fold(self, keep: int) -> None:
        """Read the stamps; of a GPU those that it has come to, all but so many."""
        while len(self._late) > keep:
            row, above, began, ended = self._late.popleft()
            seconds = self._clock.seconds(began, ended)
            row.seconds += seconds
            if above is not None:
                above.seconds -= seconds

    # Backward

    def _place(self, output: Any) -> None:
        """Hooks on the operations that gradients of this pass will go through."""
        while self._placed and self._placed[0][0].hooks_dict_ref() is None:
            self._placed.popleft()  # its graph is gone
        calls = self._record.calls
        begins = [call.began[1] for call in calls]
        taught = [False]
        handles: list[Any] = []
        for operation in operations([tensor for _, tensor in flatten(output)], begins[0]):
            if hasattr(operation, "variable"):
                continue  # shared by all passes: adding up gradients belongs to none of them
            number = operation._sequence_nr()
            at: int | None = bisect_right(begins, number) - 1
            while at is not None and calls[at].ended[1] <= number:
                at = calls[at].parent
            handles += self._stamped(operation, calls[at or 0].layer, taught)
        if handles:
            self._placed.append(handles)

    def _stamped(self, operation: Any, name: str, taught: list[bool]) -> list[Any]:
        row = self.tally.backward.setdefault(name, Row())
        began: list[Any] = []

        def before(gradients: Any) -> None:
            if self._running and not self.trouble:
                if not taught[0]:
                    taught[0] = True
                    self.tally.taught += 1
                began.append(self._clock.stamp())

        def after(inputs: Any, outputs: Any) -> None:
            if began:
                row.calls += 1
                self.tally.operations += 1
                self._late.append((row, None, began.pop(), self._clock.stamp()))
                if not self._asynchronous:
                    self._fold(0)

        return [operation.register_prehook(before), operation.register_hook(after)]

    # Optimiser

    def _step_begins(self, optimiser: Any, *_: Any) -> None:
        ours = any(
            id(parameter) in self._parameters
            for group in optimiser.param_groups
            for parameter in group["params"]
        )
        self._stepping = self._clock.stamp() if ours and self._running else None

    def _step_ends(self, optimiser: Any, *_: Any) -> None:
        began, self._stepping = self._stepping, None
        if began is not None and self._running:
            self.tally.optimiser.calls += 1
            self._late.append((self.tally.optimiser, None, began, self._clock.stamp()))


def in_backward() -> bool:
    """Whether this thread is in a backward pass."""
    import torch

    task = getattr(torch._C, "_current_graph_task_id", None)
    return task is not None and task() != -1


# What watching costs

CHAIN = 50
ROUNDS = 7


@dataclass(frozen=True)
class WatchingCost:
    """Seconds that watching one call of a layer, and one operation, takes."""

    call_s: float
    operation_s: float


def watching_cost() -> WatchingCost:
    """Measured on layers that do nothing, watched and not, in turn; takes some milliseconds."""
    import torch

    chain = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(CHAIN)))
    start = torch.zeros(1, requires_grad=True)

    def forward() -> float:
        began = time.perf_counter()
        chain(start)
        return time.perf_counter() - began

    def backward(watched: bool) -> float:
        with torch.enable_grad():
            tensor = start
            for _ in range(CHAIN):
                tensor = tensor * 1.0
        watch = LoopWatch(chain, start.device)
        watch._running = True
        if watched:
            for operation in operations([tensor]):
                if not hasattr(operation, "variable"):
                    watch._stamped(operation, "", [False])
        began = time.perf_counter()
        torch.autograd.grad(tensor, start)
        return time.perf_counter() - began

    def watched_forward() -> float:
        watch = LoopWatch(chain, start.device)
        watch.begin()
        took = forward()
        watch.end()
        return took - watch.tally.placing_s

    rounds = [
        (forward(), watched_forward(), backward(False), backward(True)) for _ in range(ROUNDS)
    ]
    plain, seen, back, seen_back = (sorted(kind)[ROUNDS // 2] for kind in zip(*rounds, strict=True))
    return WatchingCost(max(seen - plain, 0.0) / (CHAIN + 1), max(seen_back - back, 0.0) / CHAIN)
