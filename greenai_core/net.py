"""Energy above idle, from a run and the idle power around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .budget import Term, gains, scaled
from .channels import Channel, bounds
from .errors import ReadingError
from .evaluation import power
from .results import Figure, WindowResult
from .statistics import add_gains, coverage_factor, idle_bracket


@dataclass(frozen=True)
class NetEnergy:
    """What a run cost above idle.

    Attributes:
        idle_power_w: mean of the idle power before and after, W.
        net_energy_j: gross energy less idle power × duration, J; negative where
            the machine did more before and after than during the run.
        idle_share: share of the gross energy that idling would have cost.
    """

    idle_power_w: Figure
    net_energy_j: Figure
    idle_share: float | None


def net_energy(
    gross: WindowResult, before: WindowResult, after: WindowResult, channels: Sequence[Channel]
) -> NetEnergy:
    """Take idle off the energy of a run.

    The drift between the two idle windows counts as a uniform error. A sensor's
    gain is the same in all three windows, so it scales the difference.

    Args:
        gross: the run.
        before: an idle window before it, of the same session.
        after: an idle window after it.
        channels: of the session, for the gain of each.

    Raises:
        ReadingError: one of the windows has no total.
    """
    if gross.energy_j is None or gross.repeat_high_j is None:
        raise ReadingError("the run has no total, so nothing can be taken off it")
    k = coverage_factor()
    first, last = power(before), power(after)
    idle, u_idle = idle_bracket(
        first.value,
        last.value,
        (first.repeat_high - first.value) / k,
        (last.repeat_high - last.value) / k,
    )
    duration = gross.duration_s
    net = gross.energy_j - idle * duration
    u_gross = (gross.repeat_high_j - gross.energy_j) / k
    u_net = math.hypot(u_gross, duration * u_idle)
    idle_by_id = {
        channel.id: (channel.energy_j / before.duration_s + _power_of(after, channel.id)) / 2
        for channel in before.channels
    }
    net_by_id = {
        channel.id: channel.energy_j - idle_by_id.get(channel.id, 0.0) * duration
        for channel in gross.channels
    }
    inside = [channel for channel in channels if channel.id in gross.contains]
    idle_gains, net_gains = (
        [(c.gain_kind, c.id, abs(by_id.get(c.id, 0.0)) * c.gain_uncertainty) for c in inside]
        for by_id in (idle_by_id, net_by_id)
    )
    g_idle = add_gains([(kind, u) for kind, _, u in idle_gains])
    g_net = add_gains([(kind, u) for kind, _, u in net_gains])
    idle_terms = (
        Term("idle before", (first.repeat_high - first.value) / k / 2),
        Term("idle after", (last.repeat_high - last.value) / k / 2),
        Term("idle drift", abs(last.value - first.value) / math.sqrt(12)),
    )
    around = "mean of idle power before and after"
    return NetEnergy(
        Figure(
            idle,
            *bounds(idle, k * math.hypot(u_idle, g_idle)),
            *bounds(idle, k * u_idle),
            first.method,
            around,
            (*idle_terms, *gains(idle_gains)),
        ),
        Figure(
            net,
            net - k * math.hypot(u_net, g_net),
            net + k * math.hypot(u_net, g_net),
            net - k * u_net,
            net + k * u_net,
            gross.method,
            f"gross energy less {around}, over {duration:.3g} s",
            (
                *(term for term in gross.budget if term.repeats),
                *scaled(idle_terms, duration),
                *gains(net_gains),
            ),
        ),
        idle * duration / gross.energy_j if gross.energy_j > 0 else None,
    )


def as_figure(window: WindowResult) -> Figure | None:
    """The total of a window, J; None when a channel of it is missing."""
    if (
        window.energy_j is None
        or window.low_j is None
        or window.high_j is None
        or window.repeat_low_j is None
        or window.repeat_high_j is None
    ):
        return None
    return Figure(
        window.energy_j,
        window.low_j,
        window.high_j,
        window.repeat_low_j,
        window.repeat_high_j,
        window.method,
        f"total of the window {window.name!r}",
        window.budget,
    )


def _power_of(window: WindowResult, id: str) -> float:
    joules = math.fsum(channel.energy_j for channel in window.channels if channel.id == id)
    return joules / window.duration_s
