"""Energy by layer on a simulated machine: what each layer uses is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_machine import NET, ORDER, Cost, Machine, measure

from greenai_core import ModelError
from greenai_core.abilities import CallTime
from greenai_core.layer_closure import close
from greenai_core.layer_results import CONTEXT, ISOLATION, TIME
from greenai_core.layer_shares import shares_of


@pytest.mark.parametrize("method", [CONTEXT, ISOLATION])
def test_the_truth_is_found_and_the_rows_add_up(method):
    machine = Machine(NET, ORDER, between_s=0.03e-3, around_s=0.1e-3, hook_s=20e-6, cv=0.02)
    result = measure(machine, method=method)
    truth = machine.truth()
    rows = {layer.name: layer for layer in result.layers}
    for name in ("a", "b.c", "b.d", "e"):
        found = rows[name].energy_j
        assert rows[name].method == method
        assert found.value == pytest.approx(truth[name], rel=0.03)
        slack = 0.002 * truth[name]
        assert found.low - slack <= truth[name] <= found.high + slack
    parts = [layer.energy_j.value for layer in result.layers]
    summed = sum(parts) + result.unattributed_j.value + result.overhead_j.value
    assert summed == pytest.approx(result.energy_j.value, rel=1e-9)
    assert result.energy_j.value == pytest.approx(sum(truth.values()), rel=0.01)
    assert abs(result.residual_share) < 0.05
    assert rows["a"].calls == 2
    assert rows["a"].joules_per_mac == pytest.approx(rows["a"].energy_j.value / 1000)
    assert rows["e"].joules_per_mac is None
    block = rows["b"]
    inside = rows["b.c"].energy_j.value + rows["b.d"].energy_j.value + block.energy_j.value
    assert block.with_parts_j.value == pytest.approx(inside)


def test_time_is_a_model_and_says_so():
    """At the mean power a hot layer seems cool: the figures are not called measured."""
    result = measure(Machine(NET, ORDER), method=TIME)
    assert {layer.method for layer in result.layers} == {TIME}
    assert {layer.energy_j.method for layer in result.layers} == {"modelled"}
    rows = {layer.name: layer for layer in result.layers}
    assert rows["b.c"].energy_j.low <= NET["b.c"].seconds * 80.0 <= rows["b.c"].energy_j.high
    assert rows["a"].time_share == pytest.approx(4.0 / 9.5, rel=0.02)


def test_only_the_top_is_measured_and_the_rest_goes_by_time():
    result = measure(Machine(NET, ORDER, cv=0.01), top=2)
    methods = {layer.name: layer.method for layer in result.layers}
    assert methods == {"a": CONTEXT, "b": TIME, "b.c": CONTEXT, "b.d": TIME, "e": TIME}
    truth = Machine(NET, ORDER).truth()
    for layer in result.layers:
        if layer.name in NET:
            slack = 0.002 * truth[layer.name]
            low, high = layer.energy_j.low - slack, layer.energy_j.high + slack
            assert low <= truth[layer.name] <= high


def test_the_context_sees_what_isolation_cannot():
    """A layer that costs half as much by itself, its inputs being in the cache."""
    warm = {**NET, "a": Cost(2e-3, 200.0, alone=0.6)}
    truth = Machine(warm, ORDER).truth()["a"]
    context = measure(Machine(warm, ORDER), method=CONTEXT)
    rows = {layer.name: layer for layer in context.layers}
    assert rows["a"].measured_j.value == pytest.approx(truth, rel=0.02)
    assert not context.residual_flagged
    alone = measure(Machine(warm, ORDER), method=ISOLATION)
    assert alone.residual_share == pytest.approx(0.4 * truth / 1.45, rel=0.2)
    assert alone.residual_flagged, "the parts do not add up: that is said first"


def test_a_layer_that_cannot_be_repeated_is_measured_by_itself():
    stateful = {**NET, "e": Cost(0.5e-3, 60.0, alone=0.5)}
    result = measure(Machine(stateful, ORDER), method=CONTEXT)
    (row,) = [layer for layer in result.layers if layer.name == "e"]
    assert row.method == ISOLATION
    assert "keeps a state" in row.warnings[0]


def test_watching_is_taken_off():
    """Hooks that cost a fifth of a layer change no share by more than 1 %."""
    machine = Machine(NET, ORDER, hook_s=100e-6, between_s=0.2e-3)
    result = measure(machine, method=TIME)
    assert result.hook_cost.per_call_s == pytest.approx(100e-6, rel=0.05)
    assert result.hook_cost.left_share < 0.01
    whole = sum(cost.seconds for cost in map(NET.get, ORDER)) + 5 * 0.2e-3
    for layer in result.layers:
        if layer.name in NET:
            expected = ORDER.count(layer.name) * NET[layer.name].seconds / whole
            assert layer.time_share == pytest.approx(expected, abs=0.01)
    assert result.latency_s.value == pytest.approx(whole, rel=0.01), "the pass is not watched"


def test_a_model_that_goes_another_way_each_time_is_refused():
    with pytest.raises(ModelError, match="different layers"):
        measure(Machine(NET, ORDER, wanders=True))


def test_a_model_without_layers_is_refused():
    with pytest.raises(ModelError, match="greenai bench"):
        measure(Machine({}, (), around_s=1e-3))


# Closing


def test_closing_gives_most_to_what_is_known_least():
    closed = close(10.0, 0.1, [4.0, 5.0], [0.1, 0.3])
    assert closed.residual == 1.0
    assert sum(closed.parts) == pytest.approx(10.0)
    assert closed.parts[1] - 5.0 == pytest.approx(0.9)
    assert closed.flagged
    assert not close(10.0, 0.1, [4.9, 5.0], [0.1, 0.1]).flagged


def test_closing_exact_parts_shares_by_size():
    assert close(12.0, 0.0, [2.0, 4.0], [0.0, 0.0]).parts == pytest.approx((4.0, 8.0))
    assert close(3.0, 0.0, [0.0, 0.0], [0.0, 0.0]).parts == pytest.approx((1.5, 1.5))
    with pytest.raises(ValueError, match="parts"):
        close(1.0, 0.0, [], [])


def test_closing_takes_no_part_below_nothing():
    """The sums of rows that were measured on a busier machine than the whole was."""
    closed = close(1.0, 0.01, [0.1, 2.0, 0.5], [1.0, 0.3, 0.1])
    assert closed.residual == pytest.approx(-1.6)
    assert closed.flagged
    assert closed.parts[0] == pytest.approx(0.0, abs=1e-12)
    assert min(closed.parts) >= -1e-12
    assert sum(closed.parts) == pytest.approx(1.0)
    assert closed.u_parts[1] > 1.0, "what was taken is in the uncertainty"


def test_closing_lifts_to_nothing_what_was_measured_below_it():
    """No layer gives energy back, and what lifting it took is in its uncertainty."""
    for whole in (1.0, 1.5, 3.0):
        closed = close(whole, 0.01, [-0.5, 1.0, 1.0], [0.1, 0.3, 0.3])
        assert min(closed.parts) >= 0.0
        assert sum(closed.parts) == pytest.approx(whole)
        assert closed.residual == pytest.approx(whole - 1.5), "told as it was measured"
    closed = close(1.5, 0.01, [-0.5, 1.0, 1.0], [0.1, 0.3, 0.3])
    assert closed.parts[0] == 0.0
    assert closed.u_parts[0] > 0.5


@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0, 1e2)), min_size=1, max_size=8),
    st.floats(0.01, 1e3),
)
def test_closed_parts_always_add_up(rows, whole):
    closed = close(whole, 0.1, [part for part, _ in rows], [u for _, u in rows])
    assert sum(closed.parts) == pytest.approx(whole, rel=1e-9, abs=1e-9)
    assert min(closed.parts) >= -1e-9 * max(whole, 1e3)
    assert all(np.isfinite(closed.u_parts))


def test_closed_uncertainties_are_those_of_simulated_adjustments():
    random = np.random.default_rng(3)
    parts, unsure, u_whole = np.array([4.0, 5.0, 1.0]), np.array([0.2, 0.4, 0.1]), 0.05
    draws = [
        close(
            10.0 + random.normal(0, u_whole),
            u_whole,
            list(parts + random.normal(0, unsure)),
            list(unsure),
        )
        for _ in range(4000)
    ]
    spread = np.std([draw.parts for draw in draws], axis=0)
    told = np.sqrt(np.mean(np.square([draw.u_parts for draw in draws]), axis=0))
    assert (told >= 0.95 * spread).all()
    held = np.abs(np.array([d.parts for d in draws]) - parts) <= 1.96 * np.array(
        [d.u_parts for d in draws]
    )
    assert (held.mean(axis=0) >= 0.94).all()


# Shares


def call(layer, parent, seconds):
    return CallTime(layer, parent, seconds)


def test_what_is_inside_a_layer_is_not_its_own():
    one = (call("", None, 10.0), call("b", 0, 7.0), call("b.c", 1, 4.0), call("d", 0, 2.0))
    shares = shares_of([one] * 3, [10.0] * 3, [10.0] * 3, [10.0] * 3, [10.5] * 3)
    assert shares.seconds == pytest.approx((1.0, 3.0, 4.0, 2.0))
    assert shares.overhead_s == pytest.approx(0.5)
    assert shares.pass_s == pytest.approx(10.5)


def test_a_shared_layer_counts_each_of_its_calls():
    one = (call("", None, 6.0), call("s", 0, 1.0), call("d", 0, 2.0), call("s", 0, 3.0))
    shares = shares_of([one], [6.0], [6.0], [6.0], [6.0])
    assert shares.layers.count("s") == 2
    assert shares.seconds == pytest.approx((0.0, 1.0, 2.0, 3.0))


def test_passes_of_each_kind_are_needed():
    with pytest.raises(ValueError, match="each kind"):
        shares_of([(call("", None, 1.0),)], [1.0], [], [1.0], [1.0])


def test_a_small_layer_is_measured_in_its_pass_as_well_as_a_large_one():
    """Done twice and four times it would add less to the pass than passes scatter."""
    order = tuple(f"n{place}" for place in range(50))
    costs = {name: Cost(0.2e-3, 100.0 + place) for place, name in enumerate(order)}
    machine = Machine(costs, order, cv=0.3)
    result = measure(machine, method=CONTEXT, top=5)
    rows = [layer for layer in result.layers if layer.method == CONTEXT]
    assert len(rows) == 5
    for row in rows:
        truth = machine.truth()[row.name]
        figure = row.measured_j
        assert figure.value == pytest.approx(truth, rel=0.1)
        assert figure.repeat_high - figure.repeat_low < 0.2 * truth


def test_what_disturbs_passes_is_in_no_layers_time_and_they_still_add_up():
    """In a third of the passes a layer is disturbed, each time another."""
    random = np.random.default_rng(2)
    passes = []
    for _ in range(60):
        one = np.array([1.0, 2.0, 3.0, 2.0])
        one[random.integers(0, 4)] += random.choice([0.0, 5.0], p=(0.67, 0.33))
        inside = (call(f"{at}", 0, seconds) for at, seconds in enumerate(one))
        passes.append((call("", None, one.sum()), *inside))
    lengths = [one[0].seconds for one in passes]
    shares = shares_of(passes, lengths, lengths, lengths, [s + 0.5 for s in lengths])
    assert shares.seconds == pytest.approx((0.0, 1.0, 2.0, 3.0, 2.0))
    assert sum(shares.seconds) + shares.overhead_s == pytest.approx(shares.pass_s)


def test_where_most_passes_are_disturbed_layers_still_add_up_to_the_pass():
    """Each pass is disturbed in one of many layers: medians of layers would know nothing of it."""
    random = np.random.default_rng(2)
    passes = []
    for _ in range(60):
        one = np.full(20, 1.0)
        one[random.integers(0, 20)] += 20.0
        inside = (call(f"{at}", 0, seconds) for at, seconds in enumerate(one))
        passes.append((call("", None, one.sum()), *inside))
    lengths = [one[0].seconds for one in passes]
    shares = shares_of(passes, lengths, lengths, lengths, lengths)
    assert shares.pass_s == pytest.approx(40.0)
    assert sum(shares.seconds) == pytest.approx(40.0)


@given(st.lists(st.floats(0.5, 2.0), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
def test_times_add_up_exactly_whatever_the_noise_was(lengths, seed):
    """Nothing is lifted to zero on the way: that would make the rows too long."""
    random = np.random.default_rng(seed)
    passes = []
    for _ in range(9):
        a, b, rest = random.normal(0.0, 0.3, 3)
        whole = call("", None, lengths[0] + a + b + rest)
        passes.append((whole, call("a", 0, lengths[0] + a), call("b", 0, b)))
    noisy = [list(one + random.normal(0, 0.2, 9)) for one in lengths[1:]]
    shares = shares_of(passes, [one[0].seconds for one in passes], *noisy)
    assert sum(shares.seconds) + shares.overhead_s == pytest.approx(shares.pass_s, abs=1e-9)
    assert shares.per_call_s >= 0.0


def test_rows_that_share_an_error_take_what_is_left_over_together():
    """Two measured rows and a hundred that go by the same, wrong, power."""
    parts, unsure = [5.0, 4.0, *[0.01] * 100], [0.05, 0.05, *[0.0025] * 100]
    apart = close(9.6, 0.01, parts, unsure)
    assert sum(apart.parts[:2]) < 8.8, "each by itself they seem surer than they are together"
    together = close(9.6, 0.01, parts, unsure, [0.0, 0.0, *[0.00125] * 100])
    assert sum(together.parts[:2]) == pytest.approx(9.0, abs=0.15)
    assert sum(together.parts) == pytest.approx(9.6)
    assert together.u_residual > apart.u_residual


def test_closed_uncertainties_of_rows_with_a_common_error_are_those_of_simulated_adjustments():
    random = np.random.default_rng(4)
    parts, own = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.1, 0.2, 0.1, 0.1])
    common, u_whole = np.array([0.0, 0.0, 0.4, 0.2]), 0.05
    unsure = np.hypot(own, common)
    draws = []
    for _ in range(4000):
        found = parts + random.normal(0, own) + common * random.normal()
        whole = 10.0 + random.normal(0, u_whole)
        draws.append(close(whole, u_whole, list(found), list(unsure), list(common)))
    spread = np.std([draw.parts for draw in draws], axis=0)
    told = np.sqrt(np.mean(np.square([draw.u_parts for draw in draws]), axis=0))
    assert (told >= 0.95 * spread).all()
    z = [draw.residual / draw.u_residual for draw in draws]
    assert np.std(z) == pytest.approx(1.0, abs=0.05)
