"""Whole epochs, measured: from their windows to the result of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .blocks import Source
from .clock import Clock
from .errors import GreenAIError, LifecycleError, ModelError
from .evaluation import MeasurementInterrupted, describe
from .loop import LoopSettings
from .model import DLLibrary
from .parameters import ParameterCount
from .results import (
    ChannelJoules,
    ChannelStep,
    DataWait,
    EpochResult,
    Figure,
    MissingChannel,
    Repetition,
    TrainingResult,
    WindowResult,
)
from .spans import Window
from .statistics import batch_means
from .trainable import Trainable
from .training import Course, Lessons, Progress, teach, warm_up

DERIVATION = (
    "mean power of the epochs × time of waiting: sensors are too slow to tell a wait from the "
    "step after it, and the power while waiting may be lower"
)
FEWEST_EPOCHS = 4
"""Fewer say next to nothing of how epochs differ: of two, the interval is 13 times their spread."""

FEW_EPOCHS = (
    f"fewer than {FEWEST_EPOCHS} complete epochs: the intervals hold the reading of the sensors "
    "and the spread of the times of steps, not how epochs differ"
)


class TrainingFailed(ModelError):
    """Training broke off; what was measured before is not lost.

    Attributes:
        result: of the steps that were done.
    """

    def __init__(self, message: str, result: TrainingResult) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class _Energy:
    """Joules of one window: the value, and the upper ends of its two intervals."""

    value: float
    repeat_high: float
    high: float

    @property
    def reading(self) -> float:
        """Half-width of the interval without the gains of the sensors."""
        return self.repeat_high - self.value

    @property
    def gain(self) -> float:
        """Half-width of what the gains of the sensors add to it."""
        return math.sqrt(max((self.high - self.value) ** 2 - self.reading**2, 0.0))


def by_epochs(
    library: DLLibrary,
    trainable: Trainable,
    course: Course,
    sources: Sequence[Source],
    clock: Clock,
    settings: LoopSettings,
    progress: Progress,
) -> TrainingResult:
    """Train in whole epochs and report what they cost. See ``Session.evaluate_training``.

    Raises:
        MeasurementInterrupted: Ctrl-C; its ``result`` holds what was measured.
        TrainingFailed: likewise, where training broke off after its first step.
        ModelError: there was no first step.
    """
    first = warm_up(trainable, course)
    summary = describe(library, first.inputs, first.size)
    windows: dict[str, Window] = {}
    lessons = Lessons()

    def part(name: str) -> Window:
        windows[name] = Window(name, sources, clock, library.accelerators())
        return windows[name]

    begun = clock.now()
    interrupted, failure = False, None
    try:
        teach(trainable, course, lessons, clock, part, progress)
    except KeyboardInterrupt:
        interrupted = True
        if not lessons.steps:
            raise
    except Exception as error:
        failure = error
        if not lessons.steps:
            raise
    if not lessons.steps:
        raise ModelError(f"{library.path}: {lessons.stopped}")
    elapsed = clock.now() - begun
    result = _result(library, summary, course, lessons, _ended(windows), elapsed, settings)
    if interrupted:
        note = "interrupted before its end"
        raise MeasurementInterrupted(replace(result, warnings=(note, *result.warnings)))
    if failure is not None:
        text = str(failure) if isinstance(failure, GreenAIError) else repr(failure)
        note = f"training broke off: {text}"
        kept = replace(result, warnings=(note, *result.warnings))
        raise TrainingFailed(text, kept) from failure
    return result


def _ended(windows: dict[str, Window]) -> dict[str, WindowResult]:
    found = {}
    for name, window in windows.items():
        try:
            found[name] = window.result
        except LifecycleError:
            continue  # interrupted while it began
    return found


def _result(
    library: DLLibrary,
    summary: Any,
    course: Course,
    lessons: Lessons,
    windows: dict[str, WindowResult],
    elapsed_s: float,
    settings: LoopSettings,
) -> TrainingResult:
    parameters, notes = _parameters(library)
    done = [epoch for epoch in lessons.epochs if f"epoch {epoch.number}" in windows]
    epochs = tuple(
        epoch.result(windows[f"epoch {epoch.number}"], windows.get(f"validation {epoch.number}"))
        for epoch in done
    )
    used = [e for e in epochs if e.complete] or [e for e in epochs if e.steps]
    times = [t for epoch in done for t in epoch.training.step_times]
    parts = [window for e in used if (window := e.training) is not None]
    totals = [_total(window) for window in parts]
    steps = [float(e.steps) for e in used]
    spread = _relative_spread(times)
    method = parts[0].method
    told = f"{len(parts)} epochs added up ({', '.join(parts[0].contains)})"
    energy = _per(totals, steps, spread, method, f"{told}, divided by their steps")
    precise = energy is not None and (
        energy.repeat_high - energy.value <= settings.precision * energy.value
    )
    met = precise and all(e.complete for e in epochs) and not lessons.stopped
    if not met:
        notes += ("target not met: " + _why(energy, epochs, settings),)
    if len(parts) < FEWEST_EPOCHS:
        notes += (FEW_EPOCHS,)
    measured = math.fsum(window.duration_s for window in windows.values())
    return TrainingResult(
        model=summary,
        parameters=parameters,
        energy_per_step_j=energy,
        energy_per_sample_j=_per(
            totals,
            [float(e.samples) for e in used],
            spread,
            method,
            f"{told}, divided by their samples",
        ),
        step_s=_seconds(times),
        power_w=_per(totals, [w.duration_s for w in parts], spread, method, f"{told}, over time"),
        contains=parts[0].contains,
        channels=_channels(parts, steps, spread),
        missing=_missing(windows.values()),
        repetitions=_repetitions(epochs),
        steps=sum(e.steps for e in epochs),
        losses=tuple(e.loss for e in epochs if e.loss is not None),
        target=settings.precision,
        target_met=met,
        self_cost_share=max(elapsed_s - measured, 0.0) / elapsed_s if elapsed_s > 0 else 0.0,
        warnings=(*course.warnings, *_stopped(lessons), *notes, *_modelled(parts)),
        energy_per_epoch_j=_per(
            totals if any(e.complete for e in epochs) else [None],
            [1.0] * len(parts),
            spread,
            method,
            f"mean of {len(parts)} epochs, validation apart",
        ),
        energy_of_run_j=_run(list(windows.values()), method),
        data_wait=_wait(epochs),
        epochs=epochs,
    )


def _parameters(library: DLLibrary) -> tuple[ParameterCount | None, tuple[str, ...]]:
    try:
        return library.count_parameters(), ()
    except ModelError as error:
        return None, (f"the parameters could not be counted: {error}",)


def _total(window: WindowResult) -> _Energy | None:
    value, repeat, high = window.energy_j, window.repeat_high_j, window.high_j
    return None if value is None or repeat is None or high is None else _Energy(value, repeat, high)


def _per(
    energies: Sequence[_Energy | None],
    counts: Sequence[float],
    step_spread: float,
    method: str,
    provenance: str,
) -> Figure | None:
    """Energy of one of ``counts``; None where the energy of a window is not known.

    Several epochs show by their spread what another one would cost. Of few, the
    interval is that of the reading widened by the spread of the steps' times.
    """
    known = [energy for energy in energies if energy is not None]
    if len(known) < len(energies) or not known:
        return None
    count = math.fsum(counts)
    value = math.fsum(energy.value for energy in known) / count
    reading = math.sqrt(math.fsum(energy.reading**2 for energy in known)) / count
    gain = math.fsum(energy.gain for energy in known) / count
    if len(known) >= FEWEST_EPOCHS:
        each = [energy.value / number for energy, number in zip(known, counts, strict=True)]
        half = max(reading, batch_means(each).half)
    else:
        half = math.hypot(reading, abs(value) * step_spread)
    return _figure(value, half, gain, method, provenance)


def _figure(value: float, half: float, gain: float, method: str, provenance: str) -> Figure:
    total = math.hypot(half, gain)
    floor = min(value, 0.0)
    return Figure(
        value,
        max(value - total, floor),
        value + total,
        max(value - half, floor),
        value + half,
        method,
        provenance,
    )


def _relative_spread(times: Sequence[float]) -> float:
    """Relative half-width of the mean time of a step; 1 where one step shows none."""
    interval = batch_means(times)
    if math.isinf(interval.half) or interval.mean <= 0:
        return 1.0
    return interval.half / interval.mean


def _seconds(times: Sequence[float]) -> Figure:
    mean = float(np.mean(times))
    provenance = f"mean of {len(times)} steps on the monotonic clock, with waiting for data"
    return _figure(mean, mean * _relative_spread(times), 0.0, "clock", provenance)


def _channels(
    parts: Sequence[WindowResult], steps: Sequence[float], spread: float
) -> tuple[ChannelStep, ...]:
    found = []
    for channel in parts[0].channels:
        same = [c for part in parts for c in part.channels if c.id == channel.id]
        if len(same) < len(parts):
            continue
        energies = [_Energy(c.energy_j, c.repeat_high_j, c.high_j) for c in same]
        figure = _per(energies, steps, spread, channel.method, channel.id)
        if figure is not None:
            found.append(
                ChannelStep(
                    channel.id,
                    channel.component,
                    channel.method,
                    channel.profiler,
                    channel.in_total,
                    figure,
                )
            )
    return tuple(found)


def _missing(windows: Any) -> tuple[MissingChannel, ...]:
    lost = {missing.id: missing for window in windows for missing in window.missing}
    return tuple(lost.values())


def _repetitions(epochs: Sequence[EpochResult]) -> tuple[Repetition, ...]:
    found = []
    start = 0.0
    for epoch in epochs:
        window = epoch.training
        if window is None or not epoch.steps:
            continue
        joules = tuple(ChannelJoules(c.id, c.energy_j) for c in window.channels)
        seconds = window.duration_s
        found.append(Repetition(start, seconds, seconds, epoch.steps, joules))
        start += seconds + (epoch.validation.duration_s if epoch.validation else 0.0)
    return tuple(found)


def _run(windows: Sequence[WindowResult], method: str) -> Figure | None:
    """It happened once: what is uncertain of it is the reading and the gains."""
    totals = [_total(window) for window in windows]
    known = [energy for energy in totals if energy is not None]
    if len(known) < len(totals):
        return None
    return _figure(
        math.fsum(energy.value for energy in known),
        math.sqrt(math.fsum(energy.reading**2 for energy in known)),
        math.fsum(energy.gain for energy in known),
        method,
        f"{len(known)} windows added up, training and validation",
    )


def _wait(epochs: Sequence[EpochResult]) -> DataWait:
    waited = math.fsum(e.wait_s for e in epochs)
    seconds = math.fsum(e.duration_s for e in epochs)
    joules = [e.training.energy_j if e.training else None for e in epochs]
    known = [j for j in joules if j is not None]
    share = waited / seconds if seconds > 0 else 0.0
    whole = len(known) == len(joules)
    return DataWait(waited, share, math.fsum(known) * share if whole else None, DERIVATION)


def _stopped(lessons: Lessons) -> tuple[str, ...]:
    return (lessons.stopped,) if lessons.stopped else ()


def _modelled(parts: Sequence[WindowResult]) -> tuple[str, ...]:
    which = [c.id for c in parts[0].channels if c.in_total and c.method == "modelled"]
    return (f"modelled, not measured: {', '.join(which)}",) if which else ()


def _why(energy: Figure | None, epochs: Sequence[EpochResult], settings: LoopSettings) -> str:
    if energy is None:
        return "a channel of the total was lost"
    if not all(e.complete for e in epochs):
        return "the last epoch is not complete"
    reached = (energy.repeat_high - energy.value) / energy.value if energy.value > 0 else math.inf
    return f"the interval reached ±{reached:.1%}, not ±{settings.precision:.1%}"


def per_epoch(result: TrainingResult, samples: int | None) -> TrainingResult:
    """A result of repeated steps with the energy of one epoch, computed from one sample's."""
    one = result.energy_per_sample_j
    if one is None or samples is None:
        return result
    epoch = Figure(
        one.value * samples,
        one.low * samples,
        one.high * samples,
        one.repeat_low * samples,
        one.repeat_high * samples,
        one.method,
        f"{one.provenance}; × {samples} samples of an epoch, without waiting for data",
    )
    return replace(result, energy_per_epoch_j=epoch)
