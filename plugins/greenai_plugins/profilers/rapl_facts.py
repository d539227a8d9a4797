"""What is true of RAPL however it is read: powercap and perf_event show the same counters."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from greenai_core import Channel, Clock

UPDATE_PERIOD_S = 1e-3
"""Intel SDM, vol. 3B, "RAPL Interfaces": "updated every ~1msec"; AMD's alike."""

GAINS = {
    "GenuineIntel": (0.03, "RAPL of Intel, uncalibrated: 3 % assumed"),
    "AuthenticAMD": (0.10, "RAPL of AMD, uncalibrated: 10 % assumed"),
}
"""CPU vendor -> relative gain uncertainty (k = 1) and its source: assumptions, to be
replaced by a calibration against a meter. Other vendors are taken for AMD's."""

AMD = ("AuthenticAMD", "HygonGenuine")
"""Vendors whose package counter is one a package, whatever the dies, and whose core
counter is one a core (Linux, drivers/powercap/intel_rapl_common.c)."""

POLL_S = 0.003
POLLS = 15
"""A package draws milliwatts at least, so its counter moves within a few updates."""

K = TypeVar("K", bound=Hashable)
Counts = Mapping[K, "int | str"]
"""What each counter shows, or why it shows nothing."""


class Identity(NamedTuple):
    """What a counter is to the rest of greenai; see ``Channel``."""

    id: str
    component: str
    contained_in: str | None


def identify(socket: str, part: str, platform: bool) -> Identity:
    """Identity of a counter.

    Args:
        socket: ``cpu:0``, or ``cpu:0-die-1`` where dies have counters of their own.
        part: ``package``, ``dram``, ``core``, ``uncore``, ``psys``, or another name.
        platform: whether there is a psys channel, which contains all others.
    """
    whole = "psys" if platform else None
    if part == "psys":
        return Identity("psys", "psys", None)
    if part == "package":
        return Identity(f"{socket}/package", "cpu", whole)
    if part == "dram":  # Linux files it below the package; its energy comes on top.
        return Identity(f"{socket}/dram", "dram", whole)
    component = "core" if part.startswith("core") else part
    if component not in ("core", "uncore"):
        component = "other"
    return Identity(f"{socket}/{part}", component, f"{socket}/package")


def channel(
    identity: Identity, vendor: str, resolution_j: float, wraps_at: int | None, description: str
) -> Channel:
    """The channel of a counter, with the error that all RAPL counters of a vendor share."""
    gain, source = GAINS.get(vendor, GAINS["AuthenticAMD"])
    return Channel(
        identity.id,
        identity.component,
        "counter",
        contained_in=identity.contained_in,
        resolution_j=resolution_j,
        wraps_at=wraps_at,
        update_period_s=UPDATE_PERIOD_S,
        gain_uncertainty=gain,
        gain_source=source,
        description=description,
    )


def lost_memory(counter: str, why: str) -> str:
    """What readers of a total must know of a counter of memory that does not work."""
    return f"the counter of memory {counter} {why}: no total holds that memory as measured"


class Cpu(NamedTuple):
    """Vendor, family and model of a CPU, as in ``/proc/cpuinfo``; empty or 0 where not told."""

    vendor: str = ""
    family: int = 0
    model: int = 0

    @property
    def is_first_zen(self) -> bool:
        """Whether it is AMD's first Zen or Hygon's, packages of up to four CPUs in one."""
        return self.vendor in AMD and (self.family == 24 or (self.family == 23 and self.model < 48))


def cpu_of(cpuinfo: Path) -> Cpu:
    """The CPU of this machine."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return Cpu()
    facts = dict(re.findall(r"^(vendor_id|cpu family|model)\s*:\s*(\S+)", text, re.MULTILINE))
    numbers = (int(facts.get(key, 0)) for key in ("cpu family", "model"))
    return Cpu(facts.get("vendor_id", ""), *numbers)


def watch(
    read: Callable[[], Counts[K]], awaited: Collection[K], clock: Clock
) -> tuple[Counts[K], Counts[K]]:
    """The counts now, and again when all that are awaited moved or had the time to."""
    first = last = read()
    for _ in range(POLLS):
        if all(last[key] != first[key] for key in awaited):
            break
        clock.sleep(POLL_S)
        last = read()
    return first, last
