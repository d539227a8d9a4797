"""The log of ``wattmetre-read``: text in, rows out.

Its header names the columns: ``#timestamp`` (Unix seconds), ``#frame_is_ok``, voltages,
and for each plug ``#current1,#activepow1``. Rows of damaged frames say ``false`` and
are empty. Standard output comes in pieces of 4096 bytes that end anywhere, and messages
of standard error (``date;…;BAD FRAME CRC;…``) may stand before, between and within
rows. Seen in the reader's source and in
https://github.com/GreenAI-Uppa/AIPowerMeter/blob/main/docsrc/experiments/schneiderbox.rst
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass

HEADER = "#timestamp"
MAX_LINE = 65536
YES, NO = ("true", "1", "ok"), ("false", "0", "ko")
_POWER = re.compile(r"#?activepow(?:er)?_?(\d+)")
STAMP = re.compile(r"\d{1,12}(\.\d+)?")


@dataclass(frozen=True)
class Row:
    """One good row.

    Attributes:
        time: as written, Unix seconds by the log's clock.
        watts: of each plug, by its number.
    """

    time: float
    watts: dict[int, float]


class RowParser:
    """Finds the good rows in a log, and counts the others by what is wrong with them."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.since_good: Counter[str] = Counter()
        """The faults since the newest good row."""
        self.good = 0
        self.plugs: tuple[int, ...] = ()
        self.back_s = 0.0
        """By how much the newest row that came before its predecessor did so, s."""
        self._columns: list[str] = []
        self._last = -math.inf
        self._rest = b""

    def feed(self, content: bytes) -> list[Row]:
        """The rows that these bytes complete, in order; half a line waits for its rest."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        if len(self._rest) > MAX_LINE:
            self._bad("lines without an end")
            self._rest = b""
        found = (self._line(line.decode("ascii", "replace").strip()) for line in lines)
        return [row for row in found if row is not None]

    def restart(self) -> None:
        """Another file follows."""
        self._rest = b""
        self._columns = []

    @property
    def pending(self) -> float | None:
        """Time stamp of the half line that waits for its rest; None where it has none yet."""
        stamp, comma, _ = self._rest.partition(b",")
        text = stamp.decode("ascii", "replace")
        return float(text) if comma and STAMP.fullmatch(text) else None

    def forget_faults(self) -> None:
        """Count from 0 again."""
        self.faults.clear()
        self.since_good.clear()
        self.good = 0

    def _line(self, line: str) -> Row | None:
        if HEADER in line:
            self._read_header(line[line.index(HEADER) :])
            return None
        if not line or (";" in line and "," not in line.partition(";")[0]):
            return None  # a message of standard error
        if not self._columns:
            return self._bad("rows before the header")
        return self._row(line.split(","))

    def _read_header(self, line: str) -> None:
        self._columns = [name.strip() for name in line.split(",")]
        found = (_POWER.fullmatch(name) for name in self._columns)
        self._places = {int(m.group(1)): place for place, m in enumerate(found) if m}
        self.plugs = tuple(sorted(self._places))

    def _row(self, fields: list[str]) -> Row | None:
        if len(fields) != len(self._columns) or not STAMP.fullmatch(fields[0]):
            return self._bad("broken rows")
        named = dict(zip(self._columns, fields, strict=True))
        ok = named.get("#frame_is_ok", "true").strip().lower()
        if ok not in YES:
            return self._bad("rows of damaged frames" if ok in NO else "broken rows")
        try:
            watts = {plug: float(fields[place]) for plug, place in self._places.items()}
        except ValueError:
            return self._bad("rows without numbers")
        time = float(fields[0])
        if time <= self._last:
            self.back_s = self._last - time
            return self._bad("rows whose time goes back")
        self._last = time
        self.good += 1
        self.since_good.clear()
        return Row(time, watts)

    def _bad(self, fault: str) -> Row | None:
        self.faults[fault] += 1
        self.since_good[fault] += 1
        return None


def counted(faults: Counter[str]) -> str:
    """How many rows have each fault, in words."""
    return ", ".join(f"{count} {fault}" for fault, count in faults.items()) or "none"
