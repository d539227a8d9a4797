"""What the drivers of all tools have in common. Standard library only, any Python >= 3.10.

A driver runs in its tool's own environment on the simulated machine:
``python drive_TOOL.py PLAN``. The plan (JSON) says what to do, and where to write what
came out. All instants are ``time.monotonic()``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

J_PER_KWH = 3.6e6

NOT_READY = 75
"""Exit code of a driver that was not ready when its window should have begun."""

LONG_S = 3.0
"""Windows of this length and more tell the use of processor and memory."""


class Tool:
    """One tool; windows of work are between ``begin`` and ``end``."""

    def open(self, windows):
        """Start the tool as its documentation says; ``windows`` is how many will follow."""

    def begin(self):
        """Begin a window."""

    def end(self):
        """End it."""

    def figures(self):
        """Joules of the window that ended last, by ``package``, ``dram`` and ``gpu``.

        ``cpu`` instead where the tool gives one figure for the first two. What it has no
        figure for is None. None altogether: ``late`` has them.
        """

    def late(self):
        """Figures of all windows, for tools that have them only when all is over."""

    def close(self):
        """Stop the tool."""

    def run(self, windows):
        """Measure all windows, each ``{"pause", "length", "at"}``, into result rows."""
        return [self._one(window) for window in windows]

    def _one(self, window):
        wait(window)
        row = {"length": nominal(window)}
        try:
            started = time.monotonic()
            self.begin()
            row["begin"] = time.monotonic()
            work(window["length"], row)
            row["end"] = time.monotonic()
            self.end()
            stopped = time.monotonic()
            row["figures"] = self.figures()
            row["begin_end_s"] = row["begin"] - started + stopped - row["end"]
            row["till_figure_s"] = time.monotonic() - row["end"] + row["begin"] - started
        except Exception as error:  # noqa: BLE001  # whatever a tool raises is what is asked for
            traceback.print_exc()
            row["error"] = type(error).__name__
            row.setdefault("begin", started)
            row.setdefault("end", time.monotonic())
        return row


def nominal(window):
    """The length that a window is counted under."""
    return window.get("nominal", window["length"])


def work(length, row):
    """Sleep so long; tell what the tool's threads and processes took meanwhile."""
    if length < LONG_S:
        time.sleep(length)
        return
    before = cpu_seconds()
    time.sleep(length)
    row["cpu_share"] = (cpu_seconds() - before) / length
    row["peak_mb"] = peak_mb()


def wait(window):
    """Sleep until the window shall begin."""
    if window.get("at"):
        left = window["at"] - time.monotonic()
        if left < 0:
            os._exit(NOT_READY)
        time.sleep(left)
    elif window.get("pause"):
        time.sleep(window["pause"])


def drive(tool, load):
    """Do what the plan says with a tool; ``load`` imports the tool's package."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    out = {"rows": [], "before_mb": memory_mb("VmRSS", os.getpid())}
    try:
        load()
        started = time.monotonic()
        tool.open(len(plan["windows"]))
        out["open_s"] = time.monotonic() - started
    except Exception as error:  # noqa: BLE001  # whatever a tool raises is what is asked for
        traceback.print_exc()
        out["open_error"] = type(error).__name__
        out["opened_at"] = time.monotonic()
    else:
        out["opened_at"] = time.monotonic()
        measure(tool, plan["windows"], out)
    Path(plan["out"]).write_text(json.dumps(out))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that a tool leaves behind must not hold the benchmark up; its processes end
    # with the namespace.
    os._exit(0)


def measure(tool, windows, out):
    """Measure the windows, let the tool end, and take the figures that it has only then."""
    try:
        out["rows"] = tool.run(windows)
        late = tool.late() or []
        tool.close()
    except Exception as error:  # noqa: BLE001  # likewise
        traceback.print_exc()
        out["run_error"] = type(error).__name__
    else:
        # An epoch that failed has no figures, and is the last.
        for row, figures in zip(out["rows"], late, strict=False):
            row["figures"] = figures


def children(pid):
    """All descendants of a process."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            own = [int(text) for text in path.read_text().split()]
            found += own + [far for child in own for far in children(child)]
    return found


def cpu_seconds():
    """Processor time of this process and its descendants so far."""
    total = time.process_time()
    for child in children(os.getpid()):
        for path in Path(f"/proc/{child}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(path.read_text().split()[0]) * 1e-9
    return total


def memory_mb(what, pid):
    """A line of a process's status, in MiB; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(what)), 0.0)


def peak_mb():
    """Highest memory of this process and of its descendants, MiB."""
    own = os.getpid()
    return sum(memory_mb("VmHWM", pid) for pid in [own, *children(own)])
