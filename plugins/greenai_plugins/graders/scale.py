"""Grades on a scale: joules per functional unit against a pinned reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar

from greenai_core import (
    Figure,
    Gradable,
    Grade,
    GradeError,
    Grader,
    Scale,
    read_scale,
    scale_fingerprint,
)

LETTERS = "ABCDEFG"

fingerprint = scale_fingerprint


LARGEST_J, FEWEST_UNITS, MOST_UNITS = 1e60, 1e-60, 1e60
"""Nothing ever took as much, nor was as little of a unit; such numbers are mistakes."""


class ScaleGrader(Grader):
    """A letter from A to G by net energy per functional unit.

    Args:
        scale: the content of a scale's JSON file, as a mapping or as text, or a scale
            that was read; None grades nothing, and says so.
        pue: power usage effectiveness, 1 or more: what a data centre draws for each
            watt of its machines.

    Raises:
        GradeError: the scale is broken, or was changed after it was made; or the PUE
            cannot be one.
    """

    name: ClassVar[str] = "scale"
    option_names: ClassVar[Mapping[str, str]] = {
        "scale": "the content of a scale's JSON file (id, unit, scope, reference, n, sources, "
        "thresholds, sha256)",
        "pue": "power usage effectiveness of the data centre; 1 for a machine of its own",
    }

    def __init__(
        self, *, scale: Scale | Mapping[str, Any] | str | None = None, pue: float | str = 1.0
    ) -> None:
        self._scale = scale if scale is None or isinstance(scale, Scale) else read_scale(scale)
        self._pue = _effectiveness(pue)

    def grade(self, measured: Gradable) -> Grade:
        """The grade, or why there is none."""
        scale, pue = self._scale, self._pue
        refusals = _refusals(measured, scale)
        net, units = measured.net_energy_j, measured.units
        if refusals or scale is None or net is None or units is None:
            return self._graded(measured, None, None, (*refusals,), "")
        low, high = (_of_one(joules, units, pue) for joules in (net.low, net.high))
        letter, best = scale.letter(high), scale.letter(low)
        reasons = _reasons(measured, scale, _of_one(net.value, units, pue), letter, best)
        reasons += [f"with PUE {pue:g}"] if pue != 1 else []
        return self._graded(measured, letter, best, (*reasons,), _next_step(scale, letter, high))

    def _graded(
        self,
        measured: Gradable,
        letter: str | None,
        best: str | None,
        reasons: tuple[str, ...],
        next_step: str,
    ) -> Grade:
        scale = self._scale
        return Grade(
            grader=self.name,
            scale=scale.id if scale else None,
            letter=letter,
            best_letter=best,
            provisional=scale.provisional if scale else False,
            tier=_tier(measured, scale),
            reasons=reasons,
            next_step=next_step,
            per_unit_j=measured.per_unit(self._pue) if measured.unit else None,
            unit=measured.unit,
            pue=self._pue,
            hardware_class=scale.hardware_class if scale else measured.hardware_class,
        )


def _effectiveness(pue: float | str) -> float:
    try:
        value = float(pue)
    except ValueError:
        value = math.nan
    if not 1 <= value < math.inf:
        raise GradeError(f"a PUE is a number of 1 or more, not {pue!r}")
    return value


def _of_one(joules: float, units: float, pue: float) -> Fraction:
    """Joules of one unit, by the decimal numbers as they are written."""
    return Fraction(repr(joules)) * Fraction(repr(pue)) / Fraction(repr(float(units)))


def _refusals(measured: Gradable, scale: Scale | None) -> list[str]:
    """Why there can be no letter; empty where there can."""
    found = []
    if measured.units is None or measured.unit is None:
        found.append("no functional unit: say how many with --units 1000 --unit image")
    elif not FEWEST_UNITS <= measured.units <= MOST_UNITS:
        found.append(f"{measured.units} units are no number to divide by")
    if scale is None:
        found.append("no reference: name a scale with --scale FILE")
    else:
        found += _mismatches(measured, scale)
    if measured.missing:
        found.append(
            f"no figure for {', '.join(measured.missing)}, and the rest alone would look better"
        )
    if measured.net_energy_j is not None or not measured.missing:
        found += _energy_refusals(measured.net_energy_j)
    return [f"ungraded: {reason}" for reason in found]


def _mismatches(measured: Gradable, scale: Scale) -> list[str]:
    """What the scale is not made for."""
    found = []
    if measured.unit is not None and measured.unit != scale.unit:
        found.append(f"the scale counts by {scale.unit}, the run by {measured.unit}")
    if measured.components and set(measured.components) != set(scale.scope):
        has, wants = "+".join(measured.components), "+".join(scale.scope)
        found.append(f"the energy is of {has}, the scale is for {wants}")
    classes = (measured.hardware_class, scale.hardware_class)
    if None not in classes and len(set(classes)) > 1:
        found.append(f"the hardware is {classes[0]}, the scale is for {classes[1]}")
    if scale.tier == "estimated" and measured.net_energy_j and _tier(measured, None) == "measured":
        found.append(
            "the references of the scale are modelled and the run was measured: its interval "
            "does not hold the error of the model"
        )
    return found


def _energy_refusals(net: Figure | None) -> list[str]:
    if net is None:
        return ["no net energy: idle was not measured"]
    if not all(map(math.isfinite, (net.value, net.low, net.high))):
        return ["the net energy has no finite interval"]
    if net.value <= 0:
        return [f"net energy of {net.value:.3g} J is below the noise floor: run for longer"]
    if net.low <= 0:
        return [
            f"net energy of {net.value:.3g} J cannot be told from zero ({net.low:.3g} to "
            f"{net.high:.3g} J): run for longer"
        ]
    if not net.low <= net.value <= net.high:
        return ["the net energy lies outside its own interval"]
    return [f"{net.high:.3g} J are more than anything used"] if net.high > LARGEST_J else []


def _reasons(
    measured: Gradable, scale: Scale, energy: Fraction, letter: str, best: str
) -> list[str]:
    joules, ratio = float(energy), float(energy) / scale.reference_j
    reasons = [
        f"{joules:.3g} J/{scale.unit} is {ratio:.3g} × the reference of "
        f"{scale.reference_j:.3g} J/{scale.unit} (median of {scale.n}, scale {scale.id})"
    ]
    if best != letter:
        reasons.append(f"the interval reaches from {best} to {letter}: the worse letter counts")
    if scale.provisional:
        reasons.append(
            f"provisional: {scale.n} references are fewer than 7, so the scale gives neither A "
            "nor G"
        )
    if not measured.components:
        reasons.append(
            f"nobody said what the energy is of; the scale is for {'+'.join(scale.scope)}"
        )
    if scale.hardware_class and measured.hardware_class is None:
        reasons.append(
            f"nobody said what hardware it ran on; the scale is for {scale.hardware_class}"
        )
    if _tier(measured, None) == "estimated":
        reasons.append("a part of the energy is modelled, not measured")
    return reasons


def _next_step(scale: Scale, letter: str, high: Fraction) -> str:
    """What the next better letter takes, of the upper end of the interval."""
    best_given = "B" if scale.provisional else "A"
    if letter <= best_given:
        return ""
    better = LETTERS[LETTERS.index(letter) - 1]
    limit = scale.limit_j(better)
    # Rounded away from zero, so that what is told suffices: −0 % would ask for nothing.
    change = math.ceil(100 * (1 - limit / float(high)))
    way = f"−{max(change, 1)} %" if change < 100 else f"1/{float(high) / limit:.3g}"
    goal = f"{better} needs ≤ {limit:.3g} J/{scale.unit}"
    return f"{goal} ({way} for the upper end of the interval)"


def _tier(measured: Gradable, scale: Scale | None) -> str:
    """``measured``, or ``estimated`` where a model stands behind a part of it."""
    figures = (measured.net_energy_j, measured.gross_energy_j)
    methods = [figure.method for figure in figures if figure is not None]
    if scale is not None and scale.tier == "estimated":
        return "estimated"
    return "estimated" if any("modelled" in method for method in methods) else "measured"
