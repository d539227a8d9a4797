"""``power_metrics.json`` as AIPowerMeter wrote it: lines in, columns out.

Each line is a JSON object ``{"date": "2021-12-08 13:55:49.307695", "metrics": {"cpu": {…},
"gpu": {…}}}``; since July 2023 the line ``"END OF RECORDING SEGMENT"`` closes a recording, and
further ones may follow in the same file. The date is the local time *after* the sample, without
a time zone. The keys changed three times (https://github.com/GreenAI-Uppa/AIPowerMeter,
``rapl_power.py`` and ``gpu_power.py`` at the dates given):

========================================== =============================================
 what                                       keys
========================================== =============================================
 power of the CPU packages, W               ``intel_power``
 of their cores, uncore, memory             ``total_cpu_power``, ``uncore_power`` (a list of
                                            one since October 2021), ``total_dram_power``
 of the whole platform                      ``psys_power``; −1 where there is none
 memory of the processes, B by pid          ``mem_use_abs`` until October 2021,
                                            ``per_process_mem_use_abs`` since
 share of the processors' time by pid       ``cpu_uses``, then ``per_process_cpu_uses``
 packages' power given to the processes     ``per_process_cpu_power`` (of the cores),
                                            ``rel_intel_power`` (since August 2023)
 power of all boards, and of each, W        ``nvidia_draw_absolute``, ``per_gpu_power_draw``
                                            until 2025; ``nvidia_power``,
                                            ``per_gpu_nvidia_power`` since March 2026
 boards' power given to the processes       ``nvidia_estimated_attributable_power_draw`` until
                                            December 2021, ``per_gpu_attributable_power``
                                            with the key ``all`` until 2025
 SM utilisation                             a list of ``{"gpu", "pid", "sm", …}`` in percent
                                            (``per_gpu_average_estimated_utilization_absolute``,
                                            until December 2021); shares of 1 by board
                                            (``per_gpu_absolute_percent_usage``, until
                                            2025); percent by board
                                            (``per_gpu_nvidia_use_rate``, since 2026)
 memory on the boards, B                    by board and pid of the experiment
                                            (``per_gpu_attributable_mem_use``); by board,
                                            of everybody (``per_gpu_nvidia_memory``, 2026)
========================================== =============================================

What a line does not tell is NaN in its column, never zero.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from .statistics import Vector

SEGMENT_END = "END OF RECORDING SEGMENT"

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # the dates of the files have no time zone either

Row = dict[str, float]


@dataclass
class Recorded:
    """The samples of one file.

    Attributes:
        times: s, of the clock on the wall of whoever recorded; only differences mean something.
        segments: number of the recording that each sample belongs to.
        columns: by name, one value a sample, NaN where it is not known: ``package_w``,
            ``dram_w``, ``core_w``, ``uncore_w``, ``psys_w``, ``gpus_w``, ``gpu:0_w`` …,
            ``attributed_cpu_w``, ``attributed_gpu_w``, ``gpu:0_sm`` (%), ``gpu:0_memory`` (B),
            ``memory`` (of the processes, B); ``modelled`` where power was modelled, by greenai.
        versions: of the keys, as dates.
        damaged: numbers of the lines that could not be read.
        cut: whether the last line ends in the middle.
    """

    times: Vector = field(default_factory=lambda: np.empty(0))
    segments: Vector = field(default_factory=lambda: np.empty(0))
    columns: dict[str, Vector] = field(default_factory=dict)
    versions: tuple[str, ...] = ()
    damaged: tuple[int, ...] = ()
    cut: bool = False


def read_lines(content: bytes) -> Recorded:
    """The samples in a file; a line that cannot be read is left out and named."""
    times: list[float] = []
    segments: list[int] = []
    rows: list[Row] = []
    damaged: list[int] = []
    versions: dict[str, None] = {}
    segment = 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            if data == SEGMENT_END:
                segment += 1
                continue
            # The dates are naive on purpose: with a zone of ours, an hour could be folded.
            instant = (datetime.fromisoformat(data["date"]) - _EPOCH).total_seconds()
            rows.append(_row(data["metrics"], versions))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            damaged.append(number)
            continue
        times.append(instant)
        segments.append(segment)
    cut = bool(damaged) and not content.endswith(b"\n") and damaged[-1] == content.count(b"\n") + 1
    return Recorded(
        np.array(times),
        np.array(segments, dtype=float),
        _columns(rows),
        tuple(versions),
        tuple(damaged),
        cut,
    )


def _columns(rows: list[Row]) -> dict[str, Vector]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, math.nan) for row in rows]) for name in names}


def _row(metrics: Mapping[str, Any], versions: dict[str, None]) -> Row:
    row: Row = {}
    cpu, gpu = metrics.get("cpu"), metrics.get("gpu")
    if cpu:
        _cpu(cpu, row, versions)
        if any(key.startswith("modelled_") for key in cpu):
            row["modelled"] = 1.0
    if gpu:
        if "per_gpu_nvidia_power" in gpu:
            _gpu_2026(gpu, row)
            versions["2026"] = None
        else:
            _gpu(gpu, row, versions)
    return row


def _cpu(cpu: Mapping[str, Any], row: Row, versions: dict[str, None]) -> None:
    get = cpu.get
    for key, name in (
        ("intel_power", "package_w"),
        ("total_dram_power", "dram_w"),
        ("total_cpu_power", "core_w"),
        ("uncore_power", "uncore_w"),
        ("psys_power", "psys_w"),
    ):
        value = get(key)
        if value is None:
            continue
        if isinstance(value, list):
            value = value[0]
        if name == "psys_w" and value < 0:
            continue
        row[name] = float(value)
    memory = get("per_process_mem_use_abs")
    if memory is None and (memory := get("mem_use_abs")) is not None:
        versions["2021"] = None
    if memory:
        row["memory"] = float(sum(memory.values()))
    share = get("rel_intel_power") or get("per_process_cpu_power")
    if share:
        row["attributed_cpu_w"] = float(sum(share.values()))


def _gpu(gpu: Mapping[str, Any], row: Row, versions: dict[str, None]) -> None:
    """The keys of 2021 to 2025."""
    draw = gpu.get("nvidia_draw_absolute")
    if draw is not None:
        row["gpus_w"] = float(draw)
    for board, watts in (gpu.get("per_gpu_power_draw") or {}).items():
        row[f"gpu:{board}_w"] = float(watts)
    for board, by_pid in (gpu.get("per_gpu_attributable_mem_use") or {}).items():
        known = [value for value in by_pid.values() if value is not None]
        if known:
            row[f"gpu:{board}_memory"] = float(sum(known))
    attributed = gpu.get("nvidia_estimated_attributable_power_draw")
    if attributed is None:
        attributed = (gpu.get("per_gpu_attributable_power") or {}).get("all")
    if attributed is not None:
        row["attributed_gpu_w"] = float(attributed)
    shares = gpu.get("per_gpu_absolute_percent_usage")
    if shares is not None:
        versions["2022"] = None
        for board, share in shares.items():
            # In December 2021 it was by pid too.
            used = sum(share.values()) if isinstance(share, dict) else share
            row[f"gpu:{board}_sm"] = 100.0 * float(used)
        return
    versions["2021"] = None
    for one in gpu.get("per_gpu_average_estimated_utilization_absolute") or ():
        name = f"gpu:{int(one['gpu'])}_sm"
        row[name] = row.get(name, 0.0) + float(one["sm"])


def _gpu_2026(gpu: Mapping[str, Any], row: Row) -> None:
    row["gpus_w"] = float(gpu["nvidia_power"])
    for board, watts in gpu["per_gpu_nvidia_power"].items():
        row[f"gpu:{board}_w"] = float(watts)
    for board, percent in gpu.get("per_gpu_nvidia_use_rate", {}).items():
        row[f"gpu:{board}_sm"] = float(percent)
    for board, used in gpu.get("per_gpu_nvidia_memory", {}).items():
        row[f"gpu:{board}_memory"] = float(used)
