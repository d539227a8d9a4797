"""``layer_energy``: where the joules go in a PyTorch loop of one's own.

::

    with layer_energy(model) as energies:
        train_one_epoch()
    for layer in energies.result.layers:
        print(layer.name, layer.energy_j.value, "J of a step")

Outputs, gradients and weights are, bit for bit, what they are without it. A layer's energy is
its share of the time at the mean power of the block: a model, labelled so. ``greenai layers``
and ``Session.evaluate_layers`` measure it instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from greenai_core import (
    GreenAIError,
    Layer,
    LayersResult,
    LifecycleError,
    ModelError,
    ModelSummary,
    Session,
    WatchedCall,
    WatchedLoop,
    layers_of_window,
)
from greenai_plugins.models.torch_layers import TorchLayered, elements
from greenai_plugins.models.torch_training_layers import (
    BACKWARD,
    FORWARD,
    OPTIMISER,
    with_directions,
)

from .torch_loop_tally import INSIDE, Row, Tally
from .torch_loop_watch import LoopWatch
from .torch_watching_cost import WatchingCost, watching_cost

MIXED = (
    "training and inference were mixed in one `layer_energy`: {taught} of {passes} passes were "
    "followed by a backward pass. Their layers cost different energies, and the sensors saw the "
    "sum: give each a block of its own"
)

HIDDEN = (
    "the network learnt, but no backward pass went through what it returned in the block: its "
    "tensors are hidden in an object of its own class, the backward pass is inside its own "
    "`forward`, or goes through a pass from before the block. Return tensors, tuples, mappings or "
    "dataclasses, and do both passes in the block, to see the layers of training"
)

NO_LAYER = (
    "the network was called, but none of its layers was called as a module: their `forward` is "
    "called by itself, or compiled. Call them (`self.layer(x)`) to see them, or measure the whole "
    "with `Session.window`"
)

NOT_CALLED = (
    "the network was not called in the block. Call it as `model(x)`, not `model.forward(x)`; a "
    "copy, a compiled or a parallel one of it is another network"
)


class LayerEnergies:
    """What a ``layer_energy`` block gives; known when it has ended."""

    def __init__(self) -> None:
        self._result: LayersResult | None = None
        self._refused = "the block has not ended: read the result after it"

    @property
    def result(self) -> LayersResult:
        """The energy of a mean pass, layer by layer.

        Raises:
            LifecycleError: the block has not ended, or the network was not called in it.
            ModelError: what was seen cannot be told by layer; the message says why.
        """
        if self._result is None:
            unfinished = "has not ended" in self._refused or self._refused == NOT_CALLED
            raise (LifecycleError if unfinished else ModelError)(self._refused)
        return self._result


@contextmanager
def layer_energy(model: Any, session: Session | None = None) -> Iterator[LayerEnergies]:
    """Watch the layers of a network while the block runs it, in training or in inference.

    All hooks are gone afterwards, also after an exception, and what was seen until then is in
    the result.

    Args:
        model: a ``torch.nn.Module`` in eager mode.
        session: an open one; None for one of its own with all sensors that work.

    Raises:
        ModelError: hooks cannot watch this network (compiled, scripted, in parallel).
        NoSensorError: nothing tells joules here.
    """
    energies = LayerEnergies()
    _refuse_what_is_no_network(model)
    device = next((parameter.device for parameter in model.parameters()), None)
    watch = LoopWatch(model, device)
    with ExitStack() as stack:
        if session is None:
            session = stack.enter_context(Session())
        cost = watching_cost()
        interrupted = True
        window = session.window("layers")
        try:
            with window:
                try:
                    watch.begin()
                    yield energies
                    interrupted = False
                finally:
                    watch.end()
        finally:
            refused = watch.trouble or _refusal(watch.tally, model, interrupted)
            if not refused:
                try:
                    loop = _seen(model, watch.tally, cost, device)
                    energies._result = layers_of_window(window.result, loop)
                except GreenAIError as error:  # must not hide one of the loop
                    refused = str(error)
            energies._refused = refused
            if refused:
                warnings.warn(f"no energy by layer: {refused}", RuntimeWarning, stacklevel=3)


def _refuse_what_is_no_network(model: Any) -> None:
    import torch

    if not isinstance(model, torch.nn.Module):
        raise ModelError(
            f"`layer_energy` watches a torch.nn.Module, and this is a {type(model).__name__}. "
            "`greenai layers` measures models of other formats"
        )


def _refusal(tally: Tally, model: Any, interrupted: bool) -> str:
    """Why the passes cannot be told by layer; empty if they can."""
    if not tally.passes:
        return NOT_CALLED
    if not tally.taught and (tally.optimiser.calls or tally.learnt):
        return HIDDEN
    # An exception may come between the two passes of the last step.
    passes = tally.last_taught if interrupted and tally.taught else tally.passes
    without = passes - tally.taught - tally.aborted
    if tally.taught and without > 0:
        return MIXED.format(taught=tally.taught, passes=tally.passes)
    seen = any(name for name in tally.forward)
    return "" if seen or next(model.children(), None) is None or tally.aborted else NO_LAYER


def _seen(model: Any, tally: Tally, cost: WatchingCost, device: Any) -> WatchedLoop:
    training = bool(tally.taught)
    layers = TorchLayered(model, lambda feed: None).layers()
    itself = ""
    if not layers:  # the network is one layer
        itself = type(model).__name__
        layers = (Layer(itself, itself, sum(map(elements, model.parameters())), None),)
    on_gpu = getattr(device, "type", "") == "cuda"
    taken = WatchingCost(0.0, 0.0) if on_gpu else cost
    notes = []
    if on_gpu:
        notes.append(
            f"watching a layer takes {cost.call_s * 1e6:.0f} µs of the host, most of which a busy "
            "GPU hides: nothing was taken off"
        )
    passes = tally.taught if training else tally.passes
    if tally.in_parts:
        passes = 1
        notes.append("the network was called in parts, so the figures are of the whole block")
    rows = _rows(tally.forward, itself, FORWARD if training else "", taken.call_s)
    if training:
        rows += _rows(tally.backward, itself, BACKWARD, taken.operation_s)
        layers = (*with_directions(layers), Layer(OPTIMISER, "optimiser", 0, None))
        rows.append(WatchedCall(OPTIMISER, tally.optimiser.calls, tally.optimiser.seconds))
    return WatchedLoop(
        model=ModelSummary(type(model).__name__, "pytorch", str(device or "cpu"), (), 1),
        phase="training" if training else "inference",
        passes=passes,
        layers=layers,
        calls=tuple(row for row in rows if row.calls),
        per_call_s=taken.call_s,
        watching_s=(
            tally.calls * taken.call_s
            + tally.operations * taken.operation_s
            + (0.0 if on_gpu else tally.placing_s)
        ),
        warnings=tuple(notes),
    )


def _rows(rows: Mapping[str, Row], itself: str, suffix: str, cost_s: float) -> list[WatchedCall]:
    """Rows of layers, what watching cost taken off; the network's own are in no layer.

    ``itself`` is the name of the network where it has no layers inside.
    """
    found = []
    for name, row in rows.items():
        if name or itself:
            seconds = max(row.seconds - INSIDE * cost_s * (row.calls + row.inner), 0.0)
            found.append(WatchedCall((name or itself) + suffix, row.calls, seconds))
    return found
