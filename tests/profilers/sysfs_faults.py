"""What the fault tables of all profilers that read sysfs share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from fault_tables import Impossible

from greenai_core import Session
from greenai_core.testing import SysfsTree, VirtualClock
from greenai_plugins.profilers import sysfs_numbers

SECONDS = 60.0

NO_NETWORK = Impossible("nothing here is asked over a network")
WHOLE = Impossible("a driver prints its number in one piece")
NO_COUNT = Impossible("a power does not count: nothing in it can start again")


class Place(NamedTuple):
    """Simulated hardware with the files of one channel.

    Attributes:
        tree: the files.
        clock: drives them.
        path: of the number that falls ill.
        folder: of the device.
        slow: seconds that each of the next reads of it takes.
    """

    tree: SysfsTree
    clock: VirtualClock
    path: str
    folder: str
    slow: list[float]


def later(seconds: float, reads: int = 10_000) -> Callable[[Place], None]:
    """Each of the next reads takes so long."""
    return lambda place: place.slow.extend([seconds] * reads)


@contextmanager
def measured(
    build: Callable[[Any], SysfsTree],
    profiler: type,
    path: str,
    folder: str,
    root: Any,
    drive_s: float = 0.05,
) -> Iterator[tuple[Place, Session]]:
    """A session on a tree that a virtual clock drives."""
    clock = VirtualClock(100.0)
    slow: list[float] = []

    def opened(file: Any, flags: int) -> int:
        if slow and os.fspath(file).endswith(path):
            clock.lapse(slow.pop())
            tree.update(clock.now())  # the hardware does not wait
        return os.open(file, flags)

    shim = SimpleNamespace(**{**vars(os), "open": opened})
    with pytest.MonkeyPatch.context() as patch, build(root) as tree:
        tree.drive(clock, drive_s)
        patch.setattr(sysfs_numbers, "os", shim)
        with Session([profiler(root=tree.root)], clock=clock) as session:
            yield Place(tree, clock, path, folder, slow), session


def harmed(place: Place, session: Session, harm: Callable[[Place], Any]) -> Any:
    """The result of a window in whose middle the fault comes."""
    with session.window() as window:
        place.clock.sleep(SECONDS / 2)
        harm(place)
        place.clock.sleep(SECONDS / 2)
    return window.result
