"""Opening and closing a window on four RAPL counters, beside the bare reads."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cases.outcome import Outcome
from cases.timing import compare, scaled, windows
from greenai_core import Session
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing import PowercapTree
from greenai_plugins.profilers.rapl import RaplProfiler

CALLS = 40
"""In a batch: short enough that other jobs spare many batches altogether."""


def measure(scale: float = 1.0) -> tuple[Outcome, ...]:
    """Once with counters at rest, back to back; once moving, as in windows over 1 ms."""
    batches = scaled(2000, scale)
    with tree_in_session() as (tree, session):
        fds = [os.open(tree.energy_file(zone), os.O_RDONLY) for zone in tree.zones]
        try:
            rest = compare(bare_at_rest(fds), windows(session), batches, CALLS)
            step = stepper(tree)
            moving = compare(bare_moving(fds, step), ours_moving(session, step), batches, CALLS)
        finally:
            for fd in fds:
                os.close(fd)
    detail = "simulated powercap tree, 4 files kept open: "
    return (
        Outcome("window on 4 RAPL channels", rest.ratio, "×", 2.0, detail + rest.text),
        Outcome("... while the counters move", moving.ratio, "×", None, detail + moving.text),
    )


@contextmanager
def tree_in_session() -> Iterator[tuple[PowercapTree, Session]]:
    """Two sockets with DRAM, open in a session, standing still."""
    with tree_on_disk() as tree:
        ticker = tree.drive(SYSTEM_CLOCK)
        try:
            rapl = RaplProfiler(root=tree.root, cpuinfo=tree.cpuinfo)
            # Counters at rest would soon be taken for slow ones, which are watched.
            session = Session([rapl], watch=False).open()
        finally:
            ticker.cancel()
        try:
            yield tree, session
        finally:
            session.close()


@contextmanager
def tree_on_disk() -> Iterator[PowercapTree]:
    """Two sockets with DRAM, standing still."""
    with (
        tempfile.TemporaryDirectory() as folder,
        PowercapTree.xeon(Path(folder) / "powercap") as tree,
    ):
        yield tree


def bare_at_rest(fds: list[int]) -> Callable[[int], float]:
    """What a window cannot do without: read each file twice."""
    pread = os.pread

    def run(calls: int) -> float:
        began = time.perf_counter()
        for _ in range(calls):
            for fd in fds:
                int(pread(fd, 32, 0))
            for fd in fds:
                int(pread(fd, 32, 0))
        return time.perf_counter() - began

    return run


def stepper(tree: PowercapTree) -> Callable[[], None]:
    """Each call moves every counter by what is used in 1 ms."""
    base = time.perf_counter()
    calls = iter(range(1 << 60))
    return lambda: tree.update(base + next(calls) * 1e-3)


def bare_moving(fds: list[int], step: Callable[[], None]) -> Callable[[int], float]:
    """The bare reads, the counters moved before each, which is not timed."""
    pread, now = os.pread, time.perf_counter

    def half() -> float:
        step()
        began = now()
        for fd in fds:
            int(pread(fd, 32, 0))
        return now() - began

    return lambda calls: sum(half() + half() for _ in range(calls))


def ours_moving(session: Session, step: Callable[[], None]) -> Callable[[int], float]:
    """Windows, the counters moved before either end, which is not timed."""
    now = time.perf_counter

    def whole() -> float:
        step()
        began = now()
        with session.window("benchmark"):
            opened = now()
            step()
            closing = now()
        return now() - began - (closing - opened)

    return lambda calls: sum(whole() for _ in range(calls))
