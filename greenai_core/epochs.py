"""Whole epochs, measured: from their windows to the result of a training."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from .blocks import Source
from .budget import scaled
from .clock import Clock, repeated_s
from .epoch_energy import (
    FEW_EPOCHS,
    FEWEST_EPOCHS,
    EpochCosts,
    data_wait,
    energy_of_run,
    epoch_costs,
    missing_channels,
)
from .errors import LifecycleError, ModelError
from .evaluation import MeasurementInterrupted, TrainingFailed, describe, training_failed
from .kept_windows import KeptWindows
from .loop import LoopSettings
from .model import DLLibrary
from .observed import BackgroundObserver, joined
from .parameters import ParameterCount
from .results import (
    ChannelJoules,
    EpochResult,
    Figure,
    ModelSummary,
    Repetition,
    SelfCost,
    TrainingResult,
)
from .run_costs import sensor_notes
from .self_cost import self_cost
from .spans import Window, planned
from .trainable import Trainable
from .training import Course, Lessons, Progress, teach, warm_up

__all__ = ["TrainingFailed", "by_epochs", "per_epoch"]


def by_epochs(
    library: DLLibrary,
    trainable: Trainable,
    course: Course,
    sources: Sequence[Source],
    clock: Clock,
    settings: LoopSettings,
    progress: Progress,
    keep: Callable[[KeptWindows], None] = lambda kept: None,
) -> TrainingResult:
    """Train in whole epochs and report what they cost. See ``Session.evaluate_training``.

    ``keep`` is told what the figures follow from.

    Raises:
        MeasurementInterrupted: Ctrl-C; its ``result`` holds what was measured.
        TrainingFailed: likewise, where training broke off after its first step.
        ModelError: there was no first step.
    """
    first = warm_up(trainable, course)
    summary = describe(library, first.inputs, first.size)
    windows: dict[str, Window] = {}
    lessons = Lessons()
    looker = BackgroundObserver([source.profiler for source in sources], clock)
    plan = planned(sources, clock, looker)

    def part(name: str) -> Window:
        windows[name] = Window(name, sources, clock, library.accelerators(), plan)
        return windows[name]

    begun, spent = clock.now(), repeated_s(clock)
    interrupted, failure = False, None
    try:
        looker.open()
        teach(trainable, course, lessons, clock, part, progress)
    except KeyboardInterrupt:
        interrupted = True
        if not lessons.steps:
            raise
    except Exception as error:
        failure = error
        if not lessons.steps:
            raise
    finally:
        looker.close()
    if not lessons.steps:
        raise ModelError(f"{library.path}: {lessons.stopped}")
    elapsed, spent = clock.now() - begun, repeated_s(clock) - spent
    notes = sensor_notes(sources)
    kept = _kept(windows, lessons, elapsed, settings)
    keep(kept)
    parameters, doubts = _parameters(library)
    blank = {e.number: e.result() for e in lessons.epochs}
    result, why, costs = epochs_result(summary, parameters, kept, blank)
    told = _warnings(lessons, doubts, costs, why)
    own = _self_cost(kept, elapsed, spent)
    result = replace(result, warnings=(*course.warnings, *told, *notes), self_cost=own)
    if interrupted:
        note = "interrupted before its end"
        raise MeasurementInterrupted(replace(result, warnings=(note, *result.warnings)))
    if failure is not None:
        raise training_failed(failure, result)
    return result


def _self_cost(kept: KeptWindows, elapsed_s: float, background_s: float) -> SelfCost:
    """What measuring took: the time around the windows, and the reading in the background."""
    measured = math.fsum(window.duration_s for window in kept.windows)
    held = max(elapsed_s - measured, 0.0)
    joules: dict[str, float] = {}
    channels = {}
    for window in kept.windows:
        for one in window.readings:
            channels[one.channel.id] = one.channel
        for energy in window.result().channels:
            joules[energy.id] = joules.get(energy.id, 0.0) + energy.energy_j
    watts = [(channels[id], energy / measured) for id, energy in joules.items()]
    return self_cost(held, held + background_s, elapsed_s, watts, os.cpu_count() or 1)


def _kept(
    windows: dict[str, Window], lessons: Lessons, elapsed_s: float, settings: LoopSettings
) -> KeptWindows:
    found = []
    for window in windows.values():
        with contextlib.suppress(LifecycleError):  # interrupted while it began
            found.append(window.kept)
    names = {window.name for window in found}
    passes = [e.training for e in lessons.epochs if f"epoch {e.number}" in names]
    return KeptWindows(
        tuple(found),
        tuple(tuple(each.step_times) for each in passes),
        tuple(each.wait_s for each in passes),
        elapsed_s,
        settings.precision,
    )


def epochs_result(
    summary: ModelSummary,
    parameters: ParameterCount | None,
    kept: KeptWindows,
    taught: Mapping[int, EpochResult],
) -> tuple[TrainingResult, str, EpochCosts]:
    """The result of whole epochs: all that follows from their windows.

    Args:
        summary: which model.
        parameters: of the model.
        kept: the windows and the times of the steps.
        taught: what each epoch learnt, by number; its energy is not looked at.

    Returns:
        The result without warnings, why the precision was not reached, and the costs.
    """
    windows = {window.name: window.result() for window in kept.windows}
    epochs = tuple(
        replace(
            epoch,
            duration_s=windows[f"epoch {number}"].duration_s,
            training=windows[f"epoch {number}"],
            validation=windows.get(f"validation {number}"),
        )
        for number, epoch in taught.items()
        if f"epoch {number}" in windows
    )
    costs = epoch_costs(epochs, [time for times in kept.step_times for time in times])
    why = _why_not(costs.energy_per_step_j, epochs, kept.precision)
    elapsed_s = kept.elapsed_s
    measured = math.fsum(window.duration_s for window in windows.values())
    result = TrainingResult(
        model=summary,
        parameters=parameters,
        energy_per_step_j=costs.energy_per_step_j,
        energy_per_sample_j=costs.energy_per_sample_j,
        step_s=costs.step_s,
        power_w=costs.power_w,
        contains=costs.contains,
        channels=costs.channels,
        missing=missing_channels(windows.values()),
        repetitions=_repetitions(epochs),
        steps=sum(e.steps for e in epochs),
        losses=tuple(e.loss for e in epochs if e.loss is not None),
        target=kept.precision,
        target_met=not why,
        self_cost_share=max(elapsed_s - measured, 0.0) / elapsed_s if elapsed_s > 0 else 0.0,
        warnings=(),
        energy_per_epoch_j=costs.energy_per_epoch_j,
        energy_of_run_j=energy_of_run(list(windows.values()), costs.method),
        data_wait=data_wait(epochs),
        epochs=epochs,
        observations=joined([window.observations for window in windows.values()]),
    )
    return result, why, costs


def _parameters(library: DLLibrary) -> tuple[ParameterCount | None, tuple[str, ...]]:
    try:
        return library.count_parameters(), ()
    except ModelError as error:
        return None, (f"the parameters could not be counted: {error}",)


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


def _warnings(lessons: Lessons, notes: Sequence[str], costs: EpochCosts, why: str) -> Iterator[str]:
    if lessons.stopped:
        yield lessons.stopped
    yield from notes
    if why:
        yield f"target not met: {why}"
    if len(costs.used) < FEWEST_EPOCHS:
        yield FEW_EPOCHS
    if costs.modelled:
        which = ", ".join(costs.modelled)
        yield f"modelled, not measured: {which}. `greenai devices` tells what could measure"


def _why_not(energy: Figure | None, epochs: Sequence[EpochResult], precision: float) -> str:
    """What stood in the way of the precision; empty when it was reached."""
    if energy is None:
        return "a channel of the total was lost: `greenai devices` tells what works now"
    if not all(e.complete for e in epochs):
        return "the last epoch is not complete: let it end"
    half = energy.repeat_high - energy.value
    if half <= precision * energy.value:
        return ""
    reached = half / energy.value if energy.value > 0 else math.inf
    return f"the interval reached ±{reached:.1%}, not ±{precision:.1%}: train more --epochs"


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
        scaled(one.budget, samples),
    )
    return replace(result, energy_per_epoch_j=epoch)
