"""Ctrl-C may come between any two lines; what was measured by then is never lost."""

from __future__ import annotations

import sys

import pytest

from greenai_core.blocks import Source
from greenai_core.channels import contents
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.statistics import batch_means
from greenai_core.testing import (
    DrivenPower,
    Latch,
    SimulatedCounterProfiler,
    SimulatedWork,
    VirtualClock,
    rapl_counter,
)

WATCHED = ("blocks.py", "counters.py", "looks.py", "unwrapping.py", "loop.py")
CALLS = 100


class Interruption:
    """Raises KeyboardInterrupt at the n-th line of the measuring code from now on."""

    def __init__(self, lines):
        self.left = lines
        self.where = ""

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self


@pytest.mark.parametrize("lines", range(1, 80))
def test_an_interrupt_between_any_two_lines_of_a_tick_keeps_the_run(lines):
    clock = VirtualClock(start_s=0.123)
    power = DrivenPower(idle_w=30.0)
    counter = rapl_counter(power, latch=Latch(1e-3, jitter=0.0, seed=0))
    profiler = SimulatedCounterProfiler(counters=[counter])
    work = SimulatedWork(clock, 0.02, cv=0.01, power=power, busy_w=150.0, seed=0)
    interruption = Interruption(lines)
    frame = sys._getframe()

    def interrupted():
        work()
        if work.calls == CALLS:
            # Frames that are under way are told too: the next lines are theirs.
            sys.settrace(interruption)
            caller = sys._getframe().f_back
            while caller is not None and caller is not frame:
                caller.f_trace = interruption
                caller = caller.f_back

    before = sys.gettrace()
    profiler.open(clock)
    try:
        inside = contents(profiler.channels)
        sources = [Source(profiler, profiler.channels)]
        run = run_loop(interrupted, sources, inside, clock, LoopSettings(precision=1e-9))
    finally:
        sys.settrace(before)
        profiler.close()
    assert interruption.where, "the measuring code has fewer lines than that"
    assert run.interrupted, interruption.where
    mean = batch_means(run.blocks.per_iteration(inside)).mean
    assert mean == pytest.approx(150 * 0.02, rel=0.02), interruption.where
