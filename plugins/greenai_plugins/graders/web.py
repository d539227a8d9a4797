"""The letters of the old grading service, for those who compare with old numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from greenai_core import (
    Answer,
    Bounds,
    Gradable,
    Grade,
    GradeError,
    Sender,
    ServiceGrader,
)

from .web_client import GradingService
from .web_figures import NOT_MEANINGFUL, LegacyFigure, figures
from .web_rows import ClassRow, classes

LETTERS = tuple("ABCDEFG")


@dataclass(frozen=True)
class LegacyLetter:
    """A figure and its letters; None where no class of the service holds it.

    Attributes:
        letter: of the value.
        best, worst: at the ends of the interval.
    """

    figure: LegacyFigure
    letter: str | None
    best: str | None
    worst: str | None


class WebGrader(ServiceGrader):
    """Letters by the classes that a service of version 0 answered with.

    Grading itself asks nobody: ``GradingService.send`` does, and its answer is an
    option here. What is graded needs the options ``duration_s`` and, for the second
    figure, ``power_max_w``.

    Args:
        answer: of the service, as ``Answer``, its content, or that as JSON text;
            None grades nothing, and says so. So does an answer whose classes make
            no sense: a service's mistake is no reason to fail.
    """

    name: ClassVar[str] = "web"
    option_names: ClassVar[Mapping[str, str]] = {
        "answer": "what the service answered (classes with letter, low and high)"
    }

    def __init__(self, *, answer: Answer | Mapping[str, Any] | str | None = None) -> None:
        self._scale = None if answer is None else "legacy"
        self._classes: tuple[ClassRow, ...] = ()
        self._unasked = answer is None
        self._fault = "no service has answered; one is named with --url" if answer is None else ""
        if isinstance(answer, Answer):
            self._scale = f"legacy/{answer.service}"
            answer = answer.content
        try:
            if answer is not None:
                self._classes = classes(json.loads(answer) if isinstance(answer, str) else answer)
        except (GradeError, ValueError, RecursionError) as error:
            self._fault = f"the answer of the service cannot be used: {error}"

    @classmethod
    def sender(cls, url: str, **options: Any) -> Sender:
        """The way to a service; options as ``GradingService`` has them.

        Raises:
            ConfigError: the address, the token or a file cannot be used.
        """
        return GradingService(url, **options)

    def letters(self, measured: Gradable) -> tuple[LegacyLetter, ...]:
        """Both figures with their letters, as the old script showed them.

        Raises:
            GradeError: the figures cannot be made of what was measured.
        """
        net = measured.net_energy_j
        if net is None:
            raise GradeError("no net energy: idle was not measured")
        duration_s = _option(measured, "duration_s")
        if duration_s is None:
            raise GradeError("nobody said how long it took (duration_s)")
        bounds = Bounds(net.value, net.low, net.high)
        made = figures(bounds, duration_s, _option(measured, "power_max_w"))
        return tuple(_letter(figure, self._classes) for figure in made)

    def grade(self, measured: Gradable) -> Grade:
        """The worse of both letters; they are never a grade of energy."""
        try:
            found = self.letters(measured)
        except GradeError as error:
            return self._grade(measured, None, None, [f"ungraded: {error}"])
        reasons = [NOT_MEANINGFUL, *(_told(letter, self._unasked) for letter in found)]
        refusals = self._refusals(measured, found)
        if refusals:
            return self._grade(measured, None, None, [f"ungraded: {r}" for r in refusals] + reasons)
        worst = max(letter.worst or "" for letter in found)
        best = max(letter.best or letter.letter or worst for letter in found)
        return self._grade(measured, worst, min(best, worst), reasons)

    def _grade(
        self, measured: Gradable, letter: str | None, best: str | None, reasons: list[str]
    ) -> Grade:
        figure = measured.net_energy_j
        modelled = figure is not None and "modelled" in figure.method
        return Grade(
            grader=self.name,
            scale=self._scale,
            letter=letter,
            best_letter=best,
            provisional=False,
            tier="estimated" if modelled else "measured",
            reasons=tuple(reasons),
            next_step="",
        )

    def _refusals(self, measured: Gradable, found: tuple[LegacyLetter, ...]) -> list[str]:
        """Why both letters together make no grade; empty where they do."""
        reasons = [self._fault] if self._fault else []
        units = measured.units
        if units is None or measured.unit is None:
            reasons.append("no functional unit: say how many with --units 1000 --unit image")
        elif not math.isfinite(units) or units <= 0:
            reasons.append(f"{units} units are no number to divide by")
        if measured.missing:
            reasons.append(
                f"no figure for {', '.join(measured.missing)}, and the rest alone would look better"
            )
        if len(found) < 2:
            reasons.append("optimisation is unknown: nobody said what CPU, GPU and memory can draw")
        if any(letter.figure.low <= 0 for letter in found):
            reasons.append("the energy above idle cannot be told from zero: run for longer")
        for letter in found:
            if self._fault:
                break
            if letter.worst is None or letter.letter is None:
                reasons.append(f"the service has no class for the {letter.figure.name}")
            elif letter.worst not in LETTERS or letter.letter not in LETTERS:
                reasons.append(f"{letter.worst} is no letter from A to G")
        return reasons


def _letter(figure: LegacyFigure, known: tuple[ClassRow, ...]) -> LegacyLetter:
    low, value, high = (
        next((row.letter for row in known if row.holds(number)), None)
        for number in (figure.low, figure.value, figure.high)
    )
    return LegacyLetter(figure, value, low, high)


def _told(letter: LegacyLetter, unasked: bool) -> str:
    figure = letter.figure
    if unasked:
        return f"{figure.name}: {figure.value:.4g}, no letter"
    interval = ""
    if letter.letter != letter.worst or letter.letter != letter.best:
        interval = f"; from {letter.best or 'no class'} to {letter.worst or 'no class'}"
    shown = letter.letter or "no class"
    return f"{figure.name}: {shown} ({figure.value:.4g}{interval})"


def _option(measured: Gradable, name: str) -> float | None:
    value = measured.options.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise GradeError(f"the option {name} is {value!r}, not a number")
    return float(value)
