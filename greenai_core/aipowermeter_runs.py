"""One recording of AIPowerMeter as a cell of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .aipowermeter_energy import MeanPower, joined, mean_power, steps_of
from .aipowermeter_lines import Recorded
from .aipowermeter_wattmeter import Plugs
from .channels import MODELLED, SAMPLED
from .figures import Observed
from .statistics import Vector, batch_means
from .study_cells import DONE, FAILED, CellChannel, CellFigure, CellKey, CellRecord

GAINS = {"cpu": 0.03, "dram": 0.03, "gpu": 0.056, "wall": 0.015 / math.sqrt(3)}
"""Relative standard uncertainties (k = 1) of the sensors behind the figures, see
``docs/method.md``: Intel's counters, NVIDIA's boards, and the class of the wattmeter."""

MODEL_HALF = 0.4
"""95 % half-width of power that is given to processes by their share of the time."""

LONG = 1.25
"""A recording that is longer than the inferences by more contains other things."""

MOSTLY = 0.9


@dataclass(frozen=True)
class Work:
    """What was run meanwhile, as far as files tell.

    Attributes:
        inferences: in the recording; None where nobody knows.
        latencies: of each inference, s; empty where they were not written.
    """

    inferences: int | None
    latencies: Vector


def cell_of(
    key: CellKey,
    folder: str,
    recorded: Recorded,
    work: Work,
    plugs: Plugs | None = None,
    notes: Sequence[str] = (),
) -> CellRecord:
    """The cell that a recording is.

    Args:
        key: which one.
        folder: that it lies in, for people.
        recorded: its samples.
        work: the inferences.
        plugs: of the wattmeter.
        notes: what was wrong with the files.
    """
    steps, gaps = steps_of(recorded)
    powers = {
        name: power
        for name, column in recorded.columns.items()
        if name.endswith("_w") and (power := mean_power(column, steps)) is not None
    }
    if not powers and not plugs:
        told = "no sample tells any power"
        if "modelled" in recorded.columns:
            told = "no sample tells measured power, and modelled power does not count here"
        reason = "; ".join([told, *notes])
        return CellRecord(key, FAILED, reason, "", "", folder)
    seconds = float(steps.sum())
    boards, all_boards = _boards(recorded, powers)
    parts = [("cpu/package", "cpu", "package_w"), ("cpu/dram", "dram", "dram_w")]
    parts += [(board, "gpu", f"{board}_w") for board in boards]
    inside = [(id, kind, powers[name]) for id, kind, name in parts if name in powers]
    if not boards and "gpus_w" in powers:
        inside.append(("gpu:all", "gpu", powers["gpus_w"]))
    whole = joined([power for _, _, power in inside]) if inside else None
    scale = _Scale(work, seconds)
    channels = [_channel(id, kind, True, power, scale) for id, kind, power in inside]
    channels += _beside(powers, set(boards), plugs, scale)
    total = _summed([one for one in channels if one is not None and one.in_total], whole, scale)
    warnings = [*notes, *_warnings(recorded, work, gaps, seconds, inside, scale, all_boards)]
    return CellRecord(
        key,
        DONE,
        "",
        "",
        "",
        folder,
        inferences=work.inferences or 0,
        energy_per_inference_j=total,
        energy_per_sample_j=None if total is None else _times(total, 1 / key.batch_size),
        latency_s=_latency(work.latencies),
        power_w=_power([(kind, power) for _, kind, power in inside]),
        contains=tuple(id for id, _, _ in inside),
        channels=tuple(one for one in channels if one is not None),
        observations=tuple(_observed(recorded, boards or all_boards)),
        warnings=tuple(warnings),
    )


def _boards(recorded: Recorded, powers: Mapping[str, MeanPower]) -> tuple[list[str], list[str]]:
    """The boards that the experiment had memory on or kept busy; else all; and all."""
    every = sorted(name[:-2] for name in powers if name.startswith("gpu:"))
    if "2026" in recorded.versions:
        return every, every  # of that time everybody's use is told, not the experiment's
    used = []
    for board in every:
        signs = [recorded.columns.get(f"{board}_{what}") for what in ("memory", "sm")]
        if any(sign is not None and np.nanmax(sign, initial=0.0) > 0 for sign in signs):
            used.append(board)
    return used or every, every


class _Scale:
    """From mean power to the joules of one inference."""

    def __init__(self, work: Work, seconds: float) -> None:
        self.inferences = work.inferences
        self.work_s = float(work.latencies.sum()) if len(work.latencies) else None
        self.each_s = float(work.latencies.mean()) if len(work.latencies) else None
        self.seconds = seconds

    def joules(self, power: MeanPower) -> float | None:
        """Of one inference; None where the number of inferences is not known."""
        if self.each_s is not None:
            return power.watts * self.each_s
        if self.inferences and power.seconds:
            return power.joules / power.share / self.inferences
        return None

    def by_areas(self, power: MeanPower) -> float | None:
        """What all that was recorded comes to for one inference."""
        if not self.inferences or not power.seconds:
            return None
        return power.joules / power.share / self.inferences


def _figure(power: MeanPower, gain: float, scale: _Scale, method: str) -> CellFigure | None:
    value = scale.joules(power)
    if value is None:
        return None
    share = power.half / power.watts if power.half is not None and power.watts > 0 else None
    half = value * share if share is not None and math.isfinite(share) else value
    gained = (MODEL_HALF if method == MODELLED else 1.96 * gain) * value
    low, high = value - math.hypot(half, gained), value + math.hypot(half, gained)
    other = scale.by_areas(power)
    if other is not None:
        low, high = min(low, other), max(high, other)
    return CellFigure(value, low, high, value - half, value + half, method)


def _channel(
    id: str, kind: str, in_total: bool, power: MeanPower, scale: _Scale, method: str = SAMPLED
) -> CellChannel | None:
    figure = _figure(power, GAINS.get(kind, GAINS["cpu"]), scale, method)
    return None if figure is None else CellChannel(id, kind, in_total, figure)


def _beside(
    powers: Mapping[str, MeanPower], boards: set[str], plugs: Plugs | None, scale: _Scale
) -> list[CellChannel | None]:
    """What no total contains: parts of others, what holds others, and what is worked out."""
    named = [
        (id, kind, powers[name], method)
        for id, kind, name, method in (
            ("cpu/core", "core", "core_w", SAMPLED),
            ("cpu/uncore", "uncore", "uncore_w", SAMPLED),
            ("psys", "psys", "psys_w", SAMPLED),
            ("attributed/cpu", "other", "attributed_cpu_w", MODELLED),
            ("attributed/gpu", "other", "attributed_gpu_w", MODELLED),
        )
        if name in powers
    ]
    idle = sorted(name for name in powers if name.startswith("gpu:") and name[:-2] not in boards)
    named += [(name[:-2], "gpu", powers[name], SAMPLED) for name in idle]
    if plugs is not None:
        named += [(f"wall:plug{n}", "wall", one, SAMPLED) for n, one in plugs.powers.items()]
    return [_channel(id, kind, False, power, scale, method) for id, kind, power, method in named]


def _summed(
    channels: Sequence[CellChannel], whole: MeanPower | None, scale: _Scale
) -> CellFigure | None:
    """The total: gains of Intel's and NVIDIA's sensors are independent, those of one alike."""
    if whole is None or not channels:
        return None
    value = scale.joules(whole)
    if value is None:
        return None
    half = math.hypot(*(c.energy_per_inference_j.repeat_high - c.energy_per_inference_j.value
                        for c in channels))  # fmt: skip
    by_sensor = {"cpu": 0.0, "gpu": 0.0}
    for one in channels:
        sensor = "gpu" if one.component == "gpu" else "cpu"
        by_sensor[sensor] += 1.96 * GAINS[one.component] * one.energy_per_inference_j.value
    reach = math.hypot(half, *by_sensor.values())
    other = scale.by_areas(whole)
    ends = [value - reach, value + reach, *([] if other is None else [other])]
    return CellFigure(value, min(ends), max(ends), value - half, value + half, SAMPLED)


def _times(figure: CellFigure, factor: float) -> CellFigure:
    return CellFigure(
        figure.value * factor,
        figure.low * factor,
        figure.high * factor,
        figure.repeat_low * factor,
        figure.repeat_high * factor,
        figure.method,
    )


def _latency(latencies: Vector) -> CellFigure | None:
    if not len(latencies):
        return None
    mean = float(latencies.mean())
    half = batch_means(latencies).half if len(latencies) > 1 else mean
    half = half if math.isfinite(half) else mean
    return CellFigure(mean, mean - half, mean + half, mean - half, mean + half, "clock")


def _power(parts: Sequence[tuple[str, MeanPower]]) -> CellFigure | None:
    if not parts:
        return None
    watts = sum(power.watts for _, power in parts)
    half = joined([power for _, power in parts]).half
    half = half if half is not None and math.isfinite(half) else watts
    by_sensor = {"cpu": 0.0, "gpu": 0.0}
    for kind, power in parts:
        by_sensor["gpu" if kind == "gpu" else "cpu"] += 1.96 * GAINS[kind] * power.watts
    reach = math.hypot(half, *by_sensor.values())
    return CellFigure(watts, watts - reach, watts + reach, watts - half, watts + half, SAMPLED)


def _observed(recorded: Recorded, boards: Sequence[str]) -> list[Observed]:
    looked = [(board, "utilisation", "%", f"{board}_sm") for board in boards]
    looked += [(board, "memory_used", "B", f"{board}_memory") for board in boards]
    looked.append(("process", "memory_used", "B", "memory"))
    found = []
    for device, quantity, unit, name in looked:
        column = recorded.columns.get(name)
        known = None if column is None else column[~np.isnan(column)]
        if known is not None and len(known):
            mean, least, most = float(known.mean()), float(known.min()), float(known.max())
            found.append(Observed(device, quantity, unit, len(known), mean, least, most))
    return found


def _warnings(
    recorded: Recorded,
    work: Work,
    gaps: int,
    seconds: float,
    inside: Sequence[tuple[str, str, MeanPower]],
    scale: _Scale,
    boards: Sequence[str],
) -> list[str]:
    notes = []
    if gaps:
        notes.append(f"{gaps} pauses without a mark are not in the joules")
    if len(recorded.times) == 1:
        notes.append("one sample only: its power stands for the whole run")
    if work.inferences is None:
        notes.append(
            "how many inferences ran is not known (no latency.csv or latency.json): joules of "
            "one cannot be given; --inferences tells it"
        )
    elif scale.work_s and seconds > LONG * scale.work_s:
        notes.append(
            "recorded for much longer than the inferences took: the mean power holds "
            "other things too"
        )
    elif scale.work_s is None:
        notes.append("no latencies: all that was recorded is taken as the inferences'")
    notes += [
        f"{id} is known in a part of the recording only"
        for id, _, power in inside
        if 0 < power.share < MOSTLY
    ]
    if "2026" in recorded.versions and len(boards) > 1:
        notes.append("which board the model used was not recorded: all of them are in the total")
    attributed, drawn = (recorded.columns.get(name) for name in ("attributed_gpu_w", "gpus_w"))
    if attributed is not None and drawn is not None and np.nanmean(attributed) > np.nanmean(drawn):
        notes.append(
            "the power attributed to the processes exceeds what the boards drew: AIPowerMeter "
            "took the lowest power cap for the power of a board that does nothing"
        )
    return notes
