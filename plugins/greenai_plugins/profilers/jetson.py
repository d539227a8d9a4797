"""NVIDIA Jetson: the power of its module and rails, by the INA3221 chips on it.

Rails and their sums follow the "Jetson Linux Developer Guide", "Platform Power and
Performance", of each module.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from greenai_core import Channel, PluginUnavailable, PowerProfiler, ReadingError
from greenai_plugins.profilers.sysfs_numbers import denied, number, read_number, text

ROOT = "/sys"

GAIN_UNCERTAINTY = 0.05
GAIN_SOURCE = (
    "INA3221: 5 % assumed; its gain is good to 0.25 % by the datasheet, its offset is not, and "
    "the shunt's tolerance is not told"
)

OFFSET_V = 80e-6
"""Largest offset of the voltage across the shunt, INA3221 datasheet (SBOS576), table 6.5."""

SMALLEST_SHUNT_OHM = 0.002
"""On all modules that the kernel's device trees describe; taken where none is told."""

MODULE = "psys"

INPUTS = ("VDD_IN", "POM_5V_IN")
"""Rails through which a module gets all its power."""

SUMS = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),  # AGX Thor, assumed to be like Orin
)
"""Rails that together carry all power of a module without such an input."""

INSIDE = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
"""Rails that another one feeds."""

CARRIER = ("VDD_MUX", "VDD_5V0_IO_SYS", "VDD_3V3_SYS", "VDD_3V3_IO_SLP", "VDD_1V8_IO",
           "VDD_3V3_SYS_M2")  # fmt: skip
"""Rails of the TX2's carrier board, which are none of the module's."""

NOT_CONNECTED = ("", "NC")

COMPONENTS = {"CPU": "core", "VDD_CPU": "core", "VDD_SYS_CPU": "core", "POM_5V_CPU": "core"}
"""Rails of cores alone; of all others the component is ``other``."""


@dataclass(frozen=True)
class Rail:
    """One input of an INA3221.

    Attributes:
        name: of the rail, as the board's device tree has it.
        power: file in mW; None where there is none.
        volts, amperes: files in mV and mA, instead.
        enable: file that holds 0 while the input is switched off.
        shunt_ohm: resistance of its shunt.
        period_s: between two new values, where the chip tells it.
    """

    name: str
    power: Path | None = None
    volts: Path | None = None
    amperes: Path | None = None
    enable: Path | None = None
    shunt_ohm: float = SMALLEST_SHUNT_OHM
    period_s: float | None = None

    @property
    def on(self) -> bool:
        """Whether the input measures."""
        return self.enable is None or number(self.enable) != 0

    def watts(self, what: str) -> float:
        """Power now; 0 where the current is below 0 by no more than the chip's offset.

        Raises:
            ReadingError: a file is gone, cannot be read, or holds what cannot be true.
        """
        if self.power is not None:
            return read_number(self.power, what) / 1e3
        assert self.volts is not None
        assert self.amperes is not None
        volts = read_number(self.volts, what) / 1e3
        amperes = read_number(self.amperes, what) / 1e3
        if -OFFSET_V / self.shunt_ohm <= amperes < 0:
            return 0.0
        return volts * amperes if volts >= 0 else math.nan


class JetsonProfiler(PowerProfiler):
    """Power of the module, and of each rail that is measured on it.

    The total is the module's: rails hold CPU, GPU, memory and what else is on them in another
    way on each board, so only the whole means the same everywhere. The rails stand beside it.

    Args:
        root: folder of sysfs.
    """

    name: ClassVar[str] = "jetson"
    priority: ClassVar[int] = 50
    option_names: ClassVar[Mapping[str, str]] = {"root": "folder of sysfs, /sys by default"}

    def __init__(self, *, root: str | os.PathLike[str] = ROOT) -> None:
        super().__init__()
        self._root = Path(root)
        self._rails: dict[str, tuple[Rail, ...]] = {}
        self._off: list[str] = []

    def check_available(self) -> None:
        """Return if a rail of a Jetson can be read.

        Raises:
            PluginUnavailable: it cannot; with the remedy.
        """
        self._find()

    def connect(self) -> Sequence[Channel]:
        """Find the rails.

        Raises:
            PluginUnavailable: there is none, or none may be read; with the remedy.
        """
        rails, self._off = self._find()
        by_name = {rail.name: rail for rail in rails}
        module = module_rails(by_name)
        parts = [rail for rail in rails if (rail,) != module]
        self._rails = {f"jetson:0/{rail.name}": (rail,) for rail in parts}
        channels = [_channel(rail, bool(module), by_name) for rail in parts]
        if not module:
            return channels
        self._rails[MODULE] = module
        return [_module_channel(module), *channels]

    def disconnect(self) -> None:
        """Nothing is kept open."""
        self._rails = {}

    def notes(self) -> Sequence[str]:
        """Also which rails are left out, and why there is no figure of the module."""
        notes = [*super().notes(), *self._off]
        if self._rails and MODULE not in self._rails:
            notes.append(
                f"jetson: {', '.join(self._rails)} are not known to make up the whole module, so "
                "they are in no total. Measure it with a wattmeter"
            )
        return notes

    def read_power(self, channel: Channel) -> float:
        """Watts.

        Raises:
            ReadingError: a file is gone, cannot be read, or holds no number.
        """
        return sum(rail.watts(channel.id) for rail in self._rails[channel.id])

    def _find(self) -> tuple[list[Rail], list[str]]:
        named = [rail for rail in find_rails(self._root) if rail.name not in NOT_CONNECTED]
        if not any(_of_a_jetson(rail.name) for rail in named):
            raise PluginUnavailable(
                f"no NVIDIA Jetson: no INA3221 below {self._root}/bus/i2c has rails of one",
                "In a container, mount /sys; on another board, see the profiler hwmon",
            )
        rails = [rail for rail in named if rail.on]
        off = [
            f"jetson: the rail {rail.name} is switched off and left out. Switch it on: "
            f"echo 1 | sudo tee {rail.enable}"
            for rail in named
            if not rail.on
        ]
        failures = [failure for rail in rails if (failure := _failure(rail)) is not None]
        if not rails or len(failures) == len(rails):
            why = "; ".join(map(str, failures)) or "all its inputs are switched off"
            raise PluginUnavailable(f"the Jetson's rails cannot be read: {why}", _remedy(failures))
        return rails, off


def find_rails(root: Path) -> Iterator[Rail]:
    """Each input of each INA3221, connected or not.

    JetPack 5 and later show hwmon's files, JetPack 4 those of industrial I/O.
    """
    for chip in sorted(root.glob("bus/i2c/drivers/ina3221/*/hwmon/hwmon*")):
        milliseconds = number(chip / "update_interval")
        # What follows the three inputs are the voltages of their shunts, and sums.
        for n in (1, 2, 3):
            if (chip / f"curr{n}_input").exists():
                microohm = number(chip / f"shunt{n}_resistor")
                yield Rail(
                    _name(chip / f"in{n}_label"),
                    volts=chip / f"in{n}_input",
                    amperes=chip / f"curr{n}_input",
                    enable=chip / f"in{n}_enable",
                    shunt_ohm=microohm / 1e6 if microohm else SMALLEST_SHUNT_OHM,
                    period_s=milliseconds / 1e3 if milliseconds else None,
                )
    for chip in sorted(root.glob("bus/i2c/drivers/ina3221x/*/iio[:_]device*")):
        for file in sorted(chip.glob("rail_name_*")):
            power = chip / f"in_power{file.name.removeprefix('rail_name_')}_input"
            yield Rail(_name(file), power=power)


def module_rails(rails: Mapping[str, Rail]) -> tuple[Rail, ...]:
    """The rails whose sum is the power of the module; none where that is not known."""
    for name in INPUTS:
        if name in rails:
            return (rails[name],)
    for names in SUMS:
        if all(name in rails for name in names):
            return tuple(rails[name] for name in names)
    return ()


def _name(file: Path) -> str:
    return re.sub(r"[\s/]+", "_", text(file))


def _of_a_jetson(name: str) -> bool:
    return bool(re.match(r"VDD_|VDDQ_|POM_5V_|VIN_SYS_|VDDRQ$|SYS5V$", name))


def _channel(rail: Rail, module: bool, rails: Mapping[str, Rail]) -> Channel:
    outer = INSIDE.get(rail.name, "")
    whole = MODULE if module and rail.name not in CARRIER else None
    return Channel(
        f"jetson:0/{rail.name}",
        COMPONENTS.get(rail.name, "other"),
        "sampled",
        contained_in=f"jetson:0/{outer}" if outer in rails else whole,
        update_period_s=rail.period_s,
        gain_uncertainty=GAIN_UNCERTAINTY,
        gain_source=GAIN_SOURCE,
        description=f"the rail {rail.name} of the Jetson, {rail.power or rail.amperes}",
    )


def _module_channel(rails: Sequence[Rail]) -> Channel:
    names = " + ".join(rail.name for rail in rails)
    periods = [rail.period_s for rail in rails if rail.period_s]
    # Of rails that are all there already: nothing is measured twice.
    whole = _channel(replace(rails[0], period_s=max(periods, default=None)), False, {})
    return replace(
        whole,
        id=MODULE,
        component="psys",
        description=f"the whole module, {names}: CPU, GPU, memory, regulators and what hangs on it",
    )


def _failure(rail: Rail) -> ReadingError | None:
    try:
        rail.watts(rail.name)
    except ReadingError as error:
        return error
    return None


def _remedy(failures: Sequence[ReadingError]) -> str:
    if any(map(denied, failures)):
        return "Read them as root: sudo; or let a group read them with a rule of tmpfiles.d"
    return "See whether sudo tegrastats shows them; dmesg may say why not"
