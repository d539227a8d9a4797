"""Scales as data, where they are kept, and how they are made of reports."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenai_core import (
    Figure,
    GradeError,
    build_scale,
    built_in_scales,
    find_scale,
    gradable,
    read_scale,
    scale_fingerprint,
)
from greenai_core.scale_files import file_name, scales_for
from greenai_core.scales import FACTORS, LETTERS
from greenai_core.testing.sample_reports import figure, sample_report

SHIPPED = {
    "task/image-classification/x86-vcpu-modelled/2026.1": (
        "027d833ef8ed0d7df515f8c13739960ce27aaaf15783f33995f0d21b29d40401"
    ),
}
"""Published for ever: a scale that must change gets another id."""


def content(**changes):
    made = {
        "id": "task/translation/laptop/2024.1",
        "unit": "token",
        "scope": "cpu",
        "reference": 0.3,
        "n": 7,
        "sources": ["seven measurements"],
        "thresholds": dict(FACTORS),
        **changes,
    }
    made = {key: value for key, value in made.items() if value is not None}
    return {**made, "sha256": scale_fingerprint(made)}


def scale(**changes):
    return read_scale(content(**changes))


REFERENCES = [{"name": f"model {i}", "energy_j": 0.1 * i} for i in range(1, 8)]


# Letters


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9), st.floats(1e-6, 1e6), st.integers(1, 20))
def test_letters_never_improve_with_energy(one, other, reference, n):
    made = scale(reference=reference, n=n)
    low, high = sorted([one, other])
    assert made.letter(low) <= made.letter(high)


@given(st.floats(1e-6, 1e6), st.sampled_from(LETTERS[:-1]))
def test_each_limit_belongs_to_the_better_letter(reference, letter):
    made = scale(reference=reference)
    limit = Fraction(repr(FACTORS[letter])) * Fraction(repr(reference))
    assert made.letter(limit) == letter
    assert made.letter(limit * Fraction(1_000_001, 1_000_000)) == LETTERS[LETTERS.index(letter) + 1]


def test_limits_are_those_of_decimal_numbers():
    """0.3 × 0.25 is no binary number, and neither is what people measure."""
    made = scale()
    for letter, factor in FACTORS.items():
        joules = float(Fraction(str(factor)) * Fraction("0.3"))
        assert made.letter(joules) == letter
        assert made.limit_j(letter) == joules


@pytest.mark.parametrize("joules", [0.0, -0.0, 5e-324, -1.0, 1.7e308])
def test_extreme_energies_have_a_letter(joules):
    """Whether there may be one is the grader's question."""
    assert scale().letter(joules) in "AG"


@pytest.mark.parametrize("joules", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_letter(joules):
    with pytest.raises(ValueError, match=r"nan|inf"):
        scale().letter(joules)


@given(st.floats(1e-9, 1e9), st.integers(1, 6))
def test_provisional_scales_give_neither_a_nor_g(joules, n):
    assert scale(n=n).letter(joules) in "BCDEF"


# What a scale tells


def test_an_id_tells_task_and_hardware_class():
    assert (scale().task, scale().hardware_class) == ("translation", "laptop")
    own = scale(id="mine", task="chess", hardware_class="board", tier="estimated", origin="cited")
    assert (own.task, own.hardware_class, own.tier) == ("chess", "board", "estimated")
    assert (scale(id="mine").task, scale(id="mine").tier) == (None, "measured")


def test_references_are_kept():
    made = scale(references=REFERENCES, reference=0.4, command="make refs", notes=["one"])
    assert [r.name for r in made.references][:2] == ["model 1", "model 2"]
    assert (made.references[0].low_j, made.command, made.notes) == (None, "make refs", ("one",))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"id": "task/translation/2024.1"}, "is not task/"),
        ({"id": "task/translation/laptop/new"}, "is not task/"),
        ({"id": "task//laptop/2024.1"}, "is not task/"),
        ({"id": "self/1"}, "are no scales"),
        ({"id": "util/1"}, "are no scales"),
        ({"id": "legacy/1"}, "are no scales"),
        ({"id": "a b"}, "without spaces"),
        ({"id": "a\u202eb"}, "printable"),
        ({"id": "x" * 201}, "at most 200"),
        ({"task": "chess"}, "another task"),
        ({"hardware_class": "server"}, "another task or hardware"),
        ({"tier": "guessed"}, "tier"),
        ({"origin": "hearsay"}, "origin"),
        ({"command": 5}, "command"),
        ({"notes": "one"}, "notes"),
        ({"references": {}}, "references"),
        ({"references": REFERENCES[:6], "reference": 0.35}, "n = 7, and lists 6"),
        ({"references": [*REFERENCES[:6], REFERENCES[0]]}, "of 6 names"),
        ({"references": REFERENCES, "reference": 0.41}, "the median of its references is 0.4"),
        ({"references": [{"name": "a", "energy_j": -1.0}]}, "energy_j"),
        ({"references": [{"energy_j": 1.0}]}, "name"),
        ({"unit": "im\x1b[31mage"}, "printable"),
        ({"unit": "u" * 201}, "at most 200"),
        ({"task": "chess\nB"}, "printable"),
        ({"command": "make\x1b]0;owned\x07"}, "printable"),
        ({"sources": ["a \u202e b"]}, "printable"),
        ({"notes": ["\x1b[2J"]}, "printable"),
        ({"notes": ["n" * 2001]}, "at most 2000"),
        ({"references": [{"name": "a\x1b[1m", "energy_j": 0.3}], "n": 1}, "printable"),
        ({"reference": 1e-300}, "past all reason"),
        ({"reference": 1e300}, "past all reason"),
        ({"thresholds": {**FACTORS, "F": 1e300}}, "past all reason"),
        ({"n": 10**30}, "number of references"),
    ],
)
def test_a_scale_that_contradicts_itself_is_refused(changes, why):
    with pytest.raises(GradeError, match=why):
        scale(**changes)


def test_a_key_that_stands_twice_is_refused():
    """Readers of JSON differ in which one they take."""
    text = json.dumps(content())
    with pytest.raises(GradeError, match="twice"):
        read_scale(text[:-1] + ', "reference": 0.3}')


@given(st.sampled_from([*content(notes=["one"])]), st.sampled_from([1, "x", 0.5, ["x"], None]))
def test_any_tampering_is_refused(key, value):
    made = content(notes=["one"])
    if made[key] == value:
        return
    with pytest.raises(GradeError):
        read_scale({**made, key: value})


def test_what_was_added_is_refused():
    with pytest.raises(GradeError, match="was changed"):
        read_scale({**content(), "remark": "ours now"})


# The shipped scales


def test_shipped_scales_never_change():
    assert {made.id: made.sha256 for made in built_in_scales()} == SHIPPED


@pytest.mark.parametrize("made", built_in_scales(), ids=lambda made: made.id)
def test_a_shipped_scale_says_where_its_references_are_from(made):
    assert made.origin in ("own", "cited")
    assert made.origin == "cited" or (made.command and made.references)
    assert made.task
    assert made.hardware_class
    assert made.tier == "measured" or "modelled" in made.hardware_class
    assert (resources.files("greenai_core") / "data/scales" / file_name(made.id)).is_file()


def test_shipped_scales_are_found_by_id_and_by_task():
    one = find_scale("task/image-classification/x86-vcpu-modelled/2026.1")
    assert one in scales_for("image-classification")
    assert scales_for("image-classification", "laptop") == ()
    assert scales_for("nothing") == ()


def test_a_scale_is_found_in_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content()))
    assert find_scale(str(path)) == scale()


@pytest.mark.parametrize("name", ["nothing.json", "task/x/y/2024.1", "..", "a\0b"])
def test_a_scale_that_is_nowhere(name):
    with pytest.raises(GradeError, match=r"id of a built-in one \(task/image"):
        find_scale(name)


def test_a_file_without_an_end_is_no_scale(tmp_path):
    (tmp_path / "long.json").write_text(" " * 1_000_001)
    with pytest.raises(GradeError, match="longer than"):
        find_scale(str(tmp_path / "long.json"))


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**content(), "reference": 0.4}))
    with pytest.raises(GradeError, match=r"mine\.json.*was changed"):
        find_scale(str(path))
    path.write_bytes(b"\xff")
    with pytest.raises(GradeError, match="not UTF-8"):
        find_scale(str(path))


# From reports


def bench(*joules, method="counter", **changes):
    """A report of models that need so many joules above idle."""
    report = sample_report("bench")
    (one,) = report.results
    results = tuple(
        replace(
            one,
            model=replace(one.model, path=f"folder/model{i}.onnx", batch_size=2),
            net_energy_per_inference_j=figure(value, method),
            **changes,
        )
        for i, value in enumerate(joules)
    )
    environment = {"cpu": {"model": "Simulated CPU"}, "greenai_core": "9.9"}
    return replace(report, results=results, environment=environment)


def build(*reports, **changes):
    return build_scale(reports, **{"id": "mine/2026.1", "unit": "image", **changes})


def test_the_reference_is_the_median_of_one_unit():
    made = read_scale(build(bench(0.8, 0.2, 0.4)))
    assert (made.reference_j, made.n, made.scope, made.provisional) == (0.2, 3, ("cpu",), True)
    assert [(r.name, r.energy_j) for r in made.references] == [
        ("model0.onnx", 0.4),
        ("model1.onnx", 0.1),
        ("model2.onnx", 0.2),
    ]
    assert made.references[0].low_j == pytest.approx(0.36)
    assert (made.tier, made.origin) == ("measured", "own")
    assert made.sources == ("3 results of greenai-core 9.9 on Simulated CPU, 2024-05-06",)


def test_seven_references_are_enough():
    assert not read_scale(build(bench(*range(1, 8)))).provisional


def test_modelled_references_make_an_estimated_scale():
    assert read_scale(build(bench(1.0, method="modelled"))).tier == "estimated"


def test_what_its_makers_say_is_kept():
    made = read_scale(build(bench(1.0), sources=["a zoo"], command="make", notes=["a note"]))
    assert made.sources[0] == "a zoo"
    assert (made.command, made.notes) == ("make", ("a note",))


def test_building_again_gives_the_same():
    assert build(bench(1.0, 2.0)) == build(bench(1.0, 2.0))


def test_the_same_joules_in_another_order_give_the_same_reference():
    one = replace(bench(1.0, 2.0), results=tuple(reversed(bench(1.0, 2.0).results)))
    assert build(one) == build(bench(1.0, 2.0))


def test_a_command_is_a_reference_by_its_units():
    report = sample_report("grade")
    (one,) = report.results
    command = replace(one, command=("/home/me/secret/train.py", "--token", "x"), units=3.0)
    made = build(replace(report, results=(command,)))
    assert made["references"][0]["name"] == "train.py"
    assert made["references"][0]["energy_j"] == pytest.approx(0.1)
    assert "secret" not in json.dumps(made)


@pytest.mark.parametrize(
    ("reports", "why"),
    [
        ((replace(bench(1.0), results=()),), "no result"),
        ((sample_report("compare"),), "ratios"),
        ((sample_report("bench", known=False),), "no figure for cpu:0/package"),
        ((bench(-1.0),), "told from zero"),
        ((bench(1.0), bench(2.0)), "model0.onnx would count more than once"),
        ((bench(1.0), bench(1.0, 2.0, method="modelled")), "known by modelled"),
        (
            (bench(1.0), replace(bench(1.0), environment={"cpu": {"model": "Other CPU"}})),
            "on Other CPU",
        ),
    ],
)
def test_what_makes_no_reference_is_refused(reports, why):
    with pytest.raises(GradeError, match=why):
        build(*reports)


def test_other_components_are_refused():
    report = bench(1.0, 2.0)
    first, second = report.results
    (channel,) = second.channels
    gpu = replace(second, channels=(replace(channel, component="gpu"),))
    with pytest.raises(GradeError, match="of gpu"):
        build(replace(report, results=(first, gpu)))


def test_another_unit_is_refused():
    with pytest.raises(GradeError, match="by image, not by token"):
        build(sample_report("grade"), unit="token")


# From a result to what a grader takes


def test_a_model_does_as_many_units_as_its_batch_has_samples():
    (one,) = bench(1.0).results
    told = gradable(one, unit="image", machine="m", hardware_class="laptop")
    assert (told.units, told.unit, told.components) == (2, "image", ("cpu",))
    assert (told.machine, told.hardware_class) == ("m", "laptop")
    assert told.per_unit().value == 0.5
    assert "batch of 2 on cpu" in told.input
    assert gradable(one, unit="token", units=100).per_unit().value == 0.01


def test_nobody_said_what_a_sample_is():
    (one,) = bench(1.0).results
    assert (gradable(one).units, gradable(one).unit) == (None, None)
    assert gradable(one).per_unit() is None


def test_a_command_has_its_own_units_and_shows_no_arguments():
    (one,) = sample_report("grade").results
    told = gradable(one)
    assert (told.units, told.unit, told.components) == (1.0, "image", ("cpu",))
    assert told.gross_energy_j.value == 0.5
    assert "train" not in told.input
    assert told.input != gradable(replace(one, command=("other",))).input


def test_training_is_graded_by_the_sample_of_a_step():
    (one,) = sample_report("train").results
    told = gradable(replace(one, net_energy_per_step_j=figure(0.2)), unit="image")
    assert told.per_unit().value == 0.2


def test_what_is_missing_stays_missing():
    for kind in ("bench", "train", "measure"):
        (one,) = sample_report(kind, known=False).results
        assert gradable(one, unit="image").missing == ("cpu:0/package",)
    with pytest.raises(GradeError, match="comparison or a study"):
        gradable(sample_report("compare").results[0])


@pytest.mark.parametrize("units", [0.0, -1.0, math.nan, math.inf])
def test_joules_of_no_units_are_not_known(units):
    (one,) = bench(1.0).results
    assert replace(gradable(one, unit="image"), units=units).per_unit() is None


def test_the_pue_multiplies():
    (one,) = bench(1.0).results
    energy = gradable(one, unit="image").per_unit(1.5)
    assert isinstance(energy, Figure)
    assert (energy.value, energy.low) == (pytest.approx(0.75), pytest.approx(0.675))
    assert "PUE 1.5" in energy.provenance
