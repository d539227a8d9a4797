"""What a simulated NVIDIA board is like, and how the simulator's library is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NOT_SUPPORTED = 3
"""``NVML_ERROR_NOT_SUPPORTED``; the other codes for ``faults`` are in nvml.h too."""


@dataclass(frozen=True)
class Pulses:
    """Power that comes and goes, beginning with on, since the simulator's origin.

    Attributes:
        watts: added while it is on.
        period_s: of one on and off.
        duty: the share of the period that is on.
    """

    watts: float
    period_s: float
    duty: float = 0.5


@dataclass(frozen=True)
class SimulatedBoard:
    """One board; every figure is what NVML shall tell of it.

    Attributes:
        watts: true power until ``NvmlSimulator.set_power`` says otherwise.
        pulses: added to it.
        uuid, name: as NVML gives them; an empty uuid is made from the index.
        update_period_s: between two new values of the energy counter.
        phase_s: of the updates, after the origin.
        power_period_s: between two new values of the power; 0 for none to wait for.
        power_seen_s: the instant power is the mean over so long before it; shorter
            than ``power_period_s`` for a sensor that looks only part of the time.
        gain: what NVML shows over what is true.
        counter_gain: what the energy counter shows over what the power adds up to.
        module_w: power of all else on the module that the board shares with a CPU; None
            for a board by itself.
        counts_module: whether the energy counter is that of the module, as on GH200.
        module_is_board: whether a board by itself tells its own power as its module's.
        start_j: what the counter showed at the origin.
        energy_counter: whether the board has one.
        instant_power: whether the driver has the instant power field.
        power_usage: what ``nvmlDeviceGetPowerUsage`` gives: ``average`` (over
            1 s), ``instant``, or empty for nothing.
        architecture: NVML's number (4 Pascal, 5 Volta, 7 Ampere, 9 Hopper).
        pci_device: its PCI device id (0x20b0 A100, 0x2204 RTX 3090, 0x2335 H200).
        low_w, default_w, high_w: the power limits.
        mig_instances: UUIDs of its instances; MIG is on when there are any.
        utilisation, memory_utilisation: in %.
        memory_total, memory_used: in bytes.
        temperature: in °C.
        clock_mhz: of every clock but that of the memory.
        memory_clock_mhz: of the memory.
        throttling: NVML's reasons, as bits.
        process: PID of a program that uses the board; 0 for none.
        process_shares: PID -> % of the time in which it used the board.
        latency_s: how long each call takes.
        faults: NVML function, ``field:<number>``, or ``field:<number>:1`` for the module's
            -> error code it gives.
    """

    watts: float = 100.0
    pulses: Pulses | None = None
    uuid: str = ""
    name: str = "NVIDIA Simulated H200"
    update_period_s: float = 0.1
    phase_s: float = 0.0
    power_period_s: float = 0.0
    power_seen_s: float = 0.0
    gain: float = 1.0
    counter_gain: float = 1.0
    module_w: float | None = None
    counts_module: bool = True
    module_is_board: bool = False
    start_j: float = 12345.678
    energy_counter: bool = True
    instant_power: bool = True
    power_usage: str = "average"
    architecture: int = 9
    pci_device: int = 0x2335
    low_w: float = 200.0
    default_w: float = 700.0
    high_w: float = 700.0
    mig_instances: Sequence[str] = ()
    utilisation: int = 40
    memory_utilisation: int = 20
    memory_total: int = 150_754_820_096
    memory_used: int = 1_073_741_824
    temperature: int = 45
    clock_mhz: int = 1980
    memory_clock_mhz: int = 2619
    throttling: int = 0
    process: int = 0
    process_shares: Mapping[int, int] = field(default_factory=dict)
    latency_s: float = 0.0
    faults: Mapping[str, int] = field(default_factory=dict)


def configuration(board: SimulatedBoard) -> list[str]:
    """The lines on a board in the file that the library reads."""
    pulses = board.pulses or Pulses(0.0, 1.0)
    faults = dict(board.faults)
    if not board.energy_counter:
        faults["nvmlDeviceGetTotalEnergyConsumption"] = NOT_SUPPORTED
        faults["field:83"] = NOT_SUPPORTED
    if not board.instant_power:
        faults["field:186"] = NOT_SUPPORTED
    if not board.power_usage:
        faults["nvmlDeviceGetPowerUsage"] = NOT_SUPPORTED
    figures: dict[str, object] = {
        "name": board.name,
        "update_period": board.update_period_s,
        "phase": board.phase_s,
        "power_period": board.power_period_s,
        "power_seen": board.power_seen_s,
        "gain": board.gain,
        "counter_gain": board.counter_gain,
        "latency": board.latency_s,
        "pulse_watts": pulses.watts,
        "pulse_period": pulses.period_s,
        "pulse_duty": pulses.duty,
        "start_mj": round(board.start_j * 1000),
        "usage_averages": int(board.power_usage == "average"),
        "architecture": board.architecture,
        "pci_device": board.pci_device,
        "low_mw": round(board.low_w * 1000),
        "default_mw": round(board.default_w * 1000),
        "high_mw": round(board.high_w * 1000),
        "mig_mode": int(bool(board.mig_instances)),
        "utilisation": board.utilisation,
        "memory_total": board.memory_total,
        "memory_used": board.memory_used,
        "temperature": board.temperature,
        "clock_mhz": board.clock_mhz,
        "memory_utilisation": board.memory_utilisation,
        "memory_clock_mhz": board.memory_clock_mhz,
        "module_watts": board.module_w or 0.0,
        "module_scope": int(board.module_w is not None or board.module_is_board),
        "counts_module": int(board.module_w is not None and board.counts_module),
        "throttling": board.throttling,
        "process": board.process,
        "process_memory": board.memory_used if board.process else 0,
    }
    return [
        *(f"{key} {value}" for key, value in figures.items()),
        *(f"process_share {pid} {share}" for pid, share in board.process_shares.items()),
        *(f"mig_uuid {uuid}" for uuid in board.mig_instances),
        *(f"fail {call} {code}" for call, code in faults.items()),
    ]
