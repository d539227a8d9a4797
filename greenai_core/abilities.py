"""What one model file can be used for, and its layers where they can be told apart."""

from __future__ import annotations

from collections.abc import Callable
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
    """

    name: str
    type: str
    parameters: int
    parent: str | None


@dataclass(frozen=True)
class LayerCall:
    """One use of a layer in one forward pass, with its inputs captured.

    Attributes:
        layer: name of the layer.
        index: 0 for its first use in the pass, 1 for the second, …
        replay: does that use again on the captured inputs; asynchronous as
            ``predict`` is.
    """

    layer: str
    index: int
    replay: Callable[[], object]


@runtime_checkable
class Layered(Protocol):
    """A model file opened so that its layers can be told apart."""

    def layers(self) -> tuple[Layer, ...]:
        """All layers, parents before children."""

    def calls(self, prepared: Any) -> tuple[LayerCall, ...]:
        """The uses of leaf layers in one forward pass on ``prepared``, in order."""
