"""What ONNX Runtime's profiler writes down of the passes of a session."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MICROSECOND = 1e-6
"""The profiler's unit, and its step."""

KERNEL = "_kernel_time"


def node_events(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The times of nodes."""
    return [
        event for event in events if event.get("cat") == "Node" and event["name"].endswith(KERNEL)
    ]


def passes_of(
    events: Sequence[Mapping[str, Any]], nodes: Sequence[str]
) -> list[tuple[float, list[float]] | None]:
    """The passes of a session, in their order.

    Args:
        events: of its profile.
        nodes: names of the nodes that each pass goes through; others are in graphs inside
            these.

    Returns:
        for each pass its length and that of each node, s; None for one that the profiler
        did not write down to its end.
    """
    place = {name: at for at, name in enumerate(nodes)}
    runs = sorted(
        (event for event in events if event.get("name") == "model_run"), key=lambda e: e["ts"]
    )
    times = sorted(node_events(events), key=lambda event: event["ts"])
    found: list[tuple[float, list[float]] | None] = []
    at = 0
    for run in runs:
        seconds: list[float | None] = [None] * len(nodes)
        end = run["ts"] + run["dur"]
        while at < len(times) and times[at]["ts"] <= end:
            mine = place.get(times[at]["name"].removesuffix(KERNEL))
            if mine is not None:
                seconds[mine] = times[at]["dur"] * MICROSECOND
            at += 1
        told = [one for one in seconds if one is not None]
        whole = len(told) == len(nodes)
        found.append((run["dur"] * MICROSECOND, told) if whole else None)
    return found


def read(path: str) -> list[Mapping[str, Any]]:
    """The events of a profile, which is removed."""
    file = Path(path)
    try:
        events: list[Mapping[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    finally:
        file.unlink(missing_ok=True)
    return events
