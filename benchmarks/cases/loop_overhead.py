"""What the measuring loop adds to an inference of one millisecond."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

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
    """The loop and a bare ``for`` in turn, over the same inference."""
    seconds = max(1.5 * scale, 0.1)
    bare: list[float] = []
    ours: list[float] = []
    shares: list[float] = []
    with tree_in_session() as (tree, session):
        ticker = tree.drive(SYSTEM_CLOCK)
        try:
            for _ in range(scaled(8, scale)):
                run, calls = _ours(session, seconds)
                shares.append(run.self_cost_share)
                per_block = round(float(statistics.median(run.blocks.iterations)))
                ours += list(run.blocks.durations / run.blocks.iterations)
                bare += [_bare(per_block) for _ in range(max(calls // per_block, 2))]
        finally:
            ticker.cancel()
    added = quiet(ours) / quiet(bare) - 1
    detail = (
        f"{quiet(ours) * 1e3:.4f} ms beside {quiet(bare) * 1e3:.4f} ms, in the quietest tenth of "
        f"{len(ours)} blocks and {len(bare)} like stretches of a bare loop; the loop says of "
        f"itself {statistics.median(shares):.2%}; 4 simulated 1 ms counters"
    )
    return (Outcome("loop around a 1 ms inference", added * 100, "%", 1.0, detail),)


def quiet(seconds: Sequence[float]) -> float:
    """The first decile: other jobs on the machine make every stretch longer, none shorter."""
    return statistics.quantiles(seconds, n=10)[0]


def _bare(calls: int) -> float:
    spin = Spin()
    began = time.perf_counter()
    for _ in range(calls):
        spin()
    return (time.perf_counter() - began) / calls


def _ours(session: Session, seconds: float) -> tuple[LoopRun, int]:
    spin = Spin()
    # A precision that is never reached, so that the time decides when it ends.
    settings = LoopSettings(
        precision=1e-9, min_time_s=seconds, max_time_s=seconds, warm_up_s=seconds / 10
    )
    run = run_loop(spin, session.sources, session.contains, SYSTEM_CLOCK, settings)
    return run, spin.calls
