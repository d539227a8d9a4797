"""From a finished run to the result of a model: figures, channels, warnings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .blocks import Blocks, Source
from .channels import Channel, contents, joined_method
from .clock import Clock
from .errors import ModelError, ReadingError
from .loop import LoopRun, LoopSettings, run_loop
from .model import DLLibrary, Trainable
from .parameters import ParameterCount
from .results import (
    ChannelInference,
    ChannelJoules,
    ChannelStep,
    Figure,
    InferenceResult,
    MissingChannel,
    ModelSummary,
    Repetition,
    TrainingResult,
    WindowResult,
)
from .statistics import MIN_BLOCKS, Interval, add_gains, batch_means, expanded


class MeasurementInterrupted(KeyboardInterrupt):
    """Ctrl-C or a signal ended a run; what was measured is not lost.

    Attributes:
        result: of the measured part, with ``target_met`` False.
    """

    def __init__(self, result: InferenceResult | TrainingResult) -> None:
        super().__init__("interrupted")
        self.result = result


@dataclass(frozen=True)
class _Costs:
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


def describe(library: DLLibrary, inputs: Mapping[str, Any], batch: int) -> ModelSummary:
    """Which file is measured and how it is fed."""
    shapes = tuple(
        f"{name} {'x'.join(map(str, array.shape)) or 'scalar'} {array.dtype}"
        for name, array in inputs.items()
    )
    return ModelSummary(str(library.path), library.format, library.device, shapes, batch)


def inference(
    library: DLLibrary,
    summary: ModelSummary,
    work: Callable[[], None],
    sources: Sequence[Source],
    clock: Clock,
    settings: LoopSettings,
    progress: Callable[[float, str], None],
) -> InferenceResult:
    """Repeat an inference and report what it costs. See ``Session.evaluate_inference``."""
    parameters, notes = _parameters(library)
    contains = contents(_channels(sources), library.accelerators())
    run = run_loop(work, sources, contains, clock, settings, progress)
    costs = _costs(run, sources, contains, settings)
    result = InferenceResult(
        model=summary,
        parameters=parameters,
        energy_per_inference_j=costs.energy,
        energy_per_sample_j=_share(costs.energy, summary.batch_size),
        latency_s=costs.seconds,
        power_w=costs.power,
        contains=costs.contains,
        channels=tuple(
            ChannelInference(c.id, c.component, c.method, profiler, inside, figure)
            for c, profiler, inside, figure in costs.channels
        ),
        missing=costs.missing,
        repetitions=costs.repetitions,
        inferences=costs.iterations,
        target=settings.precision,
        target_met=run.target_met,
        self_cost_share=run.self_cost_share,
        warnings=(*notes, *costs.warnings),
    )
    if run.interrupted:
        raise MeasurementInterrupted(result)
    return result


def training(
    library: DLLibrary,
    summary: ModelSummary,
    trainable: Trainable,
    work: Callable[[], None],
    sources: Sequence[Source],
    clock: Clock,
    settings: LoopSettings,
    progress: Callable[[float, str], None],
) -> TrainingResult:
    """Repeat a training step and report what it costs. See ``Session.evaluate_training``."""
    parameters, notes = _parameters(library)
    contains = contents(_channels(sources), library.accelerators())
    work()
    first_loss = trainable.loss()
    run = run_loop(work, sources, contains, clock, settings, progress)
    costs = _costs(run, sources, contains, settings)
    losses = (first_loss, trainable.loss())
    if not all(map(math.isfinite, losses)):
        notes = (*notes, f"the loss became {losses[-1]}: the energy is that of useless steps")
    result = TrainingResult(
        model=summary,
        parameters=parameters,
        energy_per_step_j=costs.energy,
        energy_per_sample_j=_share(costs.energy, summary.batch_size),
        step_s=costs.seconds,
        power_w=costs.power,
        contains=costs.contains,
        channels=tuple(
            ChannelStep(c.id, c.component, c.method, profiler, inside, figure)
            for c, profiler, inside, figure in costs.channels
        ),
        missing=costs.missing,
        repetitions=costs.repetitions,
        steps=costs.iterations,
        losses=tuple(loss for loss in losses if math.isfinite(loss)),
        target=settings.precision,
        target_met=run.target_met,
        self_cost_share=run.self_cost_share,
        warnings=(*notes, *costs.warnings),
    )
    if run.interrupted:
        raise MeasurementInterrupted(result)
    return result


def power(window: WindowResult) -> Figure:
    """Mean power of a window, W.

    Raises:
        ReadingError: a channel of its total is missing.
    """
    values = (
        window.energy_j,
        window.low_j,
        window.high_j,
        window.repeat_low_j,
        window.repeat_high_j,
    )
    watts = [value / window.duration_s for value in values if value is not None]
    if len(watts) < len(values):
        why = "; ".join(f"{m.id}: {m.reason}" for m in window.missing)
        raise ReadingError(f"the window {window.name!r} has no total: {why}")
    value, low, high, repeat_low, repeat_high = watts
    provenance = f"energy over time of the window {window.name!r}"
    return Figure(value, low, high, repeat_low, repeat_high, window.method, provenance)


def _channels(sources: Sequence[Source]) -> list[Channel]:
    return [channel for source in sources for channel in source.channels]


def _parameters(library: DLLibrary) -> tuple[ParameterCount | None, tuple[str, ...]]:
    """Their count, and what is not known for sure about the model and its inputs."""
    assumed = library.assumptions()
    try:
        return library.count_parameters(), assumed
    except ModelError as error:
        return None, (*assumed, f"the parameters could not be counted: {error}")


def _share(figure: Figure | None, samples: int) -> Figure | None:
    if figure is None:
        return None
    return replace(
        figure,
        value=figure.value / samples,
        low=figure.low / samples,
        high=figure.high / samples,
        repeat_low=figure.repeat_low / samples,
        repeat_high=figure.repeat_high / samples,
        provenance=f"{figure.provenance}; divided by {samples} samples",
    )


def _costs(
    run: LoopRun, sources: Sequence[Source], contains: Sequence[str], settings: LoopSettings
) -> _Costs:
    blocks = run.blocks
    by_id = {c.id: (c, s.profiler) for s in sources for c in s.channels}
    order = [id for id in by_id if id in blocks.energies]
    inside = [by_id[id][0] for id in contains]
    reading = run.self_cost_share
    whole = bool(contains) and all(id in blocks.energies for id in contains)
    energy = _energy(blocks, inside, reading) if whole else None
    channels = []
    missing = [MissingChannel(id, why) for id, why in blocks.failures.items()]
    for id in order:
        channel, profiler = by_id[id]
        # The pace of what belongs to the total was seen to when the run was cut.
        grain = 0.0 if id in contains else profiler.grain_s(channel)
        joined = _joined(blocks, grain)
        if joined is None:
            missing.append(MissingChannel(id, _too_few(id, grain)))
        elif (figure := _energy(joined, [channel], reading)) is not None:
            channels.append((channel, profiler.name, id in contains, figure))
    seconds = blocks.seconds()
    latency = _figure(
        seconds, 0.0, "clock", f"mean of {len(blocks.work)} blocks on the monotonic clock"
    )
    if latency is None:
        raise AssertionError("a run has two blocks at least")
    return _Costs(
        energy=energy,
        seconds=latency,
        power=_power(blocks, inside, reading) if whole else None,
        contains=tuple(contains),
        channels=tuple(channels),
        missing=tuple(missing),
        repetitions=_repetitions(blocks, order),
        iterations=int(blocks.iterations.sum()),
        warnings=_warnings(run, energy, inside, settings),
    )


def _joined(blocks: Blocks, grain_s: float) -> Blocks | None:
    """Blocks long enough for a channel of that pace; None when they become too few.

    Blocks between two of its values would all look alike and their interval
    would be far too narrow.
    """
    count = math.ceil(grain_s / float(np.median(blocks.durations)))
    if count <= 1:
        return blocks
    return blocks.joined(count) if len(blocks.durations) // count >= MIN_BLOCKS else None


def _too_few(id: str, grain_s: float) -> str:
    return (
        f"the run was too short for {id}, which has a new value every {grain_s:.3g} s. "
        f"Measure for at least {MIN_BLOCKS * grain_s:.3g} s"
    )


def _energy(blocks: Blocks, channels: Sequence[Channel], reading: float) -> Figure | None:
    """Joules of one iteration summed over channels; None without an interval.

    Args:
        blocks: the run.
        channels: to be summed.
        reading: share of the time spent reading sensors, at an unknown power.
    """
    values = blocks.per_iteration([channel.id for channel in channels])
    shares = [
        (c, float(blocks.per_iteration([c.id]).mean()) * c.gain_uncertainty) for c in channels
    ]
    gain = add_gains([(channel.gain_source, abs(u)) for channel, u in shares])
    method = joined_method({channel.method for channel in channels})
    names = " + ".join(channel.id for channel in channels)
    provenance = f"{names}; batch means of {len(values)} blocks"
    return _figure(batch_means(values), gain, method, provenance, reading)


def _power(blocks: Blocks, channels: Sequence[Channel], reading: float) -> Figure | None:
    values = sum(blocks.energies[channel.id] for channel in channels) / blocks.durations
    means = [float(blocks.energies[c.id].sum() / blocks.durations.sum()) for c in channels]
    gain = add_gains(
        [
            (channel.gain_source, abs(mean) * channel.gain_uncertainty)
            for channel, mean in zip(channels, means, strict=True)
        ]
    )
    method = joined_method({channel.method for channel in channels})
    provenance = f"batch means of {len(values)} blocks"
    return _figure(batch_means(values), gain, method, provenance, reading)


def _figure(
    interval: Interval, gain: float, method: str, provenance: str, reading: float = 0.0
) -> Figure | None:
    if math.isinf(interval.half):
        return None
    # More freedom makes t smaller; a gain must not make an interval narrower by that.
    # The power while sensors are read is unknown: 0 to twice the mean, a uniform error.
    unread = reading * abs(interval.mean) / math.sqrt(3)
    parts = [(interval.u, interval.nu), (gain, math.inf), (unread, math.inf)]
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
    )


def _repetitions(blocks: Blocks, ids: Sequence[str]) -> tuple[Repetition, ...]:
    return tuple(
        Repetition(
            float(blocks.starts[index]),
            float(blocks.durations[index]),
            float(blocks.work[index]),
            int(blocks.iterations[index]),
            tuple(ChannelJoules(id, float(blocks.energies[id][index])) for id in ids),
        )
        for index in range(len(blocks.durations))
    )


def _warnings(
    run: LoopRun, energy: Figure | None, channels: Sequence[Channel], settings: LoopSettings
) -> tuple[str, ...]:
    notes = []
    if not run.target_met:
        notes.append(f"target not met: {run.why_not}")
    if energy is not None and energy.value > 0:
        gain = (energy.high - energy.value) / energy.value
        if gain > settings.precision and run.target_met:
            notes.append(
                f"the total is known to ±{gain:.0%}: the gain of the sensors is uncertain by that "
                "much, and more repetition cannot help. To compare on this machine use the "
                "repeatability interval"
            )
    if any(not channel.measured for channel in channels):
        which = ", ".join(channel.id for channel in channels if not channel.measured)
        notes.append(f"modelled, not measured: {which}")
    return tuple(notes)
