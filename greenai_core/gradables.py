"""From a result to what a grader may look at."""

from __future__ import annotations

import hashlib

from .errors import GradeError
from .figures import Figure, MissingChannel
from .grading import Gradable
from .net import as_figure
from .results import (
    ChannelInference,
    ChannelStep,
    CommandResult,
    InferenceResult,
    Result,
    TrainingResult,
    WindowResult,
)


def gradable(
    result: Result,
    *,
    units: float | None = None,
    unit: str | None = None,
    machine: str | None = None,
    hardware_class: str | None = None,
) -> Gradable:
    """What was measured, as a grader takes it.

    Args:
        result: of ``bench``, ``train``, ``measure`` or ``grade``.
        units: functional units of the command, the inference or the training step; None
            for what the result tells: of a model the samples in a batch.
        unit: name of the functional unit; None for that of the result. Nobody has said
            what a sample is until it is named, so without it there are no units either.
        machine: see ``environment.machine_identity``.
        hardware_class: as scales name it.

    Raises:
        GradeError: results of ``compare`` and of studies are no joules of one thing.
    """
    if isinstance(result, CommandResult):
        told = _of_window(result.gross, result.net_energy_j, units or result.units)
        unit = unit or result.unit
        digest = hashlib.sha256("\0".join(result.command).encode(errors="surrogateescape"))
        input = f"command {digest.hexdigest()[:16]}"
    elif isinstance(result, InferenceResult):
        gross, net = result.energy_per_inference_j, result.net_energy_per_inference_j
        told = _of_model(result, gross, net, units or result.model.batch_size, result.channels)
        input = _input(result)
    elif isinstance(result, TrainingResult):
        gross, net = result.energy_per_step_j, result.net_energy_per_step_j
        told = _of_model(result, gross, net, units or result.model.batch_size, result.channels)
        input = _input(result)
    else:
        raise GradeError(
            "only runs, inferences and training steps are graded, and this is a comparison or a "
            "study: grade its models"
        )
    return Gradable(
        net_energy_j=told.net_energy_j,
        gross_energy_j=told.gross_energy_j,
        units=told.units if unit else None,
        unit=unit,
        missing=told.missing,
        components=told.components,
        channels=told.channels,
        machine=machine,
        input=input,
        hardware_class=hardware_class,
    )


def _of_window(window: WindowResult, net: Figure | None, units: float | None) -> Gradable:
    inside = [channel for channel in window.channels if channel.in_total]
    return Gradable(
        net,
        as_figure(window),
        units,
        missing=_missing(window.missing, window.contains),
        components=tuple(dict.fromkeys(channel.component for channel in inside)),
        channels=window.contains,
    )


def _of_model(
    result: InferenceResult | TrainingResult,
    gross: Figure | None,
    net: Figure | None,
    units: float,
    channels: tuple[ChannelInference, ...] | tuple[ChannelStep, ...],
) -> Gradable:
    return Gradable(
        net,
        gross,
        units,
        missing=_missing(result.missing, result.contains),
        components=tuple(dict.fromkeys(c.component for c in channels if c.in_total)),
        channels=result.contains,
    )


def _missing(missing: tuple[MissingChannel, ...], contains: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(channel.id for channel in missing if channel.id in contains)


def _input(result: InferenceResult | TrainingResult) -> str:
    model = result.model
    return f"{'; '.join(model.inputs)}; batch of {model.batch_size} on {model.device}"
