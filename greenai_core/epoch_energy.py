"""From the windows of epochs to the energy of a step, a sample, an epoch and the whole run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .budget import Term
from .results import ChannelStep, DataWait, EpochResult, Figure, MissingChannel, WindowResult
from .statistics import batch_means, coverage_factor

DERIVATION = (
    "mean power of the epochs × time of waiting: sensors are too slow to tell a wait from the "
    "step after it, and the power while waiting may be lower"
)
FEWEST_EPOCHS = 4
"""Fewer say next to nothing of how epochs differ: of two, the interval is 13 times their spread."""

FEW_EPOCHS = (
    f"fewer than {FEWEST_EPOCHS} complete epochs: the intervals hold the reading and the times of "
    f"steps, not how epochs differ: --epochs {FEWEST_EPOCHS}"
)


@dataclass(frozen=True)
class EpochCosts:
    """What training in epochs costs. See the fields of ``TrainingResult``.

    Attributes:
        used: the epochs that the figures are of: complete ones, or as far as one got.
        method: of the total.
        modelled: channels of the total that no sensor stands behind.
    """

    used: tuple[EpochResult, ...]
    method: str
    modelled: tuple[str, ...]
    energy_per_step_j: Figure | None
    energy_per_sample_j: Figure | None
    energy_per_epoch_j: Figure | None
    step_s: Figure
    power_w: Figure | None
    contains: tuple[str, ...]
    channels: tuple[ChannelStep, ...]


def epoch_costs(epochs: Sequence[EpochResult], step_times: Sequence[float]) -> EpochCosts:
    """The costs of epochs that were measured.

    Args:
        epochs: with their windows; one has a step at least.
        step_times: seconds of each step of them all.
    """
    used = tuple(e for e in epochs if e.complete) or tuple(e for e in epochs if e.steps)
    parts = [window for e in used if (window := e.training) is not None]
    totals = [_total(window) for window in parts]
    spread = _relative_spread(step_times)
    method, contains = parts[0].method, parts[0].contains
    told = f"{len(parts)} epochs added up ({', '.join(contains)})"

    def per(counts: Sequence[float], provenance: str) -> Figure | None:
        return _per(totals, counts, spread, method, provenance)

    steps = [float(e.steps) for e in used]
    samples = [float(e.samples) for e in used]
    one = f"mean of {len(parts)} epochs, validation apart"
    return EpochCosts(
        used=used,
        method=method,
        modelled=tuple(c.id for c in parts[0].channels if c.in_total and c.method == "modelled"),
        energy_per_step_j=per(steps, f"{told}, divided by their steps"),
        energy_per_sample_j=per(samples, f"{told}, divided by their samples"),
        energy_per_epoch_j=per([1.0] * len(parts), one) if used[0].complete else None,
        step_s=_seconds(step_times),
        power_w=per([window.duration_s for window in parts], f"{told}, over time"),
        contains=contains,
        channels=_channels(parts, steps, spread),
    )


@dataclass(frozen=True)
class _Energy:
    """Joules of one window: the value, and the upper ends of its two intervals."""

    value: float
    repeat_high: float
    high: float

    @property
    def reading(self) -> float:
        """Half-width of the interval without the gains of the sensors."""
        return self.repeat_high - self.value

    @property
    def gain(self) -> float:
        """Half-width of what the gains of the sensors add to it."""
        return math.sqrt(max((self.high - self.value) ** 2 - self.reading**2, 0.0))


def _total(window: WindowResult) -> _Energy | None:
    value, repeat, high = window.energy_j, window.repeat_high_j, window.high_j
    return None if value is None or repeat is None or high is None else _Energy(value, repeat, high)


def _per(
    energies: Sequence[_Energy | None],
    counts: Sequence[float],
    step_spread: float,
    method: str,
    provenance: str,
) -> Figure | None:
    """Energy of one of ``counts``; None where the energy of a window is not known.

    Several epochs show by their spread what another one would cost. Of few, the
    interval is that of the reading widened by the spread of the steps' times.
    """
    known = [energy for energy in energies if energy is not None]
    if len(known) < len(energies) or not known:
        return None
    count = math.fsum(counts)
    value = math.fsum(energy.value for energy in known) / count
    reading = math.sqrt(math.fsum(energy.reading**2 for energy in known)) / count
    gain = math.fsum(energy.gain for energy in known) / count
    parts = {"window": reading, "step times": abs(value) * step_spread}
    if len(known) >= FEWEST_EPOCHS:
        each = [energy.value / number for energy, number in zip(known, counts, strict=True)]
        spread = batch_means(each).half
        parts = {"repetition": spread} if spread > reading else {"window": reading}
    return _figure(value, parts, gain, method, provenance)


def _figure(
    value: float, parts: Mapping[str, float], gain: float, method: str, provenance: str
) -> Figure:
    """A figure from the 95 % half-widths of what is uncertain of it."""
    half = math.hypot(*parts.values())
    total = math.hypot(half, gain)
    floor = min(value, 0.0)
    k = coverage_factor()
    budget = tuple(Term(name, width / k) for name, width in parts.items() if width)
    if gain:
        budget += (Term("gain", gain / k, repeats=False, detail="of the sensors"),)
    return Figure(
        value,
        max(value - total, floor),
        value + total,
        max(value - half, floor),
        value + half,
        method,
        provenance,
        budget,
    )


def _relative_spread(times: Sequence[float]) -> float:
    """Relative half-width of the mean time of a step; 1 where one step shows none."""
    interval = batch_means(times)
    if math.isinf(interval.half) or interval.mean <= 0:
        return 1.0
    return interval.half / interval.mean


def _seconds(times: Sequence[float]) -> Figure:
    mean = float(np.mean(times))
    provenance = f"mean of {len(times)} steps on the monotonic clock, with waiting for data"
    parts = {"step times": mean * _relative_spread(times)}
    return _figure(mean, parts, 0.0, "clock", provenance)


def _channels(
    parts: Sequence[WindowResult], steps: Sequence[float], spread: float
) -> tuple[ChannelStep, ...]:
    found = []
    for channel in parts[0].channels:
        same = [c for part in parts for c in part.channels if c.id == channel.id]
        if len(same) < len(parts):
            continue
        energies = [_Energy(c.energy_j, c.repeat_high_j, c.high_j) for c in same]
        figure = _per(energies, steps, spread, channel.method, channel.id)
        if figure is not None:
            found.append(
                ChannelStep(
                    channel.id,
                    channel.component,
                    channel.method,
                    channel.profiler,
                    channel.in_total,
                    figure,
                )
            )
    return tuple(found)


def missing_channels(windows: Iterable[WindowResult]) -> tuple[MissingChannel, ...]:
    """Each channel that a window lacks, once."""
    lost = {missing.id: missing for window in windows for missing in window.missing}
    return tuple(lost.values())


def energy_of_run(windows: Sequence[WindowResult], method: str) -> Figure | None:
    """It happened once: what is uncertain of it is the reading and the gains."""
    totals = [_total(window) for window in windows]
    known = [energy for energy in totals if energy is not None]
    if len(known) < len(totals):
        return None
    return _figure(
        math.fsum(energy.value for energy in known),
        {"window": math.sqrt(math.fsum(energy.reading**2 for energy in known))},
        math.fsum(energy.gain for energy in known),
        method,
        f"{len(known)} windows added up, training and validation",
    )


def data_wait(epochs: Sequence[EpochResult]) -> DataWait:
    """Time and joules spent waiting for data."""
    waited = math.fsum(e.wait_s for e in epochs)
    seconds = math.fsum(e.duration_s for e in epochs)
    joules = [e.training.energy_j if e.training else None for e in epochs]
    known = [j for j in joules if j is not None]
    share = waited / seconds if seconds > 0 else 0.0
    whole = len(known) == len(joules)
    return DataWait(waited, share, math.fsum(known) * share if whole else None, DERIVATION)
