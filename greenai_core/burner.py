"""The program that keeps one core busy for a share of the time, as told on its stdin.

``python -m greenai_core.burner CORE`` says ``ready``, then reads levels from 0 to
1, one a line, and follows the latest; it ends with its stdin, so it never
outlives whoever started it. ``obey_levels`` is that protocol for other loads.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable

PERIOD_S = 0.02
"""Of being busy and resting: shorter than any sensor's, longer than the scheduler's slices."""

READY = b"ready\n"


def obey_levels(burn: Callable[[float], None]) -> None:
    """Burn for the share of time that stdin tells, until stdin ends.

    Args:
        burn: keeps the device busy for so many seconds, and returns when it is idle again.
    """
    source, said, level = sys.stdin.fileno(), b"", 0.0
    os.write(sys.stdout.fileno(), READY)
    while True:
        due = time.perf_counter() + PERIOD_S
        if level > 0:
            burn(level * PERIOD_S)
        rest = max(due - time.perf_counter(), 0.0) if level > 0 else None
        if not select.select([source], [], [], rest)[0]:
            continue
        read = os.read(source, 4096)
        if not read:
            return
        *lines, said = (said + read).split(b"\n")
        if lines:
            level = min(max(float(lines[-1]), 0.0), 1.0)


def spin(seconds: float) -> None:
    """Keep one core busy."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def main() -> None:
    """Stay on the core that the command line names."""
    if hasattr(os, "sched_setaffinity"):
        # Where a container took the core away meanwhile, any other one will do.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {int(sys.argv[1])})
    obey_levels(spin)


if __name__ == "__main__":
    main()
