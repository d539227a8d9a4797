"""Multiply-accumulates of one forward pass of a PyTorch network.

``torch.utils.flop_counter`` counts the floating-point operations of convolutions
and matrix products while the network runs; it takes a multiply-accumulate for
two. What it does not know it takes for none, so those operators are looked for.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

from greenai_core import ModelInputError

from .torch_layer_times import LayerClock, watched
from .torch_runtime import Feed, reason

FLOPS_PER_MAC = 2

UNCOUNTED = (
    "mkldnn", "_rnn", "lstm_cell", "_transformer", "_native_multi_head", "sparse", "cdist",
    "_trilinear", "addbmm", "addr.", "quantized", "_int_mm", "int4pack", "int8pack", "packed",
    "scaled_dot_product", "_attention",
)  # fmt: skip
"""Parts of the names of PyTorch's operators that multiply and are not counted."""

CHEAP = frozenset({"torchvision.nms.default", "torchvision.roi_align.default"})
"""Operators of other libraries that multiply no matrices."""


def count(module: Any, feed: Feed) -> tuple[int | None, str]:
    """Multiply-accumulates of one inference, or None and the reason.

    Args:
        module: in evaluation mode, on its device.
        feed: its prepared inputs.

    Raises:
        ModelInputError: the network cannot run on them.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False, custom_mapping=_more_operators())
    try:
        with torch.no_grad(), _without_shortcuts(), _noting() as seen, counter:
            module(*feed.args, **feed.kwargs)
    except Exception as error:  # a network's own code may raise anything
        raise ModelInputError(f"the network cannot run on this input ({reason(error)})") from error
    uncounted = sorted(name for name in seen if _multiplies(name))
    if uncounted:
        return None, f"PyTorch does not count the multiplications of {', '.join(uncounted[:5])}"
    return counter.get_total_flops() // FLOPS_PER_MAC, ""


def by_layer(module: Any, feed: Feed) -> dict[str, int]:
    """Multiply-accumulates of one inference in each layer, without those of layers inside it.

    Args:
        module: in the mode that is meant, on its device.
        feed: its prepared inputs.

    Returns:
        by the name of the layer, all its calls together; layers that were not called are
        missing. Empty where nothing can be counted.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False, custom_mapping=_more_operators())
    clock = _Flops(counter)
    try:
        with (
            torch.no_grad(), _without_shortcuts(), _noting() as seen, counter,
            watched(module, clock, 1) as record,
        ):  # fmt: skip
            module(*feed.args, **feed.kwargs)
        calls = record.times(clock.seconds)
    except Exception:  # noqa: BLE001  # a network's own code may raise anything; nothing is counted
        return {}
    if any(_multiplies(name) for name in seen):
        return {}
    own: Counter[str] = Counter()
    for call in calls:
        own[call.layer] += round(call.seconds)
        if call.parent is not None:
            own[calls[call.parent].layer] -= round(call.seconds)
    return {name: flops // FLOPS_PER_MAC for name, flops in own.items() if name}


class _Flops(LayerClock):
    """A clock that goes on with each operation that multiplies, not with time."""

    def __init__(self, counter: Any) -> None:
        super().__init__(None)
        self._counter = counter

    def stamp(self) -> Any:
        """How many there were."""
        return self._counter.get_total_flops()


def _multiplies(name: str) -> bool:
    space = name.partition(".")[0]
    if space not in ("aten", "prim", "prims"):
        return name not in CHEAP
    return any(part in name for part in UNCOUNTED)


def _more_operators() -> dict[Any, Any]:
    """Products of a matrix or vector with a vector, which the counter leaves out."""
    import torch

    def matrix_vector(matrix: Any, vector: Any, *rest: Any, **named: Any) -> int:
        return FLOPS_PER_MAC * int(matrix[0]) * int(matrix[1])

    def added(start: Any, matrix: Any, vector: Any, *rest: Any, **named: Any) -> int:
        return matrix_vector(matrix, vector)

    def dot(left: Any, right: Any, *rest: Any, **named: Any) -> int:
        return FLOPS_PER_MAC * int(left[0])

    aten = torch.ops.aten
    return {aten.mv: matrix_vector, aten.addmv: added, aten.dot: dot}


@contextlib.contextmanager
def _without_shortcuts() -> Iterator[None]:
    """While it lasts, layers are made of plain products, not of one operator for a whole layer."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            # PyTorch warns of what else its switches would do on other machines.
            warnings.simplefilter("ignore")
            with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def _noting() -> Iterator[set[str]]:
    """While it lasts, the names of all operators that run are noted."""
    from torch.utils._python_dispatch import TorchDispatchMode

    names: set[str] = set()

    class Noting(TorchDispatchMode):  # type: ignore[misc]  # PyTorch may be absent
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            names.add(str(function))
            return function(*args, **(kwargs or {}))

    with Noting():
        yield names
