"""Watches the layers of a PyTorch network while the user's own loop runs it."""

from __future__ import annotations

import sys
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from greenai_core import ModelError
from greenai_plugins.models.torch_layer_times import (
    STREAMS,
    THREADS,
    Watched,
    refuse_what_cannot_be_watched,
)
from greenai_plugins.models.torch_training_layers import (
    RECOMPUTED,
    StepClock,
    gathers,
    operations,
    refuse_what_was_compiled,
)

from .torch_loop_tally import Row, Tally
from .torch_outputs import tensors_in

KEPT_EVENTS = 4096
"""Stamps on a GPU that may wait until it has come to them."""

CHANGED = (
    "layers of the network were put in, taken out or replaced in the block. Change the network "
    "before it"
)

COMPILED = (
    "layers of the network were compiled in the block (torch.compile), and what is compiled has "
    "no layers. Watch the network before it is compiled, or measure the compiled one as a whole"
)

UNREADABLE = "what the network returned, a {}, cannot be looked through for tensors: {}"


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
        self._network = network
        self._tree = _tree(network)
        self._names = {module: name for name, module in self._tree.items()}
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
        self._parameters = {id(parameter): parameter for parameter in network.parameters()}
        self._gradients: tuple[Any, ...] = ()
        self._raised: BaseException | None = None
        self._compiling, self._learning = _modes()

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

        self.running()
        # Not on the layers themselves: those could not be pickled nor copied meanwhile, and
        # PyTorch runs some of them differently when there are hooks on them.
        self._handles.append(register_module_forward_pre_hook(self.before))
        self._handles.append(register_module_forward_hook(self.after, always_call=True))
        self._handles.append(register_optimizer_step_pre_hook(self._step_begins))
        self._handles.append(register_optimizer_step_post_hook(self._step_ends))

    def running(self) -> None:
        """Watch whatever calls the hooks from now on, in this thread."""
        self._thread = threading.get_ident()
        self._gradients = self._gradients_now()
        self._running = True

    def end(self) -> None:
        """Take all hooks away; does nothing when they are gone."""
        self._running = False
        for handle in [*self._handles, *(handle for placed in self._placed for handle in placed)]:
            handle.remove()
        self._handles.clear()
        self._placed.clear()
        if self._record.calls:  # the block was left in the middle of a pass
            self.tally.aborted += 1
            self._passed()
        self._clock.synchronize()
        self._fold(0)
        self._look_at_gradients()
        self.trouble = self.trouble or self._changed()

    def _changed(self) -> str:
        """Why the network cannot be watched any more; empty if it can."""
        try:
            refuse_what_cannot_be_watched(self._network)
            refuse_what_was_compiled(self._network)
        except ModelError as error:
            return str(error)
        return "" if _tree(self._network) == self._tree else CHANGED

    # Forward

    def before(self, module: Any, args: Any) -> None:
        """A module begins; called by PyTorch."""
        if self._compiling():
            # This is made part of the compiled code then, which has no clock.
            if module in self._names:
                self.trouble = COMPILED
            return
        name = self._names.get(module)
        if name is None or self._useless():
            return
        self._break_off(name)
        if self._record.innermost is None:
            if self._record.calls:  # Ctrl-C came while a pass was being counted
                self._passed()
            if self._learning():
                self._look_at_gradients()
            self.tally.passes += 1
            self.tally.in_parts = self.tally.in_parts or bool(name)
            self._stepping = None  # an optimiser that runs the network itself
            self._raised = sys.exc_info()[1]
        self._record.begin(name, self._clock.stamp())

    def after(self, module: Any, args: Any, output: Any) -> None:
        """A module ends; called by PyTorch."""
        if self._compiling() or self.trouble:
            return
        record = self._record
        name = self._names.get(module)
        # Where a hook that comes before ours raised, no call has begun.
        if name is None or record.innermost != name or threading.get_ident() != self._thread:
            return
        record.end(self._clock.stamp())
        if record.depth:
            return
        began = time.perf_counter()
        if output is not None:
            try:
                self._place(output)
            except Exception as error:  # noqa: BLE001  # objects of the user; their loop goes on
                self.trouble = UNREADABLE.format(type(output).__name__, error)
                return
        elif sys.exc_info()[1] is not self._raised:
            self.tally.aborted += 1
        self._passed()
        self.tally.placing_s += time.perf_counter() - began

    def _break_off(self, name: str) -> None:
        """End calls that were ended by Ctrl-C or its like: PyTorch calls no hook then."""
        inner = self._record.innermost
        if inner is None or _is_inside(name, inner):
            return
        under_way = sum(module in self._names for module in _modules_under_way()) - 1
        # Below 0 this call itself is not found: somebody has put another way of calling there.
        if 0 <= under_way < self._record.depth:
            self._record.break_off(under_way)
            if not under_way:
                self.tally.aborted += 1
                self._passed()

    def _useless(self) -> bool:
        """Whether a call cannot be counted; notes why."""
        if self.trouble or not self._running:
            return True
        if in_backward():
            self.trouble = RECOMPUTED
        elif threading.get_ident() != self._thread:
            self.trouble = THREADS
        elif self._clock.stream() != self._stream:
            if self._stream is not None:
                self.trouble = STREAMS
            self._stream = self._clock.stream()
        return bool(self.trouble)

    def _passed(self) -> None:
        """A pass is over: its calls go into the rows."""
        calls, self._record = self._record.calls, Watched()
        self.tally.calls += len(calls)
        for call in calls:
            if call.ended is None:
                continue
            row = self.tally.forward.setdefault(call.layer, Row())
            row.calls += 1
            parent = None if call.parent is None else calls[call.parent]
            above = None
            if parent is not None and parent.ended is not None:
                above = self.tally.forward.setdefault(parent.layer, Row())
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
        for operation in operations(list(tensors_in(output)), begins[0]):
            if gathers(operation):
                continue  # shared by all passes: adding up gradients belongs to none of them
            number = operation._sequence_nr()
            at: int | None = bisect_right(begins, number) - 1
            while at is not None and calls[at].ended[1] <= number:
                at = calls[at].parent
            handles += self.stamped(operation, calls[at or 0].layer, taught)
        if handles:
            self._placed.append(handles)

    def stamped(self, operation: Any, name: str, taught: list[bool]) -> list[Any]:
        """Stamp an operation of the backward pass; what takes the hooks away again.

        Args:
            operation: of the graph.
            name: of its row.
            taught: of its pass: whether the backward pass has come to it.
        """
        row = self.tally.backward.setdefault(name, Row())
        number = self.tally.passes
        began: list[Any] = []

        def before(gradients: Any) -> None:
            if self._running and not self.trouble:
                if not taught[0]:
                    taught[0] = True
                    self.tally.taught += 1
                    self.tally.last_taught = max(self.tally.last_taught, number)
                began.append(self._clock.stamp())

        def after(inputs: Any, outputs: Any) -> None:
            if began:
                row.calls += 1
                self.tally.operations += 1
                self._late.append((row, None, began.pop(), self._clock.stamp()))
                if not self._asynchronous:
                    self._fold(0)

        return [operation.register_prehook(before), operation.register_hook(after)]

    def _gradients_now(self) -> tuple[Any, ...]:
        """What changes when parameters are given gradients."""
        gradients = (parameter.grad for parameter in self._parameters.values())
        return tuple(None if one is None else (id(one), one._version) for one in gradients)

    def _look_at_gradients(self) -> None:
        """Note gradients that came otherwise than through what the network returned."""
        if self.tally.taught or self.tally.learnt:
            return
        began = time.perf_counter()
        before, self._gradients = self._gradients, self._gradients_now()
        found = zip(self._parameters.values(), before, self._gradients, strict=True)
        self.tally.learnt = any(
            # Setting a gradient to zero changes it, too.
            new is not None and new != old and not _is_zero(parameter.grad)
            for parameter, old, new in found
        )
        self.tally.placing_s += time.perf_counter() - began

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


def _modes() -> tuple[Callable[[], bool], Callable[[], bool]]:
    """What tells whether PyTorch compiles the code that runs, and whether it keeps gradients."""
    import torch

    return torch.compiler.is_compiling, torch.is_grad_enabled


def _is_zero(tensor: Any) -> bool:
    try:
        return not bool(tensor.count_nonzero())
    except (RuntimeError, NotImplementedError):  # of a layout or a device without that operation
        return False


def _tree(network: Any) -> dict[str, Any]:
    """All modules of a network by name, the network itself first."""
    return dict(network.named_modules())


def _is_inside(name: str, other: str) -> bool:
    """Whether a layer is one of those inside another one."""
    return name != other and (not other or name.startswith(f"{other}."))


def _modules_under_way() -> Iterator[Any]:
    """The modules whose calls this thread is in, the innermost first."""
    import torch

    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_code is torch.nn.Module._call_impl.__code__:
            yield frame.f_locals["self"]
        frame = frame.f_back
