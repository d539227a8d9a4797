"""What repeated work costs above idle: the difference, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .blocks import Blocks, is_lost
from .budget import Budget, Term, gains
from .channels import bounds, joined_method
from .loop import LoopRun
from .results import Figure, InferenceResult, TrainingResult, WindowResult
from .run_costs import Sensor
from .statistics import Interval, batch_means, expanded, idle_bracket

WHICH = "model loaded, device open, mean of before and after"

BELOW_FLOOR = "the energy above idle is below the noise floor"


@dataclass(frozen=True)
class IdleCosts:
    """Idle power, and one iteration above it.

    Attributes:
        power_w: mean of before and after, W.
        net_j: one iteration less what idling would have cost meanwhile, J.
    """

    power_w: Figure
    net_j: Figure


def idle_costs(
    blocks: Blocks,
    windows: Sequence[WindowResult],
    sensors: Sequence[Sensor],
    contains: Sequence[str],
    reading: float,
) -> IdleCosts | None:
    """What an iteration costs above idle.

    Idle is taken off block by block, so that an iteration that takes longer by
    chance has more of it taken off. The drift between the windows counts as a
    uniform error. A gain is the same in all of them and scales the difference.

    Args:
        blocks: of the run.
        windows: idle before and after it.
        sensors: what was read in it.
        contains: ids of the channels that the total adds up.
        reading: share of the time spent reading sensors.

    Returns:
        None without both windows, or without a total.
    """
    if len(windows) != 2 or is_lost(blocks, contains):
        return None
    before, after = windows
    bracket = _bracket(before, after)
    if bracket is None:
        return None
    idle_w, terms = bracket
    seconds = blocks.work / blocks.iterations
    gross = blocks.per_iteration(contains)
    interval = batch_means(gross - idle_w * seconds)
    if math.isinf(interval.half):
        return None
    latency = float(seconds.mean())
    inside = [s.channel for s in sensors if s.channel.id in contains]
    watts = {c.id: _mean_power(windows, c.id) for c in inside}
    above = {
        c.id: float(blocks.per_iteration([c.id]).mean()) - watts[c.id] * latency for c in inside
    }
    idle_gains, net_gains = (
        gains([(c.gain_kind, c.id, abs(by_id[c.id]) * c.gain_uncertainty) for c in inside])
        for by_id in (watts, above)
    )
    unread = reading * abs(float(gross.mean())) / math.sqrt(3)
    scaled = tuple(replace(term, u=term.u * latency) for term in terms)
    budget: Budget = (block_term("repetition", interval, 1.0), *scaled, *net_gains)
    if unread:
        budget += (Term("reading", unread, None, False, f"{reading:.2%} of the time"),)
    method = joined_method({channel.method for channel in inside})
    return IdleCosts(
        budgeted(idle_w, (*terms, *idle_gains), method, f"idle power: {WHICH}", signed=False),
        budgeted(
            interval.mean,
            budget,
            method,
            f"gross energy less idle power ({WHICH}) × time, over {interval.blocks} blocks",
            signed=True,
        ),
    )


def _bracket(before: WindowResult, after: WindowResult) -> tuple[float, Budget] | None:
    """Idle power, W, and the terms of its uncertainty."""
    if before.energy_j is None or after.energy_j is None:
        return None
    first, last = before.energy_j / before.duration_s, after.energy_j / after.duration_s
    idle_w, _ = idle_bracket(first, last, 0.0, 0.0)
    terms = [
        replace(term, name=window.name, u=term.u / window.duration_s / 2)
        for window in (before, after)
        for term in window.budget
        if term.repeats
    ]
    # What both windows differ by chance is in their own terms already.
    chance = 4 * math.fsum(term.u**2 for term in terms)
    drift = Term("idle drift", math.sqrt(max((last - first) ** 2 - chance, 0.0) / 12))
    return idle_w, (*terms, drift)


def _mean_power(windows: Sequence[WindowResult], id: str) -> float:
    """Idle power of a channel, mean of both windows, W."""
    return math.fsum(
        channel.energy_j / window.duration_s / len(windows)
        for window in windows
        for channel in window.channels
        if channel.id == id
    )


def inference_above_idle(
    result: InferenceResult,
    run: LoopRun,
    sensors: Sequence[Sensor],
    windows: tuple[WindowResult, ...],
) -> InferenceResult:
    """The result with its idle power and net energy."""
    costs = idle_costs(run.blocks, windows, sensors, result.contains, run.self_cost_share)
    if costs is None:
        return result
    return replace(
        result,
        idle_power_w=costs.power_w,
        net_energy_per_inference_j=costs.net_j,
        idle=windows,
        warnings=(*result.warnings, *floor_note(costs.net_j)),
    )


def training_above_idle(
    result: TrainingResult,
    run: LoopRun,
    sensors: Sequence[Sensor],
    windows: tuple[WindowResult, ...],
) -> TrainingResult:
    """The result with its idle power and net energy."""
    costs = idle_costs(run.blocks, windows, sensors, result.contains, run.self_cost_share)
    if costs is None:
        return result
    return replace(
        result,
        idle_power_w=costs.power_w,
        net_energy_per_step_j=costs.net_j,
        idle=windows,
        warnings=(*result.warnings, *floor_note(costs.net_j)),
    )


def below_floor(net: Figure) -> bool:
    """Whether an interval of a net energy does not leave zero out."""
    return min(net.low, net.repeat_low) <= 0


def floor_note(net: Figure | None) -> tuple[str, ...]:
    """A warning where nothing can be told from idle."""
    if net is None or not below_floor(net):
        return ()
    return (f"{BELOW_FLOOR}. Measure longer with --max-time and --idle",)


def block_term(name: str, interval: Interval, factor: float) -> Term:
    """How blocks differ, as a term of a figure that is ``factor`` times their mean."""
    return Term(
        name,
        interval.u * factor,
        interval.nu,
        detail=f"{interval.blocks} blocks, r = {interval.correlation:.2f}",
    )


def budgeted(value: float, budget: Budget, method: str, provenance: str, *, signed: bool) -> Figure:
    """A figure with the intervals that its budget gives; cut at zero unless ``signed``."""

    def half(terms: Budget) -> float:
        return expanded([(t.u, math.inf if t.nu is None else t.nu) for t in terms])

    repeat = half(tuple(term for term in budget if term.repeats))
    total = max(half(budget), repeat)

    def ends(width: float) -> tuple[float, float]:
        return (value - width, value + width) if signed else bounds(value, width)

    return Figure(value, *ends(total), *ends(repeat), method, provenance, budget)
