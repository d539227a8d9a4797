"""What greenai hands back and writes to disk.

Frozen dataclasses; units stand in the names; raw repetitions are the truth and
every summary is derived from them. ``write_report`` and ``read_report`` are the
only way to and from JSON; the schema is described in ``docs/json-schema.md``.
A figure that is not known is ``None``, never zero.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import tempfile
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .errors import SchemaError

SCHEMA_VERSION = 1

T = TypeVar("T")


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
class ParameterCount:
    """Numbers of elements, and the bytes they take in the file.

    ``docs/parameters.md`` says what counts as a parameter in each format.
    """

    trainable: int
    non_trainable: int
    bytes: int
    total: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.trainable + self.non_trainable)


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
    """What one training step of one model costs. See ``InferenceResult``."""

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


def to_json(value: object) -> Any:
    """The value as JSON types: dataclasses become objects, tuples arrays."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def dump(report: Report) -> str:
    """The report as the text of a JSON file.

    Raises:
        SchemaError: a figure is NaN or infinite, a value is of no JSON type, or
            a result is not of the report's kind; that is a fault in whatever
            made the report, and no reader could use it.
    """
    expected = RESULT_TYPES.get(report.kind)
    if expected is None:
        raise SchemaError(f"a report of the unknown kind {report.kind!r} cannot be written")
    for index, result in enumerate(report.results):
        if not isinstance(result, expected):
            raise SchemaError(
                f"results[{index}] of a {report.kind} report is a {type(result).__name__}, "
                f"not a {expected.__name__}"
            )
    ordered = {"schema_version": report.schema_version, **to_json(report)}
    try:
        text = json.dumps(ordered, indent=2, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise SchemaError(f"a report holds a figure that is not a number: {error}") from error
    except TypeError as error:
        raise SchemaError(f"a report holds a value that JSON has no type for: {error}") from error
    # A file name that is no UTF-8 reaches us with lone surrogates, which no encoder takes.
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def write_report(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the report so that a crash leaves the old file or the new, never half.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    write_atomically(Path(path), dump(report).encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Temporary file beside ``path``, synced, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_report(path: str | os.PathLike[str]) -> Report:
    """The report in a JSON file written by this or any earlier release.

    Raises:
        SchemaError: not JSON, an unknown version, or a field that does not fit.
        OSError: the file cannot be read.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise SchemaError(f"{path} is not a report: it holds no JSON object")
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise SchemaError(
            f"{path} has schema_version {version!r}, this greenai reads up to {SCHEMA_VERSION}. "
            "Upgrade greenai-core to read it"
        )
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in RESULT_TYPES:
        raise SchemaError(f"{path} is a report of the unknown kind {kind!r}")
    try:
        if "results" not in data:
            raise SchemaError("report.results is missing")
        result_type: Any = RESULT_TYPES[kind]
        results = _decode(tuple[result_type, ...], data["results"], "results")
        bare: Report = _decode(Report, {**data, "results": []}, "report")
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error
    return dataclasses.replace(bare, results=results)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _decode(kind: Any, data: Any, where: str) -> Any:
    """``data`` as an instance of the annotated type ``kind``."""
    origin = typing.get_origin(kind)
    if kind is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        choices = typing.get_args(kind)
        if data is None and type(None) in choices:
            return None
        return _decode(next(c for c in choices if c is not type(None)), data, where)
    if origin is tuple:
        if not isinstance(data, list):
            raise SchemaError(f"{where} is not a list")
        item = typing.get_args(kind)[0]
        return tuple(_decode(item, value, f"{where}[{i}]") for i, value in enumerate(data))
    if dataclasses.is_dataclass(kind):
        return _decode_object(typing.cast("type[Any]", kind), data, where)
    expected: Any = {float: (int, float), Mapping: dict}.get(origin or kind, origin or kind)
    if not isinstance(data, expected) or (isinstance(data, bool) and kind is not bool):
        raise SchemaError(f"{where} is {data!r}, not a {getattr(kind, '__name__', kind)}")
    return _decode_float(data, where) if kind is float else data


def _decode_float(data: int | float, where: str) -> float:
    try:
        value = float(data)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise SchemaError(f"{where} is too large to be a figure")
    return value


def _decode_object(kind: type[T], data: Any, where: str) -> T:
    if not isinstance(data, dict):
        raise SchemaError(f"{where} is not an object")
    hints = typing.get_type_hints(kind)
    values = {}
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]  # callers pass dataclasses
        if not item.init:
            continue
        if item.name in data:
            values[item.name] = _decode(hints[item.name], data[item.name], f"{where}.{item.name}")
        elif item.default is dataclasses.MISSING:
            raise SchemaError(f"{where}.{item.name} is missing")
    return kind(**values)
