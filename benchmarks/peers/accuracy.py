"""How far the joules of each tool are from the truth, by length of window and kind of load."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from machine import Machine, Ran
from scenes import Scene
from tool_list import Tool

LENGTHS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 5.0)
COUNTS = {"full": (20, 20, 20, 12, 6, 3), "quick": (4, 4, 4, 3, 1, 0)}

SCATTER = 0.15
"""Lengths scatter by so much: a window of exactly ten updates of a counter would flatter it."""

WARM_UP = {"pause": 0.1, "length": 1.0}
"""Before the windows that count; the first one is a case of its own."""

FIRST_S = 0.3
FIRSTS = {"full": 6, "quick": 1}


def plan(counts: Sequence[int], share: float, seed: int) -> list[dict[str, float]]:
    """Windows of scattered lengths in random order after random pauses.

    Args:
        counts: windows of each length of ``LENGTHS_S``.
        share: of these counts to do.
        seed: of the order and the pauses.
    """
    draw = random.Random(seed)
    lengths = [
        length
        for length, count in zip(LENGTHS_S, counts, strict=True)
        for _ in range(max(round(count * share), 1) if count else 0)
    ]
    draw.shuffle(lengths)
    return [
        {
            "pause": draw.uniform(0.02, 0.15),
            "length": length * draw.uniform(1.0 - SCATTER, 1.0 + SCATTER),
            "nominal": length,
        }
        for length in lengths
    ]


def with_truth(machine: Machine, ran: Ran) -> list[dict[str, Any]]:
    """The rows of a run, each with what was true of the same instants."""
    return [
        {**row, "truth": machine.truth(row["begin"], row["end"])} for row in ran.out.get("rows", [])
    ]


def measure(tool: Tool, profile: str, size: str) -> dict[str, Any]:
    """Windows of all lengths under one load.

    Args:
        tool: to run.
        profile: of ``scenes.PROFILES``.
        size: ``full`` or ``quick``.
    """
    windows = [WARM_UP, *plan(COUNTS[size], tool.windows, seed=7)]
    with Machine(Scene(profile, time.monotonic())) as machine:
        ran = machine.run(tool.python, tool.driver, windows)
        rows = with_truth(machine, ran)[1:]
    return {"rows": rows, "trouble": trouble(ran)}


def first(tool: Tool, size: str) -> dict[str, Any]:
    """The first window after the start, in a fresh process each, under the square load."""
    rows: list[dict[str, Any]] = []
    draw = random.Random(3)
    with Machine(Scene("square", time.monotonic())) as machine:
        for _ in range(FIRSTS[size]):
            length = FIRST_S * draw.uniform(1.0 - SCATTER, 1.0 + SCATTER)
            window = {"length": length, "nominal": FIRST_S}
            ran = machine.run(tool.python, tool.driver, [window])
            rows += with_truth(machine, ran)
    return {"rows": rows, "trouble": trouble(ran)}


def trouble(ran: Ran) -> str:
    """Why there are no figures; empty if there are."""
    rows: Sequence[Mapping[str, Any]] = ran.out.get("rows", [])
    if any(row.get("figures") for row in rows):
        return ""
    failed = [str(row["error"]) for row in rows if row.get("error")]
    why = ran.out.get("open_error") or (failed[0] if failed else f"exit code {ran.code}")
    return f"{why}: {ran.said.strip()[-300:]}"
