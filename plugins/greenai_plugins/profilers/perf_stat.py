"""Joules as Linux' ``perf stat`` counts them: RAPL through perf_event.

``perf`` is started with its counters off and told through a pipe when to count, so
what it takes to start is not in the figure.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from greenai_core import Channel, PluginUnavailable, ReadingError, WindowProfiler

from .adapters import DELAY_HELP, check_delay, rapl_channel
from .wrapped_program import WrappedProgram

DEVICES = "/sys/bus/event_source/devices"

RESOLUTION_J = 0.01
"""It prints two decimals of what has a unit (tools/perf/util/stat-display.c)."""

PATIENCE_S = 10.0

EVENTS = {
    "energy-pkg": "package",
    "energy-ram": "dram",
    "energy-cores": "core",
    "energy-gpu": "uncore",
    "energy-psys": "psys",
}
"""Events of the PMU ``power`` (arch/x86/events/rapl.c) -> what powercap calls them."""

INSTALL = (
    "Install it: sudo apt install linux-perf (Debian), sudo apt install "
    "linux-tools-$(uname -r) (Ubuntu), sudo dnf install perf (Fedora)"
)

PERMIT = (
    "Let users count for the whole machine: sudo sysctl kernel.perf_event_paranoid=0, or this "
    'program only: sudo setcap cap_perfmon=ep "$(readlink -f "$(command -v perf)")"'
)

NO_EVENTS = (
    "On bare metal: sudo modprobe rapl. Virtual machines have no RAPL: measure on the host, "
    "or with a wattmeter"
)

UPDATE = "It must be perf of Linux 5.10 or later, which can be told when to count"

_LINE = re.compile(r"S(\d+)(?:-\w+)?;\d+;([^;\n]+);([^;\n]*);power/([\w-]+)/(?:[;u].*)?")
_REFUSED = re.compile(
    r"perf_event_paranoid|Access to performance monitoring|Permission denied|not permitted"
)
_TOO_OLD = re.compile(r"unknown (?:option|switch)|expects a numerical value|control", re.IGNORECASE)


def parse(text: str) -> dict[tuple[int, str], float | str]:
    """Joules by socket and event in what ``perf stat -a -x';' --per-socket`` printed.

    A line that is cut or of another kind is passed over, so its event is left out.

    Returns:
        Joules; or in words why there are none, such as ``not supported``.
    """
    found: dict[tuple[int, str], float | str] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        socket, value, unit, event = match.groups()
        key = int(socket), event
        if value.startswith("<"):
            found[key] = value.strip("<>")
        elif unit != "Joules":
            found[key] = f"told in {unit or 'counts'}, not in joules"
        elif re.fullmatch(r"\d+(\.\d+)?", value):
            found[key] = float(value)
        else:
            found[key] = f"told as {value!r}, which is no number of joules"
    return found


class PerfStatProfiler(WindowProfiler):
    """Joules of the CPU packages and their memory, as ``perf stat`` tells them.

    Args:
        delay: accepted for older scripts, seconds between two measures; no effect.
        perf: the program, by name or path.
        devices: folder of the kernel's event sources.
        patience_s: seconds that the program may take to answer.

    Raises:
        ConfigError: ``delay`` is no time.
    """

    name: ClassVar[str] = "perf-stat"
    priority: ClassVar[int] = 10
    """Below ``rapl``, which needs no program beside it."""

    option_names: ClassVar[Mapping[str, str]] = {
        "delay": DELAY_HELP,
        "perf": "the program, perf by default",
    }

    def __init__(
        self,
        delay: float | None = None,
        *,
        perf: str = "perf",
        devices: str | os.PathLike[str] = DEVICES,
        patience_s: float = PATIENCE_S,
    ) -> None:
        super().__init__()
        check_delay(self.name, delay)
        self._perf = perf
        self._devices = Path(devices)
        self._patience_s = patience_s
        self._keys: dict[str, tuple[int, str]] = {}
        self._events: tuple[str, ...] = ()
        self._run: _Run | None = None
        self._failure = ""

    def check_available(self) -> None:
        """Return if ``perf stat`` tells joules here.

        Raises:
            PluginUnavailable: it is missing, may not, or there is nothing to count.
        """
        if not self.is_open:
            self.connect()
            self.disconnect()

    def connect(self) -> Sequence[Channel]:
        """See which sockets and events it counts, in a short window.

        Raises:
            PluginUnavailable: it is missing, may not, or counts nothing.
        """
        if shutil.which(self._perf) is None:
            raise PluginUnavailable(f"there is no program {self._perf!r}", INSTALL)
        folder = self._devices / "power" / "events"
        self._events = tuple(event for event in EVENTS if (folder / event).exists())
        if not self._events:
            raise PluginUnavailable(
                f"the kernel counts no energy for perf: {folder} has no energy-pkg", NO_EVENTS
            )
        try:
            run = _Run(self._perf, self._events, self._patience_s)
            run.count()
            run.halt()
            found = parse(run.figures())
        except ReadingError as error:
            raise _explained(str(error)) from error
        counted = [key for key, joules in found.items() if not isinstance(joules, str)]
        if not counted:
            why = "; ".join(f"{event} is {why}" for (_, event), why in found.items())
            raise PluginUnavailable(f"perf stat tells no joules: {why or 'no figures'}", NO_EVENTS)
        return self._named(counted)

    def disconnect(self) -> None:
        """End a run that was left open."""
        run, self._run = self._run, None
        if run is not None:
            run.kill()

    def start_window(self) -> None:
        """Start it and let it count; a failure is told at the end of the window."""
        self.disconnect()
        self._failure, self.outside_s = "", 0.0
        try:
            self._run = _Run(self._perf, self._events, self._patience_s)
            before = self.clock.now()
            self._run.count()
        except ReadingError as error:
            self._failure = str(error)
            return
        self.outside_s = self.clock.now() - before

    def stop_window(self) -> Mapping[str, float | str]:
        """Let it count no more, and read what it prints.

        Raises:
            ReadingError: it failed.
        """
        run, self._run = self._run, None
        if run is None:
            raise ReadingError(self._failure or f"{self._perf} was not running")
        ended = self.clock.now()
        run.halt()
        self.outside_s += self.clock.now() - ended
        found = parse(run.figures())
        told = {id: found[key] for id, key in self._keys.items() if key in found}
        return {
            id: f"for perf stat {id} is {joules}" if isinstance(joules, str) else joules
            for id, joules in told.items()
        }

    def _named(self, counted: Sequence[tuple[int, str]]) -> list[Channel]:
        """The channels of what it counts."""
        platform = any(event == "energy-psys" for _, event in counted)
        channels, self._keys = [], {}
        for socket, event in counted:
            channel = rapl_channel(
                f"cpu:{socket}",
                EVENTS[event],
                f"power/{event}/ of socket {socket}, counted by perf stat",
                platform=platform,
                resolution_j=RESOLUTION_J,
            )
            # Only the psys of the first socket is valid: the platform has one.
            if channel.id not in self._keys:
                self._keys[channel.id] = socket, event
                channels.append(channel)
        return channels


class _Run:
    """One run of ``perf stat``, which counts from ``count`` to ``halt``."""

    def __init__(self, perf: str, events: Sequence[str], patience_s: float) -> None:
        heard, self._tell = os.pipe()
        self._ear, answer = os.pipe()
        command = [perf, "stat", "-a", "-x;", "--per-socket", "-e"]
        command += [",".join(f"power/{event}/" for event in events)]
        command += ["-D", "-1", "--control", f"fd:{heard},{answer}", "--"]
        try:
            self._program = WrappedProgram(command, patience_s=patience_s, pass_fds=(heard, answer))
        except BaseException:
            self._hang_up()
            raise
        finally:
            os.close(heard)
            os.close(answer)
        # The first answer comes when it has started: its counters are off until then.
        self._order(b"disable\n")

    def count(self) -> None:
        """Let it count; it has begun when this returns.

        Raises:
            ReadingError: it does not answer, or has ended.
        """
        self._order(b"enable\n")

    def halt(self) -> None:
        """Let it count no more.

        Raises:
            ReadingError: it does not answer, or has ended.
        """
        self._order(b"disable\n")

    def figures(self) -> str:
        """What it prints when it ends.

        Raises:
            ReadingError: it failed.
        """
        try:
            return self._program.end().stderr
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._hang_up()
        self._program.kill()

    def _order(self, order: bytes) -> None:
        try:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._tell, order)
            self._program.hear(self._ear)
        except BaseException:
            self.kill()
            raise

    def _hang_up(self) -> None:
        for name in ("_tell", "_ear"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)


def _explained(reason: str) -> PluginUnavailable:
    if "not found for kernel" in reason:  # Ubuntu's perf is a script that looks for the real one
        return PluginUnavailable(f"there is no perf for this kernel: {reason}", INSTALL)
    if _REFUSED.search(reason):
        return PluginUnavailable(f"perf stat may not count for the whole machine: {reason}", PERMIT)
    if _TOO_OLD.search(reason):
        return PluginUnavailable(f"this perf stat cannot be told when to count: {reason}", UPDATE)
    return PluginUnavailable(
        f"perf stat does not count: {reason}", "Try: perf stat -a -e power/energy-pkg/ sleep 1"
    )
