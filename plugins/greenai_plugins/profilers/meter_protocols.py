"""How the Shelly and Tasmota meters are asked, and where their answers have the watts.

Documented in https://shelly-api-docs.shelly.cloud/gen1/ (``/status``; `total` in W·min),
https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Switch (and PM1, EM1, EM;
`aenergy.total` in Wh) and https://tasmota.github.io/docs/Commands/ (``Status 8``; kWh).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .meter_path import at

MAX_POWER_W = 100_000.0
"""No meter of this kind carries as much."""

ALL = "all"
PHASES = ("a", "b", "c")


class Gain(NamedTuple):
    """Relative standard uncertainty of a meter's gain, and where it comes from."""

    relative: float
    source: str


PLUG_GAIN = Gain(
    0.05 / math.sqrt(3),
    "±5 % as a uniform error, stated for pulse-counting metering chips in smart plugs by "
    "https://developer.tuya.com/en/docs/iot-device-dev/Electricity-statistics?id=Kaunfo4am6icc",
)
"""Shelly states no accuracy for its plugs; they carry chips of this kind."""

UNCALIBRATED_GAIN = Gain(
    0.10 / math.sqrt(3),
    "assumption: ±10 % as a uniform error, because Tasmota wants each device calibrated "
    "(https://tasmota.github.io/docs/Power-Monitoring-Calibration/); set `gain` after that",
)


class Told(NamedTuple):
    """What one answer says.

    Attributes:
        watts: power now.
        energy_j: on the meter's counter; None where the answer has none.
        step_j: last digit of that.
    """

    watts: float
    energy_j: float | None = None
    step_j: float = 0.0


Channel = int | str | None
"""Index, ``all``, or None where the user said nothing."""


class Protocol(NamedTuple):
    """How one kind of meter is asked.

    Attributes:
        path: with ``{channel}`` where the index goes.
        told: finds the power in the decoded answer; ValueError says what lacks.
        gain: typical of the kind.
        about: for people.
    """

    path: str
    told: Callable[[Any, Channel], Told]
    gain: Gain
    about: str = ""


def power(value: Any) -> float:
    """``value`` if it is a power, W.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} stands where watts should")
    if value < 0:
        raise ValueError(f"{value} W cannot be true; is the plug the wrong way round?")
    if not value < MAX_POWER_W:
        raise ValueError("no plug carries as many watts as it says, or it says NaN")
    return float(value)


def _energy(value: Any, unit_j: float) -> float | None:
    """Of a counter; None where it cannot be read, since the power is what counts."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) * unit_j if math.isfinite(value) and value >= 0 else None


def _maybe(data: Any, *keys: str | int) -> Any:
    try:
        return at(data, *keys)
    except ValueError:
        return None


def _one(channel: Channel) -> int:
    if isinstance(channel, str):
        raise ValueError("it has no sum of several; give channel=0, 1, …")
    return channel or 0


def _gen2(data: Any, channel: Channel) -> Told:
    _one(channel)
    total = _energy(_maybe(data, "aenergy", "total"), 3600.0)
    return Told(power(at(data, "apower")), total, 3.6)


def _gen2_clamp(data: Any, channel: Channel) -> Told:
    _one(channel)
    return Told(power(at(data, "act_power")))


def _gen2_phases(data: Any, channel: Channel) -> Told:
    watts = [at(data, f"{phase}_act_power") for phase in PHASES]
    if channel == ALL:
        for one in watts:
            power(one)
        return Told(power(at(data, "total_act_power")))
    return Told(_phase(watts, channel))


def _gen1(data: Any, channel: Channel) -> Told:
    kind = "emeters" if isinstance(data, dict) and "meters" not in data else "meters"
    meters = at(data, kind)
    if not isinstance(meters, list):
        raise ValueError(f"its {kind} are no list")
    if channel == ALL or (channel is None and kind == "emeters" and len(meters) == len(PHASES)):
        watts = [_gen1_power(data, kind, index) for index in range(len(meters))]
        return Told(sum(map(power, watts)) if channel == ALL else _phase(watts, channel))
    index = _one(channel)
    watts_now = power(_gen1_power(data, kind, index))
    # Gen1 plugs count W·min, its clamp meters Wh.
    unit_j = 60.0 if kind == "meters" else 3600.0
    total = _energy(_maybe(data, kind, index, "total"), unit_j)
    return Told(watts_now, total, unit_j if kind == "meters" else 0.1 * unit_j)


def _gen1_power(data: Any, kind: str, index: int) -> Any:
    meter = at(data, kind, index)
    if isinstance(meter, dict) and meter.get("is_valid") is False:
        raise ValueError(f"it marks {kind}[{index}] as not valid")
    return at(meter, "power")


def _phase(watts: Sequence[Any], channel: Channel) -> float:
    if channel is None:
        shown = ", ".join(f"{index}: {value} W" for index, value in enumerate(watts))
        raise ValueError(
            f"it has three phases ({shown}), and which of them feed this machine was not said: "
            "set channel=0, 1 or 2, or channel=all for their sum"
        )
    index = _one(channel)
    if index >= len(watts):
        raise ValueError(f"it has no phase {index}")
    return power(watts[index])


def _tasmota(data: Any, channel: Channel) -> Told:
    energy = at(data, "StatusSNS", "ENERGY")
    watts = at(data, "StatusSNS", "ENERGY", "Power")
    if isinstance(watts, list):
        if channel == ALL:
            return Told(sum(map(power, watts)))
        # Its total is that of all of them.
        return Told(power(at(data, "StatusSNS", "ENERGY", "Power", _one(channel))))
    if channel not in (None, 0, ALL):
        raise ValueError(f"it has one meter, so no channel {channel}")
    return Told(power(watts), _energy(_maybe(energy, "Total"), 3.6e6), 3600.0)


_RPC = "/rpc/{}.GetStatus?id={{channel}}"
PROTOCOLS: Mapping[str, tuple[Protocol, ...]] = {
    "shelly2": (
        Protocol(_RPC.format("Switch"), _gen2, PLUG_GAIN),
        Protocol(_RPC.format("PM1"), _gen2, PLUG_GAIN),
        Protocol(_RPC.format("EM1"), _gen2_clamp, PLUG_GAIN),
        Protocol("/rpc/EM.GetStatus?id=0", _gen2_phases, PLUG_GAIN, "three phases"),
    ),
    "shelly1": (Protocol("/status", _gen1, PLUG_GAIN),),
    "tasmota": (
        Protocol("/cm?cmnd=Status%208", _tasmota, UNCALIBRATED_GAIN),
        Protocol("/cm?cmnd=Status%2010", _tasmota, UNCALIBRATED_GAIN),
    ),
}
