"""Layers of known cost: intervals hold it, whatever the order, the drift, and the method."""

from __future__ import annotations

import math

import pytest
from layer_machine import NET, ORDER, Cost, Machine, measure

from greenai_core.explanation import budget_problems
from greenai_core.layer_checks import check_layers
from greenai_core.layer_results import CONTEXT, ISOLATION, TIME
from greenai_core.loop import LoopSettings

QUICK = LoopSettings(precision=0.01, min_time_s=1.0, max_time_s=2.0, warm_up_s=0.05)


def joules(result):
    return {layer.name: layer.energy_j.value for layer in result.layers}


@pytest.mark.parametrize("method", [CONTEXT, ISOLATION])
def test_intervals_hold_the_truth_and_chance_is_seldom_flagged(method):
    """16 draws of 4 layers, of a machine whose layers scatter by a third."""
    held, raw, scores, flagged = [], [], [], []
    loop = LoopSettings(precision=0.01, min_time_s=0.5, max_time_s=1.0, warm_up_s=0.02)
    for seed in range(16):
        machine = Machine(NET, ORDER, cv=0.3, seed=seed)
        truth = machine.truth()
        result = measure(machine, loop, method=method, layer_s=0.3, seed=seed)
        assert check_layers(result) == []
        for layer in result.layers:
            if layer.name in NET:
                for figure, told in ((layer.energy_j, held), (layer.measured_j, raw)):
                    inside = figure.repeat_low <= truth[layer.name] <= figure.repeat_high
                    told.append(inside)
        u = (result.residual_j.repeat_high - result.residual_j.value) / 1.96
        scores.append(result.residual_j.value / u)
        flagged.append(abs(scores[-1]) > 2)
    # Of 64 at 95 %, fewer than 55 come by chance once in 200 times; of 16 at 5 %, more than 4.
    assert sum(held) >= 55
    assert sum(raw) >= 55
    assert sum(flagged) <= 4
    # No bias: the mean of 16 is within 3 of its standard deviations.
    assert abs(sum(scores)) / math.sqrt(len(scores)) < 3


@pytest.mark.parametrize("method", [CONTEXT, ISOLATION])
def test_layers_that_take_the_same_time_at_another_power_are_told_apart(method):
    net = {"hot": Cost(1e-3, 250.0), "cold": Cost(1e-3, 100.0)}
    result = measure(Machine(net, ("hot", "cold"), cv=0.02), QUICK, method=method)
    found = joules(result)
    assert found["hot"] == pytest.approx(0.25, rel=0.03)
    assert found["cold"] == pytest.approx(0.1, rel=0.03)
    assert not result.residual_flagged


def test_time_cannot_tell_power_but_knows_that_it_does_not():
    net = {"hot": Cost(1e-3, 250.0), "cold": Cost(1e-3, 100.0)}
    result = measure(Machine(net, ("hot", "cold"), cv=0.02), QUICK, method=TIME)
    found = {layer.name: layer for layer in result.layers}
    assert joules(result)["hot"] == pytest.approx(joules(result)["cold"], rel=0.05)
    for name, cost in net.items():
        figure = found[name].energy_j
        assert figure.method == "modelled"
        assert figure.repeat_low <= cost.seconds * cost.watts <= figure.repeat_high


@pytest.mark.parametrize("method", [CONTEXT, ISOLATION])
def test_neither_the_order_nor_what_is_measured_first_matters_on_a_machine_that_drifts(method):
    """All power rises by 0.1 % a second: 3 % while layers are measured."""
    results = [
        measure(
            Machine(NET, order, cv=0.02, seed=seed, drift=0.001),
            QUICK,
            again=True,
            method=method,
            seed=seed,
        )
        for order, seed in ((ORDER, 1), (("e", "a", "b.d", "a", "b.c"), 2), (ORDER[::-1], 3))
    ]
    for result in results:
        assert abs(result.residual_share) < 0.02
        assert check_layers(result) == []
        for name, value in joules(result).items():
            if name in NET:
                # The mean time between begin and end is not the same in all runs.
                assert value == pytest.approx(joules(results[0])[name], rel=0.03)


def test_what_drifts_steadily_is_no_residual_where_the_whole_is_measured_twice():
    def residual(again):
        machine = Machine(NET, ORDER, drift=0.005)
        return measure(machine, QUICK, again=again, layer_s=4.0)

    once, twice = residual(again=False), residual(again=True)
    assert once.residual_share < -0.03, "rows that were measured later cost more"
    assert abs(twice.residual_share) < 0.015
    assert "before its layers were measured" in twice.warnings[-1]
    for figure in (twice.energy_j, twice.latency_s, twice.power_w):
        assert budget_problems("figure", figure) == []
        assert figure.repeat_low <= figure.value <= figure.repeat_high
    assert twice.energy_j.repeat_high - twice.energy_j.value > 0.02 * twice.energy_j.value


def test_short_rows_of_another_power_leave_what_was_measured_alone():
    """Sixty rows by their time draw a third of the mean: they give, not the two long layers."""
    net = {"one": Cost(2e-3, 200.0), "two": Cost(2e-3, 200.0), "three": Cost(2e-3, 200.0)}
    short = {f"short.{index}": Cost(0.02e-3, 60.0) for index in range(60)}
    machine = Machine({**net, **short}, (*net, *short), cv=0.02)
    result = measure(machine, QUICK, top=3)
    found = joules(result)
    for name in net:
        assert found[name] == pytest.approx(0.4, rel=0.015)
    rest = sum(value for name, value in found.items() if name in short)
    assert rest == pytest.approx(60 * 0.02e-3 * 60.0, rel=0.35)
    assert result.residual_flagged


def test_many_layers_of_next_to_nothing_do_not_add_up_to_something():
    """Some are measured below nothing by chance; lifting them would make a sum of them."""
    net = {"big": Cost(1e-3, 150.0), **{f"tiny{index}": Cost(1e-7, 0.0) for index in range(12)}}
    machine = Machine(net, tuple(net), cv=0.3, hook_s=2e-6)
    result = measure(machine, QUICK, method=CONTEXT, top=13, layer_s=0.4)
    tiny = [layer for layer in result.layers if layer.name != "big"]
    measured = [layer.measured_j.value for layer in tiny]
    assert min(measured) < 0
    unsure = [(l.measured_j.repeat_high - l.measured_j.value) / 1.96 for l in tiny]  # noqa: E741
    assert abs(sum(measured)) < 3 * math.hypot(*unsure)
    assert all(layer.energy_j.value >= 0 for layer in result.layers)
    assert all(layer.energy_j.repeat_low >= 0 for layer in result.layers)
    assert check_layers(result) == []
