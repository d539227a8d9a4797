"""What was seen of a PyTorch loop."""

from __future__ import annotations

from dataclasses import dataclass, field

INSIDE = 0.5
"""Share of what watching a call costs that lies between its own stamps; the middle of what it
can be."""


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
        last_taught: number of the last one of these, counted from 1.
        aborted: passes that an exception ended.
        learnt: whether parameters were given gradients by nothing that was seen.
        in_parts: whether layers were called from outside the network.
        calls, operations: that were stamped.
        placing_s: spent on placing and reading stamps, beside the stamps themselves.
    """

    forward: dict[str, Row] = field(default_factory=dict)
    backward: dict[str, Row] = field(default_factory=dict)
    optimiser: Row = field(default_factory=Row)
    passes: int = 0
    taught: int = 0
    last_taught: int = 0
    aborted: int = 0
    learnt: bool = False
    in_parts: bool = False
    calls: int = 0
    operations: int = 0
    placing_s: float = 0.0
