"""The grader `web`: letters of the old service, by classes that it answered with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenai_core import Answer, Figure, Gradable, submit
from greenai_core.testing import GraderConformance
from greenai_plugins.graders.web import WebGrader
from greenai_plugins.graders.web_client import GradingService

CLASSES = [
    {
        "letter": letter,
        "low": 0.0 if letter == "A" else 10.0 ** (power - 3),
        "high": 10.0 ** (power - 2),
    }
    for power, letter in enumerate("ABCDEFG")
]
ANSWER = {"classes": CLASSES}


def measured(value=600.0, low=590.0, high=610.0, **changes):
    figure = Figure(value, low, high, low, high, changes.pop("method", "counter"), "cpu:0/package")
    options = {"duration_s": 10.0, "power_max_w": 200.0}
    return replace(Gradable(figure, figure, units=10.0, unit="image", options=options), **changes)


def grade(gradable=None, answer=ANSWER):
    return WebGrader(answer=answer).grade(gradable or measured())


class TestConformance(GraderConformance):
    def make_grader(self):
        return WebGrader(answer=ANSWER)

    def gradable(self):
        return measured()


def test_the_worse_of_both_letters_counts_and_both_are_shown():
    found = grade(measured(500.0, 490.0, 510.0, options={"duration_s": 10.0, "power_max_w": 45.0}))
    assert found.letter == "D"
    shown = "; ".join(found.reasons)
    assert "efficiency: C (0.1;" in shown
    assert "optimisation: D (1.111)" in shown
    assert found.next_step == ""


def test_it_says_that_it_is_not_meaningful():
    for answer in (ANSWER, None):
        assert any("not meaningful for energy" in reason for reason in grade(answer=answer).reasons)


def test_an_interval_across_a_boundary_gives_the_worse_letter():
    found = grade(measured(600.0, 400.0, 6000.0))
    assert (found.letter, found.best_letter) == ("D", "C"), (
        "of both letters the worse, at either end"
    )
    assert any("from B to D" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"units": None}, "functional unit"),
        ({"units": 0.0}, "0.0 units"),
        ({"missing": ("gpu:0",)}, "no figure for gpu:0"),
        ({"net_energy_j": None}, "idle was not measured"),
        ({"options": {}}, "how long it took"),
        ({"options": {"duration_s": 10.0}}, "nobody said what CPU"),
        ({"options": {"duration_s": "10", "power_max_w": 1.0}}, "not a number"),
        ({"options": {"duration_s": 0.0, "power_max_w": 1.0}}, "positive number"),
        ({"options": {"duration_s": 10.0, "power_max_w": 0.0}}, "positive number"),
    ],
)
def test_no_letter_and_why(changes, why):
    found = grade(measured(**changes))
    assert found.letter is None
    assert any(why in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "no service has answered"),
        ("{", "cannot be used"),
        ({}, "no classes"),
        ({"classes": [1]}, "no class"),
        ({"classes": [{"letter": "A", "low": 1, "high": 1}]}, "no class"),
        ({"classes": [{"letter": "A", "low": "nan", "high": 1}]}, "no class"),
        ({"classes": CLASSES[4:]}, "no class for the efficiency"),
        ({"classes": [*CLASSES, {"letter": "B", "low": 0.1, "high": 0.5}]}, "overlap"),
        (
            {
                "classes": [
                    {"letter": "B", "low": 0, "high": 0.2},
                    {"letter": "A", "low": 0.2, "high": 1},
                ]
            },
            "out of order",
        ),
        ({"classes": [{"letter": "Z", "low": 0, "high": 1}]}, "no letter from A to G"),
    ],
)  # fmt: skip
def test_a_service_that_makes_no_sense_gives_no_letter(answer, why):
    found = grade(answer=answer)
    assert found.letter is None
    assert any(why in reason for reason in found.reasons), found.reasons


def test_without_an_answer_no_class_is_said_to_be_missing():
    """That nobody answered does not mean that the service has no class for it."""
    shown = "; ".join(grade(answer=None).reasons)
    assert "efficiency: 0.12, no letter" in shown
    assert "no class" not in shown


def test_a_part_of_the_row_of_all_letters_is_no_letter():
    for letter in ("BC", "ABCDEFG", "b", ""):
        assert grade(answer={"classes": [{"letter": letter, "low": 0, "high": 9}]}).letter is None


def test_an_energy_that_cannot_be_told_from_zero_gets_no_letter():
    assert grade(measured(5.0, -1.0, 11.0)).letter is None
    assert grade(measured(-5.0, -11.0, 1.0)).letter is None


def test_a_model_behind_it_is_said():
    assert grade(measured(method="modelled")).tier == "estimated"
    assert grade(measured()).tier == "measured"


def test_from_the_run_to_the_grade(service, spool, run):
    """As a command does it: send, then grade what was measured with the answer."""
    outcome = submit(run, service, spool)
    assert isinstance(outcome.answer, Answer)
    found = WebGrader(answer=outcome.answer).grade(measured())
    assert found.scale == "legacy/127.0.0.1"
    assert found.letter == "D"
    letters = WebGrader(answer=outcome.answer).letters(measured())
    told = [f"{one.figure.name}: {one.letter} ({one.figure.value:.4g})" for one in letters]
    assert tuple(told) == outcome.answer.lines[1:]


def test_the_sender_is_found_through_the_grader(server):
    assert isinstance(WebGrader.sender(server.url), GradingService)
