"""The grader `scale`."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenai_core import Figure, Gradable, GradeError, read_scale
from greenai_core.testing.grader_suite import GraderConformance
from greenai_plugins.graders.scale import LETTERS, ScaleGrader, fingerprint

THRESHOLDS = {"A": 0.25, "B": 0.5, "C": 1, "D": 2, "E": 4, "F": 8}


def scale(**changes):
    content = {
        "id": "task/classification/laptop/2024.1",
        "unit": "image",
        "scope": "cpu+dram",
        "reference": 0.4,
        "n": 9,
        "sources": ["nine published measurements"],
        "thresholds": THRESHOLDS,
        **changes,
    }
    content = {key: value for key, value in content.items() if value is not None}
    return {"sha256": fingerprint(content), **content}


def energy(value, low=None, high=None, method="counter"):
    low, high = value if low is None else low, value if high is None else high
    return Figure(value, low, high, low, high, method, "cpu:0/package")


def measured(value, low=None, high=None, **changes):
    figure = energy(value, low, high, changes.pop("method", "counter"))
    return replace(
        Gradable(figure, figure, units=1.0, unit="image", components=("cpu", "dram")), **changes
    )


def grade(gradable, **changes):
    return ScaleGrader(scale=scale(**changes)).grade(gradable)


class TestConformance(GraderConformance):
    def make_grader(self):
        return ScaleGrader(scale=scale())

    def gradable(self):
        return measured(3.0, 2.8, 3.2, units=10.0)


@pytest.mark.parametrize("letter", "ABCDEF")
def test_boundaries_belong_to_the_better_letter(letter):
    limit = THRESHOLDS[letter] * 0.4
    after = LETTERS[LETTERS.index(letter) + 1]
    assert grade(measured(limit)).letter == letter
    assert grade(measured(math.nextafter(limit, 1e9))).letter == after


def test_the_grade_divides_by_the_units():
    assert grade(measured(100.0, units=1000.0)).letter == "A"
    assert grade(measured(100.0, units=100.0)).letter == "E"


@given(st.floats(1e-6, 1e6), st.floats(1.0, 1e3), st.floats(1e-3, 1e6))
def test_more_joules_never_get_a_better_letter(joules, factor, units):
    one, more = (grade(measured(j, units=units)).letter for j in (joules, joules * factor))
    assert one <= more


@given(st.floats(1e-6, 1e6), st.floats(0, 0.99), st.floats(0, 10))
def test_the_worse_end_of_the_interval_counts(joules, below, above):
    low, high = joules * (1 - below), joules * (1 + above)
    found = grade(measured(joules, low, high))
    assert found.letter == grade(measured(high)).letter
    assert found.best_letter == grade(measured(low)).letter
    assert found.best_letter <= found.letter


def test_an_interval_across_a_boundary_says_so():
    found = grade(measured(0.2, 0.15, 0.3))
    assert (found.best_letter, found.letter) == ("B", "C")
    assert any("from B to C" in reason for reason in found.reasons)


@given(st.floats(1e-9, 1e9), st.integers(1, 6))
def test_few_references_give_no_extremes(joules, n):
    found = grade(measured(joules), n=n)
    assert found.provisional
    assert found.letter in "BCDEF"
    assert found.best_letter in "BCDEF"
    assert any("provisional" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("gradable", "why"),
    [
        (measured(0.0), "noise floor"),
        (measured(-1.0), "noise floor"),
        (measured(0.1, -0.1, 0.3), "told from zero"),
        (measured(0.1, 0.0, 0.3), "told from zero"),
        (measured(math.nan), "no finite interval"),
        (measured(0.1, 0.05, math.inf), "no finite interval"),
        (measured(0.1, 0.2, 0.3), "outside its own interval"),
        (measured(0.1, units=None), "no functional unit"),
        (measured(0.1, unit=None), "no functional unit"),
        (measured(0.1, units=0.0), "0.0 units"),
        (measured(0.1, units=-5.0), "-5.0 units"),
        (measured(0.1, units=math.nan), "nan units"),
        (measured(0.1, unit="token"), "by image, the run by token"),
        (measured(0.1, missing=("gpu:GPU-1",)), "gpu:GPU-1"),
        (measured(0.1, components=("gpu",)), "of gpu, the scale is for cpu+dram"),
        (measured(0.1, components=("cpu",)), "of cpu, the scale is for cpu+dram"),
        (measured(0.1, net_energy_j=None), "idle was not measured"),
    ],
)
def test_no_letter_where_one_would_be_dishonest(gradable, why):
    found = grade(gradable)
    assert found.letter is None
    assert found.best_letter is None
    assert found.next_step == ""
    assert any(why in reason for reason in found.reasons)
    assert all(reason.startswith("ungraded: ") for reason in found.reasons)


def test_a_sensor_that_failed_is_not_blamed_on_idle():
    """Without a channel there is no net energy, though idle was measured."""
    found = grade(measured(0.1, net_energy_j=None, missing=("cpu:0/package",)))
    (reason,) = found.reasons
    assert "no figure for cpu:0/package" in reason


def test_without_a_scale_there_is_no_letter():
    found = ScaleGrader().grade(measured(0.1, units=None))
    assert (found.letter, found.scale) == (None, None)
    assert found.reasons == (
        "ungraded: no functional unit: say how many with --units 1000 --unit image",
        "ungraded: no reference: name a scale with --scale FILE",
    )


def test_what_is_modelled_is_an_estimate():
    assert grade(measured(0.1)).tier == "measured"
    found = grade(measured(0.1, method="counter+modelled"))
    assert found.tier == "estimated"
    assert any("modelled" in reason for reason in found.reasons)


def test_nobody_said_what_the_energy_is_of():
    found = grade(measured(0.1, components=()))
    assert found.letter == "A"
    assert any("nobody said" in reason for reason in found.reasons)


def test_the_next_step_names_the_limit_and_the_way_to_it():
    found = grade(measured(0.15, 0.14, 0.16))
    assert found.letter == "B"
    assert found.next_step.startswith("A needs ≤ 0.1 J/image (−38 %")
    assert grade(measured(0.05)).next_step == ""
    assert grade(measured(0.05), n=3).next_step == ""


def test_the_next_step_is_never_nothing():
    """A hair above a limit −0 % would ask for nothing, far above it −100 % for the impossible."""
    assert "(−1 %" in grade(measured(0.1000001)).next_step
    assert "(1/250 for" in grade(measured(800.0)).next_step


def test_the_next_step_leads_to_the_next_letter():
    found = grade(measured(5.0))
    assert found.letter == "G"
    assert "F needs ≤ 3.2 J/image (−36 %" in found.next_step
    assert grade(measured(3.2)).letter == "F"


def test_the_grade_tells_what_the_letter_is_of():
    found = grade(measured(30.0, 27.0, 33.0, units=100.0))
    assert (found.per_unit_j.value, found.unit) == (pytest.approx(0.3), "image")
    assert (found.pue, found.hardware_class) == (1.0, "laptop")
    assert grade(measured(30.0, unit=None)).per_unit_j is None
    assert grade(measured(30.0, units=100.0, unit="token")).letter is None
    assert grade(measured(30.0, units=100.0, unit="token")).per_unit_j is not None


def test_decimal_numbers_are_taken_as_they_are_written():
    """0.7 J for 7 units are 0.1 J, though binary fractions disagree."""
    for units in range(1, 1000):
        found = grade(measured(float(f"{units * 0.1:.1f}"), units=float(units)))
        assert (found.letter, found.best_letter) == ("A", "A"), units


def test_the_pue_counts():
    one = ScaleGrader(scale=scale(), pue=2).grade(measured(0.2))
    assert (one.letter, one.per_unit_j.value, one.pue) == ("C", 0.4, 2.0)
    assert any("PUE 2" in reason for reason in one.reasons)
    assert "B needs ≤ 0.2 J/image (−50 %" in one.next_step
    assert ScaleGrader(scale=scale(), pue="1.58").grade(measured(0.2)).letter == "C"


@given(st.floats(1e-3, 1e3), st.floats(1.0, 10.0))
def test_a_pue_never_helps(joules, pue):
    with_it = ScaleGrader(scale=scale(), pue=pue).grade(measured(joules))
    assert with_it.letter >= grade(measured(joules)).letter


@pytest.mark.parametrize("pue", [0.99, 0, -1, math.nan, math.inf, "two", ""])
def test_what_is_no_pue_is_refused(pue):
    with pytest.raises(GradeError, match="PUE"):
        ScaleGrader(scale=scale(), pue=pue)


def test_hardware_of_another_class_gets_no_letter():
    other = grade(measured(0.1, hardware_class="server"))
    assert other.letter is None
    assert "the hardware is server, the scale is for laptop" in other.reasons[0]
    assert grade(measured(0.1, hardware_class="laptop")).letter == "A"
    assert any("what hardware" in reason for reason in grade(measured(0.1)).reasons)


def test_a_measured_run_gets_no_letter_on_modelled_references():
    """Its interval does not hold the error of the model."""
    found = grade(measured(0.1), tier="estimated")
    assert found.letter is None
    assert any("references of the scale are modelled" in reason for reason in found.reasons)
    modelled = grade(measured(0.1, method="modelled"), tier="estimated")
    assert (modelled.letter, modelled.tier) == ("A", "estimated")


@given(st.floats(1e-3, 1e3), st.lists(st.sampled_from(["gpu:0", "cpu:0/dram"]), max_size=2))
def test_a_missing_channel_never_helps(joules, missing):
    whole, part = (grade(measured(joules, missing=m)).letter for m in ((), tuple(missing)))
    assert part is None if missing else part == whole


@given(st.floats(), st.floats(), st.floats(), st.floats())
def test_any_numbers_get_a_grade_or_a_reason(value, low, high, units):
    found = grade(measured(value, low, high, units=units))
    assert found.reasons
    assert found.letter is None or 0 < low <= value <= high < math.inf


def test_a_scale_may_come_read():
    assert ScaleGrader(scale=read_scale(scale())).grade(measured(0.1)).letter == "A"


def test_a_scale_may_come_as_text():
    assert ScaleGrader(scale=json.dumps(scale(), indent=2)).grade(measured(0.1)).letter == "A"


@pytest.mark.parametrize("field", [*scale()])
def test_a_scale_without_a_field_is_refused(field):
    content = scale()
    del content[field]
    with pytest.raises(GradeError, match=field):
        ScaleGrader(scale=content)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"unit": 5},
        {"scope": "everything"},
        {"scope": "cpu+cpu"},
        {"reference": 0},
        {"reference": -0.4},
        {"reference": "0.4"},
        {"reference": True},
        {"reference": 10**400},
        {"n": 0},
        {"n": 2.5},
        {"n": True},
        {"sources": []},
        {"sources": "me"},
        {"sources": [""]},
        {"thresholds": [0.25, 0.5, 1, 2, 4, 8]},
        {"thresholds": {"A": 1}},
        {"thresholds": {**THRESHOLDS, "G": 16}},
        {"thresholds": {**THRESHOLDS, "B": 0.25}},
        {"thresholds": {**THRESHOLDS, "F": 3}},
        {"thresholds": {**THRESHOLDS, "A": 0}},
    ],
)
def test_a_scale_with_a_wrong_field_is_refused(changes):
    with pytest.raises(GradeError):
        ScaleGrader(scale=scale(**changes))


@pytest.mark.parametrize(
    "field", ["id", "unit", "scope", "reference", "n", "sources", "thresholds"]
)
def test_a_scale_that_was_changed_is_refused(field):
    other = {
        "id": "other",
        "unit": "token",
        "scope": "gpu",
        "reference": 0.8,
        "n": 10,
        "sources": ["hearsay"],
        "thresholds": {**THRESHOLDS, "A": 0.3},
    }
    with pytest.raises(GradeError, match="was changed"):
        ScaleGrader(scale={**scale(), field: other[field]})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "NaN", "[" * 100_000])
def test_what_is_no_scale_is_refused(text):
    with pytest.raises(GradeError):
        ScaleGrader(scale=text)


def test_the_hash_is_that_of_canonical_json():
    """Pinned: published scales must stay valid."""
    assert fingerprint({"b": "é", "a": [1, 0.5], "sha256": "x"}) == (
        "ad3bcfc0dd707bb02f2cead475b8e0ae364e0835da749affe66d69afae08aba8"
    )
