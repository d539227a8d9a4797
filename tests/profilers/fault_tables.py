"""What a sensor does when it fails: one table a profiler, the same faults in each.

A file ``test_faults_<profiler>.py`` holds ``TABLE``: fault -> ``Case`` or ``Impossible``.
``test_every_fault.py`` sees to it that no profiler and no fault is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

from greenai_core.results import WindowResult

FAULTS = (
    "EIO",
    "EACCES",
    "reset",
    "wrap",
    "stuck",
    "constant zero",
    "NaN",
    "negative",
    "GPU lost",
    "slow read",
    "unplugged",
    "HTTP 500",
    "hang",
    "half a JSON",
    "frame cut",
)
"""``EIO`` is any failing read; ``hang`` a source that does not answer; ``unplugged`` a
device, file, process or network that is gone; ``frame cut`` anything but JSON that
ends or breaks in the middle: a serial frame, a line of a log, the output of a program."""

EXACT = "exact"
"""The true joules, as if nothing had been."""


@dataclass(frozen=True)
class Case:
    """A fault that a sensor can have.

    Attributes:
        harm: does it, in the middle of a window; its arguments are the table's own.
        outcome: ``EXACT``, or a pattern found in the reason why the joules are missing.
        summary: of the outcome, for the table in docs/sensors.md: ``exact``, ``missing``,
            ``wider``, and what a reader should know beside that.
    """

    harm: Callable[..., Any]
    outcome: str
    summary: str = ""

    @property
    def shown(self) -> str:
        """The outcome in a word or a few."""
        return self.summary or (EXACT if self.outcome == EXACT else "missing")


@dataclass(frozen=True)
class Impossible:
    """A fault that a sensor cannot have, and why."""

    why: str

    @property
    def shown(self) -> str:
        """A dash in the table."""
        return "–"


Table: TypeAlias = Mapping[str, "Case | Impossible"]


def cases(table: Table) -> list[Any]:
    """The faults that can be, as parameters: ``@pytest.mark.parametrize("case", cases(TABLE))``."""
    return [pytest.param(row, id=fault) for fault, row in table.items() if isinstance(row, Case)]


def told(result: WindowResult, sick: str, outcome: str, watts: float, grain_s: float) -> None:
    """Check what a window tells of the sick channel, and that it invents nothing.

    Args:
        result: of the window in whose middle the fault came.
        sick: id of the channel that has it.
        outcome: of the case.
        watts: the true mean power of the channel in the window.
        grain_s: time whose energy the figure may be off by.
    """
    figures = {c.id: c.energy_j for c in result.channels}
    reasons = {m.id: m.reason for m in result.missing}
    assert all(joules > 0 for joules in figures.values())
    assert all(reasons.values())
    assert (sick in figures) != (sick in reasons)
    if outcome == EXACT:
        assert figures[sick] == pytest.approx(watts * result.duration_s, abs=watts * grain_s)
        assert result.energy_j is not None
    else:
        assert re.search(outcome, reasons[sick]), reasons[sick]
        assert result.energy_j is None, "a part is never told as the whole"
