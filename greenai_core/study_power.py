"""``power_metrics.json`` as AIPowerMeter writes it, from the readings of a cell.

One JSON object a line, ``{"date": …, "metrics": {"cpu": {…}, "gpu": {…}}}``; each line has the
mean power since the one before. Keys are AIPowerMeter's, for what they stand for there:
measured power only. What is modelled has names of its own that begin with ``modelled_``, and
what is not known is not there.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .blocks import RunReadings
from .channels import Channel
from .conditions import Series
from .host_use import HostUse
from .results import Observed
from .statistics import Indices, Vector

RAPL_KEYS: Mapping[str, str] = {
    "package": "intel_power",
    "dram": "total_dram_power",
    "core": "total_cpu_power",
    "uncore": "uncore_power",
}
"""Last part of a channel's id -> AIPowerMeter's key, which sums over sockets."""

FEWEST_LINES = 2
"""Energy over time needs two instants."""


def power_lines(
    readings: RunReadings,
    period_s: float,
    date: Callable[[float], datetime.datetime],
    host: HostUse | None = None,
) -> list[str]:
    """The lines of a cell, at least one.

    Args:
        readings: of the cell.
        period_s: between two lines; a shorter cell has two of its halves.
        date: of an instant on the clock of the readings, in local time.
        host: what this process and the machine used meanwhile.
    """
    at = borders(readings, period_s)
    instants = readings.before[at]
    energies, _ = readings.energies(at, instants)
    watts = {id: joules / np.diff(instants) for id, joules in energies.items()}
    channels = [kept.channel for kept in readings.channels if kept.channel.id in watts]
    seen = readings.conditions.telemetry if readings.conditions is not None else ()
    lines = []
    for number, (start, end) in enumerate(pairwise(instants)):
        now = {id: float(values[number]) for id, values in watts.items()}
        use = None if host is None else host.between(start, end)
        metrics = power_metrics(channels, now, _told(seen, start, end), use)
        moment = date(float(end)).isoformat(sep=" ", timespec="microseconds")
        lines.append(json.dumps({"date": moment, "metrics": metrics}, separators=(", ", ": ")))
    return lines


def borders(readings: RunReadings, period_s: float) -> Indices:
    """Numbers of the ticks nearest to where lines end, the first one where the cell begins."""
    instants = readings.before[readings.first :]
    length = float(instants[-1] - instants[0])
    wanted = max(FEWEST_LINES, round(length / period_s))
    ideal = np.linspace(instants[0], instants[-1], wanted + 1)
    nearest = np.searchsorted(instants, ideal - np.diff(instants).min(initial=math.inf) / 2)
    return np.unique(np.clip(nearest, 0, len(instants) - 1)) + readings.first


def _told(seen: Sequence[Series], start: float, end: float) -> list[Observed]:
    """What devices showed in a stretch of time; without a look in it, at the one nearest to it."""
    found = []
    for one in seen:
        mean = one.mean_in(start, end)
        if mean is None and len(one.values):
            mean = float(one.values[_nearest(one.instants, end)])
        if mean is not None:
            found.append(Observed(one.device, one.quantity, one.unit, 1, mean))
    return found


def _nearest(instants: Vector, instant: float) -> int:
    return int(np.abs(instants - instant).argmin())


def power_metrics(
    channels: Sequence[Channel],
    watts: Mapping[str, float],
    seen: Sequence[Observed],
    use: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One line's metrics under AIPowerMeter's keys.

    Args:
        channels: that have a power.
        watts: by id of a channel, W.
        seen: what the devices showed meanwhile.
        use: what processes used, under AIPowerMeter's keys; see ``HostUse.between``.

    Returns:
        Groups ``cpu``, ``gpu``, ``gpu_modelled`` and ``wall``; what is not known is not there.
    """
    groups = {
        "cpu": {**_cpu(channels, watts), **_memory(seen)},
        "gpu": _gpu(channels, watts, seen),
        "gpu_modelled": _gpu_modelled(channels, watts),
        "wall": {c.id.partition(":")[2]: watts[c.id] for c in channels if c.component == "wall"},
    }
    if use is not None:
        groups["cpu"].update(_own(groups, use))
    return {name: group for name, group in groups.items() if group}


def _cpu(channels: Sequence[Channel], watts: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for channel in channels:
        key = _cpu_key(channel)
        if key is not None:
            found[key] = found.get(key, 0.0) + watts[channel.id]
    return found


def _cpu_key(channel: Channel) -> str | None:
    if channel.component in ("gpu", "accelerator", "wall"):
        return None
    if not channel.measured:
        return f"modelled_{channel.component}_power"
    if channel.component == "psys":
        return "psys_power"
    return RAPL_KEYS.get(channel.id.rpartition("/")[2], f"{channel.component}_power")


def _memory(seen: Sequence[Observed]) -> dict[str, float]:
    """Memory in use on the whole machine, B."""
    host = [one.mean for one in seen if (one.device, one.quantity) == ("host", "memory_used")]
    return {"total_mem_use": host[0]} if host and host[0] is not None else {}


def _gpu_modelled(
    channels: Sequence[Channel], watts: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """A group of its own: AIPowerMeter's parser expects all its keys wherever ``gpu`` is."""
    boards = [c for c in channels if c.component == "gpu"]
    modelled = {str(n): watts[c.id] for n, c in enumerate(boards) if not c.measured}
    return {"per_gpu_modelled_power": modelled} if modelled else {}


def _gpu(
    channels: Sequence[Channel], watts: Mapping[str, float], seen: Sequence[Observed]
) -> dict[str, Any]:
    """By the number of each board; AIPowerMeter has the sums and means beside it."""
    boards = [c for c in channels if c.component == "gpu"]
    found: dict[str, Any] = {}
    measured = {str(n): watts[c.id] for n, c in enumerate(boards) if c.measured}
    if not measured:
        return found
    found["nvidia_power"] = found["nvidia_draw_absolute"] = math.fsum(measured.values())
    found["per_gpu_nvidia_power"] = measured
    for key, quantity, joined in (
        ("nvidia_use_rate", "utilisation", lambda v: math.fsum(v) / len(v)),
        ("nvidia_memory", "memory_used", math.fsum),
    ):
        each = {
            str(number): one.mean
            for number, board in enumerate(boards)
            for one in seen
            if board.measured and one.device == board.id and one.quantity == quantity
        }
        values = [value for value in each.values() if value is not None]
        if values:
            found[key] = joined(values)
            found[f"per_gpu_{key}"] = each
    return found


def _own(metrics: Mapping[str, Any], use: Mapping[str, Any]) -> dict[str, Any]:
    """What this process used, and its share of the measured power as AIPowerMeter reckons it."""
    found = dict(use)
    cpu = metrics.get("cpu", {})
    shares = use.get("per_process_cpu_uses")
    for key, of in (
        ("rel_intel_power", "intel_power"),
        ("per_process_cpu_power", "total_cpu_power"),
    ):
        if shares and of in cpu:
            found[key] = {pid: share * cpu[of] for pid, share in shares.items()}
    return found
