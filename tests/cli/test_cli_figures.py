"""No more digits than are known, and never zero for what is unknown."""

from dataclasses import replace

import pytest

from greenai_core import Figure
from greenai_core.cli import comparisons, costs, explain, figures, processes
from greenai_core.explanation import explain as explained
from greenai_core.results import ProcessRun, ProcessSpread, SelfCost
from greenai_core.testing.sample_reports import sample_report


def figure(value, repeat, total=None):
    total = repeat if total is None else total
    return Figure(
        value, value - total, value + total, value - repeat, value + repeat, "counter", ""
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"),
        (0.0, "0 J"),
        (0.0123, "12.3 mJ"),
        (1234.5, "1.23 kJ"),
        (0.99996, "1.00 J"),
        (999.4, "999 J"),
        (3e-9, "3.00 nJ"),
        (2e-12, "2.00 pJ"),
        (4.5e-15, "4.50 fJ"),
        (1e-18, "0.00100 fJ"),
        (2.5e12, "2.50 TJ"),
        (-0.5, "-500 mJ"),
    ],
)
def test_a_quantity_has_a_prefix_and_three_digits(value, text):
    assert figures.quantity(value, "J") == text


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (0.01234, 0.00017, "12.34 mJ ± 1.4 %"),
        (12.3, 6.0, "12.3 J ± 49 %"),
        (12.345678, 0.00001, "12.3457 J ± <0.01 %"),
        (5.0, 0.0, "5.00000 J ± 0 %"),
        (0.0, 0.002, "0 J ± 2.0 mJ"),
    ],
)
def test_the_spread_decides_the_digits(value, half, text):
    assert figures.spread(figure(value, half), "J") == text


def test_an_unknown_figure_is_called_unknown():
    assert figures.spread(None, "J") == figures.interval(None, "J") == "unknown"


def test_an_interval_is_of_the_total_uncertainty():
    assert figures.interval(figure(12.34, 0.1, 1.15), "J") == "11.2 – 13.5 J"


def test_an_interval_around_nothing_shows_both_signs():
    assert figures.with_ends(0.000749, -0.0151, 0.0166, "J") == "0.7 mJ (-15.1 to 16.6)"


def plain(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("method", "said", "not_said"),
    [
        ("counter+modelled", "modelled in part", "No sensor is in use"),
        ("modelled", "No sensor is in use", "in part"),
        ("counter", "", "modelled"),
    ],
)
def test_a_comparison_says_which_joules_are_modelled(method, said, not_said):
    report = sample_report("compare")
    (result,) = report.results
    models = tuple(
        replace(one, energy_j=replace(figure(1.0, 0.1), method=method)) for one in result.models
    )
    text = plain(comparisons.text(replace(report, results=(replace(result, models=models),))))
    assert said in text
    assert not_said not in text


@pytest.mark.parametrize(
    ("half", "complete", "said", "not_said"),
    [
        (0.001, False, "no: interrupted", "was not reached"),
        (0.5, False, "was not reached", "no: interrupted"),
        (0.5, True, "was not reached", "no: interrupted"),
    ],
)
def test_a_run_cut_short_is_not_said_to_be_imprecise(half, complete, said, not_said):
    report = sample_report("bench")
    (result,) = report.results
    result = replace(result, energy_per_inference_j=figure(1.0, half), target_met=False)
    text = plain(costs.text(replace(report, results=(result,), complete=complete)))
    assert said in text
    assert not_said not in text


def test_processes_that_are_alike_do_not_vary_by_nothing():
    report = sample_report("bench")
    (result,) = report.results
    one = figure(1.0, 0.1)
    runs = (ProcessRun(1, 1, one, one, None, None, None, True),) * 2
    alike = replace(result, processes=runs, process_spread=ProcessSpread(0.0, 0.01))
    (line,) = processes.text(replace(report, results=(alike,)))
    assert "They differ by no more than each is uncertain by itself" in plain(line)
    assert "varies" not in line


def test_the_own_cost_is_explained_as_an_estimate(tmp_path):
    report = sample_report("bench")
    cost = SelfCost(0.1, 0.2, 0.01, figure(0.5, 0.0))
    told = replace(report, results=(replace(report.results[0], self_cost=cost),))
    (result,) = explained(told, tmp_path)
    (own,) = [f for f in result.figures if f.path.endswith("self_cost.energy_j")]
    assert own.name == "own cost energy"
    assert list(explain._figure(own))[1:] == [
        "  an estimate: processor time of greenai × mean power"
    ]
