"""``greenai grade MODEL``: one inference is measured as ``bench`` does, then graded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from greenai_core.calibration import applied
from greenai_core.environment import machine_identity
from greenai_core.errors import ConfigError
from greenai_core.gradables import gradable
from greenai_core.results import InferenceResult
from greenai_core.session import MeasurementInterrupted

from . import (
    costs,
    feeding,
    footprints,
    grade_options,
    grade_text,
    options,
    output,
    own_baselines,
    pictures,
    sensors,
)
from .config import Settings
from .faults import Faults
from .judge import Judge
from .models import Choice, choose
from .outcome import finish, keep, tell
from .progress import Progress
from .reports import ReportFile
from .verdicts import verdict

INFERENCE = "inference"
"""The unit where neither the user nor a scale names another."""


@dataclass(frozen=True)
class Job:
    """How one inference is graded; all of it checked."""

    judge: Judge
    rates: footprints.Rates
    baseline: own_baselines.Wanted | None
    files: Mapping[str, Path]
    units: float | None
    unit: str


def run(
    path: str, settings: Settings, flags: dict[str, Any], file: Path | None, as_json: bool
) -> int:
    """Measure and grade a model file.

    Returns:
        The exit code, as ``bench`` has it: no program is run whose own it could be.

    Raises:
        KeyboardInterrupt: what was measured by then is told and written.
    """
    faults = Faults()
    try:
        job = prepare(path, flags)
        feed = feeding.feed(flags)
        given = options.model_flags(flags)
        with output.stdout_kept_clean():
            chosen = choose([path], given, faults, settings.device)
        if not chosen:
            return faults.code
        more = {
            **sensors.for_report(settings),
            **feed.settings,
            **grade_options.for_report(flags),
            "idle_s": settings.idle_time,
            "input_shapes": {name: list(shape) for name, shape in given.shapes.items()},
        }
        report = ReportFile("bench", more, file)
        with output.stdout_kept_clean():
            result, interrupted = measured(chosen[0], feed, settings, report, faults)
    except Exception as error:  # noqa: BLE001  # 125 is for programs that were not started
        faults.add(error)
        return faults.code
    if result is not None:
        deliver(job, result, report, as_json, faults)
        tell(costs.cost(result), faults)
    if interrupted:
        raise KeyboardInterrupt
    return faults.code


def prepare(path: str, flags: Mapping[str, Any]) -> Job:
    """See that everything can be done, before anything is.

    Raises:
        GreenAIError: an option cannot be used.
    """
    if flags["module"]:
        raise ConfigError("-m MODULE and a model file exclude each other: give one of them")
    judge = grade_options.chosen_judge(flags)
    if judge.asks_a_service:
        raise ConfigError(
            f"--grader {judge.name} takes runs of programs: grade the script that uses the model"
        )
    return Job(
        judge,
        grade_options.chosen_rates(flags),
        grade_options.chosen_baseline(flags, Path(path).name),
        pictures.files(flags),
        flags["units"],
        flags["unit"] or judge.unit() or INFERENCE,
    )


def measured(
    choice: Choice, feed: feeding.Feed, settings: Settings, report: ReportFile, faults: Faults
) -> tuple[InferenceResult | None, bool]:
    """The measurement, and whether Ctrl-C ended it."""
    progress = Progress(1)
    with sensors.opened(settings) as session:
        report.skipped = session.skipped
        report.calibrations = tuple(map(applied, session.calibrations))
        progress.begin(Path(choice.path).name)
        try:
            with choice.open() as library:
                result = session.evaluate_inference(
                    library,
                    feed.data,
                    options=feed.options,
                    settings=sensors.loop_settings(settings),
                    progress=progress,
                    idle_s=settings.idle_time,
                )
        except MeasurementInterrupted as end:
            return _inference(end.result), True
        except Exception as error:  # noqa: BLE001  # told with the file that it is about
            progress.clear()
            faults.add(error, choice.path)
            return None, False
        finally:
            progress.clear()
    return result, False


def _inference(result: object) -> InferenceResult | None:
    return result if isinstance(result, InferenceResult) else None


def deliver(
    job: Job, result: InferenceResult, report: ReportFile, as_json: bool, faults: Faults
) -> None:
    """Grade, write, show."""
    result = graded(job, result, faults)
    keep(report, result, faults)
    finish(report, faults)
    if as_json:
        if report.path is None or not report.written:
            output.emit_bytes(report.content())
    else:
        output.emit("\n".join([costs.text(report.report), "", *grade_text.verdict(result)]))
    if report.written:
        output.note(f"greenai: report written to {report.path}")
    pictures.draw(job.files, report.report, faults)


def graded(job: Job, result: InferenceResult, faults: Faults) -> InferenceResult:
    """The result with its grade; whatever graders and baselines do, it stays."""
    told = gradable(result, units=job.units, unit=job.unit, machine=machine_identity())
    warnings: list[str] = []
    given, compared = verdict(
        job.judge, job.baseline, told, lambda: job.judge.grade(told), warnings, faults
    )
    made = footprints.footprint(
        told.gross_energy_j, told.net_energy_j, told.units, told.unit, job.rates, warnings
    )
    return replace(
        result,
        grade=given,
        against_baseline=compared,
        footprint=made,
        warnings=(*result.warnings, *warnings),
    )
