"""Boards that tell no power, on a virtual clock, whose utilisation a test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from greenai_core.testing import NvmlSimulator, SimulatedBoard, VirtualClock

LIMIT_W = 75.0


def old_board(**options: Any) -> SimulatedBoard:
    """As nvidia-smi shows a GTX 1050 Ti: ``N/A / 75W``, and a utilisation.

    github.com/nicehash/excavator/issues/137: the power reads as not supported, the limit
    does not.
    """
    return SimulatedBoard(
        **{
            "name": "NVIDIA GeForce GTX 1050 Ti",
            "architecture": 4,
            "pci_device": 0x1C82,
            "energy_counter": False,
            "instant_power": False,
            "power_usage": "",
            "default_w": LIMIT_W,
            "low_w": 52.5,
            "high_w": LIMIT_W,
            **options,
        }
    )


class Utilisation:
    """What ``nvmlDeviceGetUtilizationRates`` tells, instead of the simulator."""

    def __init__(self, ask: Callable[[Any], Any], clock: VirtualClock) -> None:
        self.ask, self.clock = ask, clock
        self.percent: int | None = None
        self.error: Exception | None = None
        self.late_s: list[float] = []

    def __call__(self, handle: Any) -> Any:
        if self.late_s:
            self.clock.lapse(self.late_s.pop())
        told = self.ask(handle)  # a board that is lost fails here
        if self.error is not None:
            raise self.error
        return told if self.percent is None else SimpleNamespace(gpu=self.percent, memory=0)


@contextmanager
def machine(
    *boards: SimulatedBoard,
) -> Iterator[tuple[NvmlSimulator, VirtualClock, Utilisation]]:
    """A machine with these boards."""
    import pynvml

    clock = VirtualClock(1000.0)
    with ExitStack() as stack:
        simulator = stack.enter_context(NvmlSimulator(boards, clock=clock))
        stack.enter_context(simulator.installed())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        utilisation = Utilisation(pynvml.nvmlDeviceGetUtilizationRates, clock)
        patch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", utilisation)
        yield simulator, clock, utilisation
