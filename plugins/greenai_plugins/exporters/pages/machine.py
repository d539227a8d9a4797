"""The machine, the settings and the method behind the figures; and what has to be known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from greenai_core import (
    CapResult,
    CommandResult,
    InferenceResult,
    LayersResult,
    Report,
    ReportSource,
    StudyResult,
    TrainingResult,
)
from greenai_plugins.exporters.quantities import UNKNOWN, Quantity, written
from greenai_plugins.exporters.rows import command_line

from .blocks import Cell, Facts, Notes, Section, Table

METHOD = (
    "Ranges in brackets are 95 % intervals with the uncertainty of the sensors. Repeatability "
    "is the interval without it: use that to compare runs of one machine.",
    "Modelled figures are computed from what the hardware is built for, not measured; they are "
    "marked, and drawn hollow or pale.",
    "Unknown is what could not be read. It is never zero.",
)

LABELS = {
    "cpu.model": "processor",
    "cpu.logical_cores": "logical cores",
    "cpu.physical_cores": "physical cores",
    "cpu.governor": "frequency governor",
    "cpu.turbo": "turbo",
    "memory_bytes": "memory",
    "os": "operating system",
    "kernel": "kernel",
    "architecture": "architecture",
    "virtualisation": "virtualisation",
    "container": "container",
    "nvidia_driver": "NVIDIA driver",
    "greenai_core": "greenai",
    "python": "Python",
}


def environment_of(source: ReportSource) -> Mapping[str, Any]:
    """What is known of the machine."""
    content = source.content
    return content.environment if isinstance(content, Report) else content.meta.machine


def processor(source: ReportSource) -> str:
    """Its name; empty where it is not known."""
    cpu = environment_of(source).get("cpu")
    model = cpu.get("model") if isinstance(cpu, Mapping) else None
    return str(model) if model else ""


def subject(result: object) -> str:
    """What a result is of, in short."""
    if isinstance(result, CommandResult):
        return command_line(result)
    if isinstance(result, (InferenceResult, TrainingResult, LayersResult)):
        return PurePath(result.model.path).name or result.model.path
    if isinstance(result, CapResult):
        return " ".join(result.command) or f"caps of {', '.join(result.devices)}"
    return result.name if isinstance(result, StudyResult) else "comparison"


def section(sources: Sequence[ReportSource]) -> Section:
    """Machine and method: a column for each source."""
    return Section("Machine and method", (_machines(sources), *_settings(sources), Notes(METHOD)))


def _machines(sources: Sequence[ReportSource]) -> Table:
    flat = [dict(_flat(environment_of(source))) for source in sources]
    keys = list(dict.fromkeys([*LABELS, *(key for one in flat for key in one)]))
    rows: list[tuple[Cell, ...]] = [("made", *(_created(source) for source in sources))]
    for key in keys:
        shown = [_shown(key, one.get(key)) for one in flat]
        if any(shown):
            rows.append((LABELS.get(key, key.replace("_", " ")), *shown))
    return Table("Machine", ("", *(source.name for source in sources)), tuple(rows))


def _created(source: ReportSource) -> str:
    content = source.content
    created = content.created if isinstance(content, Report) else content.meta.created
    return created or UNKNOWN


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and key != "libraries":
            yield from _flat(item, f"{before}{key}.")
        elif isinstance(item, Mapping):
            yield key, ", ".join(f"{name} {version}" for name, version in item.items())
        else:
            yield f"{before}{key}", item


def _shown(key: str, value: Any) -> str:
    if value is None or value == "":
        return ""
    if key == "memory_bytes" and isinstance(value, (int, float)):
        return written(Quantity(float(value), unit="B"))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _settings(sources: Sequence[ReportSource]) -> Iterator[Facts]:
    for source in sources:
        if not isinstance(source.content, Report):
            continue
        content = source.content
        rows = [
            (f"setting {key}", _plain(value))
            for key, value in content.settings.items()
            if value not in (None, "", [], {}, ())
        ]
        rows += [
            (
                f"calibration of {one.channel}",
                f"× {one.gain:g} {one.offset_w:+g} W, against {one.meter}, {one.date}",
            )
            for one in content.calibrations
        ]
        if rows:
            yield Facts(tuple(rows))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return str(value)


def warnings(sources: Sequence[ReportSource], more: Sequence[str] = ()) -> list[Section]:
    """What the reports warn of, each once, and the sensors that were left out."""
    said = [*more]
    left_out: list[str] = []
    for source in sources:
        content = source.content
        if not isinstance(content, Report):
            said += content.remarks
            continue
        if not content.complete:
            said.append(f"{source.name} is incomplete: it was interrupted, or was not over yet")
        said += content.warnings
        many = len(content.results) + len(sources) > 2
        for result in content.results:
            who = f"{subject(result)}: " if many else ""
            said += [f"{who}{text}" for text in result.warnings]
        left_out += [
            f"the profiler {skip.profiler} was left out: {skip.reason}. {skip.hint}".rstrip()
            for skip in content.skipped
        ]
    made = []
    if said:
        lines = tuple(dict.fromkeys(said))
        made.append(Section("Warnings", (Notes(lines, "warning"),)))
    if left_out:
        lines = tuple(dict.fromkeys(left_out))
        made.append(Section("Sensors that were left out", (Notes(lines),), folded=True))
    return made
