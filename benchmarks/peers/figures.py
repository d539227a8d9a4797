"""Errors against the truth, and what is said about them. Pure functions."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

CLEARLY = 0.8
"""Another tool is called better where its RMS error is below this share of ours ..."""

NOTABLY = 0.002
"""... and lower by more than this (0.2 percentage points)."""


@dataclass(frozen=True)
class Spread:
    """Relative errors of some windows, as shares (0.01 is 1 %).

    Attributes:
        count: windows.
        median: of the absolute errors.
        rms: root of the mean square.
        p95: 95 % of the absolute errors are at most this.
        bias: mean, with its sign.
    """

    count: int
    median: float
    rms: float
    p95: float
    bias: float


def spread(errors: Sequence[float]) -> Spread | None:
    """Summary of relative errors; None of none."""
    if not errors:
        return None
    sizes = sorted(abs(error) for error in errors)
    return Spread(
        len(errors),
        statistics.median(sizes),
        math.sqrt(statistics.fmean(error**2 for error in errors)),
        sizes[math.ceil(0.95 * len(sizes)) - 1],
        statistics.fmean(errors),
    )


def cpu_joules(figures: Mapping[str, Any]) -> float | None:
    """All that a tool gives for the CPU, DRAM included where it has it; None without any."""
    if figures.get("cpu") is not None:
        return float(figures["cpu"])
    parts = [figures[part] for part in ("package", "dram") if figures.get(part) is not None]
    return sum(parts) if parts else None


def meant(rows: Iterable[Row]) -> str:
    """What the one CPU figure of a tool is: ``package``, or ``cpu`` with DRAM.

    To be generous it is whatever the figures are nearer to.
    """
    kept = [row for row in rows if (row.get("figures") or {}).get("cpu") is not None]

    def typical(part: str) -> float:
        away = [abs(row["figures"]["cpu"] / row["truth"][part] - 1.0) for row in kept]
        return float(statistics.median(away))

    if not kept:
        return "package"
    return min(("package", "cpu"), key=typical)


def errors(rows: Sequence[Row], part: str, length: float) -> list[float]:
    """Relative errors of the windows of one length.

    Args:
        rows: of one tool.
        part: ``package`` or ``gpu``.
        length: s.
    """
    single = meant(rows)
    found = []
    for row in rows:
        given = row.get("figures") or {}
        value, truth = given.get(part), row["truth"][part]
        if part == "package" and value is None and given.get("cpu") is not None:
            value, truth = given["cpu"], row["truth"][single]
        if row["length"] == length and value is not None:
            found.append(value / truth - 1.0)
    return found


@dataclass(frozen=True)
class Held:
    """How often intervals held the truth, and how wide they were.

    Attributes:
        count: windows.
        total, repeat: share of them, with and without the uncertainty of the gain.
        half_width: median over the truth, without it.
    """

    count: int
    total: float
    repeat: float
    half_width: float


def held(rows: Iterable[Row], part: str, length: float) -> Held | None:
    """Of the windows of one length; None where none has an interval."""
    total, repeat, widths = [], [], []
    for row in rows:
        interval = ((row.get("figures") or {}).get("intervals") or {}).get(part)
        if row["length"] != length or interval is None:
            continue
        low, high, repeat_low, repeat_high = interval
        truth = row["truth"][part]
        total.append(low <= truth <= high)
        repeat.append(repeat_low <= truth <= repeat_high)
        widths.append((repeat_high - repeat_low) / 2 / truth)
    if not total:
        return None
    return Held(
        len(total), statistics.fmean(total), statistics.fmean(repeat), statistics.median(widths)
    )


def better(ours: Spread, theirs: Spread) -> bool:
    """Whether theirs is clearly the smaller error."""
    return theirs.rms < CLEARLY * ours.rms and ours.rms - theirs.rms > NOTABLY


def percent(share: float | None) -> str:
    """A share in at most four characters, without the sign %."""
    if share is None:
        return "-"
    value = abs(share) * 100
    if value >= 999.5:
        return ">999"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


_WORTH_SAYING = re.compile(
    r"rapl|cpu|permission|energy|power|gpu|nvml|counter|sensor|measur|missing|fail|lost", re.I
)


def told(said: str, usual: str) -> list[str]:
    """Lines about sensors that a tool does not print on a sound machine.

    Args:
        said: what it printed.
        usual: what it prints on a sound machine.
    """
    known = {_plain(line) for line in usual.splitlines()}
    return [
        line.strip()
        for line in said.splitlines()
        if _WORTH_SAYING.search(line) and _plain(line) not in known
    ]


def _plain(line: str) -> str:
    return re.sub(r"\d+", "0", line).strip()
