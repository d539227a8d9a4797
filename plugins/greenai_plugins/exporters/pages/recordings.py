"""Recordings: power over time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from greenai_core import GreenAIError, Recorded, ReportSource, WindowResult
from greenai_plugins.exporters.pictures.chart import Break, Chart, Scaled, Series, drawn
from greenai_plugins.exporters.pictures.picture import Picture
from greenai_plugins.exporters.quantities import MODELLED, Quantity, written

from .blocks import Cell, Code, Notes, Pictures, Section, Table
from .commands import of_window
from .traces import power_series

MARKED = ("restarted", "resumed")
"""Notes of rows that are drawn as an instant."""

FEW = 12
"""More marks than these would hide the lines."""


def recordings(sources: Sequence[ReportSource]) -> list[tuple[str, Recorded]]:
    """The recordings among them."""
    return [(s.name, s.content) for s in sources if isinstance(s.content, Recorded)]


def window_of(recorded: Recorded) -> WindowResult | str:
    """The energy of all of it, or why there is none."""
    try:
        return recorded.window(name="whole recording")
    except GreenAIError as error:
        return str(error)


def finding(found: Sequence[tuple[str, Recorded]]) -> str:
    """The main thing about them in a sentence."""
    name, recorded = found[0]
    window = window_of(recorded)
    if isinstance(window, str) or window.energy_j is None:
        return f"The energy of {name} is not known; the table says why."
    energy = of_window(window)
    mean = Quantity(window.energy_j / window.duration_s, unit="W")
    words = " (modelled)" if energy.modelled else ""
    span = written(Quantity(window.duration_s, unit="s"))
    return f"{written(energy)}{words} in {span}, {written(mean)} on average."


def sections(found: Sequence[tuple[str, Recorded]]) -> list[Section]:
    """Everything about them, in the order of reading."""
    if not found:
        return []
    many = len(found) > 1
    made = [Section("Summary of the recording" + "s" * many, (_summary(found),))]
    pictures = [p for i, (name, one) in enumerate(found) for p in _power(name, one, i, many)]
    if pictures:
        made.append(Section("Power over time", (Pictures(tuple(pictures)),)))
    unknown = [f"{name}: {w}" for name, one in found if isinstance(w := window_of(one), str)]
    if unknown:
        made[0] = Section(made[0].title, (*made[0].blocks, Notes(tuple(unknown), "warning")))
    return made


def _summary(found: Sequence[tuple[str, Recorded]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, recorded in found:
        window = window_of(recorded)
        if isinstance(window, str):
            rows.append((Code(name), "total", "", "", Quantity(None), Quantity(None)))
            continue
        total = of_window(window)
        rows.append((Code(name), "total", window.method, "", total, _over(total, window)))
        for c in window.channels:
            energy = Quantity(c.energy_j, c.low_j, c.high_j, "J", c.method)
            inside = "yes" if c.in_total else "no"
            rows.append((Code(name), Code(c.id), c.method, inside, energy, _over(energy, window)))
        rows += [
            (Code(name), Code(m.id), f"missing: {m.reason}", "", Quantity(None), Quantity(None))
            for m in window.missing
        ]
    head = ("recording", "channel", "method", "in total", "energy", "mean power")
    return Table("Of the whole recording, with 95 % intervals", head, tuple(rows))


def _over(energy: Quantity, window: WindowResult) -> Quantity:
    def watts(joules: float | None) -> float | None:
        return None if joules is None else joules / window.duration_s

    value, low, high = map(watts, (energy.value, energy.low, energy.high))
    return Quantity(value, low, high, "W", energy.method)


def _power(name: str, recorded: Recorded, index: int, many: bool) -> list[Picture]:
    series = [one for one in _series(recorded) if len(one.points) > 1]
    if not series:
        return []
    rows: list[tuple[Cell, ...]] = [
        (
            Code(one.name),
            Quantity(min([p.y for p in one.points] + [low for _, low, _ in one.area]), unit="W"),
            Quantity(sum(p.y for p in one.points) / len(one.points), unit="W"),
            Quantity(max([p.y for p in one.points] + [high for _, _, high in one.area]), unit="W"),
        )
        for one in series
    ]
    notes = [note for note in recorded.row_notes if note.kind in MARKED]
    breaks = tuple(
        Break(note.time_s, None, None, f"{note.kind}: {note.subject} {note.reason}".strip())
        for note in notes[:FEW]
    )
    chart = Chart(
        "power" if index == 0 else f"power-{index + 1}",
        f"Power over time: {name}" if many else "Power over time",
        "Power of each channel; the band goes from the least to the most where readings were "
        "joined to fit the picture.",
        Scaled("time", "s", log=False),
        Scaled("power", "W", log=False),
        tuple(series),
        breaks,
        Table("Power", ("channel", "least", "mean", "most"), tuple(rows)),
    )
    return [drawn(chart)]


def _series(recorded: Recorded) -> list[Series]:
    """Power of each channel; of counters between their changes."""
    made = []
    for one in recorded.meta.channels:
        modelled = MODELLED in one.channel.method
        times = recorded.times - recorded.column(one.age) if one.age else recorded.times
        if one.power:
            watts = recorded.column(one.power)
        else:
            times, watts = _slopes(times, recorded.column(one.energy), one.grain_s)
        if np.isfinite(watts).any():
            named = one.channel.id
            made.append(power_series(named, times.tolist(), watts.tolist(), modelled=modelled))
    return made


def _slopes(
    times: np.ndarray[tuple[int], np.dtype[np.float64]],
    joules: np.ndarray[tuple[int], np.dtype[np.float64]],
    grain_s: float,
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]
]:
    """Mean power between readings that are several updates apart."""
    known = np.isfinite(times) & np.isfinite(joules)
    times, joules = times[known], joules[known]
    if len(times) < 3:
        return times, np.full(len(times), math.nan)
    gap = float(np.median(np.diff(times)))
    every = max(1, math.ceil(3 * grain_s / gap)) if gap > 0 else 1
    times, joules = times[::every], joules[::every]
    span, rise = np.diff(times), np.diff(joules)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A counter that began anew fell; nobody knows what it counted then.
        watts = np.where((span > 0) & (rise >= 0), rise / span, math.nan)
    return (times[1:] + times[:-1]) / 2, watts
