"""Energy split over processes, as it stands in results.

``results`` hands these on; import them from there.
"""

from __future__ import annotations

from dataclasses import dataclass

PROCESS = "process"
OTHERS = "others"
UNATTRIBUTED = "unattributed"
IDLE = "idle"


@dataclass(frozen=True)
class ProcessShare:
    """What one process is made out to have used; a model, never a measurement.

    Attributes:
        kind: ``process``; ``others`` for the small ones together; ``unattributed`` for
            time of the device that belongs to no process that can be seen; ``idle``
            for the energy of doing nothing.
        energy_j: its share of the split energy.
        low_j, high_j: 95 %, with the assumption behind the split.
        busy_s: CPU time, or time of the accelerator; None where that is not known.
        ended_s: the part of ``busy_s`` of its children that ended, and of its own last
            moments: time that it is known for as a whole only.
        pid: None for the rows that are no process.
        name: of the program, or what the row is, for people.
        command: with its arguments; empty for processes that were not asked about,
            whose arguments are their owners' business.
        in_tree: whether it belongs to the processes that were asked about: the
            command, or this process, and all that they started.
        method: always ``modelled``.
    """

    kind: str
    energy_j: float
    low_j: float
    high_j: float
    busy_s: float | None
    ended_s: float = 0.0
    pid: int | None = None
    name: str = ""
    command: str = ""
    in_tree: bool = False
    method: str = "modelled"


@dataclass(frozen=True)
class EnergySplit:
    """The energy of a component of the machine, split over processes.

    The shares add up to ``energy_j``. No total contains them.

    Attributes:
        component: ``cpu``, ``dram``, ``gpu`` or ``accelerator``.
        channels: whose energy is split; CPU time does not tell which package it was
            spent on, so packages are split together.
        energy_j: of these channels in the window.
        low_j, high_j: of it, 95 %.
        basis: by what it was split, what was made of idle power, and what makes the
            intervals as wide as they are.
        shares: the tree first, then the others, the largest first; last what belongs
            to no process.
    """

    component: str
    channels: tuple[str, ...]
    energy_j: float
    low_j: float
    high_j: float
    basis: str
    shares: tuple[ProcessShare, ...]
