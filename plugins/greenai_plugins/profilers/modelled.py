"""The model of last resort: joules from how busy the CPU is, where no sensor is.

P = P_idle + (P_max − P_idle) · utilisation for the CPU, and a constant power for
each GiB of memory. It is an estimate, called *modelled* everywhere, and its
interval is wide: static estimators err by up to 40 %.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from greenai_core import (
    Channel,
    ConfigError,
    CounterProfiler,
    HostTelemetry,
    LifecycleError,
    Observation,
    PackageLimit,
    PluginUnavailable,
    ReadingError,
    Telemetry,
    package_limits,
)

from .cpu_table import find_design
from .host import Machine, busy_seconds, look

IDLE_W = 0.74
MAX_W = 3.5
"""Of one hardware thread, idle and busy: averages over the servers of AWS that Cloud Carbon
Footprint derives from SPECpower_ssj2008 (https://www.cloudcarbonfootprint.org/docs/methodology/,
Appendix I, "Average Minimum/Maximum Watts"; single designs there lie between 0.47 and 3.0,
and 1.7 and 8.6). Measured at the plug, so they hold the board too."""

IDLE_SHARE = IDLE_W / MAX_W
"""Idle over full power, 0.21: the ratio of the same averages, for CPUs of known TDP."""

MEMORY_W_PER_GIB = 0.3725
"""Lannelongue, Grealey and Inouye, "Green Algorithms: Quantifying the Carbon Footprint
of Computation", Advanced Science 8 (2021) 2100707, https://doi.org/10.1002/advs.202100707."""

MEMORY_ERROR = 0.80
"""95 % half-width of it, an assumption: Cloud Carbon Footprint has 0.392 W, a user who added
idle modules at a meter found a tenth of that and below (GreenAlgorithms/green-algorithms-tool,
issue 14); power follows the modules and the traffic rather than the size."""

ERROR = 0.40
"""95 % half-width where the TDP is known."""

FALLBACK_ERROR = 0.60
"""95 % half-width of the averages over servers, whose CPUs are not this one; it holds the
designs since 2016 among them (0.45 to 1.14 W idle, 1.7 to 5.4 W busy)."""

GAIN_SOURCE = "utilisation model: static estimators err by up to 40 %, unlisted CPUs by more"
TO_STANDARD = 1.959
"""95 % half-widths in standard uncertainties, rounded so that no interval gets narrower."""

STEP_BACK_S = 1.0
"""CPU time that goes back by more has begun anew: by less it is the kernel's rounding."""


@dataclass(frozen=True)
class PowerModel:
    """Power of the CPUs that this process may use.

    Attributes:
        idle_w: when they do nothing.
        max_w: when all of them are busy.
        error: relative 95 % half-width.
        basis: where the figures come from, for people.
    """

    idle_w: float
    max_w: float
    error: float
    basis: str


def power_model(
    machine: Machine, tdp_w: float | None = None, limits: Sequence[PackageLimit] = ()
) -> PowerModel:
    """The best model that can be had for a machine.

    Args:
        machine: what is known of it.
        tdp_w: full power of the CPUs in use, if the user states it.
        limits: of each package, if the driver tells.
    """
    if tdp_w is not None:
        return _from_tdp(tdp_w, f"{tdp_w:g} W at full load, as given")
    share = machine.cpus / machine.threads
    part = "" if share == 1 else f" of {machine.threads} threads, {machine.cpus:g} in use here"
    if limits and not machine.virtual and all(limit.believable for limit in limits):
        watts = math.fsum(limit.power_w for limit in limits)
        kinds = " and ".join(sorted({limit.kind for limit in limits}))
        return _from_tdp(watts * share, f"{kinds} of {watts:g} W{part}")
    design = find_design(machine.cpu)
    if design is not None:
        a_thread = design.tdp_w / design.threads
        sheet = f"TDP of {design.tdp_w:g} W for {design.threads} threads"
        if machine.virtual:
            basis = f"{sheet}, scaled to the {machine.cpus:g} virtual CPUs of this machine"
            return _from_tdp(a_thread * machine.cpus, basis)
        watts = design.tdp_w * machine.sockets
        return _from_tdp(watts * share, f"{sheet}, {machine.sockets} of them{part}")
    kind = "virtual CPUs" if machine.virtual else "threads"
    basis = f"{machine.cpus:g} {kind} of {IDLE_W:g} W idle to {MAX_W:g} W busy, as servers have"
    return PowerModel(IDLE_W * machine.cpus, MAX_W * machine.cpus, FALLBACK_ERROR, basis)


def _from_tdp(watts: float, basis: str) -> PowerModel:
    return PowerModel(watts * IDLE_SHARE, watts, ERROR, basis)


class ModelledProfiler(CounterProfiler, Telemetry):
    """Joules of CPU and memory, estimated; and how busy the machine is.

    Args:
        tdp_w: power of the CPUs of this machine at full load, W, if known.
        powercap: the powercap tree, whose limits anybody may read.
        machine: what is known of the machine; looked up by default.
        busy: seconds of CPU time spent so far by all; the machine's by default.
    """

    name = "modelled"
    priority = 0
    option_names: ClassVar = {"tdp_w": "power of this machine's CPUs at full load, in watts"}
    seen_on_hardware = "a KVM virtual machine on AMD EPYC; nothing to compare with there"

    def __init__(
        self,
        *,
        tdp_w: float | str | None = None,
        powercap: str | os.PathLike[str] = "/sys/class/powercap",
        machine: Callable[[], Machine] = look,
        busy: Callable[[Machine], float] = busy_seconds,
    ) -> None:
        super().__init__()
        self._tdp_w = None if tdp_w is None else _watts(tdp_w)
        self._powercap = Path(powercap)
        self._look_at_host = machine
        self._busy = busy
        self._machine: Machine | None = None
        self._model = PowerModel(0.0, 0.0, ERROR, "")
        self._memory_w = 0.0
        self._began = self._busy_first = self._busy_last = 0.0
        self._telemetry: HostTelemetry | None = None

    def check_available(self) -> None:
        """Return if the system tells how busy its CPUs are.

        Raises:
            PluginUnavailable: it does not.
        """
        try:
            self._busy(self._look_at_host())
        except (OSError, ValueError, AttributeError, RuntimeError) as error:
            raise PluginUnavailable(
                f"the system does not tell how busy its CPUs are ({error})",
                "On Linux: mount /proc",
            ) from error

    def connect(self) -> Sequence[Channel]:
        """Look at the machine and choose the model.

        Raises:
            PluginUnavailable: the system does not tell how busy its CPUs are.
        """
        self.check_available()
        machine = self._machine = self._look_at_host()
        self._model = power_model(machine, self._tdp_w, package_limits(self._powercap))
        gib = machine.memory_bytes / 2**30
        self._memory_w = MEMORY_W_PER_GIB * gib
        self._busy_first = self._busy_last = self._busy(machine)
        self._began = self.clock.now()
        self._telemetry = HostTelemetry(
            now=self.clock.now, busy_s=self._busy_now, cpus=machine.cpus
        )
        model = self._model
        cpu = (
            f"{machine.cpu or 'CPU of unknown name'}: {model.idle_w:.3g} W idle, "
            f"{model.max_w:.3g} W busy ({model.basis}){machine.note}"
        )
        memory = f"{gib:.3g} GiB at {MEMORY_W_PER_GIB:g} W each{machine.memory_note}"
        return [
            self._channel("model:cpu", "cpu", model.error, cpu),
            self._channel("model:dram", "dram", MEMORY_ERROR, memory),
        ]

    def disconnect(self) -> None:
        """Nothing is held."""
        self._machine = None

    def read(self, channel: Channel) -> int:
        """The modelled energy since ``connect``, µJ.

        Raises:
            ReadingError: the system does not tell the CPU time.
        """
        elapsed = self.clock.now() - self._began
        if channel.component == "dram":
            return int(self._memory_w * elapsed * 1e6)
        model = self._model
        busy = self._busy_now() - self._busy_first
        cpus = self._opened().cpus
        joules = model.idle_w * elapsed + (model.max_w - model.idle_w) * busy / cpus
        return int(joules * 1e6)

    def observe(self) -> Sequence[Observation]:
        """Utilisation, memory, and temperature and clock where the system tells them.

        Raises:
            ReadingError: the system does not tell the CPU time.
            LifecycleError: the profiler is not open.
        """
        self._opened()
        if self._telemetry is None:
            raise AssertionError("connect looks at the host")
        return self._telemetry.observe()

    def _opened(self) -> Machine:
        if self._machine is None:
            raise LifecycleError("the profiler 'modelled' is not open: call open() first")
        return self._machine

    def _busy_now(self) -> float:
        try:
            busy = self._busy(self._opened())
        except (OSError, ValueError) as error:
            raise ReadingError(f"the system does not tell the CPU time: {error}") from error
        if not busy >= self._busy_last - STEP_BACK_S:  # neither does NaN pass
            raise ReadingError(
                f"the CPU time of the machine went from {self._busy_last:.2f} to {busy:.2f} s: it "
                "was reset, or is not what it says. Begin a new session"
            )
        # By a jiffy the kernel's figures may step back; time that was spent stays spent.
        self._busy_last = max(self._busy_last, busy)
        return self._busy_last

    def _channel(self, id: str, component: str, error: float, description: str) -> Channel:
        return Channel(
            id,
            component,
            "modelled",
            resolution_j=1e-6,
            update_period_s=self._opened().jiffy_s,
            gain_uncertainty=error / TO_STANDARD,
            gain_source=GAIN_SOURCE,
            description=f"modelled, ±{error:.0%}: {description}",
        )


def _watts(value: float | str) -> float:
    try:
        watts = float(value)
    except ValueError:
        watts = math.nan
    if not 0 < watts < math.inf:
        raise ConfigError(f"tdp_w must be a number of watts above 0, not {value!r}")
    return watts
