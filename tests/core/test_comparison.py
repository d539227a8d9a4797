"""From differences to verdicts: against SciPy, and rules that must hold for any data."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from greenai_core import ComparisonError, compare_reports
from greenai_core.comparison import (
    Estimate,
    LogRatio,
    first_look,
    holm,
    judge,
    paired,
    quad_differences,
    quads_needed,
    unpaired,
)
from greenai_core.results import AppliedCalibration
from greenai_core.statistics import two_sided_p
from greenai_core.testing.sample_reports import figure, sample_report

LOGS = st.builds(
    LogRatio,
    st.floats(-1, 1),
    st.floats(1e-4, 0.5),
    st.floats(1, 200),
)
SEVERAL = st.lists(LOGS, min_size=1, max_size=6)
MARGINS = st.sampled_from([0.0, 0.01, 0.02, 0.1])


# Other work on the machine must not fail a test.
patient = settings(deadline=None, max_examples=50)


def one(ratio, margin=0.02, alpha=0.05):
    (judged,) = judge([("B", ratio)], margin, alpha)
    return judged


# Against SciPy


@patient
@given(st.floats(-50, 50), st.floats(0.5, 500))
def test_p_is_that_of_students_t(t, nu):
    assert two_sided_p(t, nu) == pytest.approx(
        2 * scipy.stats.t.sf(abs(t), nu), rel=1e-9, abs=1e-300
    )


@patient
@given(st.lists(st.floats(-0.5, 0.5), min_size=3, max_size=40))
def test_the_paired_ratio_is_scipys_paired_t_test(values):
    differences = np.array(values)
    assume(differences.std() > 1e-6)
    ratio = paired(differences)
    test = scipy.stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(0.95)
    judged = one(ratio)
    assert ratio.p_different == pytest.approx(test.pvalue, rel=1e-6)
    assert math.log(judged.low) == pytest.approx(interval.low, abs=1e-9)
    assert math.log(judged.high) == pytest.approx(interval.high, abs=1e-9)


@patient
@given(
    st.lists(st.floats(0.9, 1.1), min_size=3, max_size=20),
    st.lists(st.floats(0.9, 1.1), min_size=3, max_size=20),
)
def test_figures_found_apart_are_compared_by_welch(first, other):
    """For small spreads the logarithm is as good as the difference of relative values."""
    a, b = 1 + (np.array(first) - 1) / 1000, 1 + (np.array(other) - 1) / 1000
    assume(min(a.std(), b.std()) > 1e-7)
    estimates = [Estimate(v.mean(), v.std(ddof=1) / math.sqrt(len(v)), len(v) - 1) for v in (a, b)]
    ratio = unpaired(*estimates)
    test = scipy.stats.ttest_ind(b, a, equal_var=False)
    assert ratio.nu == pytest.approx(test.df, rel=1e-2)
    assert ratio.p_different == pytest.approx(test.pvalue, rel=0.02, abs=1e-4)


@patient
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_holm_rejects_what_its_adjusted_p_values_reject(ps, alpha):
    """Against the definition: adjusted p of rank i is the largest (m−j)·p_j for j ≤ i."""
    order = np.argsort(ps, kind="stable")
    scaled = [(len(ps) - rank) * ps[index] for rank, index in enumerate(order)]
    adjusted = np.maximum.accumulate(scaled)
    assume(not np.isclose(adjusted, alpha, rtol=1e-9).any())
    levels = holm(ps, alpha)
    for rank, index in enumerate(order):
        assert (ps[index] <= levels[index]) == (adjusted[rank] <= alpha)


def test_two_one_sided_tests_are_those_of_the_definition():
    ratio = LogRatio(0.005, 0.004, 11)
    bound = math.log(1.02)
    worst = max(
        scipy.stats.t.sf((bound - 0.005) / 0.004, 11), scipy.stats.t.sf((bound + 0.005) / 0.004, 11)
    )
    assert ratio.p_beyond(bound) == pytest.approx(worst)


# Rules


@patient
@given(SEVERAL, MARGINS)
def test_intervals_agree_with_verdicts(ratios, margin):
    """Also where several share the chance of an error."""
    judged = judge([(str(i), ratio) for i, ratio in enumerate(ratios)], margin)
    for ratio in judged:
        alike = (
            margin > 0
            and 1 / (1 + margin) <= ratio.equivalence_low
            and ratio.equivalence_high <= 1 + margin
        )
        expected = (
            "equivalent" if alike
            else "better" if ratio.high < 1
            else "worse" if ratio.low > 1
            else "undecided"
        )  # fmt: skip
        assert ratio.verdict == expected or near_a_border(ratio, margin)
        assert ratio.low <= ratio.value <= ratio.high
        assert ratio.confidence >= 0.95 - 1e-12
        assert ratio.equivalence_confidence >= 0.9 - 1e-12


def near_a_border(ratio, margin):
    """Whether rounding decides."""
    borders = [(ratio.low, 1), (ratio.high, 1)]
    borders += [(ratio.equivalence_low, 1 / (1 + margin)), (ratio.equivalence_high, 1 + margin)]
    return any(math.isclose(a, b, rel_tol=1e-9) for a, b in borders)


@patient
@given(LOGS, MARGINS)
def test_exchanging_the_models_exchanges_the_verdicts(ratio, margin):
    opposite = {"better": "worse", "worse": "better"}
    there, back = one(ratio, margin), one(replace(ratio, mean=-ratio.mean), margin)
    assert back.verdict == opposite.get(there.verdict, there.verdict)
    assert back.low == pytest.approx(1 / there.high)


@patient
@given(SEVERAL, MARGINS, LOGS)
def test_one_more_model_makes_no_verdict_bolder(ratios, margin, more):
    """Each is found different, or equivalent, in fewer cases when it shares the 5 %."""
    alone = [one(ratio, margin).verdict for ratio in ratios]
    together = judge([("", ratio) for ratio in [*ratios, more]], margin)
    for single, shared in zip(alone, together, strict=False):
        if single == "undecided":
            assert shared.verdict == "undecided"


def test_equivalence_goes_first():
    """A difference of 0.5 % that is sure is still within 2 %."""
    ratio = LogRatio(math.log(1.005), 0.0005, 20)
    assert one(ratio).verdict == "equivalent"
    assert one(ratio, margin=0.0).verdict == "worse"


def test_the_levels_of_three_models_are_those_of_holm():
    logs = [LogRatio(0.5, 0.01, 10), LogRatio(0.001, 0.01, 10), LogRatio(0.2, 0.01, 10)]
    judged = judge([(label, log) for label, log in zip("BCD", logs, strict=True)], 0.0)
    assert [ratio.verdict for ratio in judged] == ["worse", "undecided", "worse"]
    levels = [1 - ratio.confidence for ratio in judged]
    assert levels == pytest.approx([0.05 / 3, 0.05, 0.05 / 2])


def test_energies_that_never_vary_give_a_ratio_without_width():
    ratio = one(paired(np.full(6, math.log(2.0))))
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    assert ratio.verdict == "worse"
    assert one(paired(np.zeros(6))).verdict == "equivalent"


def test_wild_ratios_stay_numbers():
    """They must fit into JSON."""
    ratio = one(LogRatio(5.0, 300.0, 1.0))
    assert math.isfinite(ratio.high)
    assert ratio.low > 0


def test_one_quad_has_no_interval():
    with pytest.raises(ValueError, match="two at least"):
        paired(np.array([0.1]))


@patient
@given(st.floats(-0.2, 0.2), st.floats(0.5, 2.0))
def test_a_steady_drift_drops_out_of_a_quad(drift, ratio):
    """ABBA and BAAB, each piece a factor further."""
    steps = np.exp(drift * np.arange(8)).reshape(2, 4)
    first = np.array([steps[0, [0, 3]], steps[1, [1, 2]]])
    other = ratio * np.array([steps[0, [1, 2]], steps[1, [0, 3]]])
    assert quad_differences(first, other) == pytest.approx(np.full(2, math.log(ratio)), abs=1e-9)


# Planning


def test_a_run_that_is_decided_ends_after_six():
    assert first_look([LogRatio(math.log(1.1), 0.002, 5)], 0.02, 0.02) == 6


def test_a_known_difference_goes_on_until_it_is_precise():
    wide = LogRatio(math.log(2.0), 0.05, 5)
    planned = first_look([wide], 0.02, 0.02)
    assert planned == quads_needed(0.05 * math.sqrt(6), math.log(1.02))
    assert planned > 12


@patient
@given(st.floats(0.001, 0.1), st.floats(0.003, 0.05))
def test_the_planned_number_gives_the_width(spread, half):
    quads = quads_needed(spread, half)
    k = scipy.stats.t.ppf(0.98, quads - 1)
    assert k * spread / math.sqrt(quads) <= half * (1 + 1e-9) or quads == 10_000
    assert quads >= 12


# Reports


def bench(value=1.0, *, half=0.01, gain=0.1, batch=1, path="a.onnx", method="counter", cpu="X"):
    """A report of one model with these intervals."""
    (result,) = sample_report("bench").results
    energy = replace(
        figure(value, method),
        low=value * (1 - gain),
        high=value * (1 + gain),
        repeat_low=value * (1 - half),
        repeat_high=value * (1 + half),
    )
    result = replace(
        result,
        model=replace(result.model, path=path, batch_size=batch),
        energy_per_inference_j=energy,
        energy_per_sample_j=energy.divided(batch),
    )
    environment = {"cpu": {"model": cpu}, "kernel": "6.1"}
    return replace(sample_report("bench"), results=(result,), environment=environment)


def compared(first, other, **more):
    (result,) = compare_reports([("a.json", first), ("b.json", other)], **more)
    return result


def test_reports_of_one_machine_are_compared_by_repeatability():
    result = compared(bench(), bench(1.1))
    (ratio,) = result.ratios
    assert (ratio.verdict, result.unit, result.design) == ("worse", "inference", "reports")
    assert ratio.value == pytest.approx(1.1)
    half = math.hypot(0.01, 0.01)
    assert math.log(ratio.high / ratio.value) == pytest.approx(half, rel=1e-6)
    assert any("made apart" in warning for warning in result.warnings)
    assert [one.report for one in result.models] == ["a.json", "b.json"]


@pytest.mark.parametrize("unknown", [False, True])
def test_reports_of_two_machines_are_compared_by_all_that_is_uncertain(unknown):
    """Also where no report says what machine it was."""
    other = bench(1.1, cpu=None if unknown else "Y")
    first = bench(cpu=None) if unknown else bench()
    result = compared(first, other)
    (ratio,) = result.ratios
    assert ratio.verdict == "undecided"
    assert math.log(ratio.high / ratio.value) == pytest.approx(math.hypot(0.1, 0.1), rel=1e-6)
    assert any("the machine or its sensors differ" in warning for warning in result.warnings)


def test_other_sensors_on_one_machine_have_other_gains():
    other = bench(1.1)
    (result,) = other.results
    (channel,) = result.channels
    moved = replace(result, channels=(replace(channel, profiler="perf"),))
    assert compared(bench(), replace(other, results=(moved,))).ratios[0].verdict == "undecided"


def calibrated(report, scope="part", gain=1.05):
    """The report with its channel corrected."""
    (channel,) = report.results[0].channels
    made = AppliedCalibration(channel.id, "wall:x", scope, "2026-01-01T00:00:00Z", gain, 0.0, 0.01)
    return replace(report, calibrations=(made,))


@pytest.mark.parametrize("other", [bench(1.1), calibrated(bench(1.1), gain=1.02)])
def test_a_sensor_that_is_calibrated_otherwise_is_another_one(other):
    result = compared(calibrated(bench()), other)
    assert result.ratios[0].verdict == "undecided"
    assert any("not calibrated alike" in warning for warning in result.warnings)


def test_one_calibration_in_both_reports_drops_out():
    result = compared(calibrated(bench()), calibrated(bench(1.1)))
    assert result.ratios[0].verdict == "worse"
    assert not any("calibrated" in warning for warning in result.warnings)


def test_a_total_that_is_modelled_in_part_is_measured():
    mixed = bench(method="counter+modelled")
    result = compared(mixed, mixed)
    assert not any("not measured" in warning for warning in result.warnings)
    assert any("modelled in part" in warning for warning in result.warnings)


def test_batches_of_two_sizes_are_compared_by_the_sample():
    result = compared(bench(1.0, batch=1), bench(2.0, batch=4))
    assert result.unit == "sample"
    assert result.ratios[0].value == pytest.approx(0.5)
    assert result.models[1].energy_j.value == pytest.approx(0.5)
    assert any("per sample" in warning for warning in result.warnings)


def test_models_are_matched_by_name_whatever_their_order():
    one, two = bench(1.0, path="m/a.onnx"), bench(5.0, path="m/b.onnx")
    first = replace(one, results=(*one.results, *two.results))
    other = replace(one, results=(*bench(6.0, path="n/b.onnx").results, *bench(1.2).results))
    a, b = compare_reports([("x", first), ("y", other)])
    assert [a.models[0].model.path, a.models[1].model.path] == ["m/a.onnx", "a.onnx"]
    assert a.ratios[0].value == pytest.approx(1.2)
    assert b.ratios[0].value == pytest.approx(1.2)
    assert a.ratios[0].confidence == pytest.approx(0.975)


def test_one_file_in_two_batch_sizes_is_matched_by_its_input():
    def shaped(batch, value):
        (result,) = bench(value, batch=batch).results
        return replace(result, model=replace(result.model, inputs=(f"x {batch}",)))

    first = replace(bench(), results=(shaped(1, 1.0), shaped(8, 4.0)))
    other = replace(bench(), results=(shaped(8, 4.4), shaped(1, 1.1)))
    results = compare_reports([("x", first), ("y", other)])
    assert [result.ratios[0].value for result in results] == pytest.approx([1.1, 1.1])


def test_what_has_no_counterpart_is_told():
    one = bench()
    both = replace(one, results=(*one.results, *bench(path="c.onnx").results))
    (result,) = compare_reports([("x", both), ("y", replace(both, results=both.results[:1]))])[:1]
    assert any("c.onnx of x is not in y" in warning for warning in result.warnings)


def test_an_unknown_energy_gives_no_ratio():
    lost = replace(sample_report("bench", known=False), environment={})
    result = compared(bench(), lost)
    assert result.ratios == ()
    assert result.models[1].energy_j is None
    assert any("has no total" in warning for warning in result.warnings)


def walled():
    (result,) = bench().results
    wall = replace(result.channels[0], id="wall:x", component="wall")
    return replace(bench(), results=(replace(result, channels=(wall,), contains=("wall:x",)),))


def stepped():
    """Training by one step again and again, without epochs."""
    report = sample_report("train")
    return replace(report, results=tuple(replace(r, epochs=()) for r in report.results))


def two_models(*paths):
    return replace(bench(), results=tuple(bench(path=path).results[0] for path in paths))


@pytest.mark.parametrize(
    ("first", "other", "said"),
    [
        (bench(), bench(method="modelled"), "modelled"),
        (bench(method="modelled"), bench(), "modelled"),
        (bench(), sample_report("train"), "an inference and a training step"),
        (sample_report("measure"), sample_report("measure"), "does not tell how its energy varies"),
        (sample_report("compare"), sample_report("compare"), "greenai compare"),
        (bench(), walled(), "whole machine"),
        (calibrated(bench()), calibrated(bench(), "wall"), "the scope part in a.json"),
        (stepped(), sample_report("train"), "whole epochs"),
        (two_models("a", "b"), two_models("c", "d"), "nothing can be matched"),
        (bench(), replace(bench(), results=()), "holds no results"),
    ],
)
def test_what_means_different_things_is_refused(first, other, said):
    with pytest.raises(ComparisonError, match=said):
        compare_reports([("a.json", first), ("b.json", other)])


def test_training_reports_are_compared_by_the_step():
    report = sample_report("train")
    assert compared(report, report).unit == "step"


def test_one_report_is_not_two():
    with pytest.raises(ComparisonError, match="give two"):
        compare_reports([("a.json", bench())])
