"""Comparing two pieces of work on a machine that is not quiet."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from greenai_core import Session

QUIET_SHARE = 0.25
"""Other jobs on the machine only ever make a batch longer, so the shortest tell most."""


@dataclass(frozen=True)
class Comparison:
    """Seconds of one call each, bare and ours, in pairs of neighbouring batches."""

    pairs: tuple[tuple[float, float], ...]

    @property
    def quiet(self) -> list[tuple[float, float]]:
        """The quarter of the pairs that took least, both sides together."""
        return sorted(self.pairs, key=sum)[: max(1, round(QUIET_SHARE * len(self.pairs)))]

    @property
    def ratio(self) -> float:
        """Median of ours over bare in the quiet pairs."""
        return statistics.median(ours / bare for bare, ours in self.quiet)

    @property
    def text(self) -> str:
        """Both medians there, for people."""
        bare, ours = (statistics.median(side) * 1e6 for side in zip(*self.quiet, strict=True))
        return f"{ours:.3g} µs beside {bare:.3g} µs"


def compare(
    bare: Callable[[int], float], ours: Callable[[int], float], batches: int, calls: int
) -> Comparison:
    """Run both in turn; neighbours meet the same noise, so it falls out of their ratio.

    Args:
        bare, ours: number of calls -> seconds they took together.
        batches: of each; at least one. One more of each is run before, unmeasured.
        calls: in a batch.
    """
    bare(calls), ours(calls)
    pairs = [
        (bare(calls), ours(calls)) if number % 2 else (ours(calls), bare(calls))[::-1]
        for number in range(batches)
    ]
    return Comparison(tuple((b / calls, o / calls) for b, o in pairs))


def windows(session: Session) -> Callable[[int], float]:
    """Windows back to back: number of them -> seconds they took together."""

    def run(calls: int) -> float:
        began = time.perf_counter()
        for _ in range(calls):
            with session.window("benchmark"):
                pass
        return time.perf_counter() - began

    return run


def scaled(count: int, scale: float, least: int = 2) -> int:
    """A number of repetitions, fewer for a quick look."""
    return max(least, round(count * scale))


def interleaved_medians(works: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each work; a round runs each once, after one round unmeasured."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 1):
        for work, seconds in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            if number:
                seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in times]
