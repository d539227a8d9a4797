"""Comparing two pieces of work on a machine that is not quiet."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Seconds of one call each, batch by batch, bare and ours in turn."""

    bare: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median over neighbouring batches of ours over bare."""
        return statistics.median(o / b for o, b in zip(self.ours, self.bare, strict=True))

    @property
    def text(self) -> str:
        """Both medians, for people."""
        bare, ours = statistics.median(self.bare), statistics.median(self.ours)
        return f"{ours * 1e6:.3g} µs beside {bare * 1e6:.3g} µs"


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
    return Comparison(tuple(b / calls for b, _ in pairs), tuple(o / calls for _, o in pairs))


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
