"""What one model file can be used for, and its layers where they can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Ability:
    """Whether a file can be used in one way, and if not, why.

    Attributes:
        possible: the answer.
        reason: what is missing and how to supply it; empty when possible.
    """

    possible: bool
    reason: str = ""


@dataclass(frozen=True)
class Layer:
    """One layer of a model.

    Attributes:
        name: its path in the model, unique (``features.0``).
        type: the library's name of its kind (``Conv2d``).
        parameters: elements of its own parameters, not of its children's.
        parent: name of the layer that contains it, None at the top.
        direction: ``forward`` or ``backward``: not a layer, but that part of its parent's
            work in training; empty for a layer.
    """

    name: str
    type: str
    parameters: int
    parent: str | None
    direction: str = ""


@dataclass(frozen=True)
class LayerCall:
    """One use of a layer in one forward pass, with its inputs captured.

    Attributes:
        layer: name of the layer.
        index: 0 for its first use in the pass, 1 for the second, …
        replay: does that use again on the captured inputs; asynchronous as
            ``predict`` is.
        empty: the same with nothing to do, where handing a layer over is a work of its own
            that a pass does once for all layers; what it costs is taken off. None where a
            pass hands over each layer, too.
    """

    layer: str
    index: int
    replay: Callable[[], object]
    empty: Callable[[], object] | None = None


@runtime_checkable
class Layered(Protocol):
    """A model file opened so that its layers can be told apart."""

    def layers(self) -> tuple[Layer, ...]:
        """All layers, parents before children."""

    def calls(self, prepared: Any) -> tuple[LayerCall, ...]:
        """The uses of leaf layers in one forward pass on ``prepared``, in order."""


@dataclass(frozen=True)
class CallTime:
    """One call of a layer in a watched pass.

    Attributes:
        layer: its name; empty for the model itself, which is the first.
        parent: place of the call that it happened in, among the calls of the pass; None for
            the model itself.
        seconds: between its stamps, with all that was called inside.
    """

    layer: str
    parent: int | None
    seconds: float


@runtime_checkable
class TimedLayered(Layered, Protocol):
    """Layers whose time in a pass can be told."""

    def timed(self, prepared: Any, probes: int) -> tuple[CallTime, ...]:
        """The calls of one pass on ``prepared``, in the order in which they begin.

        Args:
            prepared: see ``calls``.
            probes: stamps at each end of a call, of which the outermost count; 0 for none
                but those of the model itself. When this returns nothing of the pass is still
                running, and nothing watches the model.
        """


@dataclass(frozen=True)
class ProfiledPass:
    """One pass as the profiler of a runtime wrote it down.

    Attributes:
        calls: in the order in which they begin, the model itself first.
        seconds: of the pass with all that comes around the model.
        step_s: smallest difference of two times that the profiler can tell.
    """

    calls: tuple[CallTime, ...]
    seconds: float
    step_s: float = 0.0


@runtime_checkable
class ProfiledLayered(Layered, Protocol):
    """Layers whose times a profiler tells, of many passes and only when these are over."""

    def profiled(self, prepared: Any, passes: int) -> tuple[ProfiledPass, ...]:
        """Passes on ``prepared``, one after the other, all with the same calls.

        Args:
            prepared: see ``calls``.
            passes: as many, or fewer where the profiler holds no more; at least one. When
                this returns nothing of them is still running, no profiler is on, and no
                file of it is left.
        """


@runtime_checkable
class RepeatableLayered(Layered, Protocol):
    """Layers that can be done several times inside a pass."""

    def repeated(self, prepared: Any, layer: str, times: int) -> Callable[[], object]:
        """A pass on ``prepared`` in which each call of one layer is done so many times.

        Its outputs are those of a plain pass. Asynchronous as ``predict`` is.

        Raises:
            ModelError: this layer cannot be repeated, because it keeps a state or works in
                place on what others need.
        """


@runtime_checkable
class LayeredTraining(Protocol):
    """A model opened for training whose layers can be told apart in a step."""

    def layered(self) -> AbstractContextManager[TimedLayered]:
        """While it lasts steps cost what they cost and teach nothing.

        Its ``prepared`` is a prepared batch, a pass is a training step. Afterwards
        parameters, buffers, gradients, the optimiser and random numbers are as they were.
        """
