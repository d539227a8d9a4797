"""What else went on while work was measured: outside load, throttling, how busy and hot it was.

The loop looks between two stretches of work, now and then, and so seldom that it
takes less than 0.1 % of the time. What was seen is kept with the readings.
"""

from __future__ import annotations

import math
import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .clock import SYSTEM_CLOCK, Clock
from .outliers import unusual
from .profiler import Observation, Profiler, Telemetry
from .statistics import Vector

LOOK_S = 0.2
"""Looks are at least so far apart; CPU time is counted in steps of 10 ms."""

TELEMETRY_S = 1.0
"""The same of looks that only tell how it was: they judge nothing."""

LOOK_SHARE = 0.001
"""Most of the run that one kind of look may take: dear ones become rarer."""

DEARER = 1.5
"""How much dearer a look is taken to be than the one before, at most."""

MOST_LOOKS = 40_000
"""Kept of one device and quantity, 1 MB; beyond it every second one of the older half goes."""

FEWEST_LOOKS = 5
"""Fewer do not tell what is usual."""

GPU_SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80
"""NVML's reasons that lower a clock under load: power cap, hardware slowdown, heat (software
and hardware), power brake."""

Probe = Callable[[], Sequence[Observation]]
"""One kind of look; raises where nothing answers."""


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

ONLY_CONDITIONS = ("outside_load", "stolen", "throttled")
"""Quantities that are no telemetry: nobody asks for them but these rules."""


@dataclass(frozen=True)
class Series:
    """One condition over the run.

    Attributes:
        device: ``host`` or the id of a channel's device.
        quantity: see ``RULES``.
        instants: of the looks, s on the clock of the run.
        values: what was seen.
        took: seconds that each look took; 0 where another series carries them.
        unit: of the values; of telemetry only.
    """

    device: str
    quantity: str
    instants: Vector
    values: Vector
    took: Vector
    unit: str = ""

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
        telemetry: what the devices showed, one series for each quantity; as told, with
            throttling as bits.
    """

    series: tuple[Series, ...] = ()
    cpus: int = 1
    swapped_bytes: int = 0
    standing: tuple[str, ...] = ()
    telemetry: tuple[Series, ...] = ()

    def causes(self, starts: Vector, ends: Vector) -> list[str]:
        """What disturbed each stretch of time, in words; empty for nothing."""
        found = [[""] * len(starts), *(one.disturbed(starts, ends) for one in self.series)]
        return [", ".join(dict.fromkeys(filter(None, each))) for each in zip(*found, strict=True)]

    def spent_s(self, since_s: float) -> float:
        """Seconds that looking took since an instant."""
        every = (*self.series, *self.telemetry)
        return float(sum(s.took[s.instants >= since_s].sum() for s in every))


@dataclass
class _Kind:
    """One probe, what a look takes, when it is due, and what it has told."""

    probe: Probe
    judged: bool
    cost_s: float
    due_s: float
    told: dict[tuple[str, str, str], tuple[array[float], array[float], array[float]]]

    def keep(self, one: Observation, instant_s: float, took_s: float) -> None:
        """Take in one figure of a look."""
        key = (one.device, one.quantity, one.unit)
        columns = self.told.setdefault(key, (array("d"), array("d"), array("d")))
        for column, entry in zip(columns, (instant_s, one.value, took_s), strict=True):
            column.append(entry)
            if len(column) > MOST_LOOKS:
                del column[: MOST_LOOKS // 2 : 2]

    def series(self) -> Iterator[tuple[str, Series]]:
        """Each as ``series`` or ``telemetry`` of ``Conditions``; a look's time is in one only."""
        for (device, quantity, unit), columns in self.told.items():
            instants, values, took = (np.array(column) for column in columns)
            is_condition = self.judged and quantity in RULES
            if is_condition:
                yield "series", Series(device, quantity, instants, _judged(quantity, values), took)
            if quantity not in ONLY_CONDITIONS:
                own = np.zeros_like(took) if is_condition else took
                yield "telemetry", Series(device, quantity, instants, values, own, unit)


class Observer:
    """Looks at the conditions of a run while it goes on.

    Args:
        probes: kinds of looks; those that tell nothing at first are left out.
        clock: of the run.
        cpus: that the machine has.
        swapped: bytes swapped so far.
        standing: see ``Conditions``.
        telemetry: looks that disturb nothing, whatever they show.
        telemetry_s: these are at least so far apart.
        share: of the time, that one kind of look may take.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        clock: Clock,
        *,
        cpus: int = 1,
        swapped: Callable[[], int] = lambda: 0,
        standing: Sequence[str] = (),
        telemetry: Sequence[Probe] = (),
        telemetry_s: float = TELEMETRY_S,
        share: float = LOOK_SHARE,
    ) -> None:
        self._clock = clock
        self._cpus = cpus
        self._swapped = swapped
        self._standing = tuple(standing)
        self._share = share
        self._telemetry_s = telemetry_s
        self._lock = threading.Lock()  # who asks may be in another thread than who looks
        self._kinds: list[_Kind] = []
        for probe in (*probes, *telemetry):
            # The first look takes longer than later ones, and the first mean is since whenever.
            if not _seen(probe):
                continue
            began = clock.now()
            _seen(probe)
            cost = clock.now() - began
            kind = _Kind(probe, probe not in telemetry, cost, clock.now(), {})
            kind.due_s += self._period(kind)
            self._kinds.append(kind)
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
        seen = _seen(kind.probe)
        ended = self._clock.now()
        with self._lock:
            for number, one in enumerate(seen):
                kind.keep(one, began, 0.0 if number else ended - began)
        # One look that had to wait for a processor does not make all later ones rare.
        kind.cost_s = min(ended - began, DEARER * kind.cost_s)
        kind.due_s = ended + self._period(kind)

    def _period(self, kind: _Kind) -> float:
        return max(LOOK_S if kind.judged else self._telemetry_s, kind.cost_s / self._share)

    def seen(self) -> Conditions:
        """All that was seen so far."""
        found: dict[str, dict[tuple[str, str], Series]] = {"series": {}, "telemetry": {}}
        with self._lock:
            for kind in self._kinds:
                for where, one in kind.series():
                    found[where].setdefault((one.device, one.quantity), one)
        swapped = max(self._swapped() - self._swapped_before, 0)
        series, telemetry = (tuple(each.values()) for each in found.values())
        return Conditions(series, self._cpus, swapped, self._standing, telemetry)

    def between(self, start_s: float, end_s: float) -> tuple[Series, ...]:
        """Telemetry seen after ``start_s`` and up to ``end_s``, at times since ``start_s``."""
        found: dict[tuple[str, str], Series] = {}
        with self._lock:
            for kind in self._kinds:
                for (device, quantity, unit), (instants, values, took) in kind.told.items():
                    inside = slice(bisect_right(instants, start_s), bisect_right(instants, end_s))
                    times, shown, spent = (np.array(c[inside]) for c in (instants, values, took))
                    if len(times) and quantity not in ONLY_CONDITIONS:
                        one = Series(device, quantity, times - start_s, shown, spent, unit)
                        found.setdefault((device, quantity), one)
        return tuple(found.values())


def _seen(probe: Probe) -> list[Observation]:
    """What a probe tells now; nothing where it fails."""
    try:
        return [one for one in probe() if math.isfinite(one.value)]
    # Whatever is wrong with it: what cannot be seen disturbs no measurement.
    except Exception:  # noqa: BLE001
        return []


def _judged(quantity: str, values: Vector) -> Vector:
    """The values as ``RULES`` has them: of throttling only whether a clock was lowered."""
    if quantity != "throttling":
        return values
    return np.asarray((values.astype(np.int64) & GPU_SLOWED) != 0, dtype=np.float64)


def device_probe(telemetry: Telemetry) -> Probe:
    """The look at the devices of a profiler; the host has probes of its own."""
    return lambda: [one for one in telemetry.observe() if one.device != "host"]


def observer(profilers: Sequence[Profiler], clock: Clock) -> Observer | None:
    """The observer of a run; None where there is nothing to look at.

    Hardware that is simulated on a clock of its own knows nothing of the load of
    the machine that simulates it: there it is asked, and nothing else.
    """
    devices = [p for p in profilers if isinstance(p, Telemetry)]
    if clock is not SYSTEM_CLOCK:
        return Observer([one.observe for one in devices], clock) if devices else None
    from .host_conditions import cpus, host_probes, standing, swapped_bytes

    return Observer(
        [*host_probes(time.perf_counter), *map(device_probe, devices)],
        clock,
        cpus=cpus(),
        swapped=swapped_bytes,
        standing=standing(),
        telemetry=[host_telemetry()],
    )


def host_telemetry() -> Probe:
    """The look at this machine as its telemetry has it; a mean is since the look before."""
    from .host_telemetry import HostTelemetry

    return HostTelemetry().observe
