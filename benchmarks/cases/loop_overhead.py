"""What the measuring loop adds to an inference of one millisecond."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Sequence

from cases.outcome import Outcome
from cases.rapl_window import tree_in_session
from cases.timing import scaled
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.conditions import observer
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.session import Session

INFERENCE_S = 1e-3
PAUSE_S = 1e-3
"""More than this between two calls is the loop looking at its figures, which it does
a few times a run, and which it leaves out of what it measures."""


class Spin:
    """Busy for one millisecond of this thread's processor time; keeps when it began."""

    def __init__(self) -> None:
        self.begun: list[float] = []

    def __call__(self) -> None:
        now = time.thread_time
        begun = now()
        self.begun.append(begun)
        while now() < begun + INFERENCE_S:
            pass

    def intervals(self) -> list[float]:
        """Processor time from one call to the next, s."""
        return [after - before for before, after in itertools.pairwise(self.begun)]


def measure(scale: float = 1.0) -> tuple[Outcome, ...]:
    """The loop and a bare ``for`` in turn.

    In processor time, since on a busy machine the wall clock tells mostly of other jobs.
    """
    seconds = max(2.0 * scale, 0.1)
    rounds = scaled(8, scale)
    bare: list[list[float]] = []
    ours: list[list[float]] = []
    shares: list[float] = []
    with tree_in_session() as (tree, session):
        ticker = tree.drive(SYSTEM_CLOCK)
        try:
            for _ in range(rounds):
                intervals, share = _ours(session, seconds)
                ours.append(intervals)
                shares.append(share)
                bare.append(_bare(len(intervals)))
        finally:
            ticker.cancel()
    usual, looped = _per_call(bare, PAUSE_S), _per_call(ours, PAUSE_S)
    whole = _per_call(ours, math.inf) / _per_call(bare, math.inf) - 1
    detail = (
        f"{looped * 1e3:.4f} ms of processor time beside {usual * 1e3:.4f} ms in a bare loop, "
        f"4 simulated 1 ms counters; {whole:.1%} with the statistics, in runs of {seconds:g} s; "
        f"reading took {statistics.median(shares):.2%}, says the loop"
    )
    return (Outcome("loop around a 1 ms inference", (looped / usual - 1) * 100, "%", 1.0, detail),)


def _per_call(runs: Sequence[Sequence[float]], pause_s: float) -> float:
    """Median over runs of the mean interval, without those that hold a pause."""
    return statistics.median(
        statistics.fmean(interval for interval in run if interval < INFERENCE_S + pause_s)
        for run in runs
    )


def _bare(calls: int) -> list[float]:
    spin = Spin()
    for _ in range(calls + 1):
        spin()
    return spin.intervals()


def _ours(session: Session, seconds: float) -> tuple[list[float], float]:
    """The intervals, and the share of time that the loop says reading took."""
    spin = Spin()
    # A precision that is never reached, so that the time decides when it ends.
    settings = LoopSettings(
        precision=1e-9, min_time_s=seconds, max_time_s=seconds, warm_up_s=seconds / 10
    )
    watcher = observer([source.profiler for source in session.sources], SYSTEM_CLOCK)
    run = run_loop(
        spin, session.sources, session.contains, SYSTEM_CLOCK, settings, observer=watcher
    )
    return spin.intervals(), run.self_cost_share
