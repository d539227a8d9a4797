"""A network on a simulated machine: what each of its layers uses is known."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from greenai_core import ModelError, Session
from greenai_core.abilities import CallTime, Layer, LayerCall
from greenai_core.evaluation import inference_result
from greenai_core.layer_evaluation import bracketed
from greenai_core.layers import LayerMeasurement, LayerSettings, Pass
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.results import ModelSummary
from greenai_core.run_costs import run_costs, sensors_of
from greenai_core.testing import DrivenPower, SimulatedCounterProfiler, VirtualClock
from greenai_core.testing.hardware import rapl_counter

IDLE_W = 20.0


@dataclass(frozen=True)
class Cost:
    """What one call of a leaf takes; by itself another factor of its energy (warm caches)."""

    seconds: float
    watts: float
    alone: float = 1.0


@dataclass
class Machine:
    """A network on a machine: leaves in blocks, and something between the leaves.

    ``order`` names the leaves as they are called; ``block.leaf`` is in the block.
    """

    costs: dict[str, Cost]
    order: tuple[str, ...]
    between_s: float = 0.0
    around_s: float = 0.0
    hook_s: float = 0.0
    cv: float = 0.0
    seed: int = 0
    wanders: bool = False
    drift: float = 0.0
    clock: VirtualClock = field(default_factory=VirtualClock)
    power: DrivenPower = field(default_factory=lambda: DrivenPower(IDLE_W))

    def __post_init__(self):
        self._draw = random.Random(self.seed)
        self._probes = 0
        self._seen = []
        self.times = {}

    # The network

    def spend(self, seconds, watts):
        self.power.set(self.clock.now(), watts * (1 + self.drift * self.clock.now()))
        self.clock.sleep(seconds * max(1 + self.cv * self._draw.gauss(0, 1), 0.0))
        self.power.set(self.clock.now(), IDLE_W)

    def call(self, name, parent, body):
        """A call with its stamps; the outermost count."""
        began = self.clock.now()
        at = None
        if self._probes:
            at = len(self._seen)
            self._seen.append(None)
            self.spend(self._probes * self.hook_s / 2, IDLE_W)
        body(at)
        if at is not None:
            self.spend(self._probes * self.hook_s / 2, IDLE_W)
            self._seen[at] = CallTime(name, parent, self.clock.now() - began)

    def model(self, at):
        open_block = [None, None]
        for leaf in self.order:
            block = leaf.rpartition(".")[0]
            cost = self.costs[leaf]
            for _ in range(self.times.get(leaf, 1)):
                body = lambda _at, cost=cost: self.spend(cost.seconds, cost.watts)  # noqa: E731
                if block:
                    inner = lambda b, leaf=leaf, body=body: self.call(leaf, b, body)  # noqa: E731
                    self.call(block, at, inner)
                else:
                    self.call(leaf, at, body)
            self.spend(self.between_s, 40.0)
        del open_block

    def work(self):
        self.spend(self.around_s, 30.0)
        self.model(None)

    # Layered

    def layers(self):
        names = dict.fromkeys(self.order)
        blocks = dict.fromkeys(n.rpartition(".")[0] for n in names if "." in n)
        found = [Layer(block, "Block", 0, None) for block in blocks]
        return tuple(found + [Layer(n, "Leaf", 10, n.rpartition(".")[0] or None) for n in names])

    def calls(self, prepared):
        index = Counter()
        found = []
        for leaf in self.order:
            cost = self.costs[leaf]

            def replay(cost=cost):
                self.spend(cost.seconds, cost.watts * cost.alone)

            found.append(LayerCall(leaf, index[leaf], replay))
            index[leaf] += 1
        return tuple(found)

    def timed(self, prepared, probes):
        self._seen = []
        began = self.clock.now()
        if self.wanders and self._draw.random() < 0.5:
            self.order = self.order[::-1]
        if probes:
            self._probes = probes
            self._seen.append(None)
            self.model(0)
            self._probes = 0
            self._seen[0] = CallTime("", None, self.clock.now() - began)
            return tuple(self._seen)
        self.model(None)
        return (CallTime("", None, self.clock.now() - began),)

    def repeated(self, prepared, layer, times):
        if self.costs[layer].alone == 0.5:
            raise ModelError("it keeps a state")

        def work():
            self.times = {layer: times}
            self.work()
            self.times = {}

        return work

    # The truth

    def truth(self):
        """Joules of a pass in each leaf; under "" between them, under None around."""
        found = Counter()
        for leaf in self.order:
            cost = self.costs[leaf]
            found[leaf] += cost.seconds * cost.watts
            found[""] += self.between_s * 40.0
        found[None] = self.around_s * 30.0
        return found


LOOP = LoopSettings(precision=0.01, min_time_s=2.0, max_time_s=10.0)


def measure(machine, loop=LOOP, again=False, **settings):
    """The table of its layers; ``again``: the whole is measured afterwards too."""
    profiler = SimulatedCounterProfiler(counters=[rapl_counter(machine.power)])
    with Session([profiler], clock=machine.clock) as session:
        one_pass = Pass(
            "inference", machine, None, machine.work, lambda: None, {"a": 1000, "b.c": 500}
        )
        wanted = LayerSettings(**{"loop": loop, "seed": 1, "layer_s": 1.2, **settings})
        measurement = LayerMeasurement(one_pass, session.sources, machine.clock, wanted)
        before = measured_whole(session, machine, loop)
        measurement.gather(before)
        if not again:
            return measurement.result(before)
        return measurement.result(bracketed(before, measured_whole(session, machine, loop)))


def measured_whole(session, machine, loop):
    """The pass as ``evaluate_inference`` measures it, without a file."""
    run = run_loop(machine.work, session.sources, session.contains, machine.clock, loop)
    costs = run_costs(run, sensors_of(session.sources, run.blocks), session.contains, loop)
    summary = ModelSummary("net", "simulated", "cpu", (), 1)
    return inference_result(summary, None, run, costs, loop)


NET = {
    "a": Cost(2e-3, 200.0),
    "b.c": Cost(4e-3, 80.0),
    "b.d": Cost(1e-3, 300.0),
    "e": Cost(0.5e-3, 60.0),
}
ORDER = ("a", "b.c", "b.d", "e", "a")
