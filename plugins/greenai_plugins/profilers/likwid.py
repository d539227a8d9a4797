"""Joules as ``likwid-powermeter`` tells them: RAPL through the model-specific registers.

It measures as long as a program runs that it starts itself, and it takes a while to
do so after it has begun to count; it tells how long it measured, though, so that the
excess over the window is known.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from greenai_core import Channel, ConfigError, PluginUnavailable, ReadingError, WindowProfiler

from .adapters import (
    DELAY_HELP,
    MAX_RAPL_POWER_W,
    SMALLEST_RAPL_RANGE_J,
    check_delay,
    check_length,
    rapl_channel,
)
from .wrapped_program import WrappedProgram

PATIENCE_S = 30.0
"""It waits up to 10 s for its access daemon (src/access_client.c)."""

DOMAINS = {
    "PKG": "package",
    "DRAM": "dram",
    "PP0": "core",
    "CORE": "cores",
    "PP1": "uncore",
    "PLATFORM": "psys",
}
"""Its names (src/applications/likwid-powermeter.lua) -> those of powercap."""

INSTALL = "Install it: sudo apt install likwid, or from https://github.com/RRZE-HPC/likwid"

PERMIT = (
    "Load the registers' driver and let likwid's daemon read them: sudo modprobe msr && "
    'sudo chmod u+s "$(command -v likwid-accessD || echo /usr/sbin/likwid-accessD)"; or, as '
    "root, read them directly: -O likwid.access_mode=0. A virtual machine has none"
)

NO_RAPL = (
    "likwid knows no energy registers of this CPU, or a hypervisor hides them. Measure on the "
    "host, or with a wattmeter"
)

_RUNTIME = re.compile(r"Runtime: ([^\s]+) s")
_SOCKET = re.compile(r"Measure for socket (\d+) on CPU \d+")
_DOMAIN = re.compile(r"Domain (\w+):")
_ENERGY = re.compile(r"Energy consumed: ([^\s]+) Joules")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
_REFUSED = re.compile(r"permission|cannot get access|cannot access|accessD|daemon|locked", re.I)
_NO_RAPL = re.compile(r"not support|not supported", re.I)


class Figures(NamedTuple):
    """What it printed.

    Attributes:
        runtime_s: how long it measured; None where that was not printed whole.
        joules: by socket and domain; or, in words, what stood in their place.
    """

    runtime_s: float | None
    joules: dict[tuple[int, str], float | str]


def parse(text: str) -> Figures:
    """What ``likwid-powermeter`` printed; a line that is cut is passed over."""
    runtime: float | None = None
    joules: dict[tuple[int, str], float | str] = {}
    socket: int | None = None
    domain: str | None = None
    for line in map(str.strip, text.splitlines()):
        if match := _RUNTIME.fullmatch(line):
            runtime = float(match[1]) if _NUMBER.fullmatch(match[1]) else None
        elif match := _SOCKET.fullmatch(line):
            socket, domain = int(match[1]), None
        elif match := _DOMAIN.fullmatch(line):
            domain = match[1]
        elif (match := _ENERGY.fullmatch(line)) and socket is not None and domain is not None:
            told = match[1]
            number = _NUMBER.fullmatch(told)
            joules[socket, domain] = (
                float(told) if number else f"told as {told!r}, which is no number of joules"
            )
            domain = None
    return Figures(runtime, joules)


class LikwidProfiler(WindowProfiler):
    """Joules of the CPU packages and their memory, as ``likwid-powermeter`` tells them.

    Args:
        delay: accepted for older scripts, seconds between two measures; no effect.
        program: the program, by name or path.
        access_mode: 0 reads the registers directly, which only root may, 1 through
            likwid's daemon; None leaves it to likwid's own configuration.
        patience_s: seconds that the program may take to begin or to end.

    Raises:
        ConfigError: ``delay`` is no time, or ``access_mode`` is neither.
    """

    name: ClassVar[str] = "likwid"
    priority: ClassVar[int] = 10
    """Below ``rapl``, whose windows begin and end when they should."""

    option_names: ClassVar[Mapping[str, str]] = {
        "delay": DELAY_HELP,
        "program": "the program, likwid-powermeter by default",
        "access_mode": "0: read the registers directly, as root; 1: through likwid's daemon",
    }

    def __init__(
        self,
        delay: float | None = None,
        *,
        program: str = "likwid-powermeter",
        access_mode: int | str | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        super().__init__()
        check_delay(self.name, delay)
        if str(access_mode) not in ("None", "0", "1"):
            raise ConfigError(f"likwid: access_mode {access_mode!r} is neither 0 nor 1")
        mode = () if access_mode is None else ("-M", str(access_mode))
        self._command = (program, *mode)
        self._patience_s = patience_s
        self._keys: dict[str, tuple[int, str]] = {}
        self._program: WrappedProgram | None = None
        self._failure = ""
        self._began = 0.0

    def check_available(self) -> None:
        """Return if it tells joules here.

        Raises:
            PluginUnavailable: it is missing, may not, or there is nothing to read.
        """
        if not self.is_open:
            self.connect()
            self.disconnect()

    def connect(self) -> Sequence[Channel]:
        """See which sockets and domains it reads, in a short window.

        Raises:
            PluginUnavailable: it is missing, may not, or reads nothing.
        """
        if shutil.which(self._command[0]) is None:
            raise PluginUnavailable(f"there is no program {self._command[0]!r}", INSTALL)
        try:
            program = WrappedProgram(self._command, patience_s=self._patience_s)
            try:
                program.await_begun()
                figures = parse(program.end().stdout)
            finally:
                program.kill()
        except ReadingError as error:
            raise _explained(str(error)) from error
        told = {key: joules for key, joules in figures.joules.items() if key[1] in DOMAINS}
        # A domain that does not exist is printed with 0 J; but where one package has joules
        # none lacks them, and one that is still is to be missed, not left out.
        used = [key for key, joules in told.items() if joules or key[1] == "PKG"]
        if not any(told[key] for key in used if key[1] == "PKG"):
            raise PluginUnavailable("likwid-powermeter tells no joules of any package", NO_RAPL)
        return self._named(used)

    def disconnect(self) -> None:
        """End a run that was left open."""
        program, self._program = self._program, None
        if program is not None:
            program.kill()

    def start_window(self) -> None:
        """Start it and wait until it measures; a failure is told at the end of the window."""
        self.disconnect()
        self._failure, self.outside_s = "", 0.0
        try:
            self._program = WrappedProgram(self._command, patience_s=self._patience_s)
            self._program.await_begun()
        except ReadingError as error:
            self.disconnect()
            self._failure = str(error)
        self._began = self.clock.now()

    def stop_window(self) -> Mapping[str, float | str]:
        """Let it end, and read what it prints.

        Raises:
            ReadingError: it failed, or does not tell how long it measured.
        """
        program, self._program = self._program, None
        if program is None:
            raise ReadingError(self._failure or "likwid-powermeter was not running")
        duration = self.clock.now() - self._began
        try:
            figures = parse(program.end().stdout)
        finally:
            program.kill()
        if figures.runtime_s is None:
            raise ReadingError("likwid-powermeter did not tell its runtime: its output was cut")
        self.outside_s = max(figures.runtime_s - duration, 0.0)
        given: dict[str, float | str] = {}
        for channel in self.channels:
            joules = figures.joules.get(self._keys[channel.id])
            if joules is not None:
                given[channel.id] = _believed(channel, joules, figures.runtime_s)
        return given

    def _named(self, used: Sequence[tuple[int, str]]) -> list[Channel]:
        """The channels of what it reads."""
        platform = any(domain == "PLATFORM" for _, domain in used)
        channels, self._keys = [], {}
        for socket, domain in used:
            channel = rapl_channel(
                f"cpu:{socket}",
                DOMAINS[domain],
                f"domain {domain} of socket {socket}, read by likwid-powermeter",
                platform=platform,
            )
            # Only the platform domain of the first socket is valid.
            if channel.id not in self._keys:
                self._keys[channel.id] = socket, domain
                channels.append(channel)
        return channels


def _believed(channel: Channel, joules: float | str, runtime_s: float) -> float | str:
    """The joules, or why they cannot be true."""
    if isinstance(joules, str):
        return f"likwid-powermeter: {channel.id} is {joules}"
    try:
        check_length(channel, runtime_s, SMALLEST_RAPL_RANGE_J, "likwid-powermeter")
    except ReadingError as error:
        return str(error)
    most = 2 * MAX_RAPL_POWER_W * runtime_s + 1.0
    if joules > most:
        return (
            f"likwid-powermeter gave {joules:g} J for {channel.id} in {runtime_s:.3g} s, more than "
            "any package draws: the counter was reset, or wrapped"
        )
    return joules


def _explained(reason: str) -> PluginUnavailable:
    if _NO_RAPL.search(reason) and "access" not in reason:
        return PluginUnavailable(f"no energy registers: {reason}", NO_RAPL)
    if _REFUSED.search(reason):
        return PluginUnavailable(f"likwid may not read the energy registers: {reason}", PERMIT)
    return PluginUnavailable(f"likwid-powermeter fails: {reason}", "Try: likwid-powermeter -s 1s")
