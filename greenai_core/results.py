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

from .budget import Budget
from .budget import Term as Term
from .cap_results import CapResult as CapResult
from .comparison_results import ComparedModel as ComparedModel
from .comparison_results import ComparisonResult as ComparisonResult
from .comparison_results import EnergyRatio as EnergyRatio
from .comparison_results import FailedModel as FailedModel
from .comparison_results import Quad as Quad
from .diagnosis import Diagnosis as Diagnosis
from .figures import ChannelJoules as ChannelJoules
from .figures import ChannelNet as ChannelNet
from .figures import Figure as Figure
from .figures import MissingChannel as MissingChannel
from .figures import ModelSummary as ModelSummary
from .figures import Observed as Observed
from .figures import Repetition as Repetition
from .figures import SelfCost as SelfCost
from .footprint import Footprint as Footprint
from .layer_results import LayersResult as LayersResult
from .parameters import ParameterCount
from .process_results import EnergySplit as EnergySplit
from .process_results import ProcessShare as ProcessShare
from .study_results import StudyResult as StudyResult

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RawFile:
    """The file that keeps the readings behind a result.

    Attributes:
        name: of the file, in the folder of the report.
        sha256: of its content, in hexadecimal.
        size_bytes: of the file.
    """

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Skipped:
    """A profiler that ``auto`` left out, why, and what would bring it in."""

    profiler: str
    reason: str
    hint: str


@dataclass(frozen=True)
class AppliedCalibration:
    """How the joules of a channel were corrected: gain · sensor + offset · time.

    Attributes:
        channel: whose joules.
        meter: what the sensor was compared with.
        scope: ``part``: the meter was in the supply line of that part; ``wall``:
            at the wall, and the joules are those that the wall sees, without
            what the rest of the machine draws all the time.
        date: of the calibration; UTC, ISO 8601.
        gain: without unit.
        offset_w: W; 0 for the scope ``wall``.
        gain_uncertainty: relative, k = 1, with the meter's own.
    """

    channel: str
    meter: str
    scope: str
    date: str
    gain: float
    offset_w: float
    gain_uncertainty: float


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
class ProcessRun:
    """One of several fresh processes that measured the same model.

    Attributes:
        repetitions: how many of the result's repetitions are its own; those of
            the first process come first.
        inferences: measured in it.
        energy_per_inference_j, latency_s, power_w: of this process alone.
        idle_power_w, net_energy_per_inference_j: likewise; None where idle was
            not measured.
        target_met: whether this process alone became as precise as asked.
    """

    repetitions: int
    inferences: int
    energy_per_inference_j: Figure | None
    latency_s: Figure
    power_w: Figure | None
    idle_power_w: Figure | None
    net_energy_per_inference_j: Figure | None
    target_met: bool


@dataclass(frozen=True)
class ProcessSpread:
    """How far processes differ, as shares of the mean (0.03 is 3 %); k = 1.

    Attributes:
        between: standard deviation from process to process, without ``within``.
        within: standard uncertainty of one process by itself.
    """

    between: float
    within: float


@dataclass(frozen=True)
class InferenceResult:
    """What one inference of one model costs.

    ``energy_per_inference_j`` is the total that ``contains`` lists; it is None
    when a channel that belongs to it failed (``missing`` says which).
    ``target_met`` speaks of repeatability.

    Attributes:
        idle_power_w: of the channels in ``contains``, with the model loaded and
            the device open, mean of before and after; None where not measured.
        net_energy_per_inference_j: what an inference costs above idle; at or
            below zero within its interval it is below the noise floor.
        idle: the windows before and after the run that idle was measured in.
        processes: the fresh processes of which the figures are the mean; empty
            for a run in one process.
        process_spread: how far they differ; None for a run in one process.
        removed: blocks that are in no figure: outliers with a cause, see their ``flag``.
        self_cost: of measuring, in time and joules; None where not recorded.
        observations: how busy, hot or throttled the devices were meanwhile.
        grade: None where none was asked for.
        footprint: None likewise.
        against_baseline: how it compares with a baseline of the user's; None likewise.
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
    raw: RawFile | None = None
    idle_power_w: Figure | None = None
    net_energy_per_inference_j: Figure | None = None
    idle: tuple[WindowResult, ...] = ()
    processes: tuple[ProcessRun, ...] = ()
    process_spread: ProcessSpread | None = None
    removed: tuple[Repetition, ...] = ()
    self_cost: SelfCost | None = None
    observations: tuple[Observed, ...] = ()
    grade: Grade | None = None
    footprint: Footprint | None = None
    against_baseline: Grade | None = None


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
        idle_power_w, net_energy_per_step_j, idle, removed: of repeated steps; see
            ``InferenceResult``.
        self_cost: of measuring, in time and joules; None where not recorded.
        observations: see ``InferenceResult``.
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
    raw: RawFile | None = None
    idle_power_w: Figure | None = None
    net_energy_per_step_j: Figure | None = None
    idle: tuple[WindowResult, ...] = ()
    removed: tuple[Repetition, ...] = ()
    self_cost: SelfCost | None = None
    observations: tuple[Observed, ...] = ()


@dataclass(frozen=True)
class ChannelEnergy:
    """Joules of one channel in a window that happened once.

    Attributes:
        low_j, high_j: 95 %, total uncertainty.
        repeat_low_j, repeat_high_j: 95 %, without the gain of the sensor.
        in_total: whether the window's total contains it.
        budget: see ``Figure``.
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
    budget: Budget = ()


@dataclass(frozen=True)
class WindowResult:
    """Energy of a stretch of time that happened once.

    ``energy_j`` and its bounds are None when a channel of the total is missing.
    ``observations`` tell how busy, hot or throttled the devices were meanwhile; there
    are none in windows too short to look in, nor where nobody looked. ``by_process``
    is a model of who used the energy, where that was asked for; no total contains it.
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
    budget: Budget = ()
    observations: tuple[Observed, ...] = ()
    by_process: tuple[EnergySplit, ...] = ()


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
        per_unit_j: energy above idle of one functional unit times ``pue``, which the
            letter is of; None where it is not known.
        unit: name of the functional unit.
        pue: power usage effectiveness that was taken; None where none was.
        hardware_class: that the scale is for.
        change: against a baseline, as a share: −0.1 is 10 % less.
    """

    grader: str
    scale: str | None
    letter: str | None
    best_letter: str | None
    provisional: bool
    tier: str
    reasons: tuple[str, ...]
    next_step: str
    per_unit_j: Figure | None = None
    unit: str | None = None
    pue: float | None = None
    hardware_class: str | None = None
    change: Figure | None = None


@dataclass(frozen=True)
class CommandResult:
    """Energy of a command, as ``greenai measure`` and ``greenai grade`` see it.

    The idle fields are None when idle was not measured. ``utilisation_percent``
    is the mean of the host's CPU while the command ran.

    Attributes:
        idle: the windows before and after the command that idle was measured in.
        net_channels: what each channel that could be read in all three windows cost
            above idle.
        footprint: carbon and cost; None where they were not worked out.
        against_baseline: how it compares with a baseline of the user's; None where
            that was not asked for.
        diagnosis: how much of its power range the run used; None where full power or
            idle is not known.
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
    raw: RawFile | None = None
    self_cost: SelfCost | None = None
    idle: tuple[WindowResult, ...] = ()
    net_channels: tuple[ChannelNet, ...] = ()
    footprint: Footprint | None = None
    against_baseline: Grade | None = None
    diagnosis: Diagnosis | None = None


Result = (
    InferenceResult
    | TrainingResult
    | CommandResult
    | ComparisonResult
    | StudyResult
    | LayersResult
    | CapResult
)

RESULT_TYPES: Mapping[str, type[Result]] = types.MappingProxyType(
    {
        "bench": InferenceResult,
        "train": TrainingResult,
        "measure": CommandResult,
        "grade": CommandResult,
        "compare": ComparisonResult,
        "study": StudyResult,
        "layers": LayersResult,
        "powercap": CapResult,
    }
)


@dataclass(frozen=True)
class Report:
    """A file of results of one kind, with the machine that gave them.

    Attributes:
        kind: ``bench``, ``train``, ``measure``, ``grade``, ``compare``, ``study``,
            ``layers`` or ``powercap``.
        created: UTC, ISO 8601.
        environment: see ``greenai_core.environment.describe``.
        settings: the options that the figures depend on.
        complete: False while results are still being added, or when the run
            was interrupted.
        calibrations: of the sensors, that the figures contain.
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
    calibrations: tuple[AppliedCalibration, ...] = ()
