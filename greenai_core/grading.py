"""The contract of a grader: from what was measured to a letter, or to why there is none."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from .budget import scaled
from .results import Figure, Grade


@dataclass(frozen=True)
class Gradable:
    """What a grader may look at.

    Attributes:
        net_energy_j: energy above idle; None where idle was not measured.
        gross_energy_j: energy as measured; None where a channel is missing.
        units: how many functional units (images, tokens) the energy was for;
            None when nobody said.
        unit: name of the functional unit.
        missing: ids of channels that belong to the total and gave nothing.
        components: what the energy is of (``cpu``, ``dram``, ``gpu``, ``wall``);
            empty when nobody said, and then no scale can check its scope.
        channels: ids of the channels in the total; empty when nobody said.
        machine: see ``environment.machine_identity``; None when it is not known.
        input: what it was fed, so that two runs can be told to be of the same; None
            when nobody said.
        hardware_class: as scales name it; None when nobody said.
    """

    net_energy_j: Figure | None
    gross_energy_j: Figure | None
    units: float | None = None
    unit: str | None = None
    missing: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    machine: str | None = None
    input: str | None = None
    hardware_class: str | None = None

    def per_unit(self, pue: float = 1.0) -> Figure | None:
        """Net energy of one unit times the PUE, J; None where it cannot be said.

        Args:
            pue: power usage effectiveness: what a data centre draws for each watt of
                its machines.
        """
        net = self.net_energy_j
        if net is None or self.units is None or not 0 < self.units < math.inf:
            return None
        factor = pue / self.units
        ends = {
            name: getattr(net, name) * pue / self.units
            for name in ("value", "low", "high", "repeat_low", "repeat_high")
        }
        if not all(map(math.isfinite, ends.values())):
            return None
        how = f"divided by {self.units:g} {self.unit or 'units'}"
        how += "" if pue == 1 else f", × PUE {pue:g}"
        return replace(
            net,
            **ends,
            provenance=f"{net.provenance}; {how}",
            budget=scaled(net.budget, factor),
        )


class Grader(ABC):
    """Turns what was measured into a grade; pure: no clock, no network, no file.

    Args:
        options: those that ``option_names`` lists.
    """

    name: ClassVar[str]
    option_names: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def grade(self, measured: Gradable) -> Grade:
        """The grade with its reasons.

        Where a letter would be dishonest (no functional unit, no reference, a
        missing channel, energy below the noise floor) the grade has none.

        Raises:
            GradeError: an option is wrong.
        """
