"""A report laid out as rows: one for each total and each channel of each result."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from greenai_core import (
    CommandResult,
    ComparisonResult,
    Figure,
    InferenceResult,
    Report,
    SchemaError,
    TrainingResult,
    WindowResult,
)


@dataclass(frozen=True)
class Row:
    """One energy of a report. None is a figure that is not known.

    Attributes:
        report_kind: ``bench``, ``train``, ``measure``, ``grade`` or ``compare``.
        result: index of the result in the report.
        name: the model's path, or the command.
        row: ``total``, ``net`` (above idle), ``channel``, ``missing``; ``epoch`` and
            ``validation``, the training and the validation of one epoch; ``wait``,
            the estimated energy of waiting for data in all epochs.
        per: what the energy is of: ``inference``, ``step``, ``sample``, ``epoch``, ``run``.
        low_j, high_j: 95 %, total uncertainty.
        repeat_low_j, repeat_high_j: 95 %, repeatability.
        duration_s: of one inference, step or run; ``power_w``: mean during it.
        count: inferences or steps that were measured.
        reason: why a channel is missing; how the energy of waiting was come by.
        epoch: its number, 1 first; ``samples``: trained on in it.
        wait_s, compute_s: the parts of ``duration_s`` spent waiting for data, and not.
        loss, accuracy: of that training or validation.
        complete: False for an epoch that was not gone through to its end.
        ratio: of a comparison: energy over that of its first model; ``ratio_low`` and
            ``ratio_high`` hold it with ``ratio_confidence``.
    """

    report_kind: str
    result: int
    name: str
    format: str | None = None
    device: str | None = None
    batch_size: int | None = None
    row: str = "total"
    channel: str | None = None
    component: str | None = None
    method: str | None = None
    profiler: str | None = None
    in_total: bool | None = None
    per: str | None = None
    energy_j: float | None = None
    low_j: float | None = None
    high_j: float | None = None
    repeat_low_j: float | None = None
    repeat_high_j: float | None = None
    duration_s: float | None = None
    duration_low_s: float | None = None
    duration_high_s: float | None = None
    power_w: float | None = None
    power_low_w: float | None = None
    power_high_w: float | None = None
    count: int | None = None
    target_met: bool | None = None
    exit_code: int | None = None
    grade: str | None = None
    reason: str | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    ratio_confidence: float | None = None
    verdict: str | None = None
    epoch: int | None = None
    samples: int | None = None
    wait_s: float | None = None
    compute_s: float | None = None
    loss: float | None = None
    accuracy: float | None = None
    complete: bool | None = None


KINDS = ("bench", "train", "measure", "grade", "compare")

COLUMNS = tuple(field.name for field in fields(Row))


def rows(report: Report) -> Iterator[Row]:
    """All rows of a report, result by result.

    Raises:
        SchemaError: the report or one of its results is of no known kind.
    """
    if report.kind not in KINDS:
        raise SchemaError(f"a report of the unknown kind {report.kind!r} has no table")
    for index, result in enumerate(report.results):
        if isinstance(result, CommandResult):
            yield from _command(report.kind, index, result)
        elif isinstance(result, ComparisonResult):
            yield from _comparison(index, result)
        elif isinstance(result, (InferenceResult, TrainingResult)):
            yield from _model(report.kind, index, result)


def command_line(result: CommandResult) -> str:
    """The command as it would be typed."""
    return shlex.join(result.command)


def _model(kind: str, index: int, result: InferenceResult | TrainingResult) -> Iterator[Row]:
    model = result.model
    channels: list[tuple[Any, Figure]]  # of two classes that differ in one field's name
    base = Row(kind, index, model.path, model.format, model.device, model.batch_size)
    if isinstance(result, InferenceResult):
        per, energy, seconds = "inference", result.energy_per_inference_j, result.latency_s
        count = result.inferences
        channels = [(channel, channel.energy_per_inference_j) for channel in result.channels]
    else:
        per, energy, seconds = "step", result.energy_per_step_j, result.step_s
        count = result.steps
        channels = [(channel, channel.energy_per_step_j) for channel in result.channels]
    base = replace(base, per=per)
    total = replace(
        base,
        duration_s=seconds.value,
        duration_low_s=seconds.low,
        duration_high_s=seconds.high,
        count=count,
        target_met=result.target_met,
    )
    if result.power_w is not None:
        power = result.power_w
        total = replace(total, power_w=power.value, power_low_w=power.low, power_high_w=power.high)
    yield _with_energy(total, energy)
    yield _with_energy(replace(base, per="sample"), result.energy_per_sample_j)
    for channel, figure in channels:
        row = replace(
            base,
            row="channel",
            channel=channel.id,
            component=channel.component,
            profiler=channel.profiler,
            in_total=channel.in_total,
        )
        yield replace(_with_energy(row, figure), method=channel.method)
    for missing in result.missing:
        yield replace(base, row="missing", channel=missing.id, reason=missing.reason)
    if isinstance(result, TrainingResult):
        yield from _epochs(replace(base, per="epoch"), result)


def _epochs(base: Row, result: TrainingResult) -> Iterator[Row]:
    for epoch in result.epochs:
        one = replace(base, epoch=epoch.number, complete=epoch.complete)
        trained = replace(
            one,
            row="epoch",
            count=epoch.steps,
            samples=epoch.samples,
            duration_s=epoch.duration_s,
            wait_s=epoch.wait_s,
            compute_s=max(epoch.duration_s - epoch.wait_s, 0.0),
            loss=epoch.loss,
            accuracy=epoch.accuracy,
        )
        yield _with_window(trained, epoch.training)
        if epoch.validation is not None or epoch.validation_loss is not None:
            tried = replace(
                one,
                row="validation",
                duration_s=epoch.validation.duration_s if epoch.validation else None,
                loss=epoch.validation_loss,
                accuracy=epoch.validation_accuracy,
            )
            yield _with_window(tried, epoch.validation)
    wait = result.data_wait
    if wait is not None:
        yield replace(
            base,
            row="wait",
            per="run",
            energy_j=wait.energy_j,
            duration_s=wait.duration_s,
            wait_s=wait.duration_s,
            reason=wait.derivation,
        )


def _with_window(row: Row, window: WindowResult | None) -> Row:
    if window is None:
        return row
    return replace(
        row,
        method=window.method,
        energy_j=window.energy_j,
        low_j=window.low_j,
        high_j=window.high_j,
        repeat_low_j=window.repeat_low_j,
        repeat_high_j=window.repeat_high_j,
        power_w=_over(window.energy_j, window.duration_s),
        power_low_w=_over(window.low_j, window.duration_s),
        power_high_w=_over(window.high_j, window.duration_s),
    )


def _command(kind: str, index: int, result: CommandResult) -> Iterator[Row]:
    window = result.gross
    base = Row(kind, index, command_line(result), per="run")
    total = _with_window(base, window)
    yield replace(
        total,
        duration_s=window.duration_s,
        exit_code=result.exit_code,
        grade=result.grade.letter if result.grade else None,
    )
    if result.net_energy_j is not None:
        yield _with_energy(replace(base, row="net"), result.net_energy_j)
    for channel in window.channels:
        yield replace(
            base,
            row="channel",
            channel=channel.id,
            component=channel.component,
            method=channel.method,
            profiler=channel.profiler,
            in_total=channel.in_total,
            energy_j=channel.energy_j,
            low_j=channel.low_j,
            high_j=channel.high_j,
            repeat_low_j=channel.repeat_low_j,
            repeat_high_j=channel.repeat_high_j,
        )
    for missing in window.missing:
        yield replace(base, row="missing", channel=missing.id, reason=missing.reason)


def _comparison(index: int, result: ComparisonResult) -> Iterator[Row]:
    ratios = {ratio.label: ratio for ratio in result.ratios}
    for one in result.models:
        model, seconds, ratio = one.model, one.seconds_s, ratios.get(one.label)
        row = Row("compare", index, model.path, model.format, model.device, model.batch_size)
        row = replace(row, per=result.unit)
        if seconds is not None:
            row = replace(
                row,
                duration_s=seconds.value,
                duration_low_s=seconds.low,
                duration_high_s=seconds.high,
            )
        if ratio is not None:
            row = replace(
                row,
                ratio=ratio.value,
                ratio_low=ratio.low,
                ratio_high=ratio.high,
                ratio_confidence=ratio.confidence,
                verdict=ratio.verdict,
            )
        yield _with_energy(row, one.energy_j)
    first = Row("compare", index, result.models[0].model.path)
    for missing in result.missing:
        yield replace(first, row="missing", channel=missing.id, reason=missing.reason)
    for failed in result.failed:
        yield Row("compare", index, failed.path, row="missing", reason=failed.reason)


def _with_energy(row: Row, figure: Figure | None) -> Row:
    if figure is None:
        return row
    return replace(
        row,
        method=figure.method,
        energy_j=figure.value,
        low_j=figure.low,
        high_j=figure.high,
        repeat_low_j=figure.repeat_low,
        repeat_high_j=figure.repeat_high,
    )


def _over(energy_j: float | None, seconds: float) -> float | None:
    return energy_j / seconds if energy_j is not None and seconds > 0 else None
