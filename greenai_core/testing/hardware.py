"""Simulated sensors: what a real one would show of a known power.

A counter shows the energy as it stood at its latest update (period, jitter,
phase), times its gain, in whole units, wrapped; faults come last. Nothing keeps
a state: what is shown is a function of the time, so any order of reads is right.
"""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass

from greenai_core.channels import COUNTER, SAMPLED, Channel
from greenai_core.clock import Clock

from .clock import hold
from .profiles import PowerProfile


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong from ``since_s`` until just before ``until_s``."""

    since_s: float = 0.0
    until_s: float = math.inf

    def active(self, t: float) -> bool:
        """Whether it goes wrong at this instant."""
        return self.since_s <= t < self.until_s


@dataclass(frozen=True)
class Fails(Fault):
    """Each read ends in an ``OSError``: EIO by default; EACCES, ENODEV, …."""

    number: int = errno.EIO


def vanishes(at_s: float) -> Fails:
    """The device is gone from ``at_s`` on."""
    return Fails(at_s, number=errno.ENODEV)


@dataclass(frozen=True)
class Gives(Fault):
    """Each read gives this value whatever the power: 0, −1, NaN, any garbage."""

    value: float = 0.0


@dataclass(frozen=True)
class Sticks(Fault):
    """The value stays what it was at ``since_s``."""


@dataclass(frozen=True)
class Resets(Fault):
    """The counter starts again at 0 at ``since_s``."""


@dataclass(frozen=True)
class Jumps(Fault):
    """The counter moves on by these joules at once at ``since_s``; while suspended, say."""

    joules: float = 0.0


@dataclass(frozen=True)
class Slow(Fault):
    """Each read takes this long."""

    seconds: float = 0.0


Faults = tuple[Fault, ...]


def _fraction(seed: int, index: int) -> float:
    """A repeatable number in [0, 1) for each index (splitmix64)."""
    mask = (1 << 64) - 1
    z = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xD1B54A32D192ED03) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)


@dataclass(frozen=True)
class Latch:
    """When a sensor takes over a new value.

    Attributes:
        period_s: mean time between updates; 0: at every instant.
        jitter: each update is late by up to this share of the period; below 1.
        phase_s: time of the update numbered 0.
        seed: of the jitter.
    """

    period_s: float = 0.0
    jitter: float = 0.0
    phase_s: float = 0.0
    seed: int = 0

    def before(self, t: float) -> float:
        """The instant of the latest update that is not after ``t``."""
        if not self.period_s:
            return t
        index = math.floor((t - self.phase_s) / self.period_s)
        while (at := self._instant(index)) > t:
            index -= 1
        return at

    def _instant(self, index: int) -> float:
        late = self.jitter * _fraction(self.seed, index) if self.jitter else 0.0
        return self.phase_s + (index + late) * self.period_s


@dataclass(frozen=True)
class SimulatedCounter:
    """A channel that counts the energy of a profile since time 0.

    Attributes:
        channel: what a profiler declares; ``resolution_j`` and ``wraps_at`` are
            used for the count as well.
        profile: the truth.
        latch: when the count changes.
        gain: what it counts over what is true.
        quantum_j: the energy of one step of the count where that is more than one
            unit (RAPL counts 61 µJ and tells µJ); 0: one unit.
        start_count: what stands on it at time 0.
        faults: what goes wrong, the first active one wins.
    """

    channel: Channel
    profile: PowerProfile
    latch: Latch = Latch()
    gain: float = 1.0
    quantum_j: float = 0.0
    start_count: int = 0
    faults: Faults = ()

    def read(self, clock: Clock) -> int:
        """What a read begun now gives; slow ones let time pass.

        Raises:
            OSError: the read fails.
        """
        suffer(self.faults, clock)
        t = clock.now()
        given = _given(self.faults, t)
        if given is None:
            return self.count(t)
        # What is no number reaches the profiler as some library gives it.
        return given if math.isnan(given) else int(given)  # type: ignore[return-value]

    def count(self, t: float) -> int:
        """What stands on the counter at ``t``, resets and standstills included."""
        t = _held(self.faults, t)
        start, since = self.start_count, 0.0
        for fault in self.faults:
            if isinstance(fault, Resets) and since <= fault.since_s <= t:
                start, since = 0, fault.since_s
        shown = max(self.latch.before(t), since)
        quantum = self.quantum_j or self.channel.resolution_j
        # The last bits of a float must not decide between two neighbouring counts.
        steps = math.floor(self.gain * self.profile.energy(since, shown) / quantum + 1e-9)
        raw = start + math.floor(steps * quantum / self.channel.resolution_j + 1e-9)
        jumped = [f.joules for f in self.faults if isinstance(f, Jumps) and f.since_s <= t]
        raw += round(sum(jumped) / self.channel.resolution_j)
        return raw % self.channel.wraps_at if self.channel.wraps_at else raw

    def truth(self, start: float, end: float) -> float:
        """Joules between two instants, gain not applied."""
        return self.profile.energy(start, end)


@dataclass(frozen=True)
class SimulatedGauge:
    """A channel that tells the power of a profile.

    Attributes:
        channel: what a profiler declares.
        profile: the truth.
        latch: when the value changes.
        gain: what it tells over what is true.
        faults: what goes wrong, the first active one wins.
    """

    channel: Channel
    profile: PowerProfile
    latch: Latch = Latch()
    gain: float = 1.0
    faults: Faults = ()

    def read(self, clock: Clock) -> float:
        """What a read begun now gives; slow ones let time pass.

        Raises:
            OSError: the read fails.
        """
        suffer(self.faults, clock)
        return self.power(clock.now())

    def power(self, t: float) -> float:
        """What the gauge tells at ``t``, W."""
        given = _given(self.faults, t)
        if given is not None:
            return given
        return self.gain * self.profile.power(self.latch.before(_held(self.faults, t)))

    def truth(self, start: float, end: float) -> float:
        """Joules between two instants, gain not applied."""
        return self.profile.energy(start, end)


def suffer(faults: Faults, clock: Clock) -> None:
    """Spend the time of slow reads, then fail if a fault says so.

    Raises:
        OSError: a fault says so.
    """
    t = clock.now()
    for fault in faults:
        if isinstance(fault, Slow) and fault.active(t):
            hold(clock, fault.seconds)
    for fault in faults:
        if isinstance(fault, Fails) and fault.active(t):
            raise OSError(fault.number, os.strerror(fault.number), "simulated sensor")


def _given(faults: Faults, t: float) -> float | None:
    for fault in faults:
        if isinstance(fault, Gives) and fault.active(t):
            return fault.value
    return None


def _held(faults: Faults, t: float) -> float:
    return min((f.since_s for f in faults if isinstance(f, Sticks) and f.active(t)), default=t)


def rapl_counter(
    profile: PowerProfile,
    id: str = "cpu:0/package",
    component: str = "cpu",
    *,
    wraps_at: int | None = 262_143_328_911,
    latch: Latch | None = None,
    gain: float = 1.0,
    gain_uncertainty: float = 0.0,
    start_count: int = 0,
    faults: Faults = (),
) -> SimulatedCounter:
    """A counter like RAPL's: a new value each ms, µJ in steps of 61 µJ, 262 kJ wrap.

    The step is 2^-14 J rounded to whole nanojoules, as the Linux driver does.
    """
    latch = latch or Latch(1e-3)
    channel = Channel(
        id,
        component,
        COUNTER,
        resolution_j=1e-6,
        wraps_at=wraps_at,
        update_period_s=latch.period_s,
        gain_uncertainty=gain_uncertainty,
        gain_source="simulated",
        description="simulated RAPL counter",
    )
    return SimulatedCounter(channel, profile, latch, gain, 61.035e-6, start_count, faults)


def nvml_counter(
    profile: PowerProfile,
    id: str = "gpu:GPU-00000000-0000-0000-0000-000000000000",
    *,
    latch: Latch | None = None,
    gain: float = 1.0,
    faults: Faults = (),
) -> SimulatedCounter:
    """A counter like NVML's: a new value each 100 ms, in mJ, no wrap."""
    latch = latch or Latch(0.1)
    channel = Channel(
        id,
        "gpu",
        COUNTER,
        resolution_j=1e-3,
        update_period_s=latch.period_s,
        gain_source="simulated",
        description="simulated NVML energy counter",
    )
    return SimulatedCounter(channel, profile, latch, gain, faults=faults)


def power_gauge(
    profile: PowerProfile,
    id: str = "wall:simulated",
    component: str = "wall",
    *,
    latch: Latch | None = None,
    gain: float = 1.0,
    faults: Faults = (),
) -> SimulatedGauge:
    """A gauge like a wattmeter's: the power at this instant."""
    latch = latch or Latch()
    channel = Channel(
        id,
        component,
        SAMPLED,
        update_period_s=latch.period_s or None,
        gain_source="simulated",
        description="simulated wattmeter",
    )
    return SimulatedGauge(channel, profile, latch, gain, faults)
