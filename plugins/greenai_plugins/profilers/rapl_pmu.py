"""The energy counters that Linux' PMUs ``power`` and ``power_core`` announce in sysfs.

Facts: Documentation/ABI/testing/sysfs-bus-event_source-devices-events, arch/x86/events/rapl.c
and drivers/powercap/intel_rapl_common.c of Linux. ``cpumask`` names one CPU for each counter:
one a package, or one a die where dies have counters of their own.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from greenai_core import PluginUnavailable

from .rapl_facts import AMD, Cpu

PARTS = {
    "energy-pkg": "package",
    "energy-ram": "dram",
    "energy-cores": "core",
    "energy-gpu": "uncore",
    "energy-psys": "psys",
}
"""Event of the PMU ``power`` -> the name that powercap has for the same counter."""

CORE_EVENT = "energy-core"
"""Of the PMU ``power_core``, Linux 6.14 and later on AMD: one counter a core."""

TPMI_WRAP = 2**32 * 262_143
"""Counts (2^-32 J) by which a counter behind TPMI falls when its 32-bit register wraps: the
driver does not unwrap it, and takes 2^-14 J for 262,143 counts. What is taken modulo
this goes on as if it did not fall."""


@dataclass(frozen=True)
class PmuCounter:
    """One counter that can be opened.

    Attributes:
        file: what describes its event.
        type: of the PMU.
        config: of the event.
        cpu: the CPU that reads it.
        socket: ``cpu:0``, or ``cpu:0-die-1`` where its dies count apart.
        part: ``package``, ``dram``, ``core``, ``uncore``, ``psys``, ``core-17``.
        scale_j: joules of one count.
    """

    file: Path
    type: int
    config: int
    cpu: int
    socket: str
    part: str
    scale_j: float

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.file.parent.parent.name}/{self.file.name}/ on CPU {self.cpu}"


def find_counters(sysfs: Path, cpu: Cpu, *, cores: bool) -> tuple[list[PmuCounter], list[str]]:
    """The counters of all packages, and notes on what is left out.

    Args:
        sysfs: ``/sys``.
        cpu: which CPU it is.
        cores: whether each core's own is wanted, where there is one.

    Raises:
        PluginUnavailable: there is no PMU for energy, or it cannot be understood.
    """
    devices = sysfs / "bus/event_source/devices"
    power = devices / "power"
    if not (power / "events/energy-pkg").exists():
        raise PluginUnavailable(
            f"no energy counters here: {power} announces none (a virtual machine, a CPU "
            "without RAPL, or its driver is not loaded)",
            "On bare metal: sudo modprobe rapl (recent Xeons: sudo modprobe intel_rapl_tpmi)",
        )
    sockets, notes = _sockets(sysfs, _cpus(power / "cpumask"), cpu)
    names = [event for event in PARTS if (power / "events" / event).exists()]
    counters = [
        _counter(power, event, reader, socket, PARTS[event])
        for reader, socket in sockets.items()
        for event in names
        if not (cpu.vendor in AMD and event == "energy-cores")
    ]
    if cpu.vendor in AMD and "energy-cores" in names:
        notes.append("power/energy-cores/ counts one single core on AMD and is left out")
    core_pmu = devices / "power_core"
    if (core_pmu / "events" / CORE_EVENT).exists() and cores:
        counters += [
            _counter(core_pmu, CORE_EVENT, core, f"cpu:{_package(sysfs, core)}", f"core-{core}")
            for core in _cpus(core_pmu / "cpumask")
        ]
    return counters, notes


def behind_tpmi(sysfs: Path) -> bool:
    """Whether the counters are those of TPMI, as on Xeons since Granite Rapids."""
    drivers = sysfs / "bus/auxiliary/drivers"
    return (sysfs / "module/intel_rapl_tpmi").exists() or any(drivers.glob("intel_rapl_tpmi*"))


def _sockets(sysfs: Path, readers: list[int], cpu: Cpu) -> tuple[Mapping[int, str], list[str]]:
    """CPU -> socket; a CPU of each package, or of each die that counts apart.

    Raises:
        PluginUnavailable: whether the dies count apart is not known.
    """
    packages: dict[int, list[int]] = defaultdict(list)
    for reader in readers:
        packages[_package(sysfs, reader)].append(reader)
    sockets, notes = {}, []
    for package, members in packages.items():
        first, *others = members
        if not others:
            sockets[first] = f"cpu:{package}"
        elif cpu.vendor not in AMD:
            for reader in members:
                sockets[reader] = f"cpu:{package}-die-{_topology(sysfs, reader, 'die_id')}"
        elif cpu.is_first_zen:
            raise PluginUnavailable(
                f"package {package} has a counter for each die, and this kernel does not tell "
                "whether they count the dies or all of them the package",
                "Use the profiler rapl, which sees that by their counts, or Linux 6.12 or later",
            )
        else:
            # Linux 6.10 and 6.11 name a CPU of each die, all of which read one counter.
            sockets[first] = f"cpu:{package}"
            notes += [
                f"CPU {other} shows the counters of package {package} again" for other in others
            ]
    return sockets, notes


def _counter(pmu: Path, event: str, cpu: int, socket: str, part: str) -> PmuCounter:
    file = pmu / "events" / event
    unit = _text(file.with_name(f"{event}.unit"))
    if unit != "Joules":
        raise PluginUnavailable(
            f"{file} counts {unit!r}, not Joules", "Tell the developers which kernel this is"
        )
    return PmuCounter(
        file,
        _number(pmu / "type"),
        _config(file),
        cpu,
        socket,
        part,
        _scale(file.with_name(f"{event}.scale")),
    )


def _scale(file: Path) -> float:
    try:
        scale = float(_text(file))
    except ValueError:
        scale = math.nan
    if not 0.0 < scale < 1.0:
        raise PluginUnavailable(
            f"{file} holds {_text(file)!r}, which is no part of a joule",
            "Tell the developers which kernel this is",
        )
    return scale


def _config(file: Path) -> int:
    """The number in ``event=0x02``, put where the PMU's ``format/event`` says."""
    term = re.fullmatch(r"event=(0x[0-9a-f]+|\d+)", _text(file))
    place = re.fullmatch(r"config:(\d+)(?:-\d+)?", _text(file.parent.parent / "format/event"))
    if term is None or place is None:
        raise PluginUnavailable(
            f"{file} holds {_text(file)!r}, which greenai does not understand",
            "Tell the developers which kernel this is",
        )
    return int(term[1], 0) << int(place[1])


def _cpus(file: Path) -> list[int]:
    """The CPUs of a list such as ``0,16`` or ``0-3,8``."""
    return [cpu for span in _text(file).split(",") if span for cpu in _span(span, file)]


def _span(span: str, file: Path) -> Iterator[int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", span.strip())
    if match is None:
        raise PluginUnavailable(f"{file} holds {span!r}, which is no list of CPUs")
    yield from range(int(match[1]), int(match[2] or match[1]) + 1)


def _package(sysfs: Path, cpu: int) -> int:
    return _topology(sysfs, cpu, "physical_package_id")


def _topology(sysfs: Path, cpu: int, name: str) -> int:
    return _number(sysfs / f"devices/system/cpu/cpu{cpu}/topology" / name)


def _number(file: Path) -> int:
    try:
        return int(_text(file))
    except ValueError as error:
        raise PluginUnavailable(f"{file} holds no number", "Try again") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError as error:
        raise PluginUnavailable(f"cannot read {file}: {error.strerror}", "Try again") from error
