"""Which scale a task takes."""

from dataclasses import replace

import pytest

from greenai_core import ConfigError, Figure, Gradable, built_in_scales
from greenai_core.cli import judge as judging
from greenai_core.cli.judge import judge

TASK = "image-classification"


def measured(joules, method="modelled", components=("cpu", "dram"), unit="image"):
    """Joules above idle of ten units."""
    net = Figure(joules, joules * 0.999, joules * 1.001, joules, joules, method, "a test")
    return Gradable(net, net, 10.0, unit, components=components)


@pytest.fixture
def shipped():
    return next(scale for scale in built_in_scales() if scale.task == TASK)


def test_the_shipped_scale_of_the_task_that_fits_is_taken(shipped):
    grade = judge("scale", task=TASK).grade(measured(shipped.reference_j * 10 * 1.5))
    assert (grade.letter, grade.scale, grade.tier) == ("D", shipped.id, "estimated")
    assert grade.next_step


def test_the_pue_reaches_the_grader(shipped):
    grade = judge("scale", task=TASK, pue=2.0).grade(measured(shipped.reference_j * 10 * 1.5))
    assert (grade.letter, grade.pue) == ("E", 2.0)


@pytest.mark.parametrize(
    "change",
    [{"method": "counter"}, {"components": ("cpu",)}, {"components": ("cpu", "dram", "gpu")}],
)
def test_what_was_measured_otherwise_gets_no_letter_and_is_told_why(change):
    grade = judge("scale", task=TASK).grade(measured(1.0, **change))
    assert grade.letter is None
    assert any(f"scales for {TASK}" in reason for reason in grade.reasons)
    assert not any("name a scale" in reason for reason in grade.reasons)


def test_of_two_hardware_classes_none_is_chosen_silently(monkeypatch, shipped):
    other = replace(shipped, id=f"task/{TASK}/arm/2026.1", hardware_class="arm")
    monkeypatch.setattr(judging, "scales_for", lambda task, hardware: (shipped, other))
    grade = judge("scale", task=TASK).grade(measured(1.0))
    assert grade.letter is None
    assert any("choose one with --scale" in reason for reason in grade.reasons)


def test_of_two_years_the_newest_is_taken(monkeypatch, shipped):
    """``scales_for`` gives the newest last."""
    newer = replace(shipped, id=shipped.id.replace("2026.1", "2027.1"))
    monkeypatch.setattr(judging, "scales_for", lambda task, hardware: (shipped, newer))
    assert judge("scale", task=TASK).grade(measured(1.0)).scale == newer.id


def test_a_hardware_class_without_a_scale(shipped):
    with pytest.raises(ConfigError, match="on toaster"):
        judge("scale", task=TASK, hardware_class="toaster")
    assert judge("scale", task=TASK, hardware_class=shipped.hardware_class).unit() == "image"


def test_a_scale_of_another_task_is_refused(shipped):
    with pytest.raises(ConfigError, match=TASK):
        judge("scale", scale=shipped.id, task="juggling")
