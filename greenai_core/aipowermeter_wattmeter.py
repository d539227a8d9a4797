"""``omegawatt.csv``: the log of a wattmeter that AIPowerMeter kept beside its samples.

It is what ``wattmetre-read`` wrote: a line of messages, then a header with ``#timestamp`` (Unix
seconds), ``#frame_is_ok`` and for each plug ``#activepow1`` … (W). Which plugs feed the machine is
not in it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from .aipowermeter_energy import MeanPower, mean_power
from .statistics import Vector

LEAST_W = 1.0
"""A plug that nothing is connected to shows less."""

_POWER = re.compile(r"#?activepow(?:er)?_?(\d+)")


@dataclass(frozen=True)
class Plugs:
    """What the log says.

    Attributes:
        powers: by number of the plug; those that something is connected to.
        bad_rows: left out: damaged frames, and broken lines.
    """

    powers: dict[int, MeanPower]
    bad_rows: int


def read_plugs(content: bytes) -> Plugs | None:
    """The mean power of each plug; None where there is no header or no good row."""
    lines = content.decode("ascii", "replace").splitlines()
    start = next((n for n, line in enumerate(lines) if "#timestamp" in line), None)
    if start is None:
        return None
    header = lines[start][lines[start].index("#timestamp") :]
    names = [name.strip() for name in header.split(",")]
    places = {int(m[1]): n for n, name in enumerate(names) if (m := _POWER.fullmatch(name))}
    times: list[float] = []
    watts: list[list[float]] = []
    bad = 0
    for line in lines[start + 1 :]:
        row = _row(line, names, places)
        if row is None:
            bad += 1
        else:
            times.append(row[0])
            watts.append(row[1])
    if not times or not places:
        return None
    steps = np.maximum(np.diff(np.array(times)), 0.0)
    table: Vector = np.array(watts)
    found = {plug: mean_power(table[:, n], steps) for n, plug in enumerate(places)}
    live = {plug: one for plug, one in found.items() if one and one.watts >= LEAST_W}
    return Plugs(live, bad)


def _row(line: str, names: list[str], places: dict[int, int]) -> tuple[float, list[float]] | None:
    fields = line.split(",")
    if len(fields) != len(names):
        return None
    named = dict(zip(names, fields, strict=True))
    if named.get("#frame_is_ok", "true").strip().lower() not in ("true", "1", "ok"):
        return None
    try:
        row = float(fields[0]), [float(fields[place]) for place in places.values()]
    except ValueError:
        return None
    return row if all(map(math.isfinite, [row[0], *row[1]])) else None
