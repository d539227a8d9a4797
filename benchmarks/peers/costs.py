"""What each tool takes: time for a window, processor, memory, time to import."""

from __future__ import annotations

import statistics
import time
from typing import Any

from accuracy import trouble
from machine import Machine
from scenes import Scene
from tool_list import Tool

WINDOWS = {"full": 100, "quick": 10}
MONITORED_S = {"full": 10.0, "quick": 3.0}
IMPORTS = {"full": 5, "quick": 1}

TIMED = "import time; a = time.perf_counter(); {}; print('took', time.perf_counter() - a)"


def measure(tool: Tool, size: str) -> dict[str, Any]:
    """All costs of one tool, on a machine with a constant load."""
    count = max(round(WINDOWS[size] * min(tool.windows, 0.2 if tool.windows < 1 else 1.0)), 2)
    with Machine(Scene("constant", time.monotonic())) as machine:
        back_to_back = [{"length": 0.0}] * count
        ran = machine.run(tool.python, tool.driver, back_to_back)
        long = [{"length": 0.3}, {"length": MONITORED_S[size]}]
        watched = machine.run(tool.python, tool.driver, long)
        imports = [import_s(machine, tool) for _ in range(IMPORTS[size])]
    rows = [row for row in ran.out.get("rows", []) if "begin_end_s" in row]
    steady = rows[1:] or rows
    seen = [row for row in watched.out.get("rows", []) if "cpu_share" in row]
    known = [took for took in imports if took is not None]
    found = {
        "begin_end_s": _median(row["begin_end_s"] for row in steady),
        "till_figure_s": _median(row["till_figure_s"] for row in steady),
        "start_s": ran.out.get("open_s", 0.0) + rows[0]["begin_end_s"] if rows else None,
        "cpu_share": seen[-1]["cpu_share"] if seen else None,
        "memory_mb": seen[-1]["peak_mb"] - watched.out["before_mb"] if seen else None,
        "import_s": min(known) if known else None,
    }
    return {"costs": found, "trouble": trouble(watched)}


def import_s(machine: Machine, tool: Tool) -> float | None:
    """Seconds of the import in a fresh process; None if it fails."""
    said = machine.inside([str(tool.python), "-c", TIMED.format(tool.statement)]).said
    took = [line.split()[1] for line in said.splitlines() if line.startswith("took ")]
    return float(took[-1]) if took else None


def _median(values: Any) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None
