"""The conformance suite of graders.

Ten lines in the tests of a plugin::

    from greenai_core.testing.grader_suite import GraderConformance

    class TestMyGrader(GraderConformance):
        def make_grader(self):
            return MyGrader()

        def gradable(self):  # something that this grader gives a letter to
            joules = Figure(30.0, 27.0, 33.0, 29.0, 31.0, "counter", "cpu:0/package")
            return Gradable(joules, joules, units=10.0, unit="image")
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import ClassVar

from greenai_core.errors import GradeError
from greenai_core.grading import Gradable, Grader
from greenai_core.results import Figure, Grade

from .conformance import Conformance, check
from .watching import watched

LETTERS = "ABCDEFG"


class GraderHooks(Conformance):
    """The author's part of ``GraderConformance``, and what its checks share."""

    gives_letters: ClassVar[bool] = True
    """False for a grader that compares, and by design never gives a letter."""

    def make_grader(self) -> Grader:
        """The grader."""
        raise NotImplementedError("the suite needs make_grader()")

    def gradable(self) -> Gradable:
        """Something measured that this grader gives a letter to."""
        raise NotImplementedError("the suite needs gradable()")

    def _letter(self, measured: Gradable) -> str | None:
        """The letter; None also where the grader refuses."""
        try:
            return self.make_grader().grade(measured).letter
        except GradeError:
            return None


def rank(letter: str | None) -> int:
    """Place among the letters; ungraded comes last."""
    return len(LETTERS) if letter is None else LETTERS.index(letter)


def scaled(measured: Gradable, factor: float) -> Gradable:
    """The same with all joules multiplied; NaN makes them unknown numbers."""
    return dataclasses.replace(
        measured,
        net_energy_j=_times(measured.net_energy_j, factor),
        gross_energy_j=_times(measured.gross_energy_j, factor),
    )


def _times(figure: Figure | None, factor: float) -> Figure | None:
    if figure is None:
        return None
    low, high = sorted([figure.low * factor, figure.high * factor])
    repeat_low, repeat_high = sorted([figure.repeat_low * factor, figure.repeat_high * factor])
    return Figure(
        figure.value * factor,
        low,
        high,
        repeat_low,
        repeat_high,
        figure.method,
        figure.provenance,
    )


class GraderConformance(GraderHooks):
    """Rules of ``Grader``; subclass it as ``Test…``."""

    @check
    def test_grade_names_its_grader(self) -> None:
        """The grade says under which name its grader is registered."""
        grader = self.make_grader()
        assert grader.name.strip(), "name is empty"
        assert grader.grade(self.gradable()).grader == grader.name

    @check
    def test_letters_are_a_to_g(self) -> None:
        """The author's example gets a letter, if any does; and letters are A to G."""
        for factor in (1.0, 1e-6, 1e6):
            letter = self.make_grader().grade(scaled(self.gradable(), factor)).letter
            letters = {*LETTERS} if self.gives_letters else {None}
            allowed = letters if factor == 1.0 else {*letters, None}
            assert letter in allowed, f"the letter {letter!r} for {factor} times the joules"

    @check
    def test_every_grade_has_reasons(self) -> None:
        """With a letter or without: there are reasons, and none is empty."""
        nothing = Gradable(None, None)
        for measured in (self.gradable(), scaled(self.gradable(), 1e6), nothing):
            reasons = self.make_grader().grade(measured).reasons
            assert reasons, f"no reasons for {measured}"
            assert all(reason.strip() for reason in reasons), f"an empty reason in {reasons}"

    @check
    def test_best_letter_is_no_worse(self) -> None:
        """The letter at the favourable end of the interval is no worse than the letter."""
        grade = self._wide(self.make_grader())
        assert rank(grade.best_letter) <= rank(grade.letter), f"{grade}"

    @check
    def test_grading_again_gives_the_same(self) -> None:
        """The same measurement gets the same grade, from the same grader and a new one."""
        grader = self.make_grader()
        grades = [one.grade(self.gradable()) for one in (grader, grader, self.make_grader())]
        assert grades[0] == grades[1] == grades[2], f"{grades}"

    @check
    def test_measurement_is_left_alone(self) -> None:
        """Grading changes nothing in what was measured, its options included."""
        measured = self.gradable()
        before = copy.deepcopy(measured)
        self.make_grader().grade(measured)
        assert measured == before, f"{before} became {measured}"

    @check
    def test_grading_touches_nothing(self) -> None:
        """Grading opens no file and no connection."""
        grader, measured = self.make_grader(), self.gradable()
        with watched() as touched:
            grader.grade(measured)
        assert not touched, f"grading touched {touched[0]}"

    @check
    def test_more_energy_is_never_better(self) -> None:
        """Of two measurements the one with more joules gets no better letter."""
        letters = [self._letter(scaled(self.gradable(), 2.0**power)) for power in range(-12, 13)]
        graded = [rank(letter) for letter in letters if letter is not None]
        assert graded == sorted(graded), f"letters with rising energy: {letters}"

    @check
    def test_without_functional_unit_there_is_no_letter(self) -> None:
        """Joules for nobody knows what get no letter."""
        measured = dataclasses.replace(self.gradable(), units=None, unit=None)
        assert self._letter(measured) is None, "a letter without a functional unit"

    @check
    def test_missing_channel_never_improves(self) -> None:
        """A channel that gave nothing makes no letter better."""
        whole = self._letter(self.gradable())
        missing = self._letter(dataclasses.replace(self.gradable(), missing=("cpu:0/package",)))
        assert rank(missing) >= rank(whole), f"{missing} with a missing channel, {whole} without"

    @check
    def test_no_joules_get_no_letter(self) -> None:
        """Without joules, or with joules below the noise floor, there is no letter."""
        unknown = dataclasses.replace(self.gradable(), net_energy_j=None, gross_energy_j=None)
        assert self._letter(unknown) is None, "a letter without joules"
        below = scaled(self.gradable(), -1.0)
        assert self._letter(below) is None, "a letter for negative joules"

    @check
    def test_no_number_gets_no_letter(self) -> None:
        """NaN or infinite joules, and NaN, infinite, zero or negative units, get no letter."""
        for factor in (math.nan, math.inf):
            assert self._letter(scaled(self.gradable(), factor)) is None, f"{factor} J"
        for units in (math.nan, math.inf, 0.0, -1.0):
            measured = dataclasses.replace(self.gradable(), units=units)
            assert self._letter(measured) is None, f"a letter for {units} units"

    def _wide(self, grader: Grader) -> Grade:
        measured = self.gradable()
        figures = {}
        for name in ("net_energy_j", "gross_energy_j"):
            figure = getattr(measured, name)
            if figure is not None:
                figures[name] = dataclasses.replace(figure, low=figure.value / 100)
        return grader.grade(dataclasses.replace(measured, **figures))


__all__ = ["GraderConformance"]
