"""What greenai hands back and writes to disk.

Frozen dataclasses; units stand in the names; raw repetitions are the truth and
every summary is derived from them. ``report_files`` brings them to and from JSON;
the schema is described in ``docs/json-schema.md``. A figure that is not known is
``None``, never zero.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .parameters import ParameterCount

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Figure:
    """One number with its two 95 % intervals.

    Attributes:
        value: the estimate, in the unit that the field's name states.
        low, high: total uncertainty, with the gain of the sensor.
        repeat_low, repeat_high: repeatability, what a second run on the same
            machine would show; use it to compare.
        method: ``counter``, ``sampled``, ``modelled``, ``clock``, or several
            joined by ``+`` when a total is made of several.
        provenance: in words, which channels and which estimator.
    """

    value: float
    low: float
    high: float
    repeat_low: float
    repeat_high: float
    method: str
    provenance: str


@dataclass(frozen=True)
class ModelSummary:
    """Which file was measured, and how it was fed."""

    path: str
    format: str
    device: str
    inputs: tuple[str, ...]
    batch_size: int


@dataclass(frozen=True)
class ChannelJoules:
    """Joules of one channel in one repetition."""

    id: str
    energy_j: float


@dataclass(frozen=True)
class Repetition:
    """One block of the measured loop: the raw truth.

    Attributes:
        start_s: seconds after the loop began.
        duration_s: length, readings included.
        work_s: the part of it spent in the work itself.
        iterations: inferences or training steps done.
        channels: joules of each channel that could be read.
    """

    start_s: float
    duration_s: float
    work_s: float
    iterations: int
    channels: tuple[ChannelJoules, ...]


@dataclass(frozen=True)
class MissingChannel:
    """A channel that gave no figure, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Skipped:
    """A profiler that ``auto`` left out, why, and what would bring it in."""

    profiler: str
    reason: str
    hint: str


@dataclass(frozen=True)
class ChannelInference:
    """Energy of one inference on one channel."""

    id: str
    component: str
    method: str
    profiler: str
    in_total: bool
    energy_per_inference_j: Figure


@dataclass(frozen=True)
class ChannelStep:
    """Energy of one training step on one channel."""

    id: str
    component: str
    method: str
    profiler: str
    in_total: bool
    energy_per_step_j: Figure


@dataclass(frozen=True)
class InferenceResult:
    """What one inference of one model costs.

    ``energy_per_inference_j`` is the total that ``contains`` lists; it is None
    when a channel that belongs to it failed (``missing`` says which).
    ``target_met`` speaks of repeatability.
    """

    model: ModelSummary
    parameters: ParameterCount | None
    energy_per_inference_j: Figure | None
    energy_per_sample_j: Figure | None
    latency_s: Figure
    power_w: Figure | None
    contains: tuple[str, ...]
    channels: tuple[ChannelInference, ...]
    missing: tuple[MissingChannel, ...]
    repetitions: tuple[Repetition, ...]
    inferences: int
    target: float
    target_met: bool
    self_cost_share: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class TrainingResult:
    """What training one model costs. See ``InferenceResult``.

    Steps are measured in one of two ways: the same steps again and again on data
    that are ready (``epochs`` is empty), or whole epochs with waiting for data.

    Attributes:
        energy_per_epoch_j: of one pass over the training data, validation apart;
            of repeated steps: computed from the energy of one sample, None where
            the number of samples is not known.
        energy_of_run_j: of all epochs with validation; None for repeated steps.
        data_wait: None for repeated steps, which wait for nothing.
        epochs: in their order; the last one may be incomplete.
    """

    model: ModelSummary
    parameters: ParameterCount | None
    energy_per_step_j: Figure | None
    energy_per_sample_j: Figure | None
    step_s: Figure
    power_w: Figure | None
    contains: tuple[str, ...]
    channels: tuple[ChannelStep, ...]
    missing: tuple[MissingChannel, ...]
    repetitions: tuple[Repetition, ...]
    steps: int
    losses: tuple[float, ...]
    target: float
    target_met: bool
    self_cost_share: float
    warnings: tuple[str, ...]
    energy_per_epoch_j: Figure | None = None
    energy_of_run_j: Figure | None = None
    data_wait: DataWait | None = None
    epochs: tuple[EpochResult, ...] = ()


@dataclass(frozen=True)
class ChannelEnergy:
    """Joules of one channel in a window that happened once.

    Attributes:
        low_j, high_j: 95 %, total uncertainty.
        repeat_low_j, repeat_high_j: 95 %, without the gain of the sensor.
        in_total: whether the window's total contains it.
    """

    id: str
    component: str
    method: str
    profiler: str
    in_total: bool
    energy_j: float
    low_j: float
    high_j: float
    repeat_low_j: float
    repeat_high_j: float


@dataclass(frozen=True)
class WindowResult:
    """Energy of a stretch of time that happened once.

    ``energy_j`` and its bounds are None when a channel of the total is missing.
    """

    name: str
    duration_s: float
    energy_j: float | None
    low_j: float | None
    high_j: float | None
    repeat_low_j: float | None
    repeat_high_j: float | None
    method: str
    contains: tuple[str, ...]
    channels: tuple[ChannelEnergy, ...]
    missing: tuple[MissingChannel, ...]


@dataclass(frozen=True)
class DataWait:
    """What training waits for: reading, decoding and bringing batches to the device.

    Attributes:
        duration_s: in all epochs.
        share: of the time of training.
        energy_j: estimated; sensors are too slow to tell a wait from the step
            after it. None where the energy of training is not known.
        derivation: how ``energy_j`` was come by, in words.
    """

    duration_s: float
    share: float
    energy_j: float | None
    derivation: str


@dataclass(frozen=True)
class EpochResult:
    """One pass over the training data, and what it taught.

    Attributes:
        number: 1 for the first.
        steps, samples: trained on in this epoch.
        duration_s: of training, with waiting for data.
        wait_s: the part of it spent waiting for data.
        training: its energy; None where it was not measured.
        validation: energy of the validation after it; None likewise.
        loss, accuracy: mean over the samples, each as the model was when it met
            them; None where not known (accuracy: targets that are no classes).
        validation_loss, validation_accuracy: after the epoch.
        complete: False when the epoch was not gone through to its end.
    """

    number: int
    steps: int
    samples: int
    duration_s: float
    wait_s: float
    training: WindowResult | None
    validation: WindowResult | None
    loss: float | None
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    complete: bool


@dataclass(frozen=True)
class Grade:
    """A letter, or none, and why.

    Attributes:
        letter: ``A`` to ``G``; None when ungraded.
        best_letter: the letter at the favourable end of the interval.
        reasons: why this letter, or why none.
        next_step: what the next better letter takes; empty if none.
    """

    grader: str
    scale: str | None
    letter: str | None
    best_letter: str | None
    provisional: bool
    tier: str
    reasons: tuple[str, ...]
    next_step: str


@dataclass(frozen=True)
class CommandResult:
    """Energy of a command, as ``greenai measure`` and ``greenai grade`` see it.

    The idle fields are None when idle was not measured. ``utilisation_percent``
    is the mean of the host's CPU while the command ran.
    """

    command: tuple[str, ...]
    exit_code: int
    gross: WindowResult
    idle_power_w: Figure | None
    net_energy_j: Figure | None
    idle_share: float | None
    utilisation_percent: float | None
    units: float | None
    unit: str | None
    grade: Grade | None
    warnings: tuple[str, ...]


Result = InferenceResult | TrainingResult | CommandResult

RESULT_TYPES: Mapping[str, type[Result]] = types.MappingProxyType(
    {
        "bench": InferenceResult,
        "train": TrainingResult,
        "measure": CommandResult,
        "grade": CommandResult,
    }
)


@dataclass(frozen=True)
class Report:
    """A file of results of one kind, with the machine that gave them.

    Attributes:
        kind: ``bench``, ``train``, ``measure`` or ``grade``.
        created: UTC, ISO 8601.
        environment: see ``greenai_core.environment.describe``.
        settings: the options that the figures depend on.
        complete: False while results are still being added, or when the run
            was interrupted.
    """

    kind: str
    created: str
    environment: Mapping[str, Any]
    settings: Mapping[str, Any]
    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    complete: bool = True
    schema_version: int = SCHEMA_VERSION
