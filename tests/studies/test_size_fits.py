"""Curves over sizes: the truth is found again, and nothing is found where nothing is."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenai_core import ComparisonError, fit_sizes

SIZES = 112.0 * np.arange(1, 21)
"""Those of the AlexNet study."""

TRUTHS = {
    "constant": 0 * SIZES + 0.5,
    "linear": 0.1 + 0.0005 * SIZES,
    "power law": 2e-6 * SIZES**1.9,
    "constant plus square": 0.27 + 4e-7 * SIZES**2,
    "constant then linear": 0.27 + np.maximum(SIZES - 672, 0) * 0.0006,
    "linear with a jump": 0.1 + 0.0005 * SIZES + 0.25 * (SIZES > 1100),
    "linear with a bend": 0.8 - 0.0004 * SIZES + np.maximum(SIZES - 1008, 0) * 0.001,
    "constant with a jump": 0.3 + 0.2 * (SIZES > 1400),
    "constant then linear with a jump": 0.27
    + np.maximum(SIZES - 672, 0) * 0.0006
    + 0.25 * (SIZES > 1700),
    "linear with two jumps": 0.2 + 0.0002 * SIZES + 0.3 * (SIZES > 700) + 0.3 * (SIZES > 1500),
}


def measured(truth, noise, seed):
    """Values with relative noise, and the uncertainties that ten runs would tell."""
    generator = np.random.default_rng(seed)
    values = truth * (1 + noise * generator.standard_normal(len(truth)))
    told = noise * values * np.sqrt(generator.chisquare(9, len(truth)) / 9)
    return values, list(told)


@pytest.mark.parametrize("shape", TRUTHS)
def test_a_known_curve_is_found_again(shape):
    found = [fit_sizes(SIZES, *measured(TRUTHS[shape], 0.01, seed)).shape for seed in range(4)]
    assert found.count(shape) >= 3, found


def test_the_sentence_of_the_alexnet_study_comes_from_the_data():
    truth = TRUTHS["constant then linear with a jump"]
    found = fit_sizes(SIZES, *measured(truth, 0.01, 4))
    assert found.sentence.startswith("constant up to 672 (95 %: ")
    assert found.sentence.endswith(", then linear; a second jump (+28 %) at 1792 (after 1680)")


def test_two_breaks_are_found_among_200_sizes_in_little_memory():
    """All pairs of places would be 200,000 curves, and gigabytes."""
    sizes = 11.2 * np.arange(1, 201)
    truth = 1 + np.maximum(sizes - 672, 0) * 0.005 + 1.0 * (sizes > 1797)
    tracemalloc.start()
    try:
        found = fit_sizes(sizes, *measured(truth, 0.01, 3))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.shape == "constant then linear with a jump"
    bend, jump = found.breaks
    assert bend.low <= 672 <= bend.high
    assert bend.high - bend.low < 30
    assert jump.low < 1797 < jump.high
    assert jump.high - jump.low < 30
    assert peak < 6e8


def test_linear_data_show_no_break_more_than_one_time_in_twenty():
    """80 draws; more than 8 would happen to a rate of 5 % in 2 % of the tests."""
    breaks = 0
    for seed in range(80):
        found = fit_sizes(SIZES, *measured(TRUTHS["linear"], 0.03, 1000 + seed))
        breaks += bool(found.breaks)
    assert breaks <= 8


def test_a_constant_and_the_area_of_an_image_are_no_break():
    """A layer of fixed cost beside convolutions: AlexNet on a processor."""
    held = 0
    for seed in range(40):
        found = fit_sizes(SIZES, *measured(TRUTHS["constant plus square"], 0.03, 1000 + seed))
        assert found.shape == "constant plus square"
        low, high = found.intervals["even"]
        held += low <= (0.27 / 4e-7) ** 0.5 <= high
    assert held >= 34
    assert found.coefficients["square"] == pytest.approx(4e-7, rel=0.05)
    assert found.coefficients["level"] == pytest.approx(0.27, rel=0.05)


def test_what_is_said_of_a_constant_and_a_square():
    found = fit_sizes(SIZES, TRUTHS["constant plus square"])
    assert found.sentence == (
        "a constant plus a part that grows with the square of the size, which is the larger from "
        "822 on (95 %: 822 to 822)"
    )
    falling = fit_sizes(SIZES, 10 - 1e-6 * SIZES**2)
    assert falling.sentence == "a constant less a part that grows with the square of the size"
    assert falling.intervals["square"] == pytest.approx((-1e-6, -1e-6))


def test_the_interval_of_a_bend_holds_the_truth():
    held = []
    for seed in range(25):
        found = fit_sizes(SIZES, *measured(TRUTHS["constant then linear"], 0.03, seed))
        held += [one.low <= 672 <= one.high for one in found.breaks if one.kind == "bend"]
    assert len(held) >= 20
    assert np.mean(held) >= 0.88


def test_the_interval_of_a_jump_holds_the_truth():
    """A small one, whose place is not plain: 12 % at a noise of 3 %."""
    truth = (0.5 + 0.0001 * SIZES) * np.where(SIZES > 1100, 1.12, 1.0)
    held, widths = [], []
    for seed in range(25):
        found = fit_sizes(SIZES, *measured(truth, 0.03, seed))
        for one in found.breaks:
            if one.kind == "jump" and len(found.breaks) == 1:
                held.append(one.low <= 1008 and one.high >= 1120)
                widths.append(one.high - one.low)
    assert len(held) >= 5
    assert np.mean(held) >= 0.85
    assert max(widths) > 112, "there were some of which the place was not plain"


def test_the_interval_of_an_exponent_is_no_point_of_a_grid():
    """One run each at 1 %: the interval is that of a straight line through the logarithms."""
    sizes = np.arange(100.0, 701.0, 100.0)
    held = 0
    for seed in range(60):
        noise = np.random.default_rng(seed).normal(0, 0.01, 7)
        found = fit_sizes(sizes, 0.003 * sizes**1.507 * np.exp(noise))
        assert found.shape == "power law"
        low, high = found.intervals["exponent"]
        assert 0.005 < high - low < 0.1
        held += low <= 1.507 <= high
    assert held >= 51, "0.95 of 60, but for one in 1,000 such draws"


def test_the_exponent_has_an_interval_that_holds_it():
    held = []
    for seed in range(25):
        found = fit_sizes(SIZES, *measured(TRUTHS["power law"], 0.03, seed))
        low, high = found.intervals["exponent"]
        held.append(low - 0.01 <= 1.9 <= high + 0.01)
    assert np.mean(held) >= 0.8


@settings(deadline=None, max_examples=6)
@given(
    shape=st.sampled_from(sorted(TRUTHS)),
    unit=st.floats(1e-9, 1e9),
    width=st.floats(1e-3, 1e3),
    seed=st.integers(0, 50),
)
def test_units_change_no_shape(shape, unit, width, seed):
    values, told = measured(TRUTHS[shape], 0.02, seed)
    one = fit_sizes(SIZES, values, told)
    other = fit_sizes(SIZES * width, values * unit, [u * unit for u in told])
    assert one.shape == other.shape
    assert [b.at * width for b in one.breaks] == pytest.approx([b.at for b in other.breaks])


def test_the_order_of_the_sizes_does_not_matter():
    values, told = measured(TRUTHS["linear with a jump"], 0.01, 1)
    order = np.random.default_rng(0).permutation(len(SIZES))
    shuffled = fit_sizes(SIZES[order], values[order], [told[i] for i in order])
    assert shuffled == fit_sizes(SIZES, values, told)


def test_exact_data_have_an_exact_curve():
    found = fit_sizes(SIZES, TRUTHS["linear"])
    assert found.shape == "linear"
    assert found.coefficients["slope"] == pytest.approx(0.0005)
    assert fit_sizes(SIZES, TRUTHS["constant"]).shape == "constant"


def test_the_level_of_an_exact_line_is_no_dust():
    """And one that is small, and there, stays."""
    found = fit_sizes(SIZES, 0.0005 * SIZES)
    assert found.shape == "linear"
    assert (found.coefficients["level"], found.intervals["level"]) == (0.0, (0.0, 0.0))
    small = fit_sizes(SIZES, 1e-9 + 0.0005 * SIZES)
    assert small.coefficients["level"] == pytest.approx(1e-9, rel=1e-3)
    noisy = fit_sizes(SIZES, *measured(0.0005 * SIZES, 0.01, 5))
    low, high = noisy.intervals["level"]
    assert low < 0 < high
    assert noisy.coefficients["level"] != 0


def test_nine_sizes_over_three_decades():
    """Those of the ResNet study, with the square of the side as truth and equal shares of noise."""
    sizes = np.array([8, 32, 64, 128, 256, 512, 1024, 2048, 4096], dtype=float)
    found = fit_sizes(sizes, *measured(1e-6 * sizes**2, 0.02, 3))
    assert found.shape == "power law"
    assert found.coefficients["exponent"] == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_few_sizes_are_refused(count):
    with pytest.raises(ComparisonError, match="5 or more"):
        fit_sizes(SIZES[:count], SIZES[:count])


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_values_that_are_no_energies_are_refused(bad):
    with pytest.raises(ComparisonError, match="positive"):
        fit_sizes(SIZES[:6], [1.0, 2.0, bad, 3.0, 4.0, 5.0])


def test_a_size_twice_is_refused():
    with pytest.raises(ComparisonError, match="twice"):
        fit_sizes([1, 2, 3, 3, 4, 5], [1.0] * 6)
