"""The contract of a grader: from what was measured to a letter, or to why there is none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

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
    """

    net_energy_j: Figure | None
    gross_energy_j: Figure | None
    units: float | None = None
    unit: str | None = None
    missing: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


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
