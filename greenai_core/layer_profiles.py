"""The times of layers by the profiler of a runtime, and what that profiler costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .abilities import CallTime, ProfiledLayered
from .errors import ModelError
from .layer_shares import Shares, shares_of, typical

ROUNDS = 4
"""Times in which passes with and without the profiler take turns: it cannot be switched on
for one pass, and what drifts in between must be in both."""


def profiled_shares(
    layered: ProfiledLayered, prepared: object, work_s: Callable[[], float], count: int
) -> Shares:
    """Where the time of a pass goes, as the profiler tells.

    What comes around the model is the same with the profiler and without. The profiler
    cannot watch a call twice, so nothing tells whether what it costs was taken off rightly.

    Args:
        layered: the layers.
        prepared: what the model is fed with.
        work_s: does one pass without the profiler and tells how long it took, s.
        count: passes of each kind.

    Raises:
        ModelError: the passes went through different layers, or the profiler told none.
    """
    passes: list[tuple[CallTime, ...]] = []
    around: list[float] = []
    plain: list[float] = []
    step_s = 0.0
    each = max(-(-count // ROUNDS), 1)
    for _ in range(ROUNDS):
        plain += [work_s() for _ in range(each)]
        for one in layered.profiled(prepared, each):
            passes.append(one.calls)
            around.append(one.seconds - one.calls[0].seconds)
            step_s = max(step_s, one.step_s)
    if not passes:
        raise ModelError(
            "the profiler of this format told of no pass, so its layers have no times. Measure "
            "the model as a whole with `greenai bench`"
        )
    outside, u_outside = typical(around)
    shares = shares_of(
        passes,
        watched_s=[calls[0].seconds for calls in passes],
        twice_s=None,
        plain_s=[seconds - outside for seconds in plain],
        work_s=plain,
        step_s=step_s,
    )
    return replace(shares, u_overhead_s=u_outside)
