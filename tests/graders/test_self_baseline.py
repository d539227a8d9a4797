"""The grader `self`, and the baselines that it compares with."""

from __future__ import annotations

import datetime
import json
import math
import multiprocessing
import stat
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenai_core import (
    Figure,
    Gradable,
    GradeError,
    baseline_of,
    energy_change,
    load_baseline,
    read_baseline,
    save_baseline,
    to_json,
)
from greenai_core.baselines import default_folder, drop_baseline
from greenai_core.testing.grader_suite import GraderConformance
from greenai_plugins.graders.self_baseline import SelfGrader

NOW = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)


def joules(value, half=0.0, method="counter"):
    """A figure whose repeatability is ±half, and whose gain is far worse."""
    return Figure(
        value, value - 5 * half, value + 5 * half, value - half, value + half, method, "cpu"
    )


def measured(value, half=0.0, **changes):
    figure = joules(value, half, changes.pop("method", "counter"))
    plain = Gradable(
        figure,
        figure,
        units=10.0,
        unit="image",
        components=("cpu", "dram"),
        channels=("cpu:0/package", "cpu:0/dram"),
        machine="feedbeef",
        input="x (1x3x224x224, float32); batch of 1 on cpu",
    )
    return replace(plain, **changes)


def baseline(value=10.0, half=0.1, **changes):
    return baseline_of(measured(value, half, **changes), "résnet/50", NOW)


def compared(gradable, **changes):
    return SelfGrader(baseline=baseline(**changes)).grade(gradable)


class TestConformance(GraderConformance):
    gives_letters = False

    def make_grader(self):
        return SelfGrader(baseline=baseline())

    def gradable(self):
        return measured(8.0, 0.1)


def test_the_change_stands_in_the_grade_without_a_letter():
    found = compared(measured(8.0, 0.08))
    assert (found.scale, found.letter, found.best_letter) == ("self/1", None, None)
    assert found.change.value == pytest.approx(-0.2)
    assert -0.22 < found.change.low < -0.2 < found.change.high < -0.18
    assert "−20.0 %" in found.reasons[0]
    assert "0.8 J/image, then 1 J/image" in found.reasons[0]
    assert any("no letter" in reason for reason in found.reasons)
    assert found.per_unit_j.value == pytest.approx(0.8)


def test_what_cannot_be_told_apart_is_said():
    found = compared(measured(10.1, 0.3))
    assert found.change.low < 0 < found.change.high
    assert any("holds no change" in reason for reason in found.reasons)


def test_the_gain_of_the_sensor_is_not_in_a_change_on_one_machine():
    """The totals of the figures are five times as wide as their repeatability."""
    found = energy_change(joules(8.0, 0.1), joules(10.0, 0.1))
    assert (found.high - found.low) / 2 == pytest.approx(math.hypot(0.1, 0.08) / 10, rel=0.01)


@given(st.floats(1.0, 100.0), st.floats(1.0, 100.0), st.floats(0, 0.9), st.floats(0, 0.9))
def test_an_interval_holds_its_value(now, before, u_now, u_before):
    found = energy_change(joules(now, now * u_now), joules(before, before * u_before))
    assert found.low <= found.share + 1e-9
    assert found.share <= found.high + 1e-9
    assert found.share == pytest.approx(now / before - 1)


def test_the_interval_of_a_change_covers_the_truth():
    """2,000 pairs of normal figures: 95 % within five standard errors of that count."""
    rng = np.random.default_rng(7)
    truth, sigma_now, sigma_before = -0.3, 0.6, 0.8
    inside = 0
    for _ in range(2000):
        now = joules(rng.normal(7.0, sigma_now), 1.96 * sigma_now)
        before = joules(rng.normal(10.0, sigma_before), 1.96 * sigma_before)
        found = energy_change(now, before)
        inside += found.low <= truth <= found.high
    assert inside / 2000 == pytest.approx(0.95, abs=5 * math.sqrt(0.95 * 0.05 / 2000))


@pytest.mark.parametrize("half", [10.0, 11.0, 200.0])
def test_a_baseline_that_may_be_nothing_compares_with_nothing(half):
    with pytest.raises(GradeError, match="told from zero"):
        energy_change(joules(8.0, 0.1), joules(10.0, half))


@pytest.mark.parametrize(
    ("gradable", "why"),
    [
        (measured(8.0, units=None), "no functional unit"),
        (measured(8.0, unit=None), "no functional unit"),
        (measured(8.0, units=math.nan), "nan units"),
        (measured(8.0, units=-1.0), "-1.0 units"),
        (measured(8.0, net_energy_j=None), "idle was not measured"),
        (measured(-8.0), "noise floor"),
        (measured(0.0), "noise floor"),
        (measured(math.nan), "no finite interval"),
        (measured(8.0, missing=("gpu:GPU-1",)), "gpu:GPU-1"),
        (measured(8.0, net_energy_j=None, missing=("gpu:GPU-1",)), "no figure for gpu:GPU-1"),
        (measured(8.0, unit="token"), "by image, the run by token"),
        (measured(8.0, machine="other"), "another machine"),
        (measured(8.0, machine=None), "another machine"),
        (measured(8.0, input="y"), "the run of y"),
        (measured(8.0, components=("cpu",)), "of the run: cpu"),
        (measured(8.0, channels=("cpu:0/package",)), "of the run: cpu:0/package"),
        (measured(8.0, method="modelled"), "the run is modelled"),
    ],
)
def test_what_is_not_the_same_is_not_compared(gradable, why):
    found = compared(gradable)
    assert found.change is None
    assert any(why in reason for reason in found.reasons)
    assert all(reason.startswith("not compared: ") for reason in found.reasons)


def test_without_a_baseline_nothing_is_compared():
    found = SelfGrader().grade(measured(8.0))
    assert (found.scale, found.change) == (None, None)
    assert found.reasons == ("not compared: no baseline: keep one with --baseline save",)


def test_modelled_energy_is_an_estimate():
    found = compared(measured(8.0, method="modelled"), method="modelled")
    assert found.tier == "estimated"
    assert found.change is not None


def test_a_machine_without_identity_is_told():
    found = compared(measured(8.0, machine=None), machine=None)
    assert found.change is not None
    assert any("no identity" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"unit": None}, "functional unit"),
        ({"missing": ("gpu:GPU-1",)}, "gpu:GPU-1"),
        ({"net_energy_j": None}, "idle"),
    ],
)
def test_what_cannot_be_compared_later_is_no_baseline(changes, why):
    with pytest.raises(GradeError, match=why):
        baseline_of(measured(10.0, **changes), "a", NOW)


def test_energy_near_zero_is_no_baseline():
    with pytest.raises(GradeError, match="told from zero"):
        baseline_of(measured(1.0, 2.0), "a", NOW)


# Files


def test_a_baseline_survives_its_file(tmp_path):
    path = save_baseline(baseline(), tmp_path)
    assert load_baseline("résnet/50", "feedbeef", tmp_path) == baseline()
    assert json.loads(path.read_text())["schema_version"] == 1
    assert path.is_relative_to(tmp_path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_second_baseline_takes_the_place_of_the_first(tmp_path):
    assert save_baseline(baseline(), tmp_path) == save_baseline(baseline(20.0), tmp_path)
    assert load_baseline("résnet/50", "feedbeef", tmp_path).per_unit_j.value == 2.0


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", ".", "a b", "日本", "x" * 300, "\udcff"]
)
def test_any_name_stays_in_the_folder(name, tmp_path):
    made = replace(baseline(), name=name)
    path = save_baseline(made, tmp_path / "state")
    assert path.parent == tmp_path / "state" / "feedbeef"
    assert load_baseline(name, "feedbeef", tmp_path / "state").per_unit_j == made.per_unit_j


def test_names_that_look_alike_do_not_share_a_file(tmp_path):
    names = ["a b", "a-b", "a/b"]
    assert len({save_baseline(replace(baseline(), name=n), tmp_path) for n in names}) == 3


def test_another_machine_has_its_own(tmp_path):
    save_baseline(baseline(), tmp_path)
    with pytest.raises(GradeError, match="no baseline 'résnet/50' is kept for this machine"):
        load_baseline("résnet/50", "other", tmp_path)


def test_a_dropped_baseline_is_gone(tmp_path):
    save_baseline(baseline(), tmp_path)
    assert drop_baseline("résnet/50", "feedbeef", tmp_path)
    assert not drop_baseline("résnet/50", "feedbeef", tmp_path)


def test_the_folder_is_the_state_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "greenai" / "baselines"
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".local/state/greenai/baselines"


def _save_many(folder, value):
    for _ in range(20):
        save_baseline(baseline(value), folder)


def test_writers_at_the_same_time_leave_a_whole_file(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=_save_many, args=(tmp_path, 10.0 * (i + 1))) for i in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert load_baseline("résnet/50", "feedbeef", tmp_path).per_unit_j.value in (1, 2, 3, 4)
    assert {p.suffix for p in (tmp_path / "feedbeef").iterdir()} == {".json", ""}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "[" * 100_000, '{"schema_version": 2}', '{"schema_version": true}'],
)
def test_what_is_no_baseline_is_refused(text, tmp_path):
    with pytest.raises(GradeError):
        read_baseline(text)
    path = save_baseline(baseline(), tmp_path)
    path.write_text(text)
    with pytest.raises(GradeError, match=r"feedbeef.*--baseline save"):
        load_baseline("résnet/50", "feedbeef", tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"created": "yesterday"},
        {"unit": 5},
        {"per_unit_j": None},
        {"per_unit_j": to_json(joules(-1.0, 0.1))},
        {"per_unit_j": to_json(joules(1.0, 2.0))},
    ],
)
def test_a_broken_baseline_is_refused(changes):
    content = {"schema_version": 1, **to_json(baseline()), **changes}
    with pytest.raises(GradeError):
        SelfGrader(baseline=content)
