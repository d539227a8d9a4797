"""What ``greenai study`` tells while it goes on: the cell, its share, and the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from greenai_core.study_cells import CellKey, CellRecord
from greenai_core.study_plan import StudyPlan
from greenai_core.study_run import Listener

from . import exit_codes, output
from .faults import Faults
from .progress import Progress

RECENT = 50
"""Cells that the time left is reckoned from."""


class Told(Listener):
    """Writes to stderr, and remembers what failed.

    Args:
        out: folder of the study.
        quiet: whether results are for machines.
    """

    def __init__(self, out: Path, quiet: bool) -> None:
        self.faults = Faults()
        self._out = out
        self._quiet = quiet
        self._progress = Progress()
        self._left = 0
        self._cells = 0
        self._took: list[float] = []
        self._begun_s = 0.0
        self._warned: set[str] = set()

    def warned(self, text: str) -> None:
        """On stderr."""
        output.warn(text)

    def begun(self, plan: StudyPlan, cells: int, left: int) -> None:
        """One line: how much there is to do."""
        self._cells, self._left = cells, left
        self._progress = Progress(cells, cells - left)
        before = f", {cells - left} of them measured before" if left < cells else ""
        most = left * (plan.seconds or plan.max_seconds)
        word = "about" if plan.seconds else "at most"
        time_left = f"; {word} {spoken(most)}, with loading more" if left else ""
        output.note(f"greenai: {cells} cells{before}; seed {plan.seed}{time_left}")

    def failed_before(self, records: Sequence[CellRecord]) -> None:
        """They count for the exit code as they did then."""
        first = records[0]
        more = f" and {len(records) - 1} more" if len(records) > 1 else ""
        self.faults.tell(
            f"{first.key}{more} failed before: {first.reason}. --retry-failed measures "
            f"{'them' if more else 'it'} again",
            exit_codes.of_class(first.error) if first.error else exit_codes.MODEL,
        )

    def cell(self, cell: CellKey) -> None:
        """The next one."""
        self._begun_s = time.monotonic()
        self._progress.ahead = self._time_left()
        self._progress.begin(str(cell))

    def progress(self, share: float, text: str) -> None:
        """With the time left for the whole study."""
        self._progress.ahead = self._time_left()
        self._progress(share, text)

    def ended(self, record: CellRecord, error: Exception | None) -> None:
        """What went wrong, at once; warnings once each."""
        self._left -= 1
        self._took.append(time.monotonic() - self._begun_s)
        self._progress.clear()
        if not record.done:
            self.faults.add(error or RuntimeError(record.reason), str(record.key))
        for text in record.warnings:
            plain = "".join(char for char in text if not char.isdigit())
            if plain not in self._warned:
                self._warned.add(plain)
                output.warn(f"{record.key}: {text}")

    def stopped(self) -> None:
        """The study was broken off: what is safe, and how to go on."""
        self._progress.clear()
        if self._cells:
            safe = self._cells - self._left
            output.note(
                f"greenai: {safe} of {self._cells} cells are in {self._out}; go on with "
                f"`greenai study --resume --out {self._out}`"
            )

    def _time_left(self) -> str:
        recent = self._took[-RECENT:]
        if not recent:
            return ""
        usual = sum(recent) / len(recent)
        spent = min(time.monotonic() - self._begun_s, usual)
        return f"{spoken(self._left * usual - spent)} left, "


def spoken(seconds: float) -> str:
    """A time in words, as exact as anyone needs: ``40 s``, ``12 min``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest and hours < 10 else f"{hours} h"
