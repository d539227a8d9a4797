"""Times of layers by a profiler that watches many passes, and layers called by themselves."""

from __future__ import annotations

import math
import random

import pytest

from greenai_core import ModelError, ProfiledLayered, ProfiledPass, Session
from greenai_core.abilities import CallTime, Layer, LayerCall
from greenai_core.evaluation import inference_result
from greenai_core.layer_profiles import ROUNDS, profiled_shares
from greenai_core.layer_results import ISOLATION
from greenai_core.layer_shares import shares_of
from greenai_core.layers import LayerMeasurement, LayerSettings, Pass
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.results import ModelSummary
from greenai_core.run_costs import run_costs, sensors_of
from greenai_core.testing import DrivenPower, SimulatedCounterProfiler, VirtualClock
from greenai_core.testing.hardware import rapl_counter

AROUND_S = 0.2e-3
STEP_S = 1e-6


class Runtime:
    """Nodes one after the other; watching one costs as much again within it as after it."""

    def __init__(self, nodes, cost_s=0.0):
        self.nodes = nodes
        self.cost_s = cost_s
        self.asked = []

    def layers(self):
        return tuple(Layer(name, "Node", 0, None) for name in self.nodes)

    def calls(self, prepared):
        return ()

    def pass_s(self):
        return AROUND_S + sum(self.nodes.values())

    def profiled(self, prepared, passes):
        self.asked.append(passes)
        calls = [CallTime(name, 0, s + self.cost_s / 2) for name, s in self.nodes.items()]
        model_s = sum(self.nodes.values()) + self.cost_s * len(self.nodes)
        one = (CallTime("", None, model_s), *calls)
        return (ProfiledPass(one, model_s + AROUND_S, STEP_S),) * passes


NODES = {"conv": 2e-3, "act": 0.1e-3, "head": 0.5e-3}


def test_what_the_profiler_costs_is_taken_off():
    runtime = Runtime(NODES, cost_s=50e-6)
    assert isinstance(runtime, ProfiledLayered)
    shares = profiled_shares(runtime, None, runtime.pass_s, 40)
    assert dict(zip(shares.layers, shares.seconds, strict=True)) == pytest.approx(
        {"": 0.0, **NODES}, abs=1e-9
    )
    assert shares.per_call_s == pytest.approx(50e-6)
    assert shares.overhead_s == pytest.approx(AROUND_S)
    assert shares.pass_s == pytest.approx(runtime.pass_s())
    assert shares.watched_s == pytest.approx(runtime.pass_s() + 3 * 50e-6)


def test_a_profiler_cannot_watch_twice_so_what_is_left_is_not_known():
    shares = profiled_shares(Runtime(NODES), None, Runtime(NODES).pass_s, 8)
    assert shares.left_share is None


def test_no_time_is_surer_than_the_step_of_the_profiler():
    shares = profiled_shares(Runtime(NODES), None, Runtime(NODES).pass_s, 8)
    assert min(shares.u_seconds) >= STEP_S / 12**0.5


def test_passes_with_and_without_the_profiler_take_turns():
    runtime, plain = Runtime(NODES), []

    def work_s():
        plain.append(len(runtime.asked))
        return runtime.pass_s()

    profiled_shares(runtime, None, work_s, 10)
    assert len(runtime.asked) == ROUNDS
    assert sum(runtime.asked) >= 10
    assert [plain.count(turn) for turn in range(ROUNDS)] == runtime.asked


def test_a_profiler_that_tells_nothing_is_refused():
    runtime = Runtime(NODES)
    runtime.profiled = lambda prepared, passes: ()
    with pytest.raises(ModelError, match="told of no pass"):
        profiled_shares(runtime, None, runtime.pass_s, 8)


def test_a_missing_kind_of_passes_is_no_kind_that_cannot_be_had():
    one = [(CallTime("", None, 1.0),)]
    with pytest.raises(ValueError, match="each kind"):
        shares_of(one, [1.0], [], [1.0], [1.0])


class Alone:
    """Layers that are done by themselves only; handing one over costs more than it does."""

    HANDED_S, HANDED_W = 1e-3, 60.0
    LAYERS = {"a": (2e-3, 200.0), "b": (0.2e-3, 100.0)}

    def __init__(self, layers=None, cv=0.0):
        self.LAYERS = layers or Alone.LAYERS
        self.cv = cv
        self.random = random.Random(3)
        self.clock = VirtualClock()
        self.power = DrivenPower(20.0)

    def spend(self, seconds, watts):
        self.power.set(self.clock.now(), watts)
        self.clock.sleep(seconds * max(1 + self.cv * self.random.gauss(0, 1), 0.0))
        self.power.set(self.clock.now(), 20.0)

    def layers(self):
        return tuple(Layer(name, "Leaf", 0, None) for name in self.LAYERS)

    def hand_over(self):
        self.spend(self.HANDED_S, self.HANDED_W)

    def calls(self, prepared):
        def replay(cost):
            self.hand_over()
            self.spend(*cost)

        return tuple(
            LayerCall(name, 0, lambda cost=cost: replay(cost), self.hand_over)
            for name, cost in self.LAYERS.items()
        )

    def work(self):
        self.hand_over()
        for cost in self.LAYERS.values():
            self.spend(*cost)


def measured_alone(machine, layer_s=2.0):
    profiler = SimulatedCounterProfiler(counters=[rapl_counter(machine.power)])
    loop = LoopSettings(precision=0.01, min_time_s=2.0, max_time_s=10.0)
    with Session([profiler], clock=machine.clock) as session:
        run = run_loop(machine.work, session.sources, session.contains, machine.clock, loop)
        costs = run_costs(run, sensors_of(session.sources, run.blocks), session.contains, loop)
        summary = ModelSummary("net", "simulated", "cpu", (), 1)
        whole = inference_result(summary, None, run, costs, loop)
        one_pass = Pass("inference", machine, None, machine.work, lambda: None, {})
        settings = LayerSettings(method=ISOLATION, loop=loop, seed=1, layer_s=layer_s, top=99)
        measurement = LayerMeasurement(one_pass, session.sources, machine.clock, settings)
        return measurement.measure(whole)


def test_handing_a_layer_over_is_none_of_its_cost():
    result = measured_alone(Alone())
    for layer in result.layers:
        seconds, watts = Alone.LAYERS[layer.name]
        assert layer.method == ISOLATION
        assert layer.measured_j.value == pytest.approx(seconds * watts, rel=0.03)
        assert layer.seconds == pytest.approx(seconds, rel=0.01)
    # What the pass spends on handing itself over belongs to no layer.
    assert result.unattributed_j.value == pytest.approx(1e-3 * 60.0, rel=0.3)
    assert abs(result.residual_share) < 0.2


def test_layers_that_cost_no_more_than_their_handing_over_do_not_add_up_to_something():
    """Half of them are measured below nothing; at nothing the sum of all would be too large."""
    tiny = {f"tiny{index}": (1e-7, 60.0) for index in range(16)}
    result = measured_alone(Alone({"big": (2e-3, 200.0), **tiny}, cv=0.2), layer_s=0.3)
    rows = [layer for layer in result.layers if layer.method == ISOLATION and layer.name != "big"]
    assert len(rows) >= 4
    below = [layer for layer in rows if layer.measured_j.value < 0]
    assert below
    assert all("no more than handing" in layer.warnings[0] for layer in below)
    unsure = [(row.measured_j.repeat_high - row.measured_j.value) / 1.96 for row in rows]
    assert abs(sum(row.measured_j.value for row in rows)) < 3 * math.hypot(*unsure)
    assert all(layer.energy_j.value >= 0 for layer in result.layers)
