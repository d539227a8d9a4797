"""Which processes a command leaves running when it ends, such as a service that it starts."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path

from greenai_core.proc_files import descendants

SUBREAPER = 36
"""``PR_SET_CHILD_SUBREAPER`` of prctl(2): orphans of our children become ours."""

LONGEST_S = 0.5
"""Helpers that notice the end of their program end within this time."""


@contextlib.contextmanager
def left_behind(found: dict[int, str]) -> Iterator[None]:
    """Fill in PID and name of what was started in this block and still runs at its end.

    Finds nothing on systems that do not tell.

    Args:
        found: empty; filled when the block ends without an exception.
    """
    if not _adopt(True):
        yield
        return
    before = descendants(os.getpid())
    try:
        yield
        began = time.monotonic()
        while True:
            found.clear()
            found.update(_running(descendants(os.getpid()) - before))
            if not found or time.monotonic() - began > LONGEST_S:
                return
            time.sleep(0.02)
    finally:
        _adopt(False)


def _adopt(orphans: bool) -> bool:
    try:
        return bool(ctypes.CDLL(None).prctl(SUBREAPER, int(orphans), 0, 0, 0) == 0)
    except (AttributeError, OSError):
        return False


def _running(pids: set[int]) -> dict[int, str]:
    found = {}
    for pid in sorted(pids):
        with contextlib.suppress(OSError, IndexError):
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            head, _, rest = text.rpartition(")")
            if rest.split()[0] != "Z":  # an orphan that has ended, and waits to be told
                found[pid] = head.partition("(")[2]
    return found
