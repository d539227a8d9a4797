"""From the channels of a run and their full power to the diagnosis ``util/1``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .diagnosis import Diagnosis, diagnose
from .figures import ChannelNet, Figure
from .results import ChannelEnergy, WindowResult


@dataclass(frozen=True)
class FullPower:
    """What some channels draw together at full load.

    Attributes:
        channels: their ids.
        power_w: W.
        source: who tells: a limit in force, a datasheet, the user.
    """

    channels: tuple[str, ...]
    power_w: float
    source: str


def power_range(
    gross: WindowResult, nets: Sequence[ChannelNet], full: Sequence[FullPower]
) -> Diagnosis | None:
    """How much of its power range a run used, of the channels whose full power is known.

    Args:
        gross: the run.
        nets: idle power of its channels.
        full: what is known of full power; what a run or its idle lacks is left out.

    Returns:
        None where nothing is known.

    Raises:
        GradeError: full power is not above idle: it is not that of these channels.
    """
    run = {channel.id: channel for channel in gross.channels if channel.in_total}
    idle = {channel.id: channel.idle_power_w for channel in nets}
    known = [one for one in full if one.channels and {*one.channels} <= run.keys() & idle.keys()]
    ids = [id for one in known for id in one.channels]
    if not ids or len(set(ids)) < len(ids) or gross.duration_s <= 0:
        return None
    power_w = _sum([_power(run[id], gross.duration_s) for id in ids])
    source = "; ".join(dict.fromkeys(one.source for one in known))
    total = math.fsum(one.power_w for one in known)
    return diagnose(power_w, _sum([idle[id] for id in ids]), total, source, channels=ids)


def _power(channel: ChannelEnergy, duration_s: float) -> Figure:
    return Figure(
        channel.energy_j / duration_s,
        channel.low_j / duration_s,
        channel.high_j / duration_s,
        channel.repeat_low_j / duration_s,
        channel.repeat_high_j / duration_s,
        channel.method,
        channel.id,
    )


def _sum(figures: Sequence[Figure]) -> Figure:
    """Independent repeatability; gains as if all were off the same way, the widest that can be."""
    value = math.fsum(figure.value for figure in figures)
    repeats = [(figure.repeat_high - figure.repeat_low) / 2 for figure in figures]
    totals = [(figure.high - figure.low) / 2 for figure in figures]
    gain = math.fsum(
        math.sqrt(max(total**2 - repeat**2, 0.0))
        for total, repeat in zip(totals, repeats, strict=True)
    )
    repeat = math.hypot(*repeats)
    half = math.hypot(repeat, gain)
    return Figure(
        value,
        value - half,
        value + half,
        value - repeat,
        value + repeat,
        "+".join(dict.fromkeys(part for f in figures for part in f.method.split("+"))),
        "; ".join(dict.fromkeys(figure.provenance for figure in figures)),
    )
