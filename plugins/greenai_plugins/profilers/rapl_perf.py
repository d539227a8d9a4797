"""RAPL through perf_event: 64-bit counts that do not wrap, and no file to make readable."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, TypeAlias

from greenai_core import Channel, CounterProfiler, PluginUnavailable, ReadingError

from .rapl_facts import channel, cpu_of, identify, lost_memory, watch
from .rapl_perf_event import Event, count, open_event, refusal
from .rapl_pmu import TPMI_WRAP, PmuCounter, behind_tpmi, find_counters

Opener: TypeAlias = Callable[[int, int, int], Event]
"""Type, config and CPU -> open counter; raises OSError."""


class RaplPerfProfiler(CounterProfiler):
    """Energy of CPU packages, their parts, DRAM and the platform, counted by the kernel.

    The same counters as those of ``rapl``, under the same ids.

    Args:
        root: where sysfs is.
        cores: whether to count each core of AMD's CPUs too (Linux 6.14 and later).
        cpuinfo: the file that names the CPU's vendor.
        proc: where procfs is.
        opener: opens a counter; the system call if not given.
    """

    name = "rapl-perf"
    priority = 65
    option_names: ClassVar = {
        "root": "folder of sysfs, /sys by default",
        "cores": "true: count each core of an AMD CPU too",
    }

    def __init__(
        self,
        *,
        root: str | os.PathLike[str] = "/sys",
        cores: bool = False,
        cpuinfo: str | os.PathLike[str] | None = None,
        proc: str | os.PathLike[str] = "/proc",
        opener: Opener | None = None,
    ) -> None:
        super().__init__()
        self._sysfs = Path(root)
        self._proc = Path(proc)
        self._cpuinfo = Path(cpuinfo) if cpuinfo else self._proc / "cpuinfo"
        self._cores = cores
        self._opener = opener or open_event
        self._events: dict[str, Event] = {}
        self._counters: dict[str, PmuCounter] = {}
        self._lost: list[str] = []

    def check_available(self) -> None:
        """Return if the counters are there and may be opened; ``open`` sees whether they move.

        Raises:
            PluginUnavailable: they are not; with the remedy.
        """
        counters, _ = self._found()
        events, _ = self._opened(counters)
        _close(events.values())

    def connect(self) -> Sequence[Channel]:
        """Open each counter that works; its description says which ones do not, and why.

        Raises:
            PluginUnavailable: there is none, one may not be opened, or none moves.
        """
        counters, notes = self._found()
        self._lost = []
        events, refused = self._opened(counters)
        try:
            working, dead = self._working(events)
        except BaseException:
            _close(events.values())
            raise
        _close(event for counter, event in events.items() if counter not in working)
        return self._channels_of(working, "; ".join([*notes, *refused, *dead]))

    def disconnect(self) -> None:
        """Close the counters."""
        while self._events:
            self._events.popitem()[1].close()

    def notes(self) -> Sequence[str]:
        """Also which memory has a counter that does not work: no total holds it."""
        return [*super().notes(), *self._lost]

    def _leave_out(self, counter: PmuCounter, why: str) -> str:
        """A note on a counter that does not work."""
        if counter.part == "dram":
            self._lost.append(lost_memory(counter.label, why))
        return f"{counter.label} {why}"

    def read(self, channel: Channel) -> int:
        """The count.

        Raises:
            ReadingError: it cannot be read, or nothing is counted any more.
        """
        try:
            content = self._events[channel.id].read()
        except OSError as error:
            raise ReadingError(self._complaint(channel, error.strerror or str(error))) from error
        return self.parse(channel, content)

    def reader(self, channel: Channel) -> Callable[[], bytes]:
        """Reads the open counter."""
        return self._events[channel.id].read

    def parse(self, channel: Channel, raw: bytes) -> int:
        """The count.

        Raises:
            ReadingError: there is none: the kernel has closed the counter.
        """
        number = count(raw)
        if number is None:
            why = f"{len(raw)} bytes instead of 8: its driver or CPU is gone"
            raise ReadingError(self._complaint(channel, why))
        # Behind TPMI the kernel's count falls when the register wraps, below 0 too.
        return number % channel.wraps_at if channel.wraps_at else number

    def _complaint(self, channel: Channel, why: str) -> str:
        counter = self._counters.get(channel.id)
        return f"{channel.id}: {counter.label if counter else ''} could not be read ({why})"

    def _found(self) -> tuple[list[PmuCounter], list[str]]:
        return find_counters(self._sysfs, cpu_of(self._cpuinfo), cores=self._cores)

    def _opened(self, counters: list[PmuCounter]) -> tuple[dict[PmuCounter, Event], list[str]]:
        """Each counter, open; and why some parts of a package are not.

        Raises:
            PluginUnavailable: permission is missing, or a package's cannot be opened.
        """
        events: dict[PmuCounter, Event] = {}
        notes = []
        for counter in counters:
            try:
                events[counter] = self._opener(counter.type, counter.config, counter.cpu)
            except OSError as error:
                why = refusal(error, str(counter.file), self._proc)
                if counter.part == "package" or isinstance(error, PermissionError):
                    _close(events.values())
                    raise why from error
                notes.append(self._leave_out(counter, f"is left out: {error.strerror}"))
        return events, notes

    def _working(
        self, events: Mapping[PmuCounter, Event]
    ) -> tuple[dict[PmuCounter, Event], list[str]]:
        """The counters that move, and what is wrong with the others."""
        packages = [counter for counter in events if counter.part == "package"]
        first, last = watch(lambda: {c: _shown(e) for c, e in events.items()}, events, self.clock)
        still = [c for c in events if last[c] == first[c] or isinstance(last[c], str)]
        dead = [counter for counter in packages if counter in still]
        if len(dead) == len(packages):
            raise PluginUnavailable(
                f"the counters of {packages[0].file.parent} do not move: a virtual machine shows "
                "them without the energy",
                "Measure on the host, or with a wattmeter",
            )
        if dead:
            raise PluginUnavailable(
                f"the counter {dead[0].label} does not move while others do",
                "See whether its CPUs are online: cat /sys/devices/system/cpu/online",
            )
        notes = [self._leave_out(c, f"{_trouble(last[c])} and is left out") for c in still]
        platforms = [c for c in events if c.part == "psys" and c not in still]
        notes += [f"{c.label} is a second platform counter and is left out" for c in platforms[1:]]
        out = {*still, *platforms[1:]}
        return {c: event for c, event in events.items() if c not in out}, notes

    def _channels_of(self, working: Mapping[PmuCounter, Event], notes: str) -> list[Channel]:
        vendor = cpu_of(self._cpuinfo).vendor
        platform = any(counter.part == "psys" for counter in working)
        wraps_at = TPMI_WRAP if behind_tpmi(self._sysfs) else None
        channels = []
        for counter, event in working.items():
            identity = identify(counter.socket, counter.part, platform)
            description = f"{counter.label} is {counter.part} of {counter.socket}"
            if notes and counter.part in ("package", "psys"):
                description += f". Beside it: {notes}"
            self._events[identity.id] = event
            self._counters[identity.id] = counter
            channels.append(channel(identity, vendor, counter.scale_j, wraps_at, description))
        return channels


def _shown(event: Event) -> int | str:
    try:
        number = count(event.read())
    except OSError as error:
        return error.strerror or str(error)
    return "it ended" if number is None else number


def _trouble(shown: int | str) -> str:
    return f"cannot be read ({shown})" if isinstance(shown, str) else "does not move"


def _close(events: Iterable[Event]) -> None:
    for event in events:
        event.close()
