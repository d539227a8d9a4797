"""Grades against the user's own baseline: what a change made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from greenai_core import (
    Baseline,
    Figure,
    Gradable,
    Grade,
    Grader,
    energy_change,
    read_baseline,
)

SCALE = "self/1"


class SelfGrader(Grader):
    """The change against a baseline in %, with its interval; no letter.

    A letter would mean something to others, and a baseline is of one machine, one
    input and one unit.

    Args:
        baseline: the content of its file, as a mapping or as text, or a baseline that
            was read; None compares with nothing, and says so.

    Raises:
        GradeError: the baseline is broken.
    """

    name: ClassVar[str] = "self"
    option_names: ClassVar[Mapping[str, str]] = {
        "baseline": "the content of a baseline's JSON file, as --baseline save keeps it"
    }

    def __init__(self, *, baseline: Baseline | Mapping[str, Any] | str | None = None) -> None:
        self._baseline = (
            baseline
            if baseline is None or isinstance(baseline, Baseline)
            else read_baseline(baseline)
        )

    def grade(self, measured: Gradable) -> Grade:
        """The change, or why it cannot be told; never a letter."""
        baseline, energy = self._baseline, measured.per_unit()
        refusals = _refusals(measured, energy, baseline)
        if refusals or baseline is None or energy is None:
            return self._graded(measured, tuple(f"not compared: {r}" for r in refusals), None)
        found = energy_change(energy, baseline.per_unit_j)
        share = Figure(
            found.share,
            found.low,
            found.high,
            found.low,
            found.high,
            energy.method,
            f"repeatability of this run and of the baseline of {baseline.created}",
        )
        return self._graded(measured, _reasons(measured, energy, baseline, share), share)

    def _graded(self, measured: Gradable, reasons: tuple[str, ...], share: Figure | None) -> Grade:
        figures = (measured.net_energy_j, measured.gross_energy_j)
        modelled = any("modelled" in figure.method for figure in figures if figure is not None)
        return Grade(
            grader=self.name,
            scale=SCALE if self._baseline else None,
            letter=None,
            best_letter=None,
            provisional=False,
            tier="estimated" if modelled else "measured",
            reasons=reasons,
            next_step="",
            per_unit_j=measured.per_unit() if measured.unit else None,
            unit=measured.unit,
            change=share,
        )


def _refusals(measured: Gradable, energy: Figure | None, baseline: Baseline | None) -> list[str]:
    """Why the two cannot be compared; empty where they can."""
    found = []
    if measured.units is None or measured.unit is None:
        found.append("no functional unit: say how many with --units 1000 --unit image")
    elif not math.isfinite(measured.units) or measured.units <= 0:
        found.append(f"{measured.units} units are no number to divide by")
    if measured.net_energy_j is None:
        if not measured.missing:
            found.append("no net energy: idle was not measured")
    elif energy is None and not found:
        found.append("the net energy has no finite interval")
    elif energy is not None and energy.value <= 0:
        found.append(
            f"net energy of {measured.net_energy_j.value:.3g} J is below the noise floor: run "
            "for longer"
        )
    elif energy is not None and not energy.repeat_low <= energy.value <= energy.repeat_high:
        found.append("the net energy lies outside its own interval")
    if measured.missing:
        found.append(
            f"no figure for {', '.join(measured.missing)}, and the rest alone would look better"
        )
    if baseline is None:
        found.append("no baseline: keep one with --baseline save")
        return found
    return found + _differences(measured, baseline)


def _differences(measured: Gradable, baseline: Baseline) -> list[str]:
    found = []
    if measured.unit is not None and measured.unit != baseline.unit:
        found.append(f"the baseline counts by {baseline.unit}, the run by {measured.unit}")
    if measured.machine != baseline.machine:
        found.append("the baseline is of another machine")
    if None not in (measured.input, baseline.input) and measured.input != baseline.input:
        found.append(f"the baseline is of {baseline.input}, the run of {measured.input}")
    for word, now, before in (
        ("energy", measured.components, baseline.components),
        ("channels", measured.channels, baseline.channels),
    ):
        if now and before and set(now) != set(before):
            found.append(f"{word} of the baseline: {'+'.join(before)}, of the run: {'+'.join(now)}")
    net = measured.net_energy_j
    if net is not None and set(net.method.split("+")) != set(baseline.per_unit_j.method.split("+")):
        found.append(f"the baseline is {baseline.per_unit_j.method}, the run is {net.method}")
    return found


def _reasons(
    measured: Gradable, energy: Figure, baseline: Baseline, share: Figure
) -> tuple[str, ...]:
    before = baseline.per_unit_j.value
    reasons = [
        f"{_percent(share.value)} ({_percent(share.low)} to {_percent(share.high)}) against the "
        f"baseline {baseline.name!r} of {baseline.created}: {energy.value:.3g} J/{baseline.unit}, "
        f"then {before:.3g} J/{baseline.unit}"
    ]
    if share.low <= 0 <= share.high:
        reasons.append("the interval holds no change: this run does not tell them apart")
    if measured.machine is None:
        reasons.append("this machine has no identity, so nobody checked that it is the same one")
    if measured.input is None or baseline.input is None:
        reasons.append("nobody said what the input was, so nobody checked that it is the same")
    reasons.append("no letter: a baseline of one's own says nothing to others")
    return tuple(reasons)


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %".replace("-", "−")
