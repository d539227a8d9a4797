"""Grades on a scale: joules per functional unit against a pinned reference."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from greenai_core import Figure, Gradable, Grade, GradeError, Grader

LETTERS = "ABCDEFG"

MEASURABLE = ("cpu", "dram", "gpu", "accelerator", "wall", "psys")
"""Components that a scope may name."""

ENOUGH_REFERENCES = 7
"""Below this many references a scale is provisional: their median says too
little of the extremes, so it gives neither A nor G."""


@dataclass(frozen=True)
class Scale:
    """A scale that was checked.

    Attributes:
        id: names the scale for ever; another reference makes another id.
        unit: the functional unit, such as ``image``.
        scope: components that the energy must be of.
        reference_j: joules of one unit that a ratio of 1 stands for.
        n: how many measured references it is the median of.
        limits: the greatest ratio to the reference of A, B, C, D, E and F.
    """

    id: str
    unit: str
    scope: tuple[str, ...]
    reference_j: float
    n: int
    limits: tuple[float, ...]

    @property
    def provisional(self) -> bool:
        """Whether too few references stand behind it."""
        return self.n < ENOUGH_REFERENCES

    def limit_j(self, letter: str) -> float:
        """The most joules per unit that still get a letter better than G."""
        return self.limits[LETTERS.index(letter)] * self.reference_j

    def letter(self, joules: float) -> str:
        """The letter of an energy per unit."""
        found = next((x for x in LETTERS[:-1] if joules <= self.limit_j(x)), LETTERS[-1])
        if self.provisional:
            return {"A": "B", "G": "F"}.get(found, found)
        return found


class ScaleGrader(Grader):
    """A letter from A to G by net energy per functional unit.

    Args:
        scale: the content of a scale's JSON file, as a mapping or as text; None
            grades nothing, and says so.

    Raises:
        GradeError: the scale is broken, or was changed after it was made.
    """

    name: ClassVar[str] = "scale"
    option_names: ClassVar[Mapping[str, str]] = {
        "scale": "the content of a scale's JSON file (id, unit, scope, reference, n, sources, "
        "thresholds, sha256)"
    }

    def __init__(self, *, scale: Mapping[str, Any] | str | None = None) -> None:
        self._scale = None if scale is None else read_scale(scale)

    def grade(self, measured: Gradable) -> Grade:
        """The grade, or why there is none."""
        scale = self._scale
        refusals = _refusals(measured, scale)
        net = measured.net_energy_j
        if refusals or scale is None or net is None or measured.units is None:
            return self._grade(measured, None, None, refusals, "")
        low, high = net.low / measured.units, net.high / measured.units
        letter, best = scale.letter(high), scale.letter(low)
        reasons = _reasons(measured, scale, net.value / measured.units, letter, best)
        return self._grade(measured, letter, best, reasons, _next_step(scale, letter, high))

    def _grade(
        self,
        measured: Gradable,
        letter: str | None,
        best: str | None,
        reasons: Sequence[str],
        next_step: str,
    ) -> Grade:
        scale = self._scale
        return Grade(
            grader=self.name,
            scale=scale.id if scale else None,
            letter=letter,
            best_letter=best,
            provisional=scale.provisional if scale else False,
            tier=_tier(measured),
            reasons=tuple(reasons),
            next_step=next_step,
        )


def fingerprint(scale: Mapping[str, Any]) -> str:
    """SHA-256 of a scale without its own hash, over canonical JSON.

    Canonical: keys sorted, no spaces, UTF-8, no NaN.

    Raises:
        GradeError: the scale holds what JSON cannot.
    """
    bare = {key: value for key, value in scale.items() if key != "sha256"}
    try:
        text = json.dumps(
            bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return hashlib.sha256(text.encode()).hexdigest()
    except (TypeError, ValueError) as error:
        raise GradeError(f"the scale cannot be written as JSON: {error}") from error


def read_scale(content: Mapping[str, Any] | str) -> Scale:
    """The scale in the content of a JSON file.

    Raises:
        GradeError: a field is missing or wrong, or the hash does not fit.
    """
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise GradeError(f"the scale is not JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise GradeError("the scale is no JSON object")
    scale = Scale(
        id=_words(content, "id"),
        unit=_words(content, "unit"),
        scope=_scope(_words(content, "scope")),
        reference_j=_positive(_field(content, "reference"), "reference"),
        n=_count(content),
        limits=_limits(_field(content, "thresholds")),
    )
    sources = _field(content, "sources")
    if not isinstance(sources, list) or not sources or not all(_is_words(s) for s in sources):
        raise GradeError(f"the scale {scale.id} names no sources of its references")
    expected, found = _words(content, "sha256"), fingerprint(content)
    if expected != found:
        raise GradeError(
            f"the scale {scale.id} was changed: its sha256 is {found}, not {expected}. "
            "Get the original; a changed scale needs an id of its own"
        )
    return scale


def _field(content: Mapping[str, Any], name: str) -> Any:
    if name not in content:
        raise GradeError(f"the scale has no {name!r}")
    return content[name]


def _is_words(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _words(content: Mapping[str, Any], name: str) -> str:
    value = _field(content, name)
    if not isinstance(value, str) or not value.strip():
        raise GradeError(f"{name!r} of the scale is {value!r}, not a text")
    return value


def _scope(text: str) -> tuple[str, ...]:
    parts = tuple(text.split("+"))
    unknown = [part for part in parts if part not in MEASURABLE]
    if unknown or len(set(parts)) < len(parts):
        raise GradeError(
            f"'scope' of the scale is {text!r}, not components joined by '+', such as 'cpu+dram'"
        )
    return parts


def _positive(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise GradeError(f"{name!r} of the scale is {value!r}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number <= 0:
        raise GradeError(f"{name!r} of the scale is {number}, not a positive number")
    return number


def _count(content: Mapping[str, Any]) -> int:
    n = _field(content, "n")
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise GradeError(f"'n' of the scale is {n!r}, not a number of references")
    return n


def _limits(thresholds: object) -> tuple[float, ...]:
    wanted = LETTERS[:-1]
    if not isinstance(thresholds, Mapping) or set(thresholds) != set(wanted):
        raise GradeError(
            "'thresholds' of the scale must give one ratio to each of A, B, C, D, E, F"
        )
    limits = tuple(_positive(thresholds[letter], f"thresholds.{letter}") for letter in wanted)
    if any(after <= before for before, after in itertools.pairwise(limits)):
        raise GradeError(f"'thresholds' of the scale do not rise from A to F: {limits}")
    return limits


def _refusals(measured: Gradable, scale: Scale | None) -> list[str]:
    """Why there can be no letter; empty where there can."""
    found = []
    if measured.units is None or measured.unit is None:
        found.append("no functional unit: say how many with --units 1000 --unit image")
    elif not math.isfinite(measured.units) or measured.units <= 0:
        found.append(f"{measured.units} units are no number to divide by")
    if scale is None:
        found.append("no reference: name a scale with --scale FILE")
    if scale is not None and measured.unit is not None and measured.unit != scale.unit:
        found.append(f"the scale counts by {scale.unit}, the run by {measured.unit}")
    if scale is not None and measured.components and set(measured.components) != set(scale.scope):
        has, wants = "+".join(measured.components), "+".join(scale.scope)
        found.append(f"the energy is of {has}, the scale is for {wants}")
    if measured.missing:
        found.append(
            f"no figure for {', '.join(measured.missing)}, and the rest alone would look better"
        )
    found += _energy_refusals(measured.net_energy_j)
    return [f"ungraded: {reason}" for reason in found]


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
    return []


def _reasons(measured: Gradable, scale: Scale, joules: float, letter: str, best: str) -> list[str]:
    reasons = [
        f"{joules:.3g} J/{scale.unit} is {joules / scale.reference_j:.3g} × the reference of "
        f"{scale.reference_j:.3g} J/{scale.unit} (median of {scale.n}, scale {scale.id})"
    ]
    if best != letter:
        reasons.append(f"the interval reaches from {best} to {letter}: the worse letter counts")
    if scale.provisional:
        reasons.append(
            f"provisional: {scale.n} references are fewer than {ENOUGH_REFERENCES}, so the scale "
            "gives neither A nor G"
        )
    if not measured.components:
        reasons.append(
            f"nobody said what the energy is of; the scale is for {'+'.join(scale.scope)}"
        )
    if _tier(measured) == "estimated":
        reasons.append("a part of the energy is modelled, not measured")
    return reasons


def _next_step(scale: Scale, letter: str, high_j: float) -> str:
    """What the next better letter takes, of the upper end of the interval."""
    best_given = "B" if scale.provisional else "A"
    if letter <= best_given:
        return ""
    better = LETTERS[LETTERS.index(letter) - 1]
    limit = scale.limit_j(better)
    change = f"{100 * (limit / high_j - 1):.0f}".replace("-", "−")
    goal = f"{better} needs ≤ {limit:.3g} J/{scale.unit}"
    return f"{goal} ({change} % for the upper end of the interval)"


def _tier(measured: Gradable) -> str:
    """``measured``, or ``estimated`` where a model stands behind a part of it."""
    figures = (measured.net_energy_j, measured.gross_energy_j)
    methods = [figure.method for figure in figures if figure is not None]
    return "estimated" if any("modelled" in method for method in methods) else "measured"
