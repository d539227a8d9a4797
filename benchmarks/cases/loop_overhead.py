"""What the measuring loop adds to an inference of one millisecond."""

from __future__ import annotations

import statistics
import time

from cases.outcome import Outcome
from cases.rapl_window import tree_in_session
from cases.timing import scaled
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.loop import LoopRun, LoopSettings, run_loop
from greenai_core.session import Session

INFERENCE_S = 1e-3


class Spin:
    """Busy for one millisecond by the clock, so that other jobs hardly disturb it."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        end = time.perf_counter() + INFERENCE_S
        self.calls += 1
        while time.perf_counter() < end:
            pass


def measure(scale: float = 1.0) -> tuple[Outcome, ...]:
    """The loop and a bare ``for`` in turn; everything that the loop does counts."""
    seconds = max(1.5 * scale, 0.1)
    bare, ours, shares = [], [], []
    with tree_in_session() as (tree, session):
        for _ in range(scaled(8, scale)):
            bare.append(_bare(round(seconds / INFERENCE_S)))
            ticker = tree.drive(SYSTEM_CLOCK)
            try:
                per_iteration, run = _ours(session, seconds)
            finally:
                ticker.cancel()
            ours.append(per_iteration)
            shares.append(run.self_cost_share)
    added = statistics.median(ours) / statistics.median(bare) - 1
    detail = (
        f"{statistics.median(ours) * 1e3:.4f} ms beside {statistics.median(bare) * 1e3:.4f} ms; "
        f"the loop itself says {statistics.median(shares):.2%}; 4 simulated 1 ms counters"
    )
    return (Outcome("loop around a 1 ms inference", added * 100, "%", 1.0, detail),)


def _bare(calls: int) -> float:
    spin = Spin()
    began = time.perf_counter()
    for _ in range(calls):
        spin()
    return (time.perf_counter() - began) / calls


def _ours(session: Session, seconds: float) -> tuple[float, LoopRun]:
    spin = Spin()
    # A precision that is never reached: the run lasts as long as the bare one.
    settings = LoopSettings(
        precision=1e-9, min_time_s=seconds, max_time_s=seconds, warm_up_s=seconds / 10
    )
    began = time.perf_counter()
    run = run_loop(spin, session.sources, session.contains, SYSTEM_CLOCK, settings)
    return (time.perf_counter() - began) / spin.calls, run
