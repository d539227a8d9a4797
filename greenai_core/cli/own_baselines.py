"""``--baseline``: keep what a run cost, or compare with what it cost before."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from greenai_core import registry
from greenai_core.baselines import Baseline, baseline_of, load_baseline, save_baseline
from greenai_core.environment import machine_identity
from greenai_core.errors import ConfigError, GradeError
from greenai_core.grading import Gradable
from greenai_core.results import Grade

from . import figures, output

GRADER = "self"
"""Plugin that compares."""

SAVE, COMPARE = "save", "compare"

WHOLE = "run"
"""The unit of a comparison with oneself where nobody named another."""


@dataclass(frozen=True)
class Wanted:
    """What is to be done.

    Attributes:
        action: ``save``, or ``compare``.
        name: of the baseline.
        kept: what to compare with; None to save.
    """

    action: str
    name: str
    kept: Baseline | None


def wanted(text: str | None, usual: str) -> Wanted | None:
    """What ``--baseline`` says; None without it.

    Args:
        text: ``save``, ``compare``, or either with ``=NAME``.
        usual: the name where none was given.

    Raises:
        ConfigError: it says something else.
        GradeError: there is no such baseline, or it cannot be used.
    """
    if text is None:
        return None
    action, equals, name = text.partition("=")
    if action not in (SAVE, COMPARE) or (equals and not name.strip()):
        raise ConfigError(f"--baseline {text}: write save, compare, save=NAME or compare=NAME")
    name = name.strip() or usual
    kept = load_baseline(name, machine_identity()) if action == COMPARE else None
    return Wanted(action, name, kept)


def _whole(measured: Gradable) -> Gradable:
    """A run is a unit of its own, where nobody named another."""
    if measured.units is None and measured.unit is None:
        return replace(measured, units=1.0, unit=WHOLE)
    return measured


def against(measured: Gradable, baseline: Baseline) -> Grade:
    """How a run compares with a baseline.

    Raises:
        PluginNotFound: the grader is not installed.
    """
    grade: Grade = registry.load("greenai.graders", GRADER)(baseline=baseline).grade(
        _whole(measured)
    )
    return grade


def save(measured: Gradable, name: str, warnings: list[str]) -> None:
    """Keep a run as a baseline; a warning where it cannot be one."""
    try:
        made = baseline_of(_whole(measured), name, datetime.datetime.now(datetime.timezone.utc))
        save_baseline(made)
    except (ConfigError, GradeError) as error:
        warnings.append(f"no baseline was kept: {error}")
    except OSError as error:
        warnings.append(f"no baseline was kept: {error.strerror or error}")
    else:
        shown = figures.spread(made.per_unit_j, "J")
        output.note(f"greenai: baseline {name!r} kept: {shown} for one {made.unit}")
