"""What is kept of repeated work, so that its figures can be derived from it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .blocks import RunReadings
from .kept_windows import KeptWindows
from .loop import LoopSettings
from .run_costs import Sensor


@dataclass(frozen=True)
class KeptRun:
    """A run of repeated work.

    Attributes:
        readings: of the sensors, and the work between.
        sensors: what is known of each.
        contains: ids of the channels that the total adds up.
        settings: when it was to stop.
        broken_off: whether it ended before it was done: Ctrl-C, or a step that failed.
        epoch_samples: samples of an epoch, where the energy of one is told.
    """

    readings: RunReadings
    sensors: tuple[Sensor, ...]
    contains: tuple[str, ...]
    settings: LoopSettings
    broken_off: bool = False
    epoch_samples: int | None = None


Kept: TypeAlias = KeptRun | KeptWindows
"""What the figures of one result follow from."""
