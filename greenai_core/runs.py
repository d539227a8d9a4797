"""What may leave this machine of a measurement, and nothing else.

A ``Run`` is made of a result by picking; there is no way for the rest of a
result (the command, paths, names of hosts and channels) to come along.
"""

from __future__ import annotations

import datetime
import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from .errors import ConfigError
from .results import CommandResult, Figure, WindowResult

COMPONENTS = ("cpu", "dram", "gpu", "accelerator", "wall", "psys", "battery")
"""Words for what energy is of that may be sent; every other is ``other``."""

PLAIN_UNIT = re.compile(r"[A-Za-z][A-Za-z0-9 _-]{0,31}")
"""A unit that is a word or two, not a path or an address that was typed there."""

LONGEST_NAME = 120


@dataclass(frozen=True)
class Bounds:
    """A number with its 95 % interval (total uncertainty), J."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DevicePower:
    """A device by the name that its maker gave it, and the most that it draws.

    Attributes:
        type: ``CPU`` or ``GPU``.
        max_power_w: the power cap, W.

    Raises:
        ConfigError: a field cannot be used.
    """

    type: str
    name: str
    max_power_w: float

    def __post_init__(self) -> None:
        if self.type not in ("CPU", "GPU"):
            raise ConfigError(f"the device type {self.type!r} is neither CPU nor GPU")
        if not self.name.strip() or not self.name.isprintable() or len(self.name) > LONGEST_NAME:
            raise ConfigError(f"the device name {self.name!r} is no name")
        if not (math.isfinite(self.max_power_w) and self.max_power_w > 0):
            raise ConfigError(
                f"the power cap of {self.name} is {self.max_power_w} W, not a positive number"
            )


@dataclass(frozen=True)
class Run:
    """All that a grading service may be told of a run.

    Attributes:
        key: names the run for ever, made before it began; sending twice under one
            key is the same as sending once.
        created: UTC, ISO 8601, to the second.
        duration_s: how long it ran.
        net_energy_j: above idle; None where idle was not measured.
        gross_energy_j: as measured; None where a channel is missing.
        units, unit: functional units; None when nobody said.
        tier: ``measured``, or ``estimated`` where a model stands behind a part.
        components: what the energy is of.
        missing: how many channels of the total gave nothing.
        devices: with their power caps.
        memory_gb: size of the memory, GB; None when nobody said.
        greenai: version.
    """

    key: str
    created: str
    duration_s: float
    net_energy_j: Bounds | None
    gross_energy_j: Bounds | None
    units: float | None = None
    unit: str | None = None
    tier: str = "measured"
    components: tuple[str, ...] = ()
    missing: int = 0
    devices: tuple[DevicePower, ...] = ()
    memory_gb: float | None = None
    greenai: str = ""


def new_key() -> str:
    """A key for a run that is about to begin: 32 hexadecimal digits, random."""
    return uuid.uuid4().hex


def run_of(
    result: CommandResult,
    *,
    key: str,
    devices: Sequence[DevicePower] = (),
    memory_gb: float | None = None,
) -> Run:
    """What may leave of a result.

    Args:
        result: measured; of its command, paths, labels and observations nothing is taken.
        key: from ``new_key()``, made before the run.
        devices: that ran it, as far as their power caps are known.
        memory_gb: size of the memory, GB.
    """
    gross = result.gross
    plain = result.unit is not None and PLAIN_UNIT.fullmatch(result.unit) is not None
    components = [c.component for c in gross.channels if c.in_total]
    return Run(
        key=key,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        duration_s=gross.duration_s,
        net_energy_j=_bounds(result.net_energy_j),
        gross_energy_j=_whole(gross),
        units=result.units if plain else None,
        unit=result.unit if plain else None,
        tier="estimated" if "modelled" in gross.method else "measured",
        components=tuple(dict.fromkeys(c if c in COMPONENTS else "other" for c in components)),
        missing=sum(m.id in gross.contains for m in gross.missing),
        devices=tuple(devices),
        memory_gb=memory_gb,
        greenai=metadata.version("greenai-core"),
    )


def _whole(gross: WindowResult) -> Bounds | None:
    if gross.energy_j is None or gross.low_j is None or gross.high_j is None:
        return None
    return Bounds(gross.energy_j, gross.low_j, gross.high_j)


def _bounds(figure: Figure | None) -> Bounds | None:
    return None if figure is None else Bounds(figure.value, figure.low, figure.high)
