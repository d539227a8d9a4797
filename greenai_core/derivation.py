"""A result once more, from the readings that were kept of it, by the code that made it."""

from __future__ import annotations

from dataclasses import replace

from .above_idle import inference_above_idle, training_above_idle
from .epochs import epochs_result, per_epoch
from .errors import SchemaError
from .evaluation import inference_result, training_result
from .kept_runs import Kept, KeptRun
from .kept_windows import KeptWindows
from .loop import judged
from .results import CommandResult, InferenceResult, Result, TrainingResult
from .run_costs import run_costs


def derived(result: Result, kept: Kept) -> Result:
    """The result that follows from the readings.

    What is no figure of the run (the model, its parameters, losses, the windows in
    which idle was measured) is taken from ``result``; warnings are left out.

    Raises:
        SchemaError: the readings are not of such a result, or make none.
    """
    try:
        again = _derived(result, kept)
    except SchemaError:
        raise
    except Exception as error:
        raise SchemaError(
            f"no result follows from the raw readings: {type(error).__name__}: {error}"
        ) from error
    if again is None:
        raise SchemaError(f"the raw readings are not those of a {type(result).__name__}")
    cost = again.self_cost or getattr(result, "self_cost", None)
    return replace(again, warnings=(), raw=None, self_cost=cost)


def _derived(result: Result, kept: Kept) -> InferenceResult | TrainingResult | CommandResult | None:
    if isinstance(result, CommandResult) and isinstance(kept, KeptWindows):
        return replace(result, gross=kept.windows[0].again().result())
    if isinstance(result, InferenceResult) and isinstance(kept, KeptRun):
        return _inference(result, kept)
    if isinstance(result, TrainingResult):
        return _steps(result, kept) if isinstance(kept, KeptRun) else _epochs(result, kept)
    return None


def _inference(result: InferenceResult, kept: KeptRun) -> InferenceResult:
    run = judged(kept.readings, kept.contains, kept.settings, kept.broken_off)
    costs = run_costs(run, kept.sensors, kept.contains, kept.settings)
    again = inference_result(result.model, result.parameters, run, costs, kept.settings)
    return inference_above_idle(again, run, kept.sensors, result.idle)


def _steps(result: TrainingResult, kept: KeptRun) -> TrainingResult:
    run = judged(kept.readings, kept.contains, kept.settings, kept.broken_off)
    costs = run_costs(run, kept.sensors, kept.contains, kept.settings)
    again = training_result(result.model, result.parameters, run, costs, kept.settings)
    again = training_above_idle(again, run, kept.sensors, result.idle)
    return per_epoch(replace(again, losses=result.losses), kept.epoch_samples)


def _epochs(result: TrainingResult, kept: KeptWindows) -> TrainingResult:
    found = zip(result.epochs, kept.step_times, kept.waits_s, strict=True)
    taught = {
        epoch.number: replace(epoch, steps=len(times), wait_s=wait) for epoch, times, wait in found
    }
    windows = tuple(window.again() for window in kept.windows)
    kept = replace(kept, windows=windows)
    return epochs_result(result.model, result.parameters, kept, taught)[0]
