"""From one cell of a study to its metrics, by name, each with the intervals of that cell."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .figures import Observed
from .medians import RunValue
from .study_cells import CellChannel, CellFigure, CellRecord

TOTAL = "energy_total_j"
PER_SAMPLE = "energy_per_sample_j"
LATENCY = "latency_s"
POWER = "power_w"
SM = "sm_percent"
GPU_MEMORY = "gpu_memory_b"
OBSERVED = "observed"
"""The method of what a device told of itself, beside joules."""

_PARTS = {
    "cpu": "package",
    "dram": "dram",
    "accelerator": "accelerator",
    "psys": "psys",
    "core": "core",
    "uncore": "uncore",
}
"""Component of channels -> the word in the name of their metric."""

_ORDER = (
    TOTAL,
    PER_SAMPLE,
    "energy_package_j",
    "energy_dram_j",
    "energy_gpu*_j",
    "energy_accelerator_j",
    "energy_wall*_j",
    "energy_net_j",
    LATENCY,
    POWER,
    "idle_power_w",
    SM,
    GPU_MEMORY,
)


@dataclass(frozen=True)
class CellMetric:
    """One metric of one cell: its value with intervals, and how it was come by."""

    run: RunValue
    method: str


def gpu_numbers(ids: Sequence[str]) -> Mapping[str, int]:
    """The number that each GPU has in the names of metrics.

    Those whose id ends in a number keep it (``gpu:3``); others are counted from 0 in the order
    of their ids, so that one study calls one board by one name.
    """
    plain = {id: re.fullmatch(r"gpu:(\d+)", id) for id in sorted(set(ids))}
    taken = {int(found[1]) for found in plain.values() if found}
    free = (number for number in range(len(plain) + len(taken) + 1) if number not in taken)
    return {id: int(found[1]) if found else next(free) for id, found in plain.items()}


def gpus_of(cell: CellRecord) -> list[str]:
    """Ids of the GPUs whose joules a cell has."""
    return [channel.id for channel in cell.channels if channel.component == "gpu"]


def metrics_of(cell: CellRecord, gpus: Mapping[str, int]) -> dict[str, CellMetric]:
    """All that a cell knows; what it does not know is not there.

    Args:
        cell: that was measured.
        gpus: see ``gpu_numbers``.
    """
    found: dict[str, CellMetric] = {}
    named = (
        (TOTAL, cell.energy_per_inference_j),
        (PER_SAMPLE, cell.energy_per_sample_j),
        ("energy_net_j", cell.net_energy_per_inference_j),
        (LATENCY, cell.latency_s),
        (POWER, cell.power_w),
        ("idle_power_w", cell.idle_power_w),
    )
    for name, figure in named:
        if figure is not None:
            found[name] = _metric([figure])
    for name, channels in _by_name(cell.channels, gpus).items():
        found[name] = _metric([one.energy_per_inference_j for one in channels])
    found |= _observed(cell)
    return found


def in_order(names: Sequence[str]) -> list[str]:
    """Names of metrics in the fixed order of reports."""
    return sorted(names, key=lambda name: (_place(name), _numbered(name)))


def _place(name: str) -> int:
    for place, pattern in enumerate(_ORDER):
        head, star, tail = pattern.partition("*")
        if name == pattern or (star and name.startswith(head) and name.endswith(tail)):
            return place
    return len(_ORDER)


def _numbered(name: str) -> tuple[str, int]:
    """``energy_gpu10_j`` comes after ``energy_gpu9_j``."""
    number = re.search(r"\d+", name)
    return re.sub(r"\d+", "", name), int(number[0]) if number else -1


def _by_name(
    channels: Sequence[CellChannel], gpus: Mapping[str, int]
) -> dict[str, list[CellChannel]]:
    walls = sum(channel.component == "wall" for channel in channels)
    found: dict[str, list[CellChannel]] = {}
    for channel in channels:
        found.setdefault(f"energy_{_word(channel, gpus, walls)}_j", []).append(channel)
    return found


def _word(channel: CellChannel, gpus: Mapping[str, int], walls: int) -> str:
    if channel.component == "gpu":
        return f"gpu{gpus[channel.id]}"
    if channel.component == "wall":
        # Two meters may see one machine, or two lines of it: only people know what to add.
        label = _plain(channel.id.partition(":")[2] or channel.id)
        return "wall" if walls == 1 else f"wall_{label}"
    return _PARTS.get(channel.component) or _plain(channel.id)


def _plain(id: str) -> str:
    return re.sub(r"\W+", "_", id).strip("_").lower()


def _metric(figures: Sequence[CellFigure]) -> CellMetric:
    """The sum: repetitions scatter independently, the gains of one method err alike."""
    if len(figures) == 1:
        one = figures[0]
        value = one.value
        repeat = (value - one.repeat_low, one.repeat_high - value)
        return CellMetric(RunValue(value, repeat, (value - one.low, one.high - value)), one.method)
    method = "+".join(sorted({figure.method for figure in figures}))
    repeat = (
        math.hypot(*(one.value - one.repeat_low for one in figures)),
        math.hypot(*(one.repeat_high - one.value for one in figures)),
    )
    total = (
        math.hypot(repeat[0], sum(_gain(one.value - one.low, one, -1) for one in figures)),
        math.hypot(repeat[1], sum(_gain(one.high - one.value, one, 1) for one in figures)),
    )
    return CellMetric(RunValue(sum(one.value for one in figures), repeat, total), method)


def _gain(half: float, figure: CellFigure, side: int) -> float:
    repeat = (figure.repeat_high if side > 0 else figure.repeat_low) - figure.value
    return math.sqrt(max(half * half - repeat * repeat, 0.0))


def _observed(cell: CellRecord) -> dict[str, CellMetric]:
    """How busy, full and hot the devices were: of several GPUs those that the total has."""
    used = [id for id in gpus_of(cell) if id in cell.contains]
    by_key: dict[tuple[str, str], list[Observed]] = {}
    for one in cell.observations:
        kind = "gpu" if one.device.startswith("gpu") else one.device
        if kind == "gpu" and used and one.device not in used:
            continue
        by_key.setdefault((kind, one.quantity), []).append(one)
    found: dict[str, float | None] = {
        SM: _mean(by_key.get(("gpu", "utilisation"), [])),
        GPU_MEMORY: _sum_of_most(by_key.get(("gpu", "memory_used"), [])),
        "gpu_temperature_c": _mean(by_key.get(("gpu", "temperature"), [])),
        "gpu_clock_mhz": _mean(by_key.get(("gpu", "clock"), [])),
        "cpu_percent": _mean(by_key.get(("host", "utilisation"), [])),
        "host_memory_b": _sum_of_most(by_key.get(("host", "memory_used"), [])),
        "cpu_temperature_c": _mean(by_key.get(("host", "temperature"), [])),
        "process_memory_b": _sum_of_most(by_key.get(("process", "memory_used"), [])),
    }
    return {
        name: CellMetric(RunValue(value), OBSERVED)
        for name, value in found.items()
        if value is not None
    }


def _mean(seen: Sequence[Observed]) -> float | None:
    known = [one.mean for one in seen if one.mean is not None]
    return sum(known) / len(known) if known else None


def _sum_of_most(seen: Sequence[Observed]) -> float | None:
    known = [one.most for one in seen if one.most is not None]
    return sum(known) if known else None
