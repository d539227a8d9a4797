"""One row of a recording as text: columns, cells, and what a plain reader of CSV gets."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .recording_order import CSV

TIME = "time_s"
UTC = "utc"
TICK = "tick"
READ = "read_s"
NOTES = "notes"

LEADING = (TIME, UTC, TICK, READ)
"""The first columns of every recording; ``notes`` is the last."""

MISSED = "missed"
FAILED = "failed"
RESTARTED = "restarted"
RESUMED = "resumed"

BETWEEN_NOTES = " | "

DEGREES = "deg"
"""Stands for ° in names of columns: they are ASCII, so that no program misreads them."""

COUNTER_DIGITS = 15
"""Of joules: more than a double holds would be noise."""

Encoder = Callable[[Sequence[str], str], bytes]
"""The text of the leading cells and the other cells, and the notes, to one line; an empty
cell is one that is not known."""


@dataclass(frozen=True)
class Column:
    """One column of a recording.

    Attributes:
        name: in the header; its unit stands in brackets.
        of: id of the channel, name of the device, or ``tree``.
        quantity: ``energy``, ``power``, ``age``, or that of a telemetry.
        unit: ``J``, ``W``, ``s``, ``%``, ``B``, ``degC``, ``MHz`` …
    """

    name: str
    of: str
    quantity: str
    unit: str


def energy_column(channel: str) -> Column:
    """Joules of a channel since the recording began."""
    return Column(f"{channel} [J]", channel, "energy", "J")


def power_column(channel: str) -> Column:
    """Watts that the source of a channel tells."""
    return Column(f"{channel} [W]", channel, "power", "W")


def age_column(channel: str) -> Column:
    """How long before the row the channel was read."""
    return Column(f"{channel} age [s]", channel, "age", "s")


def observed_column(device: str, quantity: str, unit: str) -> Column:
    """What a telemetry tells of a device."""
    plain = unit.replace("°", DEGREES)
    return Column(f"{device} {quantity} [{plain}]", device, quantity, plain)


TREE_COLUMNS = (
    Column("tree cpu_time [s]", "tree", "cpu_time", "s"),
    Column("tree rss [B]", "tree", "rss", "B"),
    Column("tree processes", "tree", "processes", ""),
)


def decimals(resolution_j: float) -> int:
    """Places after the point that hold one unit of a counter, and a tenth of it."""
    if resolution_j <= 0:
        return 9
    return min(max(math.ceil(-math.log10(resolution_j)) + 1, 3), 12)


def note(kind: str, subject: str, reason: str = "") -> str:
    """One note: ``failed cpu:0/package: reason``, ``missed 3 ticks``."""
    text = " ".join(reason.replace("|", "/").split())
    return f"{kind} {subject}: {text}" if text else f"{kind} {subject}"


def notes_in(cell: str) -> list[tuple[str, str, str]]:
    """Kind, subject and reason of each note in a cell."""
    found = []
    for text in filter(None, cell.split(BETWEEN_NOTES)):
        kind, _, rest = text.partition(" ")
        # The ids of channels hold colons, but none with a space behind it.
        subject, _, reason = rest.partition(": ")
        found.append((kind, subject, reason))
    return found


def header(format: str, names: Sequence[str]) -> bytes:
    """The first line of a CSV file; JSON lines name the columns in every line."""
    return (",".join(map(_quoted, names)) + "\n").encode() if format == CSV else b""


def leading(format: str) -> str:
    """How the leading cells are written: one text, since four of them would cost more."""
    if format == CSV:
        return "%.6f,%s,%d,%.6f"
    return f'"{TIME}": %.6f, "{UTC}": "%s", "{TICK}": %d, "{READ}": %.6f'


def encoder(format: str, names: Sequence[str]) -> Encoder:
    """How rows with these columns, the notes last, are written."""
    if format == CSV:
        return _csv_line
    keys = ["", *(f"{json.dumps(name)}: " for name in names[len(LEADING) :])]

    def json_line(cells: Sequence[str], notes: str) -> bytes:
        parts = [f"{key}{cell or 'null'}" for key, cell in zip(keys, cells, strict=False)]
        parts.append(f"{keys[-1]}{json.dumps(notes)}")
        return ("{" + ", ".join(parts) + "}\n").encode()

    return json_line


def _csv_line(cells: Sequence[str], notes: str) -> bytes:
    if not notes:
        return f"{','.join(cells)},\n".encode()
    return f"{','.join(cells)},{_quoted(notes)}\n".encode("utf-8", "backslashreplace")


def _quoted(text: str) -> str:
    if any(sign in text for sign in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text


class UtcText:
    """ISO 8601 with microseconds; the part down to the second is made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, unix_s: float) -> str:
        """The text for seconds since 1970."""
        second = int(unix_s)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return "%s%06dZ" % (self._text, (unix_s - second) * 1e6)  # noqa: UP031  # the quicker way
