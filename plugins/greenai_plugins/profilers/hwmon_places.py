"""What the chips of hwmon measure: which component, and what it is contained in.

A chip whose place in the machine follows from its driver has a function here. All others
(INA226, LTC2947, PMBus, power supplies, …) sit wherever the builder of the board has put
them: their component is ``other``, in no total, unless the user says where they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from greenai_core import ConfigError
from greenai_plugins.profilers.hwmon_chips import Chip, Sensor

COMPONENTS = (
    "cpu", "dram", "gpu", "accelerator", "wall", "psys", "core", "uncore", "other",
)  # fmt: skip
SUPERSETS = ("wall", "psys")

RAPL_PERIOD_S = 1e-3
"""Documentation/hwmon/amd_energy.rst: "These registers are updated every 1ms"."""

AMD_WRAPS_AT = 2**48
"""µJ, 281 MJ: the driver multiplies a 64-bit count by 10^6 before it shifts it by the
energy unit, 16 bits on Zen, so that the product overflows. The 32-bit registers it counts on
itself."""

AVERAGE_PERIOD_S = 1.0
"""Assumed for what amdgpu calls an average: over how long, its firmware does not tell."""

METER_PERIOD_S = 1.0
"""Assumed for ACPI power meters that do not tell their averaging interval."""

ASSUMED = (0.05, "hwmon: 5 % assumed, since no driver tells how true its sensor is")
RAPL_AMD = (0.10, "RAPL of AMD, uncalibrated: 10 % assumed")
BOARD = (0.10, "power that a GPU tells of itself through hwmon: 10 % assumed")

MI300A = "0x74a0"
"""PCI device of the one amdgpu that holds CPU cores but has no vddnb (gc 9.4.3)."""

_GRACE = re.compile(r"(Module|Grace|CPU|SysIO) Power Socket (\d+)")


@dataclass(frozen=True)
class Place:
    """A channel to be, and its files.

    Attributes:
        id: of the channel.
        component: of the channel.
        terms: files in µW or µJ, each with +1 or −1; their sum is the reading.
        description: of the channel.
        inside: id of the channel that contains it, where there is that channel.
        alone: component in case there is not.
        whole: places with the same one make up a whole.
        period_s: between two new values, as far as known.
        gain: relative uncertainty, k = 1, and its source.
        wraps_at: µJ.
    """

    id: str
    component: str
    terms: tuple[tuple[Path, int], ...]
    description: str
    inside: str | None = None
    alone: str = ""
    whole: str = ""
    period_s: float | None = None
    gain: tuple[float, str] = ASSUMED
    wraps_at: int | None = None


def places(chips: Sequence[Chip], mapped: Mapping[str, str], profiler: str) -> list[Place]:
    """What the chips measure; nothing that is contained in another stands beside it.

    Args:
        chips: all of them.
        mapped: what the user says of where sensors are; see ``parse_map``.
        profiler: whose option ``map`` that is.

    Raises:
        ConfigError: a sensor is named that is not there.
    """
    found: list[Place] = []
    used: set[str] = set()
    for chip in chips:
        known = _FAMILIES.get(re.sub(r"_gt\d+$", "", chip.name))
        own = [(sensor, _told(chip, sensor, mapped)) for sensor in chip.sensors]
        used |= {key for _, key in own if key}
        found += [_mapped(chip, sensor, mapped[key]) for sensor, key in own if key]
        rest = replace(chip, sensors=tuple(sensor for sensor, key in own if not key))
        found += known(rest) if known else (_somewhere(rest, sensor) for sensor in rest.sensors)
    if missing := set(mapped) - used:
        names = ", ".join(f"{c.name}/{s.called}" for c in chips for s in c.sensors) or "none"
        raise ConfigError(
            f"{profiler}.map names {', '.join(sorted(missing))}, which is not here. "
            f"There is: {names}"
        )
    return _settled([*found, *_grace_memory(found)])


def parse_map(text: str, profiler: str) -> dict[str, str]:
    """``CHIP/SENSOR=COMPONENT, …`` as CHIP/SENSOR -> COMPONENT.

    CHIP is the driver's name, or that, ``@``, and the device; SENSOR its label, with ``_``
    for each space, or its number. Instead of a component there may be the id of a channel
    that it measures, such as ``cpu:0/package``, so that it is not added to another sensor of
    the same thing.

    Raises:
        ConfigError: it is not of that form.
    """
    mapped = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        key, equals, target = (part.strip() for part in entry.rpartition("="))
        if not equals or "/" not in key or _component(target) not in COMPONENTS:
            raise ConfigError(
                f"{profiler}.map: {entry!r} is not of the form CHIP/SENSOR=COMPONENT, where "
                f"COMPONENT is one of {', '.join(COMPONENTS)} or an id such as cpu:0/package"
            )
        mapped[key] = target
    return mapped


def _component(target: str) -> str:
    """The component of what a sensor is mapped to: a component, or an id."""
    device, colon, rest = target.partition(":")
    part = rest.partition("/")[2]
    return part if part in COMPONENTS else device if colon else target


def _told(chip: Chip, sensor: Sensor, mapped: Mapping[str, str]) -> str:
    """The key of ``map`` that names this sensor; empty if none does."""
    chips = (chip.name, f"{chip.name}@{chip.device}")
    names = (sensor.called, str(sensor.number))
    keys = (f"{c}/{s}" for c in reversed(chips) for s in names)
    return next((key for key in keys if key in mapped), "")


def _mapped(chip: Chip, sensor: Sensor, target: str) -> Place:
    component = _component(target)
    place = _somewhere(chip, sensor)
    return replace(
        place,
        id=target if ":" in target else place.id,
        component=component,
        description=f"{place.description}; {component} by the option map",
        # Whoever names two sensors as the wall's means the two supplies of this machine.
        whole=component if component in SUPERSETS else "",
    )


def _somewhere(chip: Chip, sensor: Sensor) -> Place:
    return _place(
        f"hwmon:{chip.name}@{chip.device}/{sensor.called}",
        "other",
        sensor,
        f"{chip.name}/{sensor.called}: what it measures is not known here; say it with "
        f"the option map={chip.name}/{sensor.called}=COMPONENT",
    )


def _place(
    id: str, component: str, sensor: Sensor, what: str, gain: tuple[float, str] = ASSUMED
) -> Place:
    return Place(
        id,
        component,
        ((sensor.file, 1),),
        f"{sensor.file} is {what}",
        period_s=sensor.period_s,
        gain=gain,
    )


def _settled(found: Iterable[Place]) -> list[Place]:
    """With ``inside`` and ``whole`` true of what there is."""
    by_id: dict[str, Place] = {}
    for place in found:
        by_id.setdefault(place.id, place)
    settled = []
    for place in by_id.values():
        shared = [one for one in by_id.values() if place.whole and one.whole == place.whole]
        if place.inside in by_id:
            settled.append(place)
        elif place.inside is not None:
            settled.append(replace(place, inside=None, component=place.alone or place.component))
        else:
            # Not one of the channels: what several make up together.
            settled.append(replace(place, inside=place.whole if len(shared) > 1 else None))
    return settled


# One function a family of chips


def _amd_energy(chip: Chip) -> Iterator[Place]:
    """Sockets; the cores are contained in them, one file each, and left out."""
    for sensor in chip.sensors:
        socket = re.fullmatch(r"Esocket(\d+)", sensor.label)
        if socket:
            place = _place(
                f"cpu:{socket[1]}/package", "cpu", sensor, "a socket by its RAPL counter", RAPL_AMD
            )
            yield replace(place, period_s=RAPL_PERIOD_S, wraps_at=AMD_WRAPS_AT)


def _amdgpu(chip: Chip) -> Iterator[Place]:
    """The first power: others of the same chip show it again, over another mean."""
    for sensor in (_over_a_while(sensor) for sensor in chip.sensors if sensor.number == 1):
        if chip.fact("in1_label") == "vddnb":
            what = "the whole processor: its graphics, its cores and what else is on it"
            yield _place("cpu:0/package", "cpu", sensor, what, BOARD)
        elif chip.fact("device") == MI300A:
            place = _place(
                f"psys:{chip.device}", "psys", sensor, "a whole MI300A: GPU, CPU and HBM", BOARD
            )
            yield replace(place, whole="MI300A")
        else:
            what = "the board's chip, and of recent boards the memory and regulators too"
            yield _place(f"gpu:{chip.device}", "gpu", sensor, what, BOARD)


def _over_a_while(sensor: Sensor) -> Sensor:
    """With the period that has to be assumed of a mean."""
    mean = sensor.file.name.endswith("_average")
    return replace(sensor, period_s=AVERAGE_PERIOD_S) if mean and not sensor.period_s else sensor


def _intel_gpu(chip: Chip) -> Iterator[Place]:
    """The card; its package and its tiles are contained in it."""
    board = f"gpu:{chip.device}"
    tile = re.search(r"_(gt\d+)$", chip.name)
    for sensor in chip.sensors:
        label = tile[1] if tile else sensor.label
        if label in ("", "card"):
            yield _place(board, "gpu", sensor, "the whole board", BOARD)
        else:
            place = _place(f"{board}/{label}", "other", sensor, f"{label} of the board", BOARD)
            yield replace(place, inside=board, alone="gpu" if tile or label == "pkg" else "")


def _power_meter(chip: Chip) -> Iterator[Place]:
    """ACPI: the whole machine, or one of the areas of NVIDIA's Grace."""
    for sensor in chip.sensors:
        area = _GRACE.fullmatch(sensor.label)
        if area:
            yield from _grace(chip, sensor, area[1], area[2])
        elif chip.fact(f"power{sensor.number}_is_battery") != "1":
            what = f"the whole machine by its ACPI power meter {sensor.label}".rstrip()
            place = _place(f"psys:{chip.name}@{chip.device}", "psys", sensor, what, _acpi(chip))
            yield replace(place, period_s=sensor.period_s or METER_PERIOD_S)


def _acpi(chip: Chip) -> tuple[float, str]:
    """The accuracy that the meter tells, where that is the worse one.

    It is a limit of error: as a standard uncertainty it is that over √3.
    """
    accuracy = re.fullmatch(r"(\d+(?:\.\d+)?)%", chip.fact("power1_accuracy"))
    limit = (1 - float(accuracy[1]) / 100) / math.sqrt(3) if accuracy else 0.0
    if limit <= ASSUMED[0]:
        return ASSUMED
    return limit, f"ACPI power meter: {chip.fact('power1_accuracy')} accurate, by what it tells"


def _grace(chip: Chip, sensor: Sensor, area: str, socket: str) -> Iterator[Place]:
    """Module ⊇ Grace ⊇ CPU rail, SysIO rail; Grace holds its LPDDR5X too.

    NVIDIA, Grace Performance Tuning Guide, "Power Telemetry".
    """
    module, package = f"psys:module-{socket}", f"cpu:{socket}/package"
    if area == "Module":
        what = "the whole module: CPU, GPU, their memory, and regulators"
        yield replace(_place(module, "psys", sensor, what), whole="module")
    elif area == "Grace":
        what = "the Grace socket with its LPDDR5X memory"
        yield replace(_place(package, "cpu", sensor, what), inside=module)
    else:
        part = "core" if area == "CPU" else "uncore"
        place = _place(f"cpu:{socket}/{part}", part, sensor, f"the {area} rail")
        yield replace(place, inside=package, alone="cpu")


def _grace_memory(found: Sequence[Place]) -> Iterator[Place]:
    """What is left of each Grace socket without its two rails.

    Told, so that nobody adds memory of another source to a socket that holds it.
    """
    by_id = {place.id: place for place in found}
    for place in found:
        socket, _, part = place.id.partition("/")
        rails = [by_id.get(f"{socket}/{rail}") for rail in ("core", "uncore")]
        if part == "package" and all(rails):
            taken = tuple((file, -1) for rail in rails if rail for file, _ in rail.terms)
            yield replace(
                place,
                id=f"{socket}/dram",
                component="dram",
                terms=(*place.terms, *taken),
                description="the Grace socket without its CPU and SysIO rails: LPDDR5X memory and "
                "what regulators lose",
                inside=place.id,
                gain=(0.30, "the difference of three sensors of 5 %: 30 % assumed"),
            )


_FAMILIES: Mapping[str, Callable[[Chip], Iterator[Place]]] = {
    "amd_energy": _amd_energy,
    "zenergy": _amd_energy,
    "amdgpu": _amdgpu,
    "i915": _intel_gpu,
    "xe": _intel_gpu,
    "power_meter": _power_meter,
}
"""Name of the chip -> its function. ``zenergy`` is amd_energy in a package of its own."""
