"""How long each layer takes, from passes that were watched; what watching cost is taken off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .abilities import CallTime
from .errors import ModelError
from .statistics import Vector

ROOT = ""
"""Name of the model itself among the calls of its layers."""

QUICK = 0.5
"""Share of the passes of each kind that stand for it: the quicker ones. What disturbs a pass is
then in no layer's time; and since it is their mean, layers add up to the pass, as medians of
layers do not where most passes are disturbed somewhere."""

INSIDE = 0.5
"""Share of what watching a call costs that lies between its own two stamps: from none to all
of it, so the middle; half the width of that range over √3 is its standard uncertainty."""


@dataclass(frozen=True)
class Shares:
    """Where the time of a pass goes.

    Attributes:
        layers: name of each call, in the order in which they begin; the model itself first.
        seconds: of each, without the calls inside it. What takes next to nothing may be below
            nothing by chance: lifting it would make the sum too long.
        u_seconds: standard uncertainty of each.
        overhead_s: of a pass, outside the model itself; likewise.
        pass_s: of a pass that nobody watched.
        per_call_s: what watching one call costs.
        watched_s: of a watched pass.
        left_share: difference that is left between passes watched once and twice; None
            where they cannot be watched twice.
        passes: that were watched.
        u_overhead_s: standard uncertainty of the overhead.
    """

    layers: tuple[str, ...]
    seconds: tuple[float, ...]
    u_seconds: tuple[float, ...]
    overhead_s: float
    pass_s: float
    per_call_s: float
    watched_s: float
    left_share: float | None
    passes: int
    u_overhead_s: float = 0.0


NO_TIMES = Shares((), (), (), 0.0, 0.0, 0.0, 0.0, None, 0)
"""Of layers that were not timed."""


def shares_of(
    passes: Sequence[Sequence[CallTime]],
    watched_s: Sequence[float],
    twice_s: Sequence[float] | None,
    plain_s: Sequence[float],
    work_s: Sequence[float],
    step_s: float = 0.0,
) -> Shares:
    """The time of each call: the mean over the quicker half of the passes.

    Args:
        passes: the calls of each watched pass.
        watched_s: length of each of these.
        twice_s: of passes in which each call was stamped twice as often; None where that
            cannot be done, and then nothing tells whether the correction is right.
        plain_s: of passes in which no layer was watched.
        work_s: of these with all that comes around the model. Passes of all kinds took
            turns.
        step_s: smallest difference that the stamps can tell.

    Raises:
        ModelError: the passes went through different layers.
        ValueError: no passes of one kind.
    """
    if not (passes and plain_s and work_s) or (twice_s is not None and not twice_s):
        raise ValueError("passes of each kind are needed: plain, watched, watched twice, work")
    names = tuple(call.layer for call in passes[0])
    parents = [call.parent for call in passes[0]]
    for other in passes:
        if tuple(call.layer for call in other) != names:
            raise ModelError(
                "this model goes through different layers from one pass to the next, so a layer "
                "has no time of its own. Give it one fixed input, or measure it as a whole with "
                "`greenai bench`"
            )
    inclusive = np.array([[call.seconds for call in passes[at]] for at in _quicker(watched_s)])
    (model_s, u_model), (once_s, _), (whole_s, u_whole) = map(typical, (plain_s, watched_s, work_s))
    # The model itself is stamped in plain passes too.
    cost = (once_s - model_s) / max(len(names) - 1, 1)
    inside = _calls_inside(parents)
    corrected = inclusive - cost * (inside + INSIDE)
    corrected[:, 0] = inclusive[:, 0] - cost * inside[0]
    exclusive = corrected.copy()
    for at, parent in enumerate(parents):
        if parent is not None:
            exclusive[:, parent] -= corrected[:, at]
    seconds = exclusive.mean(axis=0)
    noise = exclusive.std(axis=0) / math.sqrt(len(exclusive))
    # The share of its own cost that a call sees is not known; neither is that of its children.
    children = np.bincount([p for p in parents if p is not None], minlength=len(names))
    unsure = abs(cost) * (1 + children) * INSIDE / math.sqrt(3)
    return Shares(
        layers=names,
        seconds=tuple(map(float, seconds)),
        u_seconds=tuple(map(float, np.hypot(np.hypot(noise, unsure), step_s / math.sqrt(12)))),
        overhead_s=whole_s - model_s,
        pass_s=whole_s,
        per_call_s=max(cost, 0.0),
        watched_s=once_s + whole_s - model_s,
        left_share=_left_share(model_s, once_s, twice_s),
        passes=len(passes),
        u_overhead_s=math.hypot(u_whole, u_model),
    )


def _left_share(model_s: float, once_s: float, twice_s: Sequence[float] | None) -> float | None:
    if twice_s is None:
        return None
    expected = model_s + 2 * (once_s - model_s)
    return abs(typical(twice_s)[0] - expected) / model_s if model_s else 0.0


def _quicker(seconds: Sequence[float]) -> list[int]:
    """Which of them are the quicker half, one at least."""
    order = sorted(range(len(seconds)), key=lambda at: seconds[at])
    return order[: math.ceil(QUICK * len(seconds))]


def typical(seconds: Sequence[float]) -> tuple[float, float]:
    """Mean of the quicker half of passes of one kind, and its standard uncertainty, s."""
    quick = np.array([seconds[at] for at in _quicker(seconds)])
    return float(quick.mean()), float(quick.std()) / math.sqrt(len(quick))


def _calls_inside(parents: Sequence[int | None]) -> Vector:
    """How many calls happened within each, at any depth."""
    inside = np.zeros(len(parents))
    for at in range(len(parents) - 1, -1, -1):
        parent = parents[at]
        if parent is not None:
            inside[parent] += 1 + inside[at]
    return inside
