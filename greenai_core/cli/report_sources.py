"""What ``greenai report`` shows: reports, studies and recordings, each with a short name."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from greenai_core.errors import SchemaError
from greenai_core.export import ReportSource
from greenai_core.recording_reading import read_recording
from greenai_core.report_files import read_report
from greenai_core.results import Report
from greenai_core.study_summary import summarise

from .export import read
from .reports import FILE_NAME

RECORDINGS = (".csv", ".jsonl")

LAYOUTS = ("input_*", "*/batch_*/input_*")
"""Where the sizes of a study are: of one model, and of several."""

MOST_RUNS = 6
"""Lines of power over time; more than these hide each other."""


def sources_of(names: Sequence[str]) -> list[ReportSource]:
    """Each of them read, with a name that tells it from the others.

    Raises:
        SchemaError: one is none of these, or cannot be read.
    """
    paths = [Path(name) for name in names]
    return [_source(path, name) for path, name in zip(paths, short_names(paths), strict=True)]


def short_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as tell them apart."""
    whole = [_parts(path) for path in paths]
    for count in range(1, max(map(len, whole)) + 1):
        short = ["/".join(parts[-count:]) for parts in whole]
        if len(set(short)) == len(set(map(tuple, whole))):
            return short
    return ["/".join(parts) for parts in whole]


def _parts(path: Path) -> list[str]:
    """Names of folders and file, without a file name that all reports have."""
    absolute = path.absolute()
    if absolute.name == FILE_NAME:
        absolute = absolute.parent
    return [part for part in absolute.parts if part != "/"] or ["report"]


def _source(path: Path, name: str) -> ReportSource:
    if path.is_dir() and not (path / FILE_NAME).is_file():
        return ReportSource(name, _study(path), some_runs(path))
    if path.suffix.lower() not in RECORDINGS or path.is_dir():
        report = read(path)
        folder = path if path.is_dir() else path.parent
        return ReportSource(name, report, some_runs(folder) if report.kind == "study" else ())
    try:
        return ReportSource(name, read_recording(path))
    except OSError as error:
        raise SchemaError(f"the recording {path} cannot be read: {error.strerror}") from error


def _study(folder: Path) -> Report:
    """A study that has no report yet, or that AIPowerMeter wrote; its machine is not known.

    Raises:
        SchemaError: the folder holds none, or it cannot be read.
    """
    try:
        result = summarise(folder)
    except OSError as error:
        raise SchemaError(f"the study {folder} cannot be read: {error.strerror}") from error
    if not result.rows:
        raise SchemaError(
            f"{folder} holds neither a report.json nor a study: give the folder that `--out` named"
        )
    return Report(kind="study", created="", environment={}, settings={}, results=(result,))


def some_runs(folder: Path) -> tuple[tuple[str, Report], ...]:
    """A run of the smallest, the middle and the largest size of each model of a study.

    Runs of which there is no report, or one that cannot be read, are passed over: the study
    itself tells what failed.
    """
    groups: dict[Path, list[Path]] = {}
    for layout in LAYOUTS:
        for place in folder.glob(layout):
            if _size(place) is not None:
                groups.setdefault(place.parent, []).append(place)
    found: list[tuple[str, Report]] = []
    for parent in sorted(groups):
        places = sorted(groups[parent], key=lambda place: _size(place) or 0)
        for place in dict.fromkeys((places[0], places[len(places) // 2], places[-1])):
            report = _first_run(place)
            if report is not None:
                inside = [*parent.relative_to(folder).parts, str(_size(place))]
                found.append((" ".join(part.replace("_", " ") for part in inside), report))
    return tuple(found[:MOST_RUNS])


def _size(place: Path) -> int | None:
    text = place.name.removeprefix("input_")
    return int(text) if text.isdecimal() else None


def _first_run(place: Path) -> Report | None:
    for file in sorted(place.glob(f"run_*/{FILE_NAME}")):
        with contextlib.suppress(SchemaError, OSError):
            report = read_report(file)
            if report.kind == "bench" and report.results:
                return report
    return None
