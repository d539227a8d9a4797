"""What a recording process is asked to do, and what it tells in the end: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .calibration import Calibration
from .errors import ConfigError
from .results import Skipped, WindowResult

CSV = "csv"
JSONL = "jsonl"
FORMATS = (CSV, JSONL)

SUFFIXES = {".csv": CSV, ".jsonl": JSONL, ".ndjson": JSONL}

SHORTEST_S = 0.001
LONGEST_S = 3600.0


@dataclass(frozen=True)
class Order:
    """What to record, how often, and where to.

    Attributes:
        out: the file.
        format: ``csv`` or ``jsonl``.
        interval_s: between two rows.
        profilers: their names; None for all that work here.
        options: constructor options by profiler name.
        calibrations: that windows are corrected with; rows hold what the sensors tell.
        append: whether to continue a file that is there.
        rotate_rows, rotate_bytes, rotate_s: when to go on in another file; None for never.
        duration_s: when to end; None for when told so.
        pid: a process to follow, and to end with; None for none.
        tree: whether there are columns of a tree of processes.
        progress: whether to tell the state a few times a second.
    """

    out: str
    format: str
    interval_s: float = 0.1
    profilers: tuple[str, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    calibrations: tuple[Calibration, ...] = ()
    append: bool = False
    rotate_rows: int | None = None
    rotate_bytes: int | None = None
    rotate_s: float | None = None
    duration_s: float | None = None
    pid: int | None = None
    tree: bool = False
    progress: bool = False

    def __post_init__(self) -> None:
        if not SHORTEST_S <= self.interval_s <= LONGEST_S:
            raise ConfigError(
                f"the interval is {self.interval_s} s: give {SHORTEST_S} s (1000 rows a second) "
                f"to {LONGEST_S:.0f} s"
            )
        limits = {
            "rotate_rows": self.rotate_rows,
            "rotate_bytes": self.rotate_bytes,
            "rotate_s": self.rotate_s,
            "duration_s": self.duration_s,
        }
        for name, value in limits.items():
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}: give a number above 0, or leave it out")


def format_of(path: Path, given: str | None = None) -> str:
    """Format of a file: the one given, else by its suffix.

    Raises:
        ConfigError: neither tells it.
    """
    found = given or SUFFIXES.get(path.suffix.lower())
    if found not in FORMATS:
        raise ConfigError(
            f"{path} could be CSV or JSON lines: let its name end in .csv or .jsonl, "
            f"or give the format ({' or '.join(FORMATS)})"
        )
    return found


@dataclass(frozen=True)
class Started:
    """What is known once the first row is in the file.

    Attributes:
        pid: of the recording process.
        start_monotonic_s: instant of 0 in the column ``time_s``, on CLOCK_MONOTONIC.
        columns: of the file.
        skipped: profilers that are not used, and why.
        notes: what else there is to know: sensors that take long, unused calibrations.
        calibrated: channels whose windows are corrected.
    """

    pid: int
    start_monotonic_s: float
    columns: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    calibrated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """What became of a recording.

    Attributes:
        files: that hold it, in their order.
        rows: written by this recording.
        missed: ticks at which nothing was read, because something took too long.
        duration_s: from the first row to the last.
        ended_by: why it ended, in words.
        energy: from the first row to the last, with intervals; None where it is not known.
        failure: what went wrong, with the next step; empty if nothing did.
        errno: of the system, where the failure is one of writing.
        notes: warnings of the sensors.
    """

    files: tuple[str, ...]
    rows: int
    missed: int
    duration_s: float
    ended_by: str
    energy: WindowResult | None = None
    failure: str = ""
    errno: int | None = None
    notes: tuple[str, ...] = ()
