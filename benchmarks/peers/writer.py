"""Keeps the counters of the simulated powercap tree moving, in a process of its own.

``python writer.py FOLDER SCENE``: builds FOLDER, prints a line when it moves, and ends
when its standard input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from pathlib import Path

from scenes import Scene

from greenai_core.testing.powercap import PowercapTree

PERIOD_S = 1e-3
"""RAPL shows a new value about every millisecond."""


def main() -> None:
    """Build the tree and drive it."""
    folder, scene = Path(sys.argv[1]), Scene.read(json.loads(sys.argv[2]))
    with contextlib.suppress(PermissionError, OSError):
        # A late update would be an error of the sensor; the tools must not cause it.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    with PowercapTree(folder, scene.powercap()) as tree:
        tree.update(time.monotonic())
        print("moving", flush=True)
        drive(tree)


def drive(tree: PowercapTree) -> None:
    """Update every millisecond until the standard input is closed."""
    due = time.monotonic()
    while not select.select([sys.stdin], [], [], 0)[0]:
        due += PERIOD_S
        now = time.monotonic()
        if now < due:
            time.sleep(due - now)
        else:
            due = now
        tree.update(time.monotonic())


if __name__ == "__main__":
    main()
