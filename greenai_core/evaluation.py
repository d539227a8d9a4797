"""From a finished run to the result of a model: figures, channels, warnings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .above_idle import inference_above_idle, training_above_idle
from .blocks import Source
from .budget import scaled
from .channels import Channel, contents
from .clock import Clock
from .conditions import observer
from .errors import GreenAIError, ModelError, ReadingError
from .idle import Bracket
from .kept_runs import KeptRun
from .loop import LoopRun, LoopSettings, run_loop
from .model import DLLibrary, Trainable
from .parameters import ParameterCount
from .repeated_steps import BrokenOff, RepeatedSteps
from .results import (
    ChannelInference,
    ChannelStep,
    Figure,
    InferenceResult,
    ModelSummary,
    TrainingResult,
    WindowResult,
)
from .run_costs import RunCosts, run_costs, sensor_notes, sensors_of


class MeasurementInterrupted(KeyboardInterrupt):
    """Ctrl-C or a signal ended a run; what was measured is not lost.

    Attributes:
        result: of the measured part, with ``target_met`` False.
    """

    def __init__(self, result: InferenceResult | TrainingResult) -> None:
        super().__init__("interrupted")
        self.result = result


class TrainingFailed(ModelError):
    """Training broke off; what was measured before is not lost.

    Attributes:
        result: of the steps that were done.
    """

    def __init__(self, message: str, result: TrainingResult) -> None:
        super().__init__(message)
        self.result = result


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
    keep: Callable[[KeptRun], None] = lambda kept: None,
    idle_s: float | None = 0.0,
) -> InferenceResult:
    """Repeat an inference and report what it costs. See ``Session.evaluate_inference``.

    ``keep`` is told what the figures follow from.
    """
    parameters, notes = _parameters(library)
    contains = contents(_channels(sources), library.accelerators())
    idle = Bracket(sources, contains, clock, settings, idle_s)
    idle.before(work)
    watcher = observer([source.profiler for source in sources], clock)
    run = run_loop(work, sources, contains, clock, settings, progress, watcher)
    told = sensor_notes(sources)
    sensors = sensors_of(sources, run.blocks)
    keep(KeptRun(run.readings, sensors, contains, settings, run.interrupted))
    idle.after(run)
    costs = run_costs(run, sensors, contains, settings, (*told, *idle.notes))
    result = inference_result(summary, parameters, run, costs, settings, notes)
    result = inference_above_idle(result, run, sensors, idle.windows)
    if run.interrupted:
        raise MeasurementInterrupted(result)
    return result


def inference_result(
    summary: ModelSummary,
    parameters: ParameterCount | None,
    run: LoopRun,
    costs: RunCosts,
    settings: LoopSettings,
    notes: Sequence[str] = (),
) -> InferenceResult:
    """The result of a run of inferences: all that follows from its readings."""
    return InferenceResult(
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
        removed=costs.removed,
        self_cost=costs.self_cost,
        observations=costs.observations,
    )


def training(
    library: DLLibrary,
    summary: ModelSummary,
    trainable: Trainable,
    work: Callable[[], None],
    sources: Sequence[Source],
    clock: Clock,
    settings: LoopSettings,
    progress: Callable[[float, str], None],
    keep: Callable[[KeptRun], None] = lambda kept: None,
    idle_s: float | None = 0.0,
) -> TrainingResult:
    """Repeat a training step and report what it costs. See ``Session.evaluate_training``.

    Raises:
        TrainingFailed: a step failed, or its loss is no number; ``result`` holds
            what was measured.
        ModelError: likewise, before there was enough to report.
        MeasurementInterrupted: Ctrl-C; its ``result`` holds what was measured.
    """
    parameters, notes = _parameters(library)
    contains = contents(_channels(sources), library.accelerators())
    steps = RepeatedSteps(trainable, work)
    idle = Bracket(sources, contains, clock, settings, idle_s)
    run = _run_steps(steps, idle, sources, contains, clock, settings, progress)
    told = sensor_notes(sources)
    sensors = sensors_of(sources, run.blocks)
    broken_off = run.interrupted or steps.failure is not None
    keep(KeptRun(run.readings, sensors, contains, settings, broken_off))
    if not broken_off:
        idle.after(run)
    costs = run_costs(run, sensors, contains, settings, (*told, *idle.notes))
    result = training_result(summary, parameters, run, costs, settings, notes)
    result = training_above_idle(result, run, sensors, idle.windows)
    result = replace(result, losses=steps.losses)
    if steps.failure is not None:
        raise training_failed(steps.failure, result)
    if run.interrupted:
        raise MeasurementInterrupted(result)
    return result


def training_result(
    summary: ModelSummary,
    parameters: ParameterCount | None,
    run: LoopRun,
    costs: RunCosts,
    settings: LoopSettings,
    notes: Sequence[str] = (),
) -> TrainingResult:
    """The result of a run of training steps: all that follows from its readings."""
    return TrainingResult(
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
        losses=(),
        target=settings.precision,
        target_met=run.target_met,
        self_cost_share=run.self_cost_share,
        warnings=(*notes, *costs.warnings),
        removed=costs.removed,
        self_cost=costs.self_cost,
        observations=costs.observations,
    )


def _run_steps(
    steps: RepeatedSteps,
    idle: Bracket,
    sources: Sequence[Source],
    contains: Sequence[str],
    clock: Clock,
    settings: LoopSettings,
    progress: Callable[[float, str], None],
) -> LoopRun:
    """A run of steps; one that broke off has ``failure`` told by ``steps``.

    Raises:
        KeyboardInterrupt: there was too little measured to report.
        Exception: likewise; what broke training off.
    """
    try:
        steps()
        idle.before(steps)
        watcher = observer([source.profiler for source in sources], clock)
        run = run_loop(steps, sources, contains, clock, settings, progress, watcher)
    except BrokenOff:
        if steps.failure is None:
            raise AssertionError("steps break off for a reason") from None
        raise steps.failure from None
    if steps.failure is None:
        return run
    return replace(run, interrupted=False, why_not="training ended before it was reached")


def training_failed(failure: Exception, result: TrainingResult) -> TrainingFailed:
    """The error of a training that broke off, with what was measured before."""
    text = str(failure) if isinstance(failure, GreenAIError) else repr(failure)
    note = f"training broke off: {text}"
    failed = TrainingFailed(text, replace(result, warnings=(note, *result.warnings)))
    failed.__cause__ = failure
    return failed


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
    budget = scaled(window.budget, 1 / window.duration_s)
    return Figure(value, low, high, repeat_low, repeat_high, window.method, provenance, budget)


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
    return None if figure is None else figure.divided(samples)
