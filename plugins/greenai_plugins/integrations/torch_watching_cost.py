"""What it costs to watch a call of a layer, and an operation of the backward pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from greenai_plugins.models.torch_training_layers import gathers, operations

from .torch_loop_watch import LoopWatch

CHAIN = 50
ROUNDS = 7


@dataclass(frozen=True)
class WatchingCost:
    """Seconds that watching one call of a layer, and one operation, takes."""

    call_s: float
    operation_s: float


def watching_cost() -> WatchingCost:
    """Measured on layers that do nothing, watched and not, in turn; takes some milliseconds.

    Nobody else's hooks see these layers, and no mode of the caller is in force.
    """
    found: list[WatchingCost | BaseException] = []

    def measure() -> None:
        try:
            found.append(_measured())
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            found.append(error)

    # PyTorch's modes, such as no gradients, another device or a counter of operations, are
    # those of a thread.
    thread = threading.Thread(target=measure, name="greenai-watching-cost")
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _measured() -> WatchingCost:
    import torch

    before: dict[int, Callable[..., None]] = {}
    after: dict[int, Callable[..., None]] = {}
    chain = _chain(before, after)
    start = torch.zeros(1, requires_grad=True)

    def forward() -> float:
        began = time.perf_counter()
        chain(start)
        return time.perf_counter() - began

    def watched_forward() -> float:
        watch = LoopWatch(chain, start.device)
        watch.running()
        before[0], after[0] = watch.before, watch.after
        took = forward()
        before.clear()
        after.clear()
        return took - watch.tally.placing_s

    def backward(watched: bool) -> float:
        tensor = start
        for _ in range(CHAIN):
            tensor = tensor * 1.0
        watch = LoopWatch(chain, start.device)
        watch.running()
        if watched:
            for operation in operations([tensor]):
                if not gathers(operation):
                    watch.stamped(operation, "", [False])
        began = time.perf_counter()
        torch.autograd.grad(tensor, start)
        return time.perf_counter() - began

    rounds = [
        (forward(), watched_forward(), backward(False), backward(True)) for _ in range(ROUNDS)
    ]
    # The least of each kind: whatever else runs meanwhile only adds to it.
    plain, seen, back, seen_back = (min(kind) for kind in zip(*rounds, strict=True))
    return WatchingCost(max(seen - plain, 0.0) / (CHAIN + 1), max(seen_back - back, 0.0) / CHAIN)


def _chain(before: dict[int, Any], after: dict[int, Any]) -> Any:
    """Layers that do nothing, called as all layers are, with hooks that only they have."""
    import torch

    call = torch.nn.Module._call_impl
    world = {
        name: {} if name.startswith("_global_") and "hook" in name else value
        for name, value in call.__globals__.items()
    }
    world["_global_forward_pre_hooks"] = before
    world["_global_forward_hooks"] = after
    world["_global_forward_hooks_always_called"] = {0: True}
    alone = {"_call_impl": FunctionType(call.__code__, world)}
    sequence = type("Sequence", (torch.nn.Sequential,), alone)
    layer = type("Nothing", (torch.nn.Identity,), alone)
    chain = sequence()
    chain._modules.update({str(number): layer() for number in range(CHAIN)})
    return chain
