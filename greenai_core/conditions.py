"""What else went on while work was repeated: outside load, throttling, clocks.

The loop looks between two stretches of work, now and then, and so seldom that it
takes less than 0.1 % of the time. What was seen is kept with the readings.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .clock import SYSTEM_CLOCK, Clock
from .errors import GreenAIError
from .outliers import unusual
from .profiler import Observation, Profiler, Telemetry
from .statistics import Vector

LOOK_S = 0.2
"""Looks are at least so far apart; CPU time is counted in steps of 10 ms."""

LOOK_SHARE = 0.001
"""Most of the run that one kind of look may take: dear ones become rarer."""

DEARER = 1.5
"""How much dearer a look is taken to be than the one before, at most."""

FEWEST_LOOKS = 5
"""Fewer do not tell what is usual."""

GPU_SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80
"""NVML's reasons that lower a clock under load: power cap, hardware slowdown, heat (software
and hardware), power brake."""

Probe = Callable[[], Sequence[Observation]]
"""One kind of look; raises ``GreenAIError`` or ``OSError`` where nothing answers."""


@dataclass(frozen=True)
class Rule:
    """When a condition differs clearly, and what it is called.

    Attributes:
        least: a smaller difference from the usual value never counts.
        relative: whether ``least`` is a share of the usual value.
        mean: whether a look tells the mean since the look before, else the instant.
        cause: the kind of disturbance.
    """

    least: float
    relative: bool
    mean: bool
    cause: str


RULES: Mapping[str, Rule] = {
    "outside_load": Rule(0.25, False, True, "outside load"),
    "stolen": Rule(0.1, False, True, "outside load (hypervisor)"),
    "throttled": Rule(0.5, False, True, "throttling"),
    "throttling": Rule(0.5, False, False, "throttling"),
    "clock": Rule(0.05, True, False, "clock change"),
}
"""By quantity: outside load and stolen time in CPUs, counts of throttling, NVML's reasons
as 0 or 1, clocks in MHz."""


@dataclass(frozen=True)
class Series:
    """One condition over the run.

    Attributes:
        device: ``host`` or the id of a channel's device.
        quantity: see ``RULES``.
        instants: of the looks, s on the clock of the run.
        values: what was seen.
        took: seconds that each look took; 0 where another series carries them.
    """

    device: str
    quantity: str
    instants: Vector
    values: Vector
    took: Vector

    def disturbed(self, starts: Vector, ends: Vector) -> list[str]:
        """For each stretch of time the cause that was seen in it; empty for none."""
        rule = RULES[self.quantity]
        if len(self.values) < FEWEST_LOOKS:
            return [""] * len(starts)
        flags = unusual(self.values, rule.least, rule.relative)
        # A mean belongs to the time before its look; an instant to both sides of it.
        first = np.searchsorted(self.instants, starts, side="right") - (0 if rule.mean else 1)
        last = np.searchsorted(self.instants, ends, side="left") + 1
        return [
            rule.cause if flags[max(a, 0) : max(b, 1)].any() else ""
            for a, b in zip(first, last, strict=True)
        ]

    def mean_in(self, start_s: float, end_s: float) -> float | None:
        """Mean of the looks within a stretch of time; None without one."""
        inside = self.values[(self.instants > start_s) & (self.instants <= end_s)]
        return float(inside.mean()) if len(inside) else None


@dataclass(frozen=True)
class Conditions:
    """All that was seen in a run.

    Attributes:
        series: one for each condition.
        cpus: that the machine has.
        swapped_bytes: moved between memory and disk, by all processes.
        standing: advice on what does not change: a governor, a battery.
    """

    series: tuple[Series, ...] = ()
    cpus: int = 1
    swapped_bytes: int = 0
    standing: tuple[str, ...] = ()

    def causes(self, starts: Vector, ends: Vector) -> list[str]:
        """What disturbed each stretch of time, in words; empty for nothing."""
        found = [[""] * len(starts), *(one.disturbed(starts, ends) for one in self.series)]
        return [", ".join(dict.fromkeys(filter(None, each))) for each in zip(*found, strict=True)]

    def spent_s(self, since_s: float) -> float:
        """Seconds that looking took since an instant."""
        return float(sum(s.took[s.instants >= since_s].sum() for s in self.series))


@dataclass
class _Kind:
    """One probe, what a look takes, when it is due, and what it has told."""

    probe: Probe
    cost_s: float
    due_s: float
    told: dict[tuple[str, str], tuple[array[float], array[float], array[float]]]


class Observer:
    """Looks at the conditions of a run while it goes on.

    Args:
        probes: kinds of looks; those that tell nothing at first are left out.
        clock: of the run.
        cpus: that the machine has.
        swapped: bytes swapped so far.
        standing: see ``Conditions``.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        clock: Clock,
        *,
        cpus: int = 1,
        swapped: Callable[[], int] = lambda: 0,
        standing: Sequence[str] = (),
    ) -> None:
        self._clock = clock
        self._cpus = cpus
        self._swapped = swapped
        self._standing = tuple(standing)
        self._kinds: list[_Kind] = []
        for probe in probes:
            # The first look takes longer than later ones, and the first mean is since whenever.
            if not list(_known(probe)):
                continue
            began = clock.now()
            list(_known(probe))
            cost = clock.now() - began
            self._kinds.append(_Kind(probe, cost, clock.now() + _period(cost), {}))
        self._swapped_before = swapped()
        self._next_s = min((kind.due_s for kind in self._kinds), default=float("inf"))

    def look(self, now_s: float) -> None:
        """Look at what is due; called between two stretches of work."""
        if now_s < self._next_s:
            return
        for kind in self._kinds:
            if now_s >= kind.due_s:
                self._look(kind)
        self._next_s = min(kind.due_s for kind in self._kinds)

    def _look(self, kind: _Kind) -> None:
        began = self._clock.now()
        seen = list(_known(kind.probe))
        ended = self._clock.now()
        for number, (device, quantity, value) in enumerate(seen):
            series = kind.told.setdefault((device, quantity), (array("d"), array("d"), array("d")))
            for column, entry in zip(
                series, (began, value, 0.0 if number else ended - began), strict=True
            ):
                column.append(entry)
        # One look that had to wait for a processor does not make all later ones rare.
        kind.cost_s = min(ended - began, DEARER * kind.cost_s)
        kind.due_s = ended + _period(kind.cost_s)

    def seen(self) -> Conditions:
        """All that was seen so far."""
        series = tuple(
            Series(*key, *(np.array(column) for column in columns))
            for kind in self._kinds
            for key, columns in kind.told.items()
        )
        swapped = max(self._swapped() - self._swapped_before, 0)
        return Conditions(series, self._cpus, swapped, self._standing)


def _period(cost_s: float) -> float:
    return max(LOOK_S, cost_s / LOOK_SHARE)


def _known(probe: Probe) -> Iterator[tuple[str, str, float]]:
    """What a probe tells, as far as there are rules for it."""
    try:
        seen = probe()
    except (GreenAIError, OSError, ValueError):
        return  # a condition that cannot be seen disturbs no measurement
    for one in seen:
        if one.quantity == "throttling":
            yield one.device, one.quantity, float(bool(int(one.value) & GPU_SLOWED))
        elif one.quantity in RULES:
            yield one.device, one.quantity, one.value


def device_probe(telemetry: Telemetry) -> Probe:
    """The look at the devices of a profiler; the host has probes of its own."""
    return lambda: [one for one in telemetry.observe() if one.device != "host"]


def observer(profilers: Sequence[Profiler], clock: Clock) -> Observer | None:
    """The observer of a run on this machine; None on another clock than the machine's own.

    Hardware that is simulated on a clock of its own knows nothing of the load of
    the machine that simulates it.
    """
    if clock is not SYSTEM_CLOCK:
        return None
    from .host_conditions import cpus, host_probes, standing, swapped_bytes

    probes = [device_probe(p) for p in profilers if isinstance(p, Telemetry)]
    return Observer(
        [*host_probes(time.perf_counter), *probes],
        clock,
        cpus=cpus(),
        swapped=swapped_bytes,
        standing=standing(),
    )
