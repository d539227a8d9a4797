"""The grade of what was measured, and how it compares with a baseline."""

from __future__ import annotations

from collections.abc import Callable

from greenai_core.errors import ConfigError, GradeError
from greenai_core.grading import Gradable
from greenai_core.results import Grade

from . import own_baselines
from .faults import Faults
from .judge import Judge

Verdict = tuple[Grade | None, Grade | None]


def verdict(
    judge: Judge,
    baseline: own_baselines.Wanted | None,
    measured: Gradable,
    grade: Callable[[], Grade],
    warnings: list[str],
    faults: Faults,
) -> Verdict:
    """Grade and comparison; whatever graders and services do, a measurement is not lost.

    Args:
        judge: the grader.
        baseline: what ``--baseline`` asks for.
        measured: what is graded.
        grade: grades it.
        warnings: what went wrong is added.
        faults: told what is a fault of a plugin.
    """
    given: Grade | None = None
    compared: Grade | None = None
    try:
        if baseline is not None and baseline.action == own_baselines.SAVE:
            own_baselines.save(measured, baseline.name, warnings)
        if baseline is not None and baseline.kept is not None:
            compared = own_baselines.against(measured, baseline.kept)
        if judge.name == own_baselines.GRADER:
            return compared, None
        given = grade()
    except (ConfigError, GradeError) as error:
        warnings.append(f"no grade: {error}")
    except Exception as error:  # noqa: BLE001  # a plugin's fault must not cost the measurement
        faults.add(error)
    return given, compared
