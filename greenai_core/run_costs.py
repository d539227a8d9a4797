"""What one iteration of a finished run costs: energy, time and power with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .advice import advice, gain_advice
from .blocks import Blocks, Source
from .budget import Budget, Term, gains
from .channels import Channel, joined_method, overlap
from .loop import LoopRun, LoopSettings
from .observed import summarised
from .results import ChannelJoules, Figure, MissingChannel, Observed, Repetition, SelfCost
from .self_cost import self_cost
from .statistics import MIN_BLOCKS, Interval, batch_means, expanded


@dataclass(frozen=True)
class Sensor:
    """One channel as the figures see it.

    Attributes:
        profiler: name of the profiler that read it.
        channel: with what was learnt of its sensor by the end of the run.
        grain_s: seconds between two values that can differ.
    """

    profiler: str
    channel: Channel
    grain_s: float


@dataclass(frozen=True)
class RunCosts:
    """What a run says of one iteration, whatever the work was."""

    energy: Figure | None
    seconds: Figure
    power: Figure | None
    contains: tuple[str, ...]
    channels: tuple[tuple[Channel, str, bool, Figure], ...]
    missing: tuple[MissingChannel, ...]
    repetitions: tuple[Repetition, ...]
    iterations: int
    warnings: tuple[str, ...]
    removed: tuple[Repetition, ...] = ()
    self_cost: SelfCost | None = None
    observations: tuple[Observed, ...] = ()


def sensors_of(sources: Sequence[Source], blocks: Blocks) -> tuple[Sensor, ...]:
    """The sensors of a run that has ended."""
    return tuple(
        Sensor(
            source.profiler.name,
            _described(channel, source, blocks),
            source.profiler.grain_s(channel),
        )
        for source in sources
        for channel in source.channels
    )


def run_costs(
    run: LoopRun,
    sensors: Sequence[Sensor],
    contains: Sequence[str],
    settings: LoopSettings,
    notes: Sequence[str] = (),
) -> RunCosts:
    """The costs of one iteration, whatever the work was.

    Args:
        run: the finished run.
        sensors: what was read in it.
        contains: ids of the channels that the total adds up.
        settings: when it was to stop.
        notes: what the sensors say that readers must know.
    """
    blocks = run.blocks
    by_id = {sensor.channel.id: sensor for sensor in sensors}
    order = [id for id in by_id if id in blocks.energies]
    inside = [by_id[id].channel for id in contains]
    reading = run.self_cost_share
    whole = bool(contains) and all(id in blocks.energies for id in contains)
    energy = _energy(blocks, inside, reading) if whole else None
    channels = []
    missing = [MissingChannel(id, why) for id, why in blocks.failures.items()]
    for id in order:
        sensor = by_id[id]
        # The pace of what belongs to the total was seen to when the run was cut.
        grain = 0.0 if id in contains else sensor.grain_s
        count = _to_join(blocks, grain)
        if count is None:
            missing.append(MissingChannel(id, _too_few(id, grain)))
        elif (figure := _energy(blocks, [sensor.channel], reading, count)) is not None:
            channels.append((sensor.channel, sensor.profiler, id in contains, figure))
    seconds = blocks.seconds()
    latency = _figure(
        seconds, (), "clock", f"mean of {len(blocks.work)} blocks on the monotonic clock"
    )
    if latency is None:
        raise AssertionError("a run has two blocks at least")
    return RunCosts(
        energy=energy,
        seconds=latency,
        power=_power(blocks, inside, reading) if whole else None,
        contains=tuple(contains),
        channels=tuple(channels),
        missing=tuple(missing),
        repetitions=_repetitions(blocks, order, run.screening.flags),
        iterations=int(blocks.iterations.sum()),
        warnings=(*_warnings(run, inside, settings), *notes),
        removed=()
        if run.screening.removed is None
        else _repetitions(run.screening.removed, order, run.screening.causes),
        self_cost=_self_cost(run, sensors),
        observations=_observations(run),
    )


def _observations(run: LoopRun) -> tuple[Observed, ...]:
    readings = run.readings
    if readings.conditions is None:
        return ()
    return summarised(readings.conditions.telemetry, readings.begun_s, float(readings.before[-1]))


def _self_cost(run: LoopRun, sensors: Sequence[Sensor]) -> SelfCost | None:
    readings, blocks = run.readings, run.blocks
    if readings.own is None:
        return None
    seconds = float(blocks.durations.sum())
    watts = [
        (sensor.channel, float(blocks.energies[sensor.channel.id].sum()) / seconds)
        for sensor in sensors
        if sensor.channel.id in blocks.energies
    ]
    cpus = 1 if readings.conditions is None else readings.conditions.cpus
    own = readings.own
    return self_cost(own.held_s, own.cpu_s, readings.after[-1] - readings.begun_s, watts, cpus)


def _described(channel: Channel, source: Source, blocks: Blocks) -> Channel:
    """The channel as it is known at the mean power of the run."""
    joules = blocks.energies.get(channel.id)
    return source.described(
        channel, None if joules is None else float(joules.sum() / blocks.durations.sum())
    )


def sensor_notes(sources: Sequence[Source]) -> tuple[str, ...]:
    """What the profilers say that readers of their figures must know."""
    notes = [note for source in sources for note in source.profiler.notes()]
    doubt = overlap([channel for source in sources for channel in source.channels])
    return tuple(dict.fromkeys([*notes, doubt] if doubt else notes))


def _to_join(blocks: Blocks, grain_s: float) -> int | None:
    """How many blocks to join for a channel of that pace; None when they become too few.

    Blocks between two of its values would all look alike and their interval
    would be far too narrow.
    """
    count = math.ceil(grain_s / float(np.median(blocks.durations)))
    if count <= 1:
        return 1
    return count if len(blocks.durations) // count >= MIN_BLOCKS else None


def _too_few(id: str, grain_s: float) -> str:
    return (
        f"the run was too short for {id}, which has a new value every {grain_s:.3g} s. "
        f"Measure for at least {MIN_BLOCKS * grain_s:.3g} s"
    )


def _energy(
    blocks: Blocks, channels: Sequence[Channel], reading: float, joined: int = 1
) -> Figure | None:
    """Joules of one iteration summed over channels; None without an interval.

    Args:
        blocks: the run.
        channels: to be summed.
        reading: share of the time spent reading sensors, at an unknown power.
        joined: neighbouring blocks to be made one.
    """
    blocks = blocks.joined(joined) if joined > 1 else blocks
    values = blocks.per_iteration([channel.id for channel in channels])
    means = [float(blocks.per_iteration([c.id]).mean()) for c in channels]
    method = joined_method({channel.method for channel in channels})
    names = " + ".join(channel.id for channel in channels)
    calibrations = "".join(f"; {c.id} {c.calibration}" for c in channels if c.calibration)
    provenance = f"{names}; batch means of {len(values)} blocks{calibrations}"
    gain = _gains(channels, means)
    return _figure(batch_means(values), gain, method, provenance, reading, joined)


def _gains(channels: Sequence[Channel], means: Sequence[float]) -> Budget:
    return gains(
        [
            (channel.gain_kind, channel.id, abs(mean) * channel.gain_uncertainty)
            for channel, mean in zip(channels, means, strict=True)
        ]
    )


def _power(blocks: Blocks, channels: Sequence[Channel], reading: float) -> Figure | None:
    values = sum(blocks.energies[channel.id] for channel in channels) / blocks.durations
    means = [float(blocks.energies[c.id].sum() / blocks.durations.sum()) for c in channels]
    method = joined_method({channel.method for channel in channels})
    provenance = f"batch means of {len(values)} blocks"
    return _figure(batch_means(values), _gains(channels, means), method, provenance, reading)


def _figure(
    interval: Interval,
    gain: Budget,
    method: str,
    provenance: str,
    reading: float = 0.0,
    joined: int = 1,
) -> Figure | None:
    if math.isinf(interval.half):
        return None
    # More freedom makes t smaller; a gain must not make an interval narrower by that.
    # The power while sensors are read is unknown: 0 to twice the mean, a uniform error.
    unread = reading * abs(interval.mean) / math.sqrt(3)
    budget: Budget = (_repetition(interval, joined), *gain)
    if unread:
        budget += (Term("reading", unread, None, False, f"{reading:.2%} of the time"),)
    parts = [(term.u, math.inf if term.nu is None else term.nu) for term in budget]
    total = max(expanded(parts), interval.half)
    mean = interval.mean
    floor = min(mean, 0.0)
    return Figure(
        mean,
        max(mean - total, floor),
        mean + total,
        max(mean - interval.half, floor),
        mean + interval.half,
        method,
        provenance,
        budget,
    )


def _repetition(interval: Interval, joined: int) -> Term:
    return Term(
        "repetition",
        interval.u,
        interval.nu,
        detail=f"{interval.blocks} blocks, r = {interval.correlation:.2f}",
        blocks=interval.blocks,
        joined=joined,
        correlation=interval.correlation,
    )


def _repetitions(
    blocks: Blocks, ids: Sequence[str], flags: Sequence[str]
) -> tuple[Repetition, ...]:
    return tuple(
        Repetition(
            float(blocks.starts[index]),
            float(blocks.durations[index]),
            float(blocks.work[index]),
            int(blocks.iterations[index]),
            tuple(ChannelJoules(id, float(blocks.energies[id][index])) for id in ids),
            flags[index] if flags else "",
        )
        for index in range(len(blocks.durations))
    )


def _warnings(run: LoopRun, channels: Sequence[Channel], settings: LoopSettings) -> tuple[str, ...]:
    notes = []
    if not run.target_met:
        notes.append(f"target not met: {run.why_not}")
    notes += run.screening.told()
    readings, blocks = run.readings, run.blocks
    if readings.conditions is not None:
        notes += advice(readings.conditions, readings.begun_s, float(readings.before[-1]))
    if run.target_met and all(channel.id in blocks.energies for channel in channels):
        means = [float(blocks.energies[channel.id].sum()) for channel in channels]
        told = gain_advice(list(zip(channels, means, strict=True)), settings.precision)
        notes += [told] if told else []
    if any(not channel.measured for channel in channels):
        which = ", ".join(channel.id for channel in channels if not channel.measured)
        notes.append(f"modelled, not measured: {which}. `greenai devices` tells what could measure")
    return tuple(notes)
