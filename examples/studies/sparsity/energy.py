"""What the studies measure with: greenai's sessions, and networks that exist only in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from greenai_core import (
    Channel,
    ComparisonSettings,
    CounterProfiler,
    DLLibrary,
    ParameterCount,
    Session,
    TensorSpec,
)
from greenai_core.results import ComparisonResult, WindowResult
from greenai_plugins.profilers.host import look
from greenai_plugins.profilers.modelled import FALLBACK_ERROR, TO_STANDARD, power_model

OWN_CPU = "own-cpu"
"""Name of the profiler below, in the scripts' option ``--profiler``."""


class OwnCpuProfiler(CounterProfiler):
    """Joules = CPU time of this process × design power of a processor. A model, no sensor.

    For machines without sensors that others use at the same time: greenai's own model
    counts the work of the whole machine, this one the work of this process alone. It says
    how long a program kept how many processors busy and no more: neither idle power nor
    memory nor accelerators are in it.
    """

    name = OWN_CPU

    def __init__(self) -> None:
        super().__init__()
        self._unit_j = 0.0

    def connect(self) -> Sequence[Channel]:
        """One channel: the processors, as far as this process uses them."""
        machine = look()
        model = power_model(machine)
        watts = model.max_w / machine.cpus
        self._unit_j = watts * 1e-9
        return [
            Channel(
                "model:own-cpu",
                "cpu",
                "modelled",
                resolution_j=self._unit_j,
                update_period_s=1e-3,
                gain_uncertainty=FALLBACK_ERROR / TO_STANDARD,
                gain_source="CPU time × design power: static estimators err by 40 % and more",
                description=f"CPU time of this process × {watts:.3g} W ({model.basis})",
            )
        ]

    def disconnect(self) -> None:
        """Nothing is held."""

    def read(self, channel: Channel) -> int:
        """Nanoseconds of CPU time that this process has spent so far."""
        return time.process_time_ns()


def session(profiler: str, device: str = "cpu") -> Session:
    """A session by the scripts' options; its totals hold the board in use and no other.

    Args:
        profiler: ``auto``, ``own-cpu``, or a profiler's name.
        device: that the work runs on.
    """
    wanted = [OwnCpuProfiler()] if profiler == OWN_CPU else profiler
    return Session(wanted, accelerators=boards(device))


def boards(device: str) -> tuple[str, ...]:
    """Ids of the channels of a PyTorch device; none for the CPU."""
    if not device.startswith("cuda"):
        return ()
    return (f"gpu:GPU-{torch.cuda.get_device_properties(device).uuid}",)


def basis(measured: Session) -> str:
    """In words, what the joules of a session are."""
    inside = [channel for channel in measured.channels if channel.id in measured.contains]
    told = "; ".join(f"{c.id}: {c.description or c.component} [{c.method}]" for c in inside)
    return told or "nothing: no channel belongs in a total"


def threads_of(device: str) -> str:
    """Device and threads, for people."""
    return f"{device}, threads: {torch.get_num_threads()}" if device == "cpu" else device


class InMemory(DLLibrary):
    """A piece of work as a model of greenai, so that ``Session.compare`` can take it.

    Args:
        label: stands where a model file's path would.
        step: does it once.
        samples: that one step works on.
        device: on which it runs.
        parameters: of the network.
    """

    format = "in-memory"
    option_names: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        label: str,
        step: Callable[[], object],
        *,
        samples: int,
        device: str = "cpu",
        parameters: int = 0,
    ) -> None:
        super().__init__(Path(__file__), device=device)  # some file there must be
        self.path = Path(label)
        self._step = step
        self._samples = samples
        self._parameters = parameters

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """No file is of this format."""
        return False

    def count_parameters(self) -> ParameterCount:
        """As given; 4 bytes each."""
        return ParameterCount(self._parameters, 0, 4 * self._parameters)

    def load_weights(self) -> None:
        """They are there."""

    def signature(self) -> tuple[TensorSpec, ...]:
        """A batch, of which only the number of samples matters."""
        return (TensorSpec("samples", (self._samples,)),)

    def prepare(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> object:
        """The work brings its own inputs."""
        return None

    def predict(self, prepared: object) -> object:
        """Do the work once."""
        return self._step()

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    def accelerators(self) -> tuple[str, ...]:
        """The board of the device."""
        return boards(self.device)

    def fetch(self, outputs: object) -> dict[str, np.ndarray[Any, Any]]:
        """Nobody looks at them."""
        return {}


def in_turn(
    measured: Session,
    works: Mapping[str, Callable[[], object]],
    *,
    samples: int,
    device: str = "cpu",
    unit: str = "inference",
    settings: ComparisonSettings | None = None,
) -> ComparisonResult:
    """Measure pieces of work in turn (ABBA, BAAB, …) and compare each with the first.

    Args:
        measured: an open session.
        works: what to compare, by name.
        samples: that each works on at once.
        device: on which they run.
        unit: what one of them is, ``inference`` or ``step``.
        settings: how long.
    """
    models = [InMemory(name, step, samples=samples, device=device) for name, step in works.items()]
    result = measured.compare(models, settings=settings, batch_size=samples)
    return replace(result, unit=unit)


def joules(window: WindowResult) -> dict[str, float | None]:
    """A window as columns of a table."""
    return {
        "energy_j": window.energy_j,
        "energy_low_j": window.low_j,
        "energy_high_j": window.high_j,
        "duration_s": window.duration_s,
    }
