"""From the power that AIPowerMeter sampled to the joules of one inference.

AIPowerMeter integrates power between the dates of neighbouring samples (trapezoid), and its
``concat_power_measure.py`` takes the median of these areas times their number, over a number of
inferences told by hand. What is wrong with that, and what is done about it here:

- What happened before the first sample and after the last one is not in the sum, and the recording
  runs on for up to a period after the work has ended. So the joules of one inference are the *mean
  power* times the time of one inference, where latencies were written; what the sum of areas gives
  is inside the interval.
- A median of areas drops what is rare, such as every phase shorter than half the run. Here all
  areas count.
- A recording that was stopped and continued later without a mark was integrated across the pause.
  Here a gap ends a segment.
- A power of −1 W means unknown; an absent key does too. Neither is a zero here.
- Each sample of the CPU's power is a mean over a part of its period only: 2 s of at least 4 s
  until December 2021, 0.1 s of each period from then until August 2023. That of a board is one
  instant of ``nvidia-smi``, of a value that recent boards average over 1 s, until 2026. So the
  method is *sampled*, whatever the sensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .aipowermeter_lines import Recorded
from .statistics import Vector, batch_means

GAP_PERIODS = 5.0
GAP_S = 10.0
"""Samples further apart than both belong to two recordings."""


@dataclass(frozen=True)
class MeanPower:
    """What a column of watts comes to.

    Attributes:
        watts: mean over the time that was recorded; of the samples where there is one only.
        half: 95 % half-width of it, from the scatter of the samples; None of fewer than two.
        joules: recorded, the sum of the areas.
        seconds: recorded.
        share: of the recorded time in which it is known.
    """

    watts: float
    half: float | None
    joules: float
    seconds: float
    share: float


def steps_of(recorded: Recorded) -> tuple[Vector, int]:
    """Seconds from each sample to the next, 0 across the ends of segments; and the gaps found."""
    if len(recorded.times) < 2:
        return np.empty(0), 0
    steps = np.diff(recorded.times)
    inside = np.diff(recorded.segments) == 0
    usual = steps[inside & (steps > 0)]
    limit = max(GAP_PERIODS * float(np.median(usual)), GAP_S) if len(usual) else GAP_S
    gaps = inside & ((steps > limit) | (steps < 0))
    return np.where(inside & ~gaps, steps, 0.0), int(gaps.sum())


def mean_power(watts: Vector, steps: Vector) -> MeanPower | None:
    """The mean power of one column; None where no sample tells it.

    Args:
        watts: of each sample, NaN where not known.
        steps: see ``steps_of``.
    """
    known = ~np.isnan(watts)
    count = int(known.sum())
    if not count:
        return None
    recorded = float(steps.sum())
    both = known[1:] & known[:-1]
    joules = float(np.sum(((watts[1:] + watts[:-1]) / 2 * steps)[both]))
    seconds = float(np.sum(steps[both]))
    half = None
    if count > 1:
        half = batch_means(watts[known]).half
    if seconds == 0.0:
        return MeanPower(float(watts[known].mean()), half, 0.0, 0.0, 0.0)
    return MeanPower(joules / seconds, half, joules, seconds, seconds / recorded)


def joined(parts: list[MeanPower]) -> MeanPower:
    """The sum of several columns."""
    halves = [part.half for part in parts]
    known = [half for half in halves if half is not None]
    return MeanPower(
        sum(part.watts for part in parts),
        math.hypot(*known) if len(known) == len(halves) else None,
        sum(part.joules for part in parts),
        max(part.seconds for part in parts),
        min(part.share for part in parts),
    )
